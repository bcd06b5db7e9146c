# SPDX-License-Identifier: Apache-2.0
"""Reports of runs on stored features: the chosen seconds, and the parts of pictures that merged tokens stand for."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from avkit.answers import Choice, Scope, StepGrid
from avkit.batch import Prediction
from avkit.cli.examples import examples
from avkit.cli.feature_pictures import feature_pictures
from avkit.errors import DataError
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.combined import ConcatenatedFeatures, TokenFeatures
from avkit.features.files import NpyFolder
from avkit.features.source_maps import NoSourceMapError, open_source_maps, read_source_map
from avkit.features.store import Store, write_store
from avkit.systems import make_config
from avkit.training.datamodule import AVDataModule
from avkit.training.module import AVModel
from avkit.training.options import FeatureOptions, LoaderOptions

#: Which of the 14 tokens of an exported picture each of its 4 by 4 parts went into.
SOURCES = np.array([0, *range(14), 13]).reshape(4, 4)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("avqa") / "music-avqa"
    export("music-avqa", out, {"train": 2, "val": 1, "test": 2}, 32, fps=2)
    for path in (out / "ToMe_feat/tome14").glob("*.npy"):
        maps = np.repeat(SOURCES[None], len(np.load(path)), 0)
        target = out / "ToMe_feat/tome14_sources" / path.name
        target.parent.mkdir(exist_ok=True)
        np.save(target, maps.astype(np.float16))
    (out / "ToMe_feat/tome14_sources/features.json").write_text(json.dumps({"crop": 0.5}))
    return out


@pytest.fixture
def copied(root, tmp_path):
    return Path(shutil.copytree(root, tmp_path / "music-avqa"))


def data_of(root, visual="tome14+clip"):
    features = FeatureOptions(visual=visual, audio="vggish")
    return AVDataModule("avqa", root=str(root), features=features, loader=LoaderOptions(workers=0))


def examples_of(data, **options):
    torch.manual_seed(0)
    config = make_config({"name": "tspm", "width": 16, "inner": 16, "topk": 3, "frame": 768, **options})
    model = AVModel(tasks="avqa", vocabulary=data.vocabulary, system=config, features=data.feature_widths)
    return list(examples(model, first_sample(data), {"avqa": data.split("test", "avqa")}))


def first_sample(data):
    """A batch of the first test sample."""
    return data.batches_of("test", {"avqa": data.indices("test", "avqa")[:1]}, 1)


def test_parts_of_merged_tokens_glow_on_the_pictures(root):
    (example,) = examples_of(data_of(root), patch_select="index")
    chosen = [place for place, mark in enumerate(example.marks) if mark]
    assert len(chosen) == 3
    assert [image.shape for image in example.images] == [(192, 192, 3)] * len(example.marks)
    assert np.asarray(example.images).std() > 1, "the clip's own pictures"
    heats = example.heats
    assert heats.shape[1:] == (4, 4)
    assert np.flatnonzero(np.isfinite(heats).all((1, 2))).tolist() == chosen
    for place in chosen:
        weights = {token: set(heats[place][token == SOURCES].tolist()) for token in range(14)}
        assert all(len(values) == 1 for values in weights.values())
    assert example.silent_heats is not None
    assert "not shown" not in example.note


def test_pictures_are_cut_as_the_encoder_saw_them(root):
    data = data_of(root)
    (batch,) = first_sample(data)["avqa"]
    dataset = data.split("test", "avqa")
    cut = feature_pictures(batch, dataset).frames[0, 0].float()
    whole = feature_pictures(batch, Uncropped(dataset)).frames[0, 0].float()
    middle = torch.nn.functional.interpolate(whole[None, :, 48:144, 48:144], size=(192, 192), mode="bilinear")[0]
    assert (cut - middle).abs().mean() < (cut - whole).abs().mean()


def Uncropped(dataset):
    """The same dataset without the map, whose pictures are whole."""
    from copy import copy

    other = copy(dataset)
    other.visual = NpyFolder(dataset.visual.parts[1].path)
    return other


def test_without_a_map_the_seconds_are_shown_and_the_report_says_why(copied):
    shutil.rmtree(copied / "ToMe_feat/tome14_sources")
    (example,) = examples_of(data_of(copied))
    assert sum(map(bool, example.marks)) == 3
    assert example.heats is None
    assert "Parts of pictures are not shown: there is no map of the patches" in example.note
    assert "tome14_sources.h5" in example.note
    assert "avkit extract --recipe tspm" in example.note


def test_without_pictures_parts_are_shown_on_grey(copied):
    shutil.rmtree(copied / "video")
    (example,) = examples_of(data_of(copied))
    assert np.asarray(example.images).std() == 0
    assert example.heats is not None
    assert "The pictures of this clip are not on disk." in example.note


def test_a_system_that_selects_nothing_shows_no_pictures(root):
    (example,) = examples_of(data_of(root), temporal=False)
    assert example.images == []
    assert example.heats is None


def test_maps_are_found_beside_stores_and_must_be_theirs(tmp_path):
    facts = FeatureFacts("vit_large_tome14 patches", hop=1.0, weights="abc")
    clips = [("a", np.zeros((3, 14, 8), np.float32))]
    maps = [("a", np.repeat(SOURCES[None], 3, 0).astype(np.float32))]
    tokens = Store(write_store(tmp_path / "tome14.h5", clips, facts))
    with pytest.raises(NoSourceMapError, match=r"tome14_sources\.h5"):
        open_source_maps(tokens)
    own = FeatureFacts("vit_large_tome14 sources", hop=1.0, weights="abc", crop=384 / 438)
    write_store(tmp_path / "tome14_sources.h5", maps, own)
    found = open_source_maps(ConcatenatedFeatures([TokenFeatures(tokens, 0), tokens]))
    assert found.facts.crop == pytest.approx(0.8767, abs=1e-4)
    np.testing.assert_array_equal(read_source_map(found, "a", 2), np.repeat(SOURCES[None], 2, 0))
    with pytest.raises(NoSourceMapError, match="no map of clip 'b'"):
        read_source_map(found, "b", 2)
    with pytest.raises(NoSourceMapError, match=r"is \(3, 4, 4\) and not \(5"):
        read_source_map(found, "a", 5)
    write_store(tmp_path / "tome14_sources.h5", maps, FeatureFacts("vit_large_tome27 sources", weights="abc"))
    with pytest.raises(NoSourceMapError, match=r"made with vit_large_tome27 and .* with vit_large_tome14"):
        open_source_maps(tokens)
    write_store(tmp_path / "tome14_sources.h5", maps, FeatureFacts("vit_large_tome14 sources", weights="xyz"))
    with pytest.raises(NoSourceMapError, match="extract both together"):
        open_source_maps(Store(tmp_path / "tome14.h5"))


def test_windows_and_json_keep_the_sources():
    values = {
        "answer": ["yes"],
        "answer_logits": torch.zeros(1, 2),
        "chosen": torch.tensor([[1]]),
        "step_weights": torch.tensor([[0.2, 0.8]]),
        "parts": torch.tensor([[[0.25, 0.75]]]),
        "shown": torch.tensor([[1]]),
        "part_sources": torch.tensor([[[[0, 1, 1]]]]),
    }
    scope = Scope("avqa", StepGrid(1.0, 2, 2.0), [], ["yes", "no"], "Is it?")
    choice = Choice.read(Prediction("avqa", ["a"], values), 0, scope)
    for answer in (choice, Choice.from_json(choice.to_json()), Choice.join([choice, choice])):
        maps = answer.region_maps([0, 1])
        assert np.isnan(maps[0]).all()
        np.testing.assert_allclose(maps[1], [[0.25, 0.75, 0.75]])
    del values["part_sources"]
    assert Choice.read(Prediction("avqa", ["a"], values), 0, scope).region_maps([1]) is None


def test_tokens_of_different_numbers_are_not_joined(root):
    data = data_of(root, "tome14+clip_b32")
    with pytest.raises(DataError, match=r"different numbers of tokens .*: 14 in .*tome14, 50 in .*clip_patch"):
        data.split("test", "avqa").item(0)
    joined = data_of(root, "tome14+clip_b32_frame").split("test", "avqa").item(0)
    assert joined.visual.shape[1:] == (14, 1024 + 512)
    patches = data_of(root, "clip_b32").split("test", "avqa").item(0).visual
    torch.testing.assert_close(joined.visual[:, 0, 1024:], patches[:, 0].to(joined.visual.dtype))
    with pytest.raises(DataError, match="no token 0 in each step"):
        TokenFeatures(NpyFolder(root / "vggish"), 0).read(next(iter(NpyFolder(root / "vggish").names)))
