# SPDX-License-Identifier: Apache-2.0
"""Captions hear each step by itself, as it was before the backbone mixed it with pictures and other steps."""

import pytest
import torch

from avkit.batch import Tokens
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.errors import RunError
from avkit.heads.caption import CaptionDecoder
from avkit.systems.av_unified.config import AVUnifiedConfig
from avkit.training.earlier_weights import check_names
from avkit.training.module import AVModel

TARGETS = frozenset(("mask", "mask_known", "class_mask", "caption"))


@pytest.fixture(scope="module")
def data():
    return Scenes("train", 2, image_size=24)


def make_system(data, tasks):
    torch.manual_seed(0)
    return AVModel(tasks, data.vocabulary).eval().system


@torch.no_grad()
def test_it_depends_on_the_sound_of_its_step_alone(data):
    system = make_system(data, "ra_ssu")
    batch = collate([data.item(0, TARGETS)], "ra_ssu").with_rows()
    encoded = system.encode(batch)
    own = system.tokens(batch, encoded).own_sound
    encoded.audio[:, 3] += 1
    encoded.visual.patches[:] += 1
    changed = system.tokens(batch, encoded).own_sound
    others = [t for t in range(10) if t != 3]
    assert not torch.equal(changed[:, 3], own[:, 3])
    assert torch.equal(changed[:, others], own[:, others])


def test_only_heads_that_read_it_have_it(data):
    system = make_system(data, "ra_ssu,avs")
    batch = collate([data.item(0, frozenset(("mask", "mask_known")))], "avs").with_rows()
    assert system.tokens(batch).own_sound is None
    assert make_system(data, "avs").own_sound_in is None
    without = AVUnifiedConfig(own_sound=False)
    assert AVModel("ra_ssu", data.vocabulary, system=without).system.own_sound_in is None


def test_captions_read_it_in_place_of_what_the_backbone_made_of_the_sound():
    torch.manual_seed(0)
    decoder = CaptionDecoder(8, 5)
    audio, own = torch.randn(2, 1, 3, 8)
    patches = torch.randn(1, 3, 4, 8)
    tokens = Tokens(audio, patches.mean(2), patches, (2, 2), torch.ones(1, 3, dtype=torch.bool))
    without = decoder.memory(tokens)
    tokens.own_sound = own
    memory = decoder.memory(tokens)
    torch.testing.assert_close(memory[:, 0] - without[:, 0], (own - audio)[0])
    assert torch.equal(memory[:, 1:], without[:, 1:])


def test_weights_from_before_are_refused_with_the_option_that_reads_them(data):
    names = list(AVModel("ra_ssu", data.vocabulary).state_dict())
    earlier = [name for name in names if "own_sound" not in name]
    with pytest.raises(
        RunError, match=r"^best\.ckpt was trained with an earlier version .* Add 'own_sound: false' under"
    ):
        check_names("best.ckpt", names, earlier)
    check_names("best.ckpt", earlier, earlier)


def test_weights_with_other_names_are_refused():
    with pytest.raises(RunError, match="other options: it lacks b"):
        check_names("best.ckpt", ["a", "b"], ["a"])
    with pytest.raises(RunError, match="other options: it has c, which the model lacks"):
        check_names("best.ckpt", ["a"], ["a", "c"])
