# SPDX-License-Identifier: Apache-2.0
import json

import h5py
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from avkit.encoders import build_audio_encoder
from avkit.encoders.yamnet import CLASSES, HOP_SAMPLES, YAMNet, audioset_classes, yamnet_mel, yamnet_windows
from avkit.errors import FileError
from avkit.media.mel import EXAMPLE_SAMPLES

#: The authors' layout: name of a layer, and of ours.
CONVOLUTIONS = {"conv": "conv", "depthwise_conv": "depthwise", "pointwise_conv": "pointwise"}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return YAMNet().eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("yamnet") / "yamnet.safetensors"
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return path


def released(shared_real):
    path = shared_real / "weights/yamnet.safetensors"
    if not path.exists():
        pytest.skip("YAMNet's weights are absent")
    return path


@pytest.mark.golden
def test_equal_to_the_recorded_cases(real):
    folder = real.parents[1] / "golden/encoders"
    if not folder.exists():
        pytest.skip("recorded cases of encoders are absent")
    network = YAMNet(released(real)).eval()
    arrays = np.load(folder / "yamnet_cases.npz")
    cases = json.loads((folder / "yamnet_cases.json").read_text())
    assert cases
    for number in range(len(cases)):
        tags = network.tag(torch.from_numpy(arrays[f"waveform_{number}"]))
        for name, values in tags._asdict().items():
            np.testing.assert_allclose(values[0], arrays[f"{name}_{number}"], atol=1e-4, err_msg=f"{name} {number}")


def test_names_what_is_heard(real):
    network = YAMNet(released(real)).eval()
    from avkit.media.decode import read_waveform

    tags = network.tag(read_waveform(real / "clips/avqa/video/009GwYB4Z7k_000030.mp4"))
    best = tags.scores.mean(0).argmax()
    assert audioset_classes()[best] == "Animal"
    assert tags.scores.mean(0)[audioset_classes().index("Crow")] > 0.2


@pytest.mark.parametrize(
    ("samples", "windows"),
    [
        (100, 1),
        (EXAMPLE_SAMPLES, 1),
        (EXAMPLE_SAMPLES + 1, 2),
        (EXAMPLE_SAMPLES + HOP_SAMPLES, 2),
        (160_000, 20),
    ],
)
def test_windows_cover_the_whole_sound(samples, windows):
    waveform = torch.rand(samples) - 0.5
    mel = yamnet_windows(waveform)
    assert mel.shape == (windows, 96, 64)
    last = F.pad(waveform[(windows - 1) * HOP_SAMPLES :], (0, EXAMPLE_SAMPLES))[:EXAMPLE_SAMPLES]
    torch.testing.assert_close(mel[-1], yamnet_mel(last))


def test_scores_of_a_window_do_not_depend_on_the_others(network):
    waveform = torch.rand(EXAMPLE_SAMPLES + 3 * HOP_SAMPLES) - 0.5
    tags = network.tag(waveform)
    alone = network.tag(waveform[2 * HOP_SAMPLES :][:EXAMPLE_SAMPLES])
    torch.testing.assert_close(tags.scores[2], alone.scores[0])
    assert tags.embedding.shape == (4, 1024)
    assert tags.scores.shape == (4, CLASSES)
    with pytest.raises(ValueError, match=r"windows \(N, 96, 64\), got \(2, 98, 64\)"):
        network(torch.zeros(2, 98, 64))


@pytest.mark.parametrize("samples", [129, *(pytest.param(n, marks=pytest.mark.slow) for n in (127, 128, 257))])
def test_long_sound_has_the_windows_of_the_whole(network, samples):
    waveform = torch.rand(EXAMPLE_SAMPLES + (samples - 1) * HOP_SAMPLES - 5) - 0.5
    with torch.inference_mode():
        whole = network(yamnet_windows(waveform)).scores
    torch.testing.assert_close(network.tag(waveform).scores, whole)


def test_every_weight_is_trained(network):
    trained = YAMNet()
    trained.load_state_dict(network.state_dict())
    trained(torch.randn(2, 96, 64)).scores.sum().backward()
    assert all(p.grad is not None for p in trained.parameters())


@pytest.mark.parametrize(("name", "width"), [("yamnet", 1024), ("yamnet_scores", 521)])
def test_encoder_reads_on_beyond_short_steps(network, weights, name, width):
    encoder = build_audio_encoder(name, str(weights)).eval()
    waveform = torch.rand(1, 32_000) - 0.5
    out = encoder(waveform, steps=4, hop=0.48)
    assert out.shape == (1, 4, width)
    tags = network.tag(waveform[0])
    expected = tags.embedding if name == "yamnet" else tags.scores
    torch.testing.assert_close(out[0, :3], expected[:3])
    assert encoder.weights_from == str(weights)


def write_as_the_authors(path, network, generator):
    """`yamnet.h5` whose folded weights are those of a network, with random batch norms."""
    folded = network.state_dict()
    with h5py.File(path, "w") as file:
        for key in sorted({key.rpartition(".")[0] for key in folded}):
            weight, bias = folded[f"{key}.weight"], folded[f"{key}.bias"]
            if key == "classifier":
                file["logits/logits/kernel:0"] = weight.T.numpy()
                file["logits/logits/bias:0"] = bias.numpy()
                continue
            layer, own = key.split(".")
            name = f"{layer}/{next(theirs for theirs, ours in CONVOLUTIONS.items() if ours == own)}"
            variance = torch.rand(len(bias), generator=generator) + 0.5
            mean = torch.randn(len(bias), generator=generator)
            scale = (variance + 1e-4).rsqrt()
            raw = weight / scale[:, None, None, None]
            kind = "depthwise_kernel" if own == "depthwise" else "kernel"
            order = (2, 3, 0, 1) if own == "depthwise" else (2, 3, 1, 0)
            file[f"{name}/{name}/{kind}:0"] = raw.permute(*order).numpy()
            file[f"{name}/bn/{name}/bn/beta:0"] = (bias + mean * scale).numpy()
            file[f"{name}/bn/{name}/bn/moving_mean:0"] = mean.numpy()
            file[f"{name}/bn/{name}/bn/moving_variance:0"] = variance.numpy()


def test_reads_the_authors_file(tmp_path, network):
    path = tmp_path / "yamnet.h5"
    write_as_the_authors(path, network, torch.Generator().manual_seed(0))
    own = network.state_dict()
    loaded = YAMNet(path).state_dict()
    for key, value in own.items():
        torch.testing.assert_close(loaded[key], value, atol=1e-5, rtol=1e-4, msg=key)
    with h5py.File(path, "a") as file:
        del file["layer3/depthwise_conv/bn/layer3/depthwise_conv/bn/beta:0"]
    with pytest.raises(FileError, match=r"yamnet.h5 lacks the array 'layer3.depthwise/beta' of YAMNet"):
        YAMNet(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["features"] = np.zeros((2, 3))
    with pytest.raises(FileError, match=r"other.h5 holds no layers of YAMNet, such as layer1/conv"):
        YAMNet(tmp_path / "other.h5")
    (tmp_path / "broken.h5").write_bytes(b"no HDF5")
    with pytest.raises(FileError, match=r"broken.h5 cannot be read as HDF5"):
        YAMNet(tmp_path / "broken.h5")


def test_without_a_network_the_hub_is_named():
    with pytest.raises(ValueError, match=r"Weights of YAMNet \(3\.7 million .*audioset/yamnet\.h5.*--model\.system"):
        YAMNet("hub")


def test_classes():
    names = audioset_classes()
    assert len(names) == len(set(names)) == CLASSES
    assert names[0] == "Speech"
    assert (names[69], names[-1]) == ("Dog", "Field recording")
