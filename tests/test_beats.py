# SPDX-License-Identifier: Apache-2.0
"""BEATs on windows of sound, and the sound that it and other networks read."""

import math

import pytest
import torch
from torch.nn.utils import parametrizations

from avkit.encoders import build_audio_encoder
from avkit.encoders.beats import BEATsAudio, sizes_of_file
from avkit.encoders.beats_network import PUBLISHED, BEATsNetwork, BEATsSizes, distance_buckets
from avkit.media.fbank import kaldi_fbank, kaldi_mel_matrix
from avkit.media.resample import upsample
from avkit.reading.hub import HubError

TINY = BEATsSizes(
    width=32, layers=2, heads=4, hidden=16, embedding=16, position_kernel=8, position_groups=4, buckets=16
)
CONFIG = {
    "encoder_embed_dim": 32,
    "encoder_layers": 2,
    "encoder_attention_heads": 4,
    "encoder_ffn_embed_dim": 16,
    "embed_dim": 16,
    "input_patch_size": 16,
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "num_buckets": 16,
    "max_distance": 800,
    "deep_norm": True,
}


def official_file(path, network, newer=False, **config):
    """A file as the authors write them: weight norm, the table of distances in every layer, a classifier."""
    state = {f"{key}": tensor for key, tensor in network.state_dict().items()}
    table = state.pop("encoder.distance_bias")
    for number in range(network.sizes.layers):
        state[f"encoder.layers.{number}.self_attn.relative_attention_bias.weight"] = table
    weight = state.pop("encoder.pos_conv.weight")
    bias = state.pop("encoder.pos_conv.bias")
    length = torch.linalg.vector_norm(weight, dim=(0, 1), keepdim=True)
    names = ("weight_g", "weight_v")
    if newer:
        names = ("parametrizations.weight.original0", "parametrizations.weight.original1")
    state[f"encoder.pos_conv.0.{names[0]}"] = length
    state[f"encoder.pos_conv.0.{names[1]}"] = weight * 3  # its length does not count
    state["encoder.pos_conv.0.bias"] = bias
    state["predictor.weight"] = torch.zeros(527, network.sizes.width)
    torch.save({"cfg": {**CONFIG, **config}, "model": state}, path)
    return path


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = BEATsNetwork(TINY)
    with torch.no_grad():
        network.encoder.distance_bias.normal_()
    return network.eval()


@pytest.mark.parametrize("newer", [False, True])
def test_reads_the_authors_file(tmp_path, network, newer):
    path = official_file(tmp_path / "beats.pt", network, newer=newer)
    encoder = build_audio_encoder("beats", str(path)).eval()
    assert encoder.width == 32
    waveform = torch.randn(2, 32_000) * 0.1
    mel = (kaldi_fbank(waveform[:, :16_000] * 2**15, window="povey") - 15.41663) / (2 * 6.55582)
    with torch.no_grad():
        out = encoder(waveform, 2, 1.0)
        torch.testing.assert_close(out[:, 0], network(mel).mean(1))
    assert out.shape == (2, 2, 32)


def test_every_weight_is_trained(network):
    encoder = BEATsAudio(sizes=TINY)
    encoder(torch.randn(1, 16_000), 1, 1.0).square().sum().backward()
    assert [name for name, x in encoder.named_parameters() if x.grad is None] == []


def test_steps_that_are_shorter_than_a_patch_are_followed_by_silence():
    assert BEATsAudio(seconds=0.1, sizes=TINY)(torch.randn(1, 4_000), 2, 0.1).shape == (1, 2, 32)


def test_the_published_size():
    with torch.device("meta"):
        count = sum(x.numel() for x in BEATsNetwork().parameters())
    assert count == 90_311_664  # 361 MB, as the authors' files


def test_files_of_something_else(tmp_path, network):
    path = official_file(tmp_path / "first.pt", network, layer_norm_first=True)
    with pytest.raises(ValueError, match=r"states layer_norm_first=True; BEATs as published has False"):
        sizes_of_file(path)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="do not fit this encoder"):
        build_audio_encoder("beats", str(tmp_path / "other.pt"))
    assert sizes_of_file(tmp_path / "other.pt") == PUBLISHED
    with pytest.raises(FileNotFoundError):
        build_audio_encoder("beats", str(tmp_path / "none.pt"))


def test_there_is_no_hub():
    with pytest.raises(HubError, match=r"BEATs \(361 MB\).*microsoft/unilm.*audio_weights PATH.*Licence: MIT"):
        build_audio_encoder("beats", "hub")


def test_distances_by_hand():
    rows = distance_buckets(12, buckets=8, farthest=8)
    assert rows[0].tolist() == [0, 5, 6, 6, 7, 7, 7, 7, 7, 7, 7, 7]  # the second half is for what comes after
    assert rows[3, :4].tolist() == [2, 2, 1, 0]


def test_weight_norm_is_that_of_torch(tmp_path, network):
    convolution = parametrizations.weight_norm(torch.nn.Conv1d(8, 8, 4, groups=2), dim=2)
    state = convolution.state_dict()
    length = torch.linalg.vector_norm(state["parametrizations.weight.original1"], dim=(0, 1), keepdim=True)
    expected = state["parametrizations.weight.original1"] * state["parametrizations.weight.original0"] / length
    torch.testing.assert_close(convolution.weight, expected)


class TestFilterbank:
    def test_a_tone_is_in_its_band(self):
        times = torch.arange(16_000) / 16_000
        energy = kaldi_fbank(torch.sin(2 * math.pi * 1000 * times)).mean(0)
        centre = kaldi_mel_matrix(128)[32].argmax()  # bin 32 of 512 at 16 kHz
        assert abs(int(energy.argmax()) - int(centre)) <= 1

    def test_a_constant_is_silence(self):
        floor = math.log(torch.finfo(torch.float32).eps)
        torch.testing.assert_close(kaldi_fbank(torch.full((2, 800), 0.3)), torch.full((2, 3, 128), floor))
        assert kaldi_fbank(torch.zeros(3, 399)).shape == (3, 0, 128)

    def test_frames_and_gradient(self):
        out = kaldi_fbank(torch.randn(16_000, requires_grad=True), bands=40, window="povey")
        assert out.shape == (98, 40)
        assert not out.requires_grad


def test_more_samples_keep_those_that_are_there():
    times = torch.arange(1600, dtype=torch.float64) / 16_000
    tone = torch.sin(2 * math.pi * 1000 * times)[None]
    out = upsample(tone, 3)
    torch.testing.assert_close(out[:, ::3], tone)
    finer = torch.arange(4800, dtype=torch.float64) / 48_000
    expected = torch.sin(2 * math.pi * 1000 * finer)
    torch.testing.assert_close(out[0, 100:-100], expected[100:-100], atol=3e-3, rtol=0)
    assert upsample(tone, 1) is tone
