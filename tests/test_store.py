# SPDX-License-Identifier: Apache-2.0
"""The feature store: features are read as they were written, from any process, and damage is an error."""

import multiprocessing
import os
import pickle

import h5py
import numpy as np
import pytest
import torch

from avkit.errors import DataError
from avkit.extraction.weights_hash import weights_hash
from avkit.features.base import FeatureFacts
from avkit.features.combined import ChainedFeatures, ConcatenatedFeatures, SelectedFeatures
from avkit.features.files import NpyFolder, RowFile, load_array
from avkit.features.store import Store, write_store

FACTS = FeatureFacts("vggish", 0.32, 0.96, 25.0, "unav100", "abcd", "avkit 0")


def clips(count=5, width=(3, 4), seed=0):
    draw = np.random.default_rng(seed)
    return [(f"-clip_{k}", draw.normal(size=(k + 1, *width)).astype(np.float32)) for k in range(count)]


@pytest.fixture
def store(tmp_path):
    return Store(write_store(tmp_path / "a.h5", clips(), FACTS, "float32"))


def test_what_is_written_comes_back(store):
    assert list(store.names) == [name for name, _ in clips()]
    assert (len(store), store.shape, store.dtype, store.facts) == (5, (3, 4), np.float32, FACTS)
    for name, x in clips():
        assert np.array_equal(store.read(name), x)
        assert store.steps(name) == len(x)
    assert FACTS.offset == pytest.approx(0.32)


def test_half_precision(tmp_path):
    store = Store(write_store(tmp_path / "a.h5", clips(), FACTS))
    for name, x in clips():
        assert np.array_equal(store.read(name), x.astype(np.float16))


def test_any_hdf5_reader_reads_it(store):
    with h5py.File(store.path) as file:
        assert file["values"].shape == (15, 3, 4)
        assert file["values"].chunks is None, "one block, so that a clip is one read"
        assert file.attrs["hop"] == 0.32
        assert file["names"][0] == b"-clip_0"


def read_all(store, queue):
    queue.put({name: store.read(name).sum() for name in store.names})


@pytest.mark.parametrize(
    ("method", "opened"),
    [
        ("fork", False),
        ("fork", True),
        *(pytest.param("spawn", opened, marks=pytest.mark.slow) for opened in (False, True)),
    ],
)
def test_other_processes_read_it(store, method, opened):
    if opened:
        store.read("-clip_1")
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    others = [context.Process(target=read_all, args=(store, queue)) for _ in range(2)]
    for p in others:
        p.start()
    expected = {name: x.sum() for name, x in clips()}
    for _ in others:
        assert queue.get(timeout=60) == pytest.approx(expected)
    for p in others:
        p.join()


def test_workers_of_a_loader_read_it(store):
    class Data(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, k):
            return torch.from_numpy(store.read(f"-clip_{k}"))

    loader = torch.utils.data.DataLoader(Data(), batch_size=None, num_workers=2)
    for (_, x), read in zip(clips(), loader, strict=True):
        assert np.array_equal(x, read.numpy())


def test_where_there_is_no_positioned_read(store, monkeypatch):
    monkeypatch.delattr(os, "preadv")
    assert all(np.array_equal(store.read(name), x) for name, x in clips())


def test_a_reader_keeps_what_it_opened_while_another_store_takes_its_place(store):
    store.read("-clip_0")
    write_store(store.path, clips(seed=1), FACTS, "float32")
    assert np.array_equal(store.read("-clip_3"), clips()[3][1]), "the old file, whole"
    assert np.array_equal(Store(store.path).read("-clip_3"), clips(seed=1)[3][1])


def test_a_write_that_fails_leaves_what_was_there(store):
    with pytest.raises(ValueError, match="not finite"):
        write_store(store.path, [("a", np.full((2, 3), np.nan))], FACTS)
    assert np.array_equal(Store(store.path).read("-clip_3"), clips()[3][1])
    assert [p.name for p in store.path.parent.iterdir()] == ["a.h5"]


def test_a_cut_off_store(store):
    data = store.path.read_bytes()
    for share in (0.3, 0.99):
        store.path.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(DataError, match="cut off"):
            Store(store.path).read("-clip_4")


def test_what_is_no_store(tmp_path):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["avadataset"] = np.ones(3)
    with pytest.raises(DataError, match=r"not a feature store of avkit: it holds avadataset"):
        Store(tmp_path / "b.h5").read("a")
    with h5py.File(tmp_path / "b.h5", "a") as file:
        file.attrs["avkit_features"] = 99
    with pytest.raises(DataError, match="newer avkit"):
        Store(tmp_path / "b.h5").read("a")
    with pytest.raises(DataError, match="does not exist"):
        Store(tmp_path / "c.h5").read("a")


def test_an_absent_clip(store):
    with pytest.raises(DataError, match=r"no features of clip 'x'; it has 5 such as '-clip_0'"):
        store.read("x")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "There is no clip"),
        ([("a", np.ones((1, 2))), ("a", np.ones((1, 2)))], "'a' is given twice"),
        ([("a", np.ones((1, 2))), ("b", np.ones((1, 3)))], r"'b' has shape \(1, 3\)"),
        ([("a", np.ones(3))], "give two dimensions or more"),
        ([("a", np.full((1, 2), 1e6))], "beyond float16"),
    ],
)
def test_what_cannot_be_stored(tmp_path, given, message):
    with pytest.raises(ValueError, match=message):
        write_store(tmp_path / "a.h5", given, FACTS)
    assert not list(tmp_path.iterdir())


def test_other_dtypes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="float16 or float32"):
        write_store(tmp_path / "a.h5", clips(), FACTS, "int8")


def test_a_folder_of_npy(tmp_path, store):
    for name, x in clips():
        np.save(tmp_path / f"{name}_rgb.npy", x)
        np.save(tmp_path / f"{name}_flow.npy", x[: max(1, len(x) - 1), ..., :2])
    rgb, flow = NpyFolder(tmp_path, "_rgb.npy"), NpyFolder(tmp_path, "_flow.npy")
    assert set(rgb.names) == set(store.names)
    both = ConcatenatedFeatures([rgb, flow])
    assert both.read("-clip_4").shape == (4, 3, 6)
    packed = Store(write_store(tmp_path / "p.h5", SelectedFeatures(rgb, sorted(rgb.names)), FACTS, "float32"))
    assert all(np.array_equal(packed.read(n), rgb.read(n)) for n in rgb.names)
    assert pickle.loads(pickle.dumps(packed)).read("-clip_0").shape == (1, 3, 4)
    with pytest.raises(DataError, match="cannot be listed"):
        _ = NpyFolder(tmp_path / "none").names


def test_rows_are_averaged_where_there_are_several(tmp_path):
    fine, coarse = tmp_path / "fine", tmp_path / "coarse"
    for folder, rows in ((fine, 80), (coarse, 10)):
        folder.mkdir()
        np.save(folder / "a.npy", np.repeat(np.arange(10.0), rows // 10)[:, None])
    out = ConcatenatedFeatures([NpyFolder(fine), NpyFolder(coarse)]).read("a")
    assert np.array_equal(out, np.repeat(np.arange(10.0)[:, None], 2, 1))


def test_an_official_file_by_row(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["avadataset"] = np.arange(24.0).reshape(3, 4, 2)
    rows = RowFile(tmp_path / "f.h5", ["a", "b", "c"])
    assert np.array_equal(rows.read("b"), np.arange(8.0, 16).reshape(4, 2))
    assert np.array_equal(pickle.loads(pickle.dumps(rows)).read("a"), rows.read("a"))
    with pytest.raises(DataError, match="has 3 rows and the annotation file 2"):
        RowFile(tmp_path / "f.h5", ["a", "b"]).read("a")
    with pytest.raises(DataError, match="no features of clip 'd'"):
        rows.read("d")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        RowFile(tmp_path / "f.h5", ["a"], key="other").read("a")


def test_the_first_that_has_a_clip_serves_it(tmp_path, store):
    np.save(tmp_path / "new.npy", np.ones((2, 3, 4)))
    both = ChainedFeatures([NpyFolder(tmp_path), store])
    assert both.names == {"new", *store.names}
    assert both.read("new").shape == (2, 3, 4)
    assert both.read("-clip_2").shape == (3, 3, 4)
    with pytest.raises(DataError, match="no features of clip 'x'"):
        both.read("x")
    assert ChainedFeatures([]).names == set()


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY junk", pickle.dumps([1])])
def test_arrays_that_are_none(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as an array"):
        load_array(tmp_path / "a.npy")


def test_arrays_of_objects_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="can run code"):
        load_array(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.array(["a"]))
    with pytest.raises(DataError, match="no array of features"):
        load_array(tmp_path / "b.npy")


def test_the_hash_of_weights():
    a = {"x": torch.ones(2, 3), "y": torch.zeros(0)}
    assert weights_hash(a) == weights_hash(dict(reversed(list(a.items()))))
    assert weights_hash(a) != weights_hash({**a, "x": torch.ones(3, 2)})
    assert weights_hash(a) != weights_hash({**a, "x": torch.full((2, 3), 2.0)})
    assert len(weights_hash(a)) == 16


def flipped(path, position):
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << position % 8
    path.write_bytes(data)


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_every_flipped_bit_is_noticed(tmp_path, stride):
    clips = [("a", np.arange(24.0).reshape(4, 6)), ("b", np.ones((3, 6)))]
    path = write_store(tmp_path / "s.h5", clips, FeatureFacts("x", hop=1.0))
    data = path.read_bytes()
    for position in range(0, len(data), stride):
        path.write_bytes(data)
        flipped(path, position)
        with pytest.raises(DataError, match=r"s\.h5"):
            [Store(path).read(name) for name in ("a", "b")]


def test_a_store_without_checksums_is_read_as_before(tmp_path):
    path = tmp_path / "s.h5"
    write_store(path, [("a", np.arange(24.0).reshape(4, 6))], FeatureFacts("x", hop=1.0))
    with h5py.File(path, "r+") as file:
        del file["checksums"]
    path.write_bytes(path.read_bytes()[:-28] if path.read_bytes()[-28:-20] == b"avkitgap" else path.read_bytes())
    np.testing.assert_array_equal(Store(path).read("a"), np.arange(24.0).reshape(4, 6))
