# SPDX-License-Identifier: Apache-2.0
"""Parts of the spatial systems: what they choose, what they leave out, what padding and company may not change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import signal

from avkit.batch import Batch, FeatureWidths, Vocabulary
from avkit.encoders import build_visual_encoder
from avkit.encoders.resnet import ResNet18
from avkit.encoders.vggish import VGGishAudio
from avkit.media.mel import vggish_examples
from avkit.media.spectrogram import crop_around_steps, log_power_spectrogram
from avkit.nn.deformable_attention import cell_centers, sample_with_gather, sample_with_grid_sample
from avkit.systems import find_network
from avkit.systems.avsegformer.system import AVSegFormerConfig
from avkit.systems.base import RunContext
from avkit.systems.sources import random_crop_and_flip
from avkit.systems.tpavi.attention import PixelAudioAttention
from avkit.systems.tpavi.network import TPAVI
from avkit.systems.tpavi.system import TPAVIConfig


def build(config, vocabulary=None, widths=None):
    """A system for `avs`."""
    vocabulary = vocabulary or Vocabulary()
    features = {} if widths is None else {"avs": widths}
    return config.build(RunContext(config.make_tasks(["avs"], vocabulary), vocabulary, features))


# ------------------------------------------------------------------------------------------------ masks


def test_interaction_equals_the_matrix_of_all_pixels():
    torch.manual_seed(0)
    part = PixelAudioAttention(8, 6)
    torch.nn.init.normal_(part.scale.weight)
    part.scale.running_mean.normal_()
    maps, sound = torch.randn(2, 3, 8, 4, 5), torch.randn(2, 3, 6)
    for mode in (True, False):
        part.train(mode)
        before = {k: v.clone() for k, v in part.state_dict().items()}
        found, _ = part(maps, sound)
        part.load_state_dict(before)
        x = maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
        every = part.audio(sound)[:, :, None].expand(-1, -1, 20, -1).flatten(1, 2)
        matrix = part.query(x) @ part.key(every).mT / x.shape[1]
        y = part.scale(part.out(matrix @ part.value(x)).flatten(0, 1)).view_as(x)
        wanted = part.norm(y + x).unflatten(1, (3, 4, 5)).permute(0, 1, 4, 2, 3)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_both_ways_to_look_at_places_agree_with_gradients():
    torch.manual_seed(0)
    sizes = [(5, 3), (2, 4)]
    centers = cell_centers(sizes)
    values = torch.randn(2, 23, 2, 4, dtype=torch.float64)
    offsets = 3 * torch.randn(2, 23, 2, 2, 3, 2, dtype=torch.float64)
    weights = torch.rand(2, 23, 2, 2, 3, dtype=torch.float64)
    found = []
    for look in (sample_with_grid_sample, sample_with_gather):
        given = [x.clone().requires_grad_() for x in (values, offsets, weights)]
        out = look(*given, centers.double(), sizes)
        out.square().sum().backward()
        found.append([out, *(x.grad for x in given)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_steps_that_are_not_there_change_no_mask():
    torch.manual_seed(0)
    network = TPAVI.build(width=16, scale=2, audio_features=6).eval()
    for part in network.interactions:
        torch.nn.init.normal_(part.scale.weight)
    maps = [torch.randn(2, 5, c, s, s) for c, s in ((16, 8), (32, 4), (64, 2))]
    sound, valid = torch.randn(2, 5, 6), torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    with torch.inference_mode():
        both = network(maps, sound, valid).logits
        alone = network([x[:1, :3] for x in maps], sound[:1, :3]).logits
        whole = network([x[1:] for x in maps], sound[1:]).logits
    torch.testing.assert_close(both[:1, :3], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[1:], whole, atol=1e-5, rtol=1e-4)


def test_pictures_that_are_too_small_are_refused():
    torch.manual_seed(0)
    system = build(TPAVIConfig(width=16)).eval()
    frames = torch.randint(256, (1, 3, 3, 32, 32), dtype=torch.uint8)
    valid = torch.ones(1, 3, dtype=torch.bool)
    clip = Batch("avs", ["a"], torch.tensor([3.0]), 1.0, valid, frames, torch.randn(1, 48_000))
    assert system(clip).logits.shape[:3] == (1, 3, 1)
    with pytest.raises(ValueError, match="16 by 16 pixels; tpavi needs 32"):
        system(replace(clip, frames=frames[..., :16, :16]))


@pytest.mark.parametrize("config", [TPAVIConfig, AVSegFormerConfig])
def test_recomputing_is_of_all_blocks_and_changes_nothing(config):
    pytest.importorskip("timm")
    small = {} if config is TPAVIConfig else {"layers": 1, "audio_layers": 1}
    clip = Batch(
        "avs",
        ["a"],
        torch.tensor([2.0]),
        1.0,
        torch.ones(1, 2, dtype=torch.bool),
        torch.randint(256, (1, 2, 3, 64, 64), dtype=torch.uint8),
        torch.randn(1, 32_000),
    )
    found, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        system = build(config(visual="pvt_v2_b0", width=32, recompute=recompute, **small)).train()
        bytes_of = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, to=bytes_of: to.append(x.nbytes) or x, lambda x: x):
            logits = system(clip).logits
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in system.parameters() if p.grad is not None)])
        kept.append(sum(bytes_of))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert kept[1] < kept[0] / 2


def test_a_trunk_is_frozen_for_its_epochs():
    system = build(AVSegFormerConfig(frozen_epochs=2, width=16, layers=1, audio_layers=1))
    for epoch, learns in ((0, False), (1, False), (2, True)):
        system.on_epoch_start(epoch)
        assert {p.requires_grad for p in system.network.visual.parameters()} == {learns}


def test_classes_are_asked_for_where_there_are_some():
    with pytest.raises(ValueError, match="the dataset names none"):
        AVSegFormerConfig(semantic=True).make_tasks(["avs"], Vocabulary())
    task = AVSegFormerConfig(semantic=True).make_tasks(["avs"], Vocabulary(["dog", "cat"]))["avs"]
    assert task.classes == 3
    with pytest.raises(ValueError, match="stored features"):
        build(AVSegFormerConfig(), widths=FeatureWidths(8, 0))
    with pytest.raises(ValueError, match=r"has none\. Try pvt_v2_b5"):
        build(AVSegFormerConfig(visual="small_embedding"))


# ------------------------------------------------------------------------------------------------ sound, pictures


def test_spectrogram_is_scipys():
    wave = torch.randn(48_000, generator=torch.Generator().manual_seed(0)).mul(0.1) + 0.05
    _, _, power = signal.spectrogram(wave.numpy(), 16_000, nperseg=512, noverlap=274)
    wanted = torch.from_numpy(np.log(power + 1e-7) / 12)
    assert wanted.shape == (257, 200)
    torch.testing.assert_close(log_power_spectrogram(wave).double(), wanted.double(), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="512 samples"):
        log_power_spectrogram(wave[:100])


def test_sound_around_a_step_stays_inside():
    wave = torch.arange(5 * 16_000.0)[None]
    found = crop_around_steps(wave, 5, 1.0, 3.0)
    assert found.shape == (1, 5, 48_000)
    assert (found[0, :, 0] / 16_000).tolist() == [0, 0, 1, 2, 2]
    short = crop_around_steps(wave[:, :10], 1, 1.0, 0.001)
    assert short[0, 0].tolist() == [*range(10), *range(6)]


def test_vggish_runs_on_in_examples_of_its_own():
    encoder = VGGishAudio(running=True).eval()
    wave = torch.randn(1, 5 * 16_000) * 0.1
    with torch.no_grad():
        wanted = encoder.network(vggish_examples(wave[0]))
        found = encoder(wave, 7, 1.0)
    assert len(wanted) == 5
    torch.testing.assert_close(found[0], torch.cat([wanted, wanted[-1:].expand(2, -1)]))
    assert encoder(torch.zeros(1, 100), 2, 1.0).shape == (1, 2, 128)


def test_pictures_are_random_crop_and_fliped():
    frames = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(8, 3, -1, -1)
    torch.manual_seed(0)
    found = random_crop_and_flip(frames, 4)
    assert found.shape == (8, 3, 4, 4)
    steps = (found[:, 0, 0, 1].int() - found[:, 0, 0, 0].int()).tolist()
    assert set(steps) == {1, -1}
    assert bool((found[:, 0, 1].int() - found[:, 0, 0].int() == 6).all())
    assert random_crop_and_flip(frames, 9).shape == frames.shape


def test_trunks_have_the_stride_that_is_asked_for():
    pytest.importorskip("timm")
    assert ResNet18(1, 16)(torch.zeros(1, 1, 64, 64)).shape == (1, 512, 4, 4)
    with pytest.raises(ValueError, match="16 or 32"):
        ResNet18(3, 8)
    encoder = build_visual_encoder("avkit.encoders.resnet:ResNet18Visual")
    assert encoder(torch.zeros(1, 3, 50, 50, dtype=torch.uint8)).grid == (14, 14)


def test_tokens_merge_down_to_what_can_be_reached():
    pytest.importorskip("timm")
    from avkit.encoders.merging import MergingViT

    with pytest.raises(ValueError, match=r"cannot merge down to 2 tokens: \d+ are left after 12 blocks"):
        MergingViT("vit_tiny_patch16_224", tokens=2, rate=4)
    encoder = MergingViT("vit_tiny_patch16_224", tokens=150, rate=4)
    assert encoder(torch.zeros(1, 3, 224, 224)).patches.shape[1] == 150


@pytest.mark.parametrize("name", ["ez_vsl", "lvs"])
def test_converted_weights_go_there_and_back(name, tmp_path):
    pytest.importorskip("timm")
    small = {"ez_vsl": {"width": 16}}
    network = find_network(name).build(**small.get(name, {}))
    state = network.to_official()
    again = find_network(name).from_official({f"module.{k}": v for k, v in state.items()})
    again.save(tmp_path / "x.safetensors")
    loaded = find_network(name).load(tmp_path / "x.safetensors")
    assert loaded.built_with == network.built_with
    for key, x in loaded.to_official().items():
        assert torch.equal(x, state[key]), key
