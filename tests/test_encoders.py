# SPDX-License-Identifier: Apache-2.0
"""The contracts of encoders, and how encoders are built by name."""

import pytest
import torch
from torch import nn

from avkit.encoders import (
    build_audio_encoder,
    build_text_encoder,
    build_video_encoder,
    build_visual_encoder,
    list_encoders,
)
from avkit.encoders.base import AudioEncoder, VisualEncoder, VisualFeatures
from avkit.nn.recompute import Recomputable, recompute_activations


class MeanColour(VisualEncoder):
    """An encoder from outside avkit."""

    def __init__(self, pretrained=None, scale=1.0):
        super().__init__()
        self.pretrained = pretrained
        self.scale = scale
        self.width = 3

    def forward(self, frames):
        frame = self.scale * frames.float().mean((2, 3))
        return VisualFeatures(frame, frame[:, None], (1, 1))


class Silent(AudioEncoder):
    from_scratch = True

    def __init__(self):
        super().__init__()
        self.width = 2
        self.weight = nn.Parameter(torch.zeros(2))

    def forward(self, waveform, steps, hop):
        return self.weight.expand(len(waveform), steps, -1)


class Unfinished(VisualEncoder):
    def __init__(self, pretrained=None):
        super().__init__()


def name_of(encoder_class):
    return f"{__name__}:{encoder_class.__name__}"


@pytest.mark.parametrize(("kind", "known"), [("visual", "pvt_v2_b5"), ("video", "video_llava"), ("audio", "vggish")])
def test_names_are_listed_by_kind(kind, known):
    assert known in list_encoders(kind)


def test_an_encoder_without_a_pyramid_has_the_defaults():
    encoder = build_visual_encoder(name_of(MeanColour), "hub", scale=2.0)
    assert (encoder.pretrained, encoder.width) == ("hub", 3)
    assert (encoder.pyramid_widths, encoder.pyramid_strides) == ([], [])
    assert not encoder.pyramid_includes_patches
    assert encoder.input_size is None
    assert not encoder.from_scratch
    frames = torch.ones(2, 3, 4, 4)
    torch.testing.assert_close(encoder(frames).frame, torch.full((2, 3), 2.0))


def test_the_small_encoder_keeps_its_patches_out_of_the_pyramid():
    encoder = build_visual_encoder("small")
    features = encoder(torch.zeros(1, 3, 32, 48))
    sizes = [tuple(x.shape[2:]) for x in features.pyramid]
    assert sizes == [(32 // stride, 48 // stride) for stride in encoder.pyramid_strides]
    assert [x.shape[1] for x in features.pyramid] == encoder.pyramid_widths
    assert not encoder.pyramid_includes_patches
    assert encoder.from_scratch


def test_an_encoder_trained_from_scratch_takes_a_weight_file(tmp_path):
    torch.save({"weight": torch.tensor([1.0, 2.0])}, tmp_path / "w.pt")
    encoder = build_audio_encoder(name_of(Silent), str(tmp_path / "w.pt"))
    assert encoder(torch.zeros(1, 16_000), 1, 1.0).tolist() == [[[1.0, 2.0]]]
    with pytest.raises(ValueError, match=r"no pretrained weights 'hub'; it takes .*a file.*or choose one of vggish"):
        build_audio_encoder("small", "hub")


def test_words_are_for_text_encoders_trained_from_scratch():
    encoder = build_text_encoder("small", words=["dog", "barks"])
    features = encoder(["a dog barks", "dog"])
    assert features.pooled.shape == (2, encoder.width)
    assert features.valid.sum(1).tolist() == [5, 3]


def test_names_that_cannot_be_built():
    with pytest.raises(ValueError, match=r"Unknown visual encoder 'smal'. Did you mean 'small'"):
        build_visual_encoder("smal")
    with pytest.raises(ValueError, match=r"Unknown video encoder 'llava'. Did you mean 'video_llava'"):
        build_video_encoder("llava")
    with pytest.raises(ValueError, match=r"module 'test_encoders' has no attribute 'Nothing'.*package\.module:Class"):
        build_visual_encoder(f"{__name__}:Nothing")
    with pytest.raises(ValueError, match=r"is no audio encoder. Derive it from avkit\.encoders\.base\.AudioEncoder"):
        build_audio_encoder(name_of(MeanColour))
    with pytest.raises(TypeError, match="abstract"):
        build_visual_encoder(name_of(Unfinished))


class Block(nn.Module, Recomputable):
    pass


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.recompute = False


def test_activations_are_recomputed_where_a_module_declares_that_it_can():
    network = nn.ModuleDict({"block": Block(), "nested": nn.Sequential(Block()), "cell": Cell()})
    assert not network["block"].recompute
    recompute_activations(network)
    assert network["block"].recompute
    assert network["nested"][0].recompute
    assert not network["cell"].recompute


def test_small_audio_hears_steps_of_one_video_frame():
    from avkit.encoders.small import SmallAudio

    encoder = SmallAudio().eval()
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(16_000) / 16_000)[None]
    with torch.no_grad():
        features = encoder(tone, steps=30, hop=1 / 30)
        assert features.shape == (1, 30, encoder.width)
        assert features.isfinite().all()
        assert (features - encoder(0 * tone, steps=30, hop=1 / 30)).abs().max() > 0.01
