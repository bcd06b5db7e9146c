# SPDX-License-Identifier: Apache-2.0
"""`avkit check manifest`: each clip is read as training reads it, and all faults are listed with file, line, field."""

import json
import struct

import numpy as np
import pytest
from PIL import Image

from avkit.cli import main
from tests.clips import tone, write_clip, write_wav

SECONDS = 3


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Three videos that differ, and what may stand beside them."""
    folder = tmp_path_factory.mktemp("media")
    times = [k / 4 for k in range(SECONDS * 4)]
    for k in range(3):
        write_clip(folder / f"v{k}.mp4", times, 4, sound=tone(SECONDS, 16_000, 300 + 100 * k))
    write_clip(folder / "muted.mp4", times, 4)
    (folder / "empty.mp4").touch()
    write_wav(folder / "whole.wav", tone(SECONDS, 16_000))
    write_wav(folder / "quarter.wav", tone(SECONDS / 4, 16_000))
    write_float_wav(folder / "nan.wav", np.full(SECONDS * 16_000, np.nan, np.float32))
    grey = np.zeros((48, 64), np.uint8)
    grey[:24, :32] = 255
    Image.fromarray(grey).save(folder / "mask.png")
    Image.fromarray(grey[:, :48]).save(folder / "square.png")
    Image.fromarray(grey).save(folder / "mask.jpg", quality=50)
    Image.fromarray(grey).save(folder / "named.png", format="JPEG")
    half = grey.copy()
    half[24:, 32:] = 128
    Image.fromarray(half).save(folder / "half.png")
    return folder


def write_float_wav(path, samples):
    """A WAV of 32-bit floating point numbers, which may be NaN."""
    data = samples.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, 16_000, 64_000, 4, 32)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks)


@pytest.fixture
def check(media, tmp_path, capsys):
    """Check a manifest of three good clips, one per split, and some others, which are for training."""

    def run(*others, words=(), base=True):
        lines = []
        if base:
            for k, split in enumerate(("train", "val", "test")):
                lines.append({"id": f"ok{k}", "video": f"v{k}.mp4", "split": split, "labels": ["dog"]})
        for k, other in enumerate(others):
            lines.append({"id": f"x{k}", "video": "v0.mp4", "split": "train"} | other)
        path = tmp_path / "m.jsonl"
        path.write_text("\n".join(json.dumps(line) for line in lines))
        code = main(["check", "manifest", "--manifest", str(path), "--root", str(media), "--json", *words])
        out = capsys.readouterr().out
        state = json.loads(out)
        return code, [(p["split"], p["what"], p["faults"]) for p in state["problems"] if p["fatal"]], state

    return run


def faults(problems):
    return [fault.split("m.jsonl, ")[-1] for _, _, texts in problems for fault in texts]


def test_good_clips_pass(check):
    code, problems, state = check()
    assert (code, problems) == (0, [])
    assert [(s["split"], s["listed"], s["present"]) for s in state["splits"]] == [
        ("train", 1, 1),
        ("val", 1, 1),
        ("test", 1, 1),
    ]


@pytest.mark.parametrize(
    ("line", "messages"),
    [
        ({"events": [{"label": "dog", "start": 4}]}, ["field 'events[0].start': 4 s is beyond the clip"]),
        ({"events": [{"label": "dog", "end": 9}]}, ["field 'events[0].end': 9 s is after the end of the clip"]),
        ({"captions": [{"text": "a", "start": 2, "end": 9}]}, ["field 'captions[0].end': 9 s is after the end"]),
        ({"masks": [{"time": 0, "file": "square.png"}]}, ["'square.png' is 48 x 48 pixels and its picture 64 x 48"]),
        ({"masks": [{"time": 0, "file": "mask.jpg"}]}, ["'mask.jpg' is a JPEG picture. Its compression changes"]),
        ({"masks": [{"time": 0, "file": "named.png"}]}, ["'named.png' is a JPEG picture"]),
        ({"masks": [{"time": 9, "file": "mask.png"}]}, ["field 'masks[0].time': 9 is beyond the clip"]),
        ({"boxes": [{"step": 9, "box": [0, 0, 1, 1]}]}, ["field 'boxes[0].step': 9 is beyond the clip"]),
        ({"audio": "nan.wav"}, ["of 'waveform' are NaN or infinite"]),
        ({"audio": "quarter.wav"}, ["field 'audio': the sound 'quarter.wav' lasts 0.75 s and its video 3.0"]),
        ({"video": "muted.mp4"}, ["field 'video': "]),
        ({"video": "empty.mp4"}, ["is empty (0 bytes)"]),
        ({"video": "gone.mp4"}, ["field 'video': 'gone.mp4' does not exist under root"]),
        ({"start": 1, "end": 7}, ["field 'end': the file lasts 3.0"]),
        ({"labels": [3], "vidio": 1}, ["field 'labels[0]': 3 is not a string", "Unknown key 'vidio'"]),
    ],
)
def test_what_would_stop_training_is_a_fault(check, line, messages):
    code, problems, _ = check(line)
    assert code == 1
    found = faults(problems)
    assert len(found) == len(messages), found
    for text, message in zip(found, messages, strict=True):
        assert text.startswith("line 4")
        assert message in text


def test_all_faults_of_all_lines_are_listed(check):
    masks = [{"time": k, "file": file} for k, file in enumerate(("mask.jpg", "square.png", "mask.png"))]
    events = [{"label": "dog", "start": 8}, {"label": "dog", "start": 1, "end": 2}, {"label": "dog", "end": 50}]
    code, problems, _ = check(
        {"masks": masks, "events": events},
        {"video": "muted.mp4", "masks": masks[:1]},
        {"video": "v1.mp4", "split": "val", "labels": ["cat"]},
        {"video": "gone.mp4", "events": [{"label": "dog", "start": 2, "end": 1}]},
    )
    assert code == 1
    found = faults(problems)
    assert [text.split(":")[0] for text in found] == [
        "line 7, field 'video'",
        "line 7, field 'events[0].end'",
        "line 4, field 'masks[0].file'",
        "line 4, field 'masks[1].file'",
        "line 4, field 'events[0].start'",
        "line 4, field 'events[2].end'",
        "line 5, field 'video'",
        "line 5, field 'masks[0].file'",
        "line 6, field 'labels'",
    ]


def test_a_split_without_clips_is_a_fault(check):
    code, problems, _ = check({}, base=False)
    assert code == 1
    assert [split for split, _, _ in problems] == ["val, test"]
    assert "no line belongs to split 'val' and 'test', only to train" in problems[0][1]
    code, problems, _ = check({"split": "test"}, base=False)
    assert (code, problems) == (0, []), "test clips alone can be tested"


def test_a_clip_in_two_splits_is_a_fault(check):
    code, problems, _ = check({"split": "test"})
    assert code == 1
    assert "'x0' is in split 'test' and 'ok0' in 'train'" in problems[0][1]
    assert check({"split": "test"}, words=["--allow-shared"])[0] == 0


def test_tasks_that_lack_targets_are_faults(check):
    code, problems, _ = check(words=["--tasks", "davel"])
    assert code == 1
    assert [(split, what) for split, what, _ in problems] == [
        (split, "task 'davel' reads events, which no clip has") for split in ("train", "val", "test")
    ]


def test_notes(check, media, tmp_path):
    (media / "copy.mp4").write_bytes((media / "v0.mp4").read_bytes())
    code, problems, state = check(
        {"events": [{"label": " dog "}, {"label": "Dog"}], "masks": [{"time": 0, "file": "half.png"}]},
        {"video": "copy.mp4", "split": "test", "events": []},
    )
    assert (code, problems) == (0, [])
    notes = [p["what"] for p in state["problems"]]
    assert any("masks have several values" in note for note in notes)
    assert any("the class names 'Dog', 'dog' differ only slightly and count as 2 classes" in note for note in notes)
    assert any("no clip has an event" in note for note in notes)
    assert any("copies of each other" in note for note in notes)
    (media / "copy.mp4").unlink()


def test_features_are_read(check, media, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    for k in range(3):
        np.save(folder / f"ok{k}.npy", np.ones((6, 8), ">f4"))
    words = ["--visual", str(folder), "--audio", str(folder)]
    code, problems, _ = check(words=words)
    assert code == 1
    assert "does not say how many seconds lie between two rows" in problems[-1][1]
    assert check(words=[*words, "--hop", "0.5"])[:2] == (0, [])
    _, problems, _ = check(words=[*words, "--hop", "1.5"])
    assert "6 rows of hop 1.5 s last 9.00 s; its clip lasts 3.0" in faults(problems)[0]
    values = np.ones((6, 8), np.float32)
    values[0, 0] = np.nan
    np.save(folder / "ok1.npy", values)
    _, problems, _ = check(words=[*words, "--hop", "0.5"])
    assert "1 of 48 values are NaN or infinite" in faults(problems)[0]
    np.save(folder / "ok1.npy", np.ones((6, 9)))
    code, problems, _ = check(words=[*words, "--hop", "0.5"])
    assert code == 1
    assert "visual (1, 9) where most have (1, 8); audio (9,) where most have (8,)" in faults(problems)[0]
    (folder / "ok2.npy").unlink()
    _, problems, _ = check({"video": "v1.mp4", "split": "val"}, words=[*words, "--hop", "0.5"])
    assert any("has no features of clip 'ok2'" in fault for fault in faults(problems))


def test_muted_and_missing_clips_are_left_out_where_that_is_allowed(check):
    others = [{"video": name} for name in ("muted.mp4", "empty.mp4", "gone.mp4")]
    code, problems, state = check(*others, words=["--allow-missing"])
    assert (code, problems) == (0, [])
    assert state["splits"][0]["listed"] == 4
    assert state["splits"][0]["present"] == 1


@pytest.mark.parametrize("words", [["m.jsonl"], ["--manifest", "m.jsonl"]])
def test_a_manifest_is_named_alone_and_empty_splits_are_one_problem(media, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "a", "video": str(media / "v0.mp4"), "labels": ["dog"]}))
    assert main(["check", *words, "--root", str(media), "--json"]) == 1
    fatal = [problem for problem in json.loads(capsys.readouterr().out)["problems"] if problem["fatal"]]
    assert [problem["split"] for problem in fatal] == ["val, test"]
    assert "nothing is left for split 'val' and 'test': it has 1 line of 1 video or group" in fatal[0]["what"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Name a dataset, see 'avkit info', or a manifest: avkit check x.jsonl."),
        (["a.jsonl", "--manifest", "b.jsonl"], "Two manifests are named, a.jsonl and b.jsonl. Name one."),
        (["llp", "--manifest", "b.jsonl"], "'llp' is no manifest, so --manifest b.jsonl cannot go with it."),
    ],
)
def test_what_is_checked_is_named_once(words, message, capsys):
    assert main(["check", *words]) == 2
    assert message in capsys.readouterr().err
