# SPDX-License-Identifier: Apache-2.0
"""Feature stores as folders of `.safetensors`."""

import pickle

import numpy as np
import pytest
from safetensors import safe_open

from avkit.datasets.released import open_path
from avkit.errors import AvkitError, DataError
from avkit.features import shards
from avkit.features.base import FeatureFacts
from avkit.features.hashes import features_hash
from avkit.features.shards import ShardedStore, write_shards
from avkit.features.store import Store, write_store

FACTS = FeatureFacts("vggish", 0.96, 0.96)


@pytest.fixture
def clips():
    draw = np.random.default_rng(0)
    return [(f"clip {k}", draw.normal(size=(k + 1, 3, 2)).astype(np.float32)) for k in range(7)]


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 150)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_store_is_read_as_it_was_written(tmp_path, clips, dtype):
    path = write_shards(tmp_path / "store", clips, FACTS, dtype)
    assert len(list(path.glob("*-*.safetensors"))) > 2
    store = open_path(path, tuple)
    assert isinstance(store, ShardedStore)
    assert (list(store.names), store.facts, store.dtype, store.shape) == ([n for n, _ in clips], FACTS, dtype, (3, 2))
    for name, values in clips[::-1]:
        assert np.array_equal(store.read(name), values.astype(dtype))
        assert store.steps(name) == len(values)
    again = pickle.loads(pickle.dumps(store))
    assert np.array_equal(again.read("clip 3"), store.read("clip 3"))
    single = Store(write_store(tmp_path / "store.h5", clips, FACTS, dtype))
    names = [name for name, _ in clips]
    assert features_hash(single, names) == features_hash(store, names)


@pytest.mark.usefixtures("small_shards")
def test_others_read_the_shards(tmp_path, clips):
    path = write_shards(tmp_path / "store", clips, FACTS, "float32")
    read = {}
    for file in path.glob("*-*.safetensors"):
        with safe_open(file, "np") as opened:
            read |= {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118, it is no mapping
    assert read.keys() == dict(clips).keys()
    assert all(np.array_equal(read[name], values) for name, values in clips)


@pytest.mark.usefixtures("small_shards")
def test_a_store_is_replaced_as_a_whole(tmp_path, clips):
    path = write_shards(tmp_path / "store", clips, FACTS)
    before = ShardedStore(path)
    assert len(before) == 7
    with pytest.raises(ValueError, match="not finite"):
        write_shards(path, [*clips[:6], ("clip 6", np.full((7, 3, 2), np.nan))], FACTS)
    assert len(ShardedStore(path)) == 7
    write_shards(path, clips[:2], FACTS)
    assert len(ShardedStore(path)) == 2
    assert len(list(path.iterdir())) == 2


def test_damage_is_seen(tmp_path, clips):
    path = write_shards(tmp_path / "store", clips, FACTS)
    (file,) = path.glob("*-*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(AvkitError, match="is cut off or of another store"):
        ShardedStore(path).read("clip 0")
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    store = ShardedStore(path)
    store.read("clip 0")
    with pytest.raises(AvkitError, match="has changed since it was written"):
        store.read("clip 6")
    file.unlink()
    with pytest.raises(DataError, match="lacks its file"):
        ShardedStore(path).read("clip 0")
    index = path / "index.safetensors"
    content = bytearray(index.read_bytes())
    content[-5] ^= 1
    index.write_bytes(content)
    with pytest.raises(AvkitError, match="has changed since it was written"):
        ShardedStore(path).read("clip 0")


@pytest.mark.parametrize(
    ("clips", "problem"),
    [
        ([], "no clip"),
        ([("a", np.zeros((1, 2))), ("a", np.zeros((1, 2)))], "given twice"),
        ([("a", np.zeros((1, 2))), ("b", np.zeros((1, 3)))], "has shape"),
        ([("__metadata__", np.zeros((1, 2)))], "keeps for itself"),
    ],
)
def test_what_cannot_be_written(tmp_path, clips, problem):
    with pytest.raises(ValueError, match=problem):
        write_shards(tmp_path / "store", clips, FACTS)
    assert not (tmp_path / "store").exists()
