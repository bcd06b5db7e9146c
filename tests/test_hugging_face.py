# SPDX-License-Identifier: Apache-2.0
"""Manifests as datasets of Hugging Face."""

import json
import sys

import numpy as np
import pytest
from clips import tone, write_clip

from avkit.datasets.hugging_face import to_hugging_face
from avkit.datasets.manifest import Manifest
from avkit.errors import DataError


def test_the_lines_of_a_split_are_rows(tmp_path):
    pytest.importorskip("datasets", reason="datasets is not installed: pip install 'avkit[datasets]'")
    for number, name in enumerate("ab"):
        write_clip(tmp_path / f"{name}.mp4", np.arange(20) / 10, sound=tone(2, 16_000, 440.0 + 200 * number))
    lines = [
        {"id": "one", "video": "a.mp4", "split": "train", "events": [{"start": 0, "end": 1, "label": "dog"}]},
        {"id": "two", "video": "b.mp4", "split": "test", "events": [{"start": 0, "end": 1, "label": "dog"}]},
    ]
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(json.dumps(line) for line in lines))
    rows = to_hugging_face(Manifest(path, split="train"))
    assert rows["id"][:] == ["one"]
    assert rows[0]["video"] == "a.mp4"
    assert rows[0]["question"] is None
    assert json.loads(rows[0]["annotation"])["events"] == lines[0]["events"]


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    write_clip(tmp_path / "a.mp4", np.arange(4) / 10, sound=tone(1, 16_000, 440.0))
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"id": "one", "video": "a.mp4", "split": "train", "events": []}))
    with pytest.raises(DataError, match=r"pip install 'avkit\[datasets\]'"):
        to_hugging_face(Manifest(path, split="train"))
