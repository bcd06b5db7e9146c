# SPDX-License-Identifier: Apache-2.0
"""`avkit import` that is killed leaves the old manifest with the old masks, or the new one with the new ones."""

import json
import os
import signal

import pytest
from PIL import Image

from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.write import import_files
from avkit.errors import DataError
from tests.clips import tone, write_wav


@pytest.fixture
def annotate(tmp_path):
    """A file of annotations with one class, for two pictures."""
    for number in range(2):
        Image.new("RGB", (16, 16)).save(tmp_path / f"{number}.png")
        write_wav(tmp_path / f"{number}.wav", tone(1, 16_000, 300))

    def write(name):
        square = [[2, 2, 9, 2, 9, 9, 2, 9]]
        content = {
            "images": [{"id": k, "file_name": f"{k}.png", "height": 16, "width": 16} for k in range(2)],
            "categories": [{"id": 1, "name": name}],
            "annotations": [{"image_id": k, "category_id": 1, "segmentation": square} for k in range(2)],
        }
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content))
        return path

    return write


def take(path, out, *, overwrite):
    return import_files("coco", [path], out, ImportOptions(media=path.parent), overwrite=overwrite)


def kill_before(call, names):
    """Have this process kill itself before the given call of functions of `os`."""
    count = 0

    def wrap(plain):
        def counted(*args, **kwargs):
            nonlocal count
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return plain(*args, **kwargs)

        return counted

    for name in names:
        setattr(os, name, wrap(getattr(os, name)))


def killed(path, out, call):
    """Whether an import in a fork was killed before a call."""
    pid = os.fork()
    if pid == 0:
        try:
            kill_before(call, ("mkdir", "rename", "replace", "rmdir", "unlink"))
            take(path, out, overwrite=True)
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def pair(out):
    """Classes that a manifest names, and those of its masks' names."""
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    masks = [mask for line in lines for mask in line["masks"]]
    assert all((out.parent / mask["file"]).exists() for mask in masks)
    assert sorted(path.name for path in out.parent.glob("m_masks/*")) == sorted(
        mask["file"].rpartition("/")[2] for mask in masks
    )
    return {name for mask in masks for name in mask["classes"].values()}


def test_an_import_killed_at_any_call_leaves_old_or_new(annotate, tmp_path):
    out = tmp_path / "out" / "m.jsonl"
    old, new = annotate("old"), annotate("new")
    calls = 0
    pairs = []
    ended = False
    while not ended:
        calls += 1
        take(old, out, overwrite=True)
        ended = not killed(new, out, calls)
        with pytest.raises(DataError, match=r"exists\. Choose another name"):
            take(old, out, overwrite=False)  # what the next start does first is to clear up
        assert not list(out.parent.glob(".*"))
        pairs.append(pair(out))
    assert calls > 8
    assert {"old"} in pairs[:-1]
    assert {"new"} in pairs[:-1]


def test_of_imports_at_the_same_time_one_is_kept(annotate, tmp_path):
    out = tmp_path / "out" / "m.jsonl"
    children = []
    for name in ("a", "b", "c", "d"):
        path = annotate(name)
        pid = os.fork()
        if pid == 0:
            code = 3
            try:
                take(path, out, overwrite=False)
                code = 0
            except DataError as error:
                code = 2 if "exists" in str(error) else 3
            finally:
                os._exit(code)
        children.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert sorted(codes) == [0, 2, 2, 2]
    assert pair(out) == {"abcd"[codes.index(0)]}
    assert not list(out.parent.glob(".*"))
