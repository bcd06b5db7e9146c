# SPDX-License-Identifier: Apache-2.0
"""Datasets whose root is a URL: every reader in a bucket in memory, and one on a stand-in for S3."""

import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from avkit.cli import main
from avkit.datasets import find_dataset
from avkit.datasets.base import DatasetOptions
from avkit.errors import DataError, FileError
from avkit.export import LAYOUTS, export
from avkit.reading.copies import kept_copy, local_copy

SMALL = {"train": 1, "val": 1, "test": 1}
#: Layouts whose clips take long to write.
LONG = ("ra-ssu", "unav100", "music-avqa")
#: Dataset of a layout where that has another name.
DATASETS = {"ra-ssu": "f-music"}
TINY = ["--data.steps_per_epoch", "1", "--trainer.max_steps", "1", "--data.loader.workers", "0"]
TINY += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--data.image_size", "32"]


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


def upload(system, folder, place):
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{place}/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """A function that exports a layout once."""
    made = {}

    def root_of(layout):
        if layout not in made:
            made[layout] = export(layout, tmp_path_factory.mktemp("out") / layout, SMALL, 32, 2, features=False)
        return made[layout]

    return root_of


def options_of(layout, root):
    if layout == "manifest":
        return DatasetOptions(manifest=root / "manifest.jsonl", image_size=32)
    return DatasetOptions(root=root, image_size=32)


@pytest.mark.parametrize(
    "layout", [pytest.param(name, marks=[pytest.mark.slow] if name in LONG else []) for name in LAYOUTS]
)
def test_every_reader_reads_a_bucket_as_it_reads_a_folder(layout, roots, bucket):
    root = roots(layout)
    upload(bucket, root, f"/bucket/{layout}")
    kind = find_dataset(DATASETS.get(layout, layout))
    here = kind.open("test", options_of(layout, root))
    there = kind.open("test", options_of(layout, Path(f"memory://bucket/{layout}")))
    assert len(there) == len(here) > 0
    assert there.vocabulary == here.vocabulary
    own, other = here.item(0), there.item(0)
    for name in ("frames", "waveform"):
        assert torch.equal(getattr(own, name), getattr(other, name)), name
    assert own.targets.keys() == other.targets.keys()
    for name, value in own.targets.items():
        assert same(value, other.targets[name]), name


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(torch.nan_to_num(one.float(), -1), torch.nan_to_num(other.float(), -1))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.slow
def test_a_training_and_a_test_on_a_bucket(roots, bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    upload(bucket, roots("llp"), "/bucket/data/llp")
    words = ["fit", "--tasks", "avvp", "--data.root", "memory://bucket/data", "--data.dataset", "avvp=llp", *TINY]
    assert main([*words, "--model.system.width", "16", "--name", "run"]) == 0, capsys.readouterr().err
    assert main(["check", "llp", "--root", "memory://bucket/data/llp"]) in (0, 1)
    assert "Traceback" not in capsys.readouterr().err


def test_missing_places_are_one_line(roots, bucket, monkeypatch):
    kind = find_dataset("llp")
    with pytest.raises(DataError, match=r"The root 'memory://bucket/none' of LLP is no folder"):
        kind("memory://bucket/none", "test")
    root = roots("llp")
    upload(bucket, root, "/bucket/llp")
    bucket.rm("/bucket/llp/video", recursive=True)
    with pytest.raises(DataError, match=r"1 of 1 clips are not there.* under root 'memory://bucket/llp'"):
        kind("memory://bucket/llp", "test")

    def broken(self, path, **_):
        raise ConnectionError("Could not connect to the endpoint URL")

    monkeypatch.setattr(type(bucket), "isdir", broken)
    with pytest.raises(FileError, match=r"memory://bucket/llp cannot be reached \(Could not connect.* Check bucket"):
        kind("memory://bucket/llp", "test")


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--tasks", "avs", "--out", "s3://bucket/runs"],
        ["predict", "run", "clip.mp4", "--out=s3://bucket/out"],
        ["get", "llp", "--annotations", "--root", "s3://bucket/llp"],
    ],
)
def test_results_go_to_folders_of_this_machine(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    assert "folder of this machine. Name one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_headers_are_read_where_they_are(roots, bucket, cache):
    upload(bucket, roots("llp"), "/bucket/llp")
    reader = find_dataset("llp")("memory://bucket/llp", "test", allow_missing=True)
    assert reader.coverage == (1, 1)
    assert not list(cache.rglob("*.mp4"))
    reader.item(0)
    assert len(list(cache.rglob("*.mp4"))) == 1


def test_more_videos_than_the_cache_holds(roots, bucket, cache, monkeypatch):
    root = roots("manifest")
    video = next(root.rglob("*.mp4"))
    size = video.stat().st_size
    monkeypatch.setenv("AVKIT_CACHE_GB", str(2.5 * size / 1e9))
    urls = [f"memory://bucket/{k}.mp4" for k in range(4)]
    for url in urls:
        bucket.pipe_file(url.removeprefix("memory:/"), video.read_bytes() + url.encode())
    copies = []
    for url in urls:
        with local_copy(url) as copy:
            copies.append(copy)
    assert [copy.exists() for copy in copies] == [False, False, True, True]
    with local_copy(urls[2]) as read, local_copy(urls[0]):
        assert read.exists()
        assert not copies[3].exists()  # used longer ago than the one that is read
        with pytest.raises(FileError, match=r"of the .* GB that copies in .* may have, .* GB are being read"):
            local_copy(urls[1]).__enter__()
    kept = kept_copy(urls[2])
    for url in urls:
        with local_copy(url):
            pass
    assert kept.exists()


def test_a_copy_that_is_read_survives_another_process_that_makes_room(bucket, cache, monkeypatch, tmp_path):
    """A lock by whomever: the process of the reader is told from others by nothing else."""
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setenv("AVKIT_CACHE_GB", "1e-7")
    for name in "ab":
        bucket.pipe_file(f"/bucket/{name}", name.encode() * 60)
    with local_copy("memory://bucket/a") as copy:
        pass
    with copy.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        with pytest.raises(FileError, match="are being read or written"):
            local_copy("memory://bucket/b").__enter__()
    with local_copy("memory://bucket/b"):
        assert not copy.exists()


def test_threads_share_a_copy(bucket, cache):
    bucket.pipe_file("/bucket/a", b"a" * 1000)
    contents = []

    def read():
        with local_copy("memory://bucket/a") as copy:
            contents.append(copy.read_bytes())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert contents == [b"a" * 1000] * 8
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 1


@pytest.fixture
def s3(monkeypatch):
    """A stand-in for S3 on this machine."""
    moto = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[server]' s3fs")
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'moto[server]' s3fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("FSSPEC_S3_ENDPOINT_URL", f"http://{host}:{port}")
    from fsspec.config import conf, set_conf_env

    before = dict(conf)
    set_conf_env(conf)
    system = fsspec.filesystem("s3", skip_instance_cache=True)
    system.mkdir("bucket")
    yield system
    conf.clear()
    conf.update(before)
    server.stop()


def test_a_dataset_its_features_and_videos_on_s3(roots, s3, tmp_path, capsys):
    from avkit.features.base import FeatureFacts
    from avkit.features.shards import write_shards

    root = roots("llp")
    upload(s3, root, "bucket/llp")
    kind = find_dataset("llp")
    own, other = kind(root, "test", 32).item(0), kind("s3://bucket/llp", "test", 32).item(0)
    assert torch.equal(own.frames, other.frames)
    assert torch.equal(own.waveform, other.waveform)
    name = kind(root, "test").media(0)
    values = np.arange(80, dtype=np.float32).reshape(10, 8)
    folder = write_shards(tmp_path / "x", [(name, values)], FeatureFacts("x", 1.0), "float32")
    upload(s3, folder, "bucket/features/x")
    item = kind("s3://bucket/llp", "test", 32, audio="s3://bucket/features/x").item(0, frozenset())
    assert torch.equal(item.audio, torch.from_numpy(values))
    with pytest.raises(DataError, match="The root 's3://bucket/none' of LLP is no folder"):
        kind("s3://bucket/none", "test")
