# SPDX-License-Identifier: Apache-2.0
"""Statistics of annotations, and agreement of two people, on clips whose labels are known."""

import json
from functools import partial

import numpy as np
import pytest
from labelled import label, opened, put, square, write_folder

from avkit.annotation.export import ExportOptions, export_labels
from avkit.cli import main
from avkit.metrics.captions import CaptionScores


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("videos"), ("one.mp4", "two.mp4"))


@pytest.fixture(autouse=True)
def _no_java(monkeypatch):
    """Scores of captions without the tokenizer and METEOR of Java, which tests of the metrics run."""
    quick = partial(CaptionScores, tokenizer="plain", meteor=False)
    monkeypatch.setattr("avkit.annotation.agreement.CaptionScores", quick)


def manifest(media, work, change=None):
    """A manifest of both clips: a dog that barks for two seconds, and a saw beside it in the second one."""
    folder = opened(media, work=work)
    for clip in folder.clips.values():
        label(folder, clip)
        if clip.name == "two.mp4":
            put(folder, clip, "object", 2, 0, {"name": "saw", "colour": "#112233"})
            put(folder, clip, "spans", 2, 0, {"spans": [[0, 1]]})
            put(folder, clip, "sentence", 2, 0, {"text": "wood is cut"})
            put(folder, clip, "mask", 2, 0, {"size": [48, 64], "runs": [0, 64, 47 * 64]})
        if change is not None:
            change(folder, clip)
    out = export_labels(folder, "avkit", ExportOptions()).out
    folder.close()
    return out


@pytest.fixture(scope="module")
def first(media, tmp_path_factory):
    return manifest(media, tmp_path_factory.mktemp("ann"))


def check(capsys, *arguments):
    code = main(["check", *map(str, arguments), "--allow-shared", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_statistics_count_what_is_annotated(first, tmp_path, capsys):
    code, found = check(capsys, first, "--statistics", "--plots", tmp_path / "x.png")
    figures = found["statistics"]
    assert code == 0
    assert figures["clips"] == {"train": 2, "val": 0, "test": 0}
    assert figures["types"] == {"dog": 2, "saw": 1}
    assert figures["seconds"]["mean"] == pytest.approx(3, abs=0.1)
    assert figures["sources"] == {"1": 1, "2": 1}
    # each source has its sentences by itself
    assert (figures["sentences"], figures["words"]["max"], figures["vocabulary"]) == (3, 3, 6)
    assert (figures["masks"], figures["silent_masks"]) == (6, 2)
    area = square(0.5).mean()
    assert figures["areas"]["max"] == pytest.approx(area, abs=1e-4)
    assert figures["areas"]["min"] == pytest.approx(64 / (48 * 64), abs=1e-4)
    assert (tmp_path / "x.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["check", str(first), "--allow-shared", "--statistics"]) == 0
    text = capsys.readouterr().out
    assert "2 clips, 0.00 hours, 2 types" in text
    assert "types: dog 2, saw 1" in text


def test_a_picture_of_another_kind_is_refused(first, tmp_path, capsys):
    assert main(["check", str(first), "--allow-shared", "--plots", str(tmp_path / "x.txt")]) == 2
    assert "Unknown ending of a picture '.txt'" in capsys.readouterr().err
    assert not (tmp_path / "x.txt").exists()


def test_a_manifest_agrees_with_itself(first, capsys):
    _, found = check(capsys, first, "--agreement", first)
    agreement = found["agreement"]
    assert (agreement["clips"], agreement["steps"], agreement["sentences"]) == (2, 6, 4)
    assert agreement["mask_iou"] == agreement["class_iou"] == agreement["span_iou"] == 1.0
    assert agreement["captions"]["BLEU-2"] == pytest.approx(1.0)


def test_differences_are_measured(media, first, tmp_path, capsys):
    def change(folder, clip):
        if clip.name == "one.mp4":
            put(folder, clip, "spans", 1, 0, {"spans": [[1, 3]]})
            put(folder, clip, "sentence", 1, 0, {"text": "a cat meows"})
            for step in (0, 1, 2):
                half = square(step + 0.5)
                half[24:] = False  # the upper half of the square
                runs = np.flatnonzero(np.diff(np.concatenate([[0], half.ravel(), [0]]).astype(int)))
                runs = np.diff(np.concatenate([[0], runs, [half.size]])).tolist()
                put(folder, clip, "mask", 1, step, {"size": [48, 64], "runs": runs})

    second = manifest(media, tmp_path / "ben", change)
    _, found = check(capsys, first, "--agreement", second)
    by_clip = found["agreement"]["by_clip"]
    # step 1 sounds for the first alone, step 2 for both with half of the mask, step 3 for the second alone
    assert by_clip["mask_iou"]["one"] == pytest.approx((0 + 0.5 + 0) / 3, abs=0.02)
    assert by_clip["mask_iou"]["two"] == 1.0
    assert by_clip["span_iou"]["one"] == pytest.approx(1 / 3)
    assert found["agreement"]["captions"]["BLEU-1"] < 1
    assert main(["check", str(first), "--allow-shared", "--agreement", str(second)]) == 0
    assert "least alike: one 0.1" in capsys.readouterr().out


def test_manifests_of_other_clips_are_refused(first, tmp_path, capsys):
    line = json.loads(first.read_text().splitlines()[0])
    other = first.parent / "other.jsonl"
    other.write_text(json.dumps({**line, "id": "else"}) + "\n")
    assert main(["check", str(first), "--allow-shared", "--agreement", str(other)]) == 2
    assert "have no clip in common" in capsys.readouterr().err
    assert main(["check", "llp", "--root", str(tmp_path), "--agreement", str(first)]) == 2
