# SPDX-License-Identifier: Apache-2.0
"""Stored features say how many seconds lie between two rows, and that agrees with the clip and the other stream."""

import json
import re

import numpy as np
import pytest

from avkit.datasets.base import DatasetOptions
from avkit.datasets.unav100 import UnAV100
from avkit.errors import DataError
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.combined import ConcatenatedFeatures
from avkit.features.files import NpyFolder, load_array
from avkit.features.store import write_store


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made") / "unav100"
    export("unav100", root, {"train": 2, "val": 1, "test": 1}, 24, fps=2)
    return root


@pytest.fixture
def own(made, tmp_path):
    """A folder of own features, one row every `hop` seconds."""

    def folder(hop=0.32, name="own"):
        path = tmp_path / name
        path.mkdir()
        for annotation in UnAV100(made, "train", find_media=False).annotations:
            rows = round((annotation.duration - 3 * hop) / hop) + 1
            np.save(path / f"{annotation.id}.npy", np.ones((rows, 8), np.float32))
        return path

    return folder


def test_features_without_a_hop_are_refused(made, own):
    folder = own()
    with pytest.raises(DataError, match=re.escape(f"{folder} does not say how many seconds")) as caught:
        UnAV100(made, visual=str(folder), audio="vggish")
    assert "--data.hop SECONDS" in str(caught.value)
    assert str(folder / "features.json") in str(caught.value)


def test_the_hop_is_an_option(made, own):
    data = UnAV100.open("train", DatasetOptions(root=made, visual=str(own()), audio="vggish", hop=0.32))
    item = data.item(0)
    assert item.hop == pytest.approx(0.32)
    assert item.targets["events"][:, 1].max() <= item.duration


def test_the_hop_stands_beside_the_features(made, own):
    folder = own()
    (folder / "features.json").write_text(json.dumps({"hop": 0.32, "window": 0.96}))
    item = UnAV100(made, visual=str(folder), audio="vggish").item(0)
    assert (item.hop, item.offset) == (pytest.approx(0.32), pytest.approx(0.32))


def test_a_wrong_hop_is_refused(made, own):
    folder = own()
    for hop in (1.0, 0.16, 0.96):
        (folder / "features.json").write_text(json.dumps({"hop": hop}))
        with pytest.raises(DataError, match="its clip lasts"):
            UnAV100(made, visual=str(folder), audio="vggish").item(0)


def test_a_hop_that_contradicts_the_file_is_refused(made, own, tmp_path):
    names = [annotation.id for annotation in UnAV100(made, "train", find_media=False).annotations]
    store = write_store(tmp_path / "s.h5", [(name, np.ones((9, 4))) for name in names], FeatureFacts("x", 0.96, 0.96))
    with pytest.raises(DataError, match=r"has a hop of 0\.96 s, and --data\.hop \(hop in Python\) says 0\.32 s"):
        UnAV100(made, visual=str(store), audio="vggish", hop=0.32)


def test_streams_of_different_hops_use_the_longer(made, own):
    fast = own(0.25, "fast")
    slow = own(1.0, "slow")
    for name in slow.iterdir():
        rows = len(np.load(name))
        np.save(fast / name.name, np.ones((4 * rows, 8), np.float32))
    (fast / "features.json").write_text('{"hop": 0.25}')
    (slow / "features.json").write_text('{"hop": 1}')
    for visual, audio in ((fast, slow), (slow, fast)):
        item = UnAV100(made, visual=str(visual), audio=str(audio)).item(0)
        assert item.hop == 1
        assert len(item.visual) == len(item.audio)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no whole JSON"),
        ("[]", "holds a list"),
        ('{"hopp": 1}', "Unknown key 'hopp'. Did you mean 'hop'?"),
        ('{"hop": "1"}', "field 'hop': '1' is not a number above 0"),
        ('{"hop": 0}', "field 'hop': 0 is not a number above 0"),
        ('{"hop": true}', "field 'hop': True is not a number above 0"),
        ('{"hop": 1, "encoder": 3}', "field 'encoder': 3 is not a string"),
    ],
)
def test_faulty_files_beside_features(tmp_path, content, message):
    (tmp_path / "features.json").write_text(content)
    with pytest.raises(DataError, match=re.escape(message)):
        NpyFolder(tmp_path)


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">i2", "<f2"])
def test_arrays_of_any_byte_order(tmp_path, dtype):
    import torch

    values = np.arange(6).reshape(3, 2).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    assert torch.from_numpy(load_array(tmp_path / "a.npy")).tolist() == values.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers(tmp_path, bad):
    values = np.ones((3, 2), np.float32)
    values[1, 1] = bad
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(DataError, match=r"a\.npy: 1 of 6 values are NaN or infinite"):
        load_array(tmp_path / "a.npy")


def test_a_vector_is_no_clip(tmp_path):
    np.save(tmp_path / "a.npy", np.ones(8))
    with pytest.raises(DataError, match=r"no array of features: float64 \(8,\)"):
        load_array(tmp_path / "a.npy")


def test_parts_of_different_clips_are_not_joined(tmp_path):
    for name, rows in (("a", 187), ("b", 62)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "x.npy", np.ones((rows, 2)))
    with pytest.raises(DataError, match="has 187 rows where another part has 62"):
        ConcatenatedFeatures([NpyFolder(tmp_path / "a"), NpyFolder(tmp_path / "b")]).read("x")
