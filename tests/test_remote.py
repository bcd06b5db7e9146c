# SPDX-License-Identifier: Apache-2.0
"""Files by URL: ranges, copies in a folder of bounded size, feature stores and weights."""

import errno
import json
import os
from pathlib import Path

import clips
import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

import avkit
from avkit.cli import main
from avkit.cli.clips import find_clips
from avkit.datasets import find_dataset
from avkit.errors import DataError, FileError, RunError
from avkit.export import export
from avkit.features import shards
from avkit.features.base import FeatureFacts
from avkit.features.shards import RemoteStore, open_store, write_shards
from avkit.features.store import write_store
from avkit.inference.index import VECTOR_KINDS, IndexedVideo, IndexFolder
from avkit.media.decode import probe
from avkit.reading.copies import kept_copy, local_copy
from avkit.reading.remote import exists, read_range, size_of, url_of
from avkit.reading.tensors import read_tensors, read_torch, write_tensors
from avkit.training.run_copies import local_run

TINY = ["--data.scenes.train_size", "8", "--data.scenes.val_size", "2", "--data.scenes.test_size", "2"]
TINY += ["--data.steps_per_epoch", "1", "--trainer.max_steps", "1", "--data.loader.workers", "0", "--report", "false"]
TINY += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("AVKIT_CACHE", str(folder))
    return folder


@pytest.fixture
def bucket():
    """A bucket in memory."""
    system = fsspec.filesystem("memory")
    yield system
    system.store.clear()


def put(bucket, name, content):
    bucket.pipe_file(f"/bucket/{name}", content)
    return f"memory://bucket/{name}"


def put_folder(bucket, name, folder):
    for path in folder.rglob("*"):
        if path.is_file():
            put(bucket, f"{name}/{path.relative_to(folder).as_posix()}", path.read_bytes())
    return f"memory://bucket/{name}"


def copy_once(url):
    with local_copy(url) as path:
        return path.read_bytes()


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("s3://bucket/a b/c.h5", "s3://bucket/a b/c.h5"),
        ("s3:/bucket/c.h5", "s3://bucket/c.h5"),
        ("file:///tmp/x", "file:///tmp/x"),
        ("/tmp/x", None),
        ("features/x.h5", None),
        ("C:/data/x", None),
        ("runs/a:b", None),
    ],
)
def test_what_is_a_url(path, url):
    assert url_of(path) == url


def test_ranges_and_sizes(bucket, tmp_path):
    url = put(bucket, "a.bin", b"0123456789")
    (tmp_path / "a.bin").write_bytes(b"0123456789")
    for place in (url, f"file://{tmp_path}/a.bin"):
        assert (exists(place), size_of(place), read_range(place, 2, 3), read_range(place, 8, 9)) == (
            True,
            10,
            b"234",
            b"89",
        )
    assert not exists("memory://bucket/none")


def test_a_copy_is_made_once_and_again_where_the_file_changed(bucket, cache, monkeypatch):
    url = put(bucket, "a.txt", b"one")
    with local_copy(url) as copy:
        assert copy.read_bytes() == b"one"
    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "get_file", None)
        with local_copy(url) as again:
            assert again == copy
    put(bucket, "a.txt", b"other")
    assert kept_copy(url).read_bytes() == b"other"
    assert local_copy(copy).__enter__() == copy


def test_the_folder_of_copies_has_a_bound(bucket, cache, monkeypatch):
    monkeypatch.setenv("AVKIT_CACHE_GB", "1e-7")  # 100 bytes
    for name in "abc":
        copy_once(put(bucket, name, name.encode() * 40))
    assert sorted(path.name for path in cache.glob("*/*")) == ["b", "c"]
    assert len(list(cache.iterdir())) == 2
    with pytest.raises(FileError, match=r"may have 1e-07 GB\. Raise AVKIT_CACHE_GB"):
        copy_once(put(bucket, "d", b"d" * 101))
    monkeypatch.setenv("AVKIT_CACHE_GB", "much")
    with pytest.raises(FileError, match="AVKIT_CACHE_GB is 'much'"):
        copy_once(put(bucket, "e", b"e"))


@pytest.mark.parametrize("reason", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_is_full_leaves_no_half_copy(bucket, cache, monkeypatch, reason):
    url = put(bucket, "a.bin", b"0123456789")

    def fill(self, remote, local, **_):
        Path(local).write_bytes(b"01234")
        raise OSError(reason, os.strerror(reason))

    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "get_file", fill)
        with pytest.raises(FileError) as error:
            copy_once(url)
    assert str(error.value) == (
        f"{url} cannot be copied into {cache} ({os.strerror(reason)}). Free space, or name another folder with "
        "AVKIT_CACHE."
    )
    assert list(cache.iterdir()) == []
    assert copy_once(url) == b"0123456789"


def test_what_cannot_be_reached_is_one_line(bucket, monkeypatch):
    with pytest.raises(FileError, match="memory://bucket/none does not exist"):
        copy_once("memory://bucket/none")
    with pytest.raises(FileError, match="nosuch://x/y cannot be opened"):
        copy_once("nosuch://x/y")

    def fail(url, **_):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", fail)
    with pytest.raises(FileError, match=r"s3://x/y needs s3fs, which is not installed\. Install it: pip install s3fs"):
        copy_once("s3://x/y")
    monkeypatch.undo()

    def broken(self, path, **_):
        raise ConnectionError("Could not connect to the endpoint\nURL")

    monkeypatch.setattr(type(bucket), "cat_file", broken)
    with pytest.raises(FileError) as error:
        read_range(put(bucket, "a", b"a"), 0, 1)
    assert "cannot be reached (Could not connect to the endpoint URL). Check bucket, network and credentials" in str(
        error.value
    )


@pytest.mark.parametrize("name", ["encoders/../../outside", "encoders/a/..\\\\..\\\\outside"])
def test_a_name_that_leads_out_of_a_run_is_refused(name, tmp_path, monkeypatch):
    """A bucket's names may hold any characters."""
    names = ["/bucket/run/config.yaml", "/bucket/run/run.json", f"/bucket/run/{name}"]
    monkeypatch.setattr(MemoryFileSystem, "find", lambda self, path: names)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(FileError, match="which leads out of the folder"):
        local_run("memory://bucket/run")
    assert not list(tmp_path.iterdir())


def test_stores_by_url(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_BYTES", 100)
    draw = np.random.default_rng(0)
    features = [(f"clip{k}", draw.normal(size=(k + 1, 4)).astype(np.float32)) for k in range(5)]
    folder = write_shards(tmp_path / "x", features, FeatureFacts("x", 1.0), "float32")
    file = write_store(tmp_path / "x.h5", features, FeatureFacts("x", 1.0), "float32")
    for url in (put_folder(bucket, "x", folder), put(bucket, "x.h5", file.read_bytes())):
        store = open_store(url)
        assert list(store.names) == [name for name, _ in features]
        assert all(np.array_equal(store.read(name), values) for name, values in features)
    name = next(path.name for path in folder.glob("*-00000.safetensors"))
    put(bucket, f"x/{name}", b"cut")
    with pytest.raises(FileError, match="is cut off or of another store"):
        RemoteStore("memory://bucket/x").read("clip0")


def test_a_dataset_reads_features_by_url(bucket, tmp_path):
    root = export("llp", tmp_path / "llp", {"train": 1, "val": 1, "test": 2}, 32, 2, features=False)
    media = [path.stem for path in (root / "video").iterdir()]
    draw = np.random.default_rng(0)
    features = [(name[:11], draw.normal(size=(10, 8)).astype(np.float32)) for name in media]
    folder = write_shards(tmp_path / "x", features, FeatureFacts("x", 1.0), "float32")
    url = put_folder(bucket, "features/x", folder)
    dataset = find_dataset("llp")(root, "test", visual=url, audio=url)
    item = dataset.item(0, frozenset())
    assert torch.equal(item.audio, torch.from_numpy(dict(features)[dataset.media(0)]))


def test_weights_by_url(bucket, tmp_path):
    write_tensors(tmp_path / "w.safetensors", {"w": torch.arange(3.0)}, {"a": "b"})
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pth")
    url = put(bucket, "w.safetensors", (tmp_path / "w.safetensors").read_bytes())
    assert read_tensors(url)[1]["w"].tolist() == [0, 1, 2]
    url = put(bucket, "w.pth", (tmp_path / "w.pth").read_bytes())
    assert read_torch(url)["w"].tolist() == [1, 1]


def test_videos_by_url(bucket, tmp_path):
    clips.write_clip(tmp_path / "film.mp4", [k / 5 for k in range(10)], 5, sound=clips.tone(2, 16_000))
    url = put(bucket, "film.mp4", (tmp_path / "film.mp4").read_bytes())
    (path,), errors = find_clips([url], tmp_path / "out")
    assert (path.name, errors) == ("film.mp4", [])
    assert probe(path).duration == pytest.approx(2, abs=0.2)
    none, (error,) = find_clips(["memory://bucket/none.mp4"], tmp_path / "out")
    assert none == []
    assert str(error) == "memory://bucket/none.mp4 does not exist. Check the spelling of the URL."


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small run."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", "avs", "--out", str(folder), "--name", "run", "--model.system.width", "16", *TINY]
    assert main(words) == 0
    return folder / "run"


def test_a_run_and_a_checkpoint_by_url(run, bucket, tmp_path, monkeypatch, capsys):
    url = put_folder(bucket, "run", run)
    assert avkit.load(url, "cpu").tasks == ["avs"]
    with pytest.raises(RunError, match="memory://bucket/none is no run that avkit wrote"):
        avkit.load("memory://bucket/none", "cpu")
    words = ["fit", "--tasks", "avs", "--out", str(tmp_path), "--name", "next", "--model.system.width", "16", *TINY]
    assert main([*words, "--trainer.max_steps", "2", "--ckpt_path", f"{url}/checkpoints/last.ckpt"]) == 0
    steps = [json.loads(line).get("step") for line in (tmp_path / "next" / "history.jsonl").read_text().splitlines()]
    assert max(step for step in steps if step is not None) == 2
    assert main([*words, "--ckpt_path", f"{url}/checkpoints/none.ckpt"]) == 2
    assert "none.ckpt does not exist" in capsys.readouterr().err


def test_commands_open_runs_by_url(run, bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cpu = ["--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    url = put_folder(bucket, "run", run)
    before = {name: bucket.cat_file(name) for name in bucket.find("/bucket")}
    assert main(["validate", url, *cpu]) == 0
    assert list(tmp_path.glob("*")) == [tmp_path / "cache"]
    assert main(["test", url, "--beside", url, "--out", "tested", *cpu]) == 0
    assert "copied memory://bucket/run into tested/run, where its report is written" in capsys.readouterr().out
    assert main(["push", url, "me/run"]) == 0
    assert {name: bucket.cat_file(name) for name in bucket.find("/bucket")} == before
    tested = put_folder(bucket, "tested", Path("tested/run"))
    assert main(["compare", tested, "tested/run", "--out", "c"]) == 0
    assert "bucket/tested" in Path("c/compare.json").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["test", "memory://bucket/none"], "memory://bucket/none is no run that avkit wrote: config.yaml, run.json"),
        (
            ["compare", "memory://bucket/none"],
            "memory://bucket/none is no run that avkit wrote: config.yaml, run.json is",
        ),
        (["leaderboard", "add", "memory://bucket/none", "--as", "x"], "Copy the run into a folder of this machine"),
        (["validate", "memory://bucket/none", "--out", "x"], "avkit validate writes no files. Leave --out out"),
        (["test", "runs/x", "--name=x"], "writes its report into the run's folder. Leave --name out"),
        (
            ["search", "index", "dog", "--show", "memory://bucket/page.html"],
            "results are written to a folder of this machine",
        ),
        (["search", "memory://bucket/none", "dog"], "memory://bucket/none is no index"),
    ],
)
def test_refusals_of_urls_say_what_to_type(words, message, bucket, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_an_index_by_url_is_searched_and_not_written_to(run, bucket, tmp_path):
    folder = IndexFolder(tmp_path / "index")
    folder.create({"run": str(run), "weights": "w", "avkit": "0"})
    vectors = {kind: torch.ones(1, 2) for kind in VECTOR_KINDS}
    masks = torch.zeros(1, 4, 4, dtype=torch.uint8)
    folder.add(IndexedVideo("a.mp4", torch.zeros(1), torch.ones(1), ["a dog barks"], masks, vectors))
    url = put_folder(bucket, "index", tmp_path / "index")
    assert main(["search", url, "dog"]) == 0
    IndexFolder(url).create({"run": "r", "weights": "w"})
    with pytest.raises(DataError, match="was built with w, this run has x"):
        IndexFolder(url).create({"run": "r", "weights": "x"})
    assert len(bucket.find("/bucket")) == 2


def test_settings_of_encoders_are_copied_with_a_run(run, bucket):
    put(bucket, "run/encoders/text/vocab.txt", b"a")
    put_folder(bucket, "run", run)
    folder = local_run("memory://bucket/run", ".safetensors")
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"encoders/text/vocab.txt", "config.yaml", "run.json"} < names
    assert [name for name in names if name.startswith("checkpoints")] == ["checkpoints/best.safetensors"]
