# SPDX-License-Identifier: Apache-2.0
"""Labels written as files and read back by the readers of avkit: nothing is lost, nothing is overwritten."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from labelled import label, opened, put, square, write_folder
from PIL import Image

from avkit.annotation.export import FORMATS, ExportOptions, export_labels
from avkit.annotation.labels import read_labels
from avkit.annotation.taking_over import take_over_corpus, take_over_manifest
from avkit.cli import main
from avkit.corpora.clips import read_rejected
from avkit.datasets import find_dataset
from avkit.datasets.converters.run_lengths import decode_text, encode_runs, encode_text
from avkit.datasets.manifest import Manifest
from avkit.datasets.splits import SplitOptions
from avkit.errors import DataError

SHARED = SplitOptions(allow_shared=True)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("videos"))


@pytest.fixture
def folder(media, tmp_path):
    """The folder with two clips labelled whole and one untouched, and labels beside it."""
    folder = opened(media, work=tmp_path / "work")
    clips = {clip.name: clip for clip in folder.clips.values()}
    label(folder, clips["one.mp4"])
    label(folder, clips["two.mp4"], name="saw", spans=((0.0, 3.0),), text='a "saw" — of <b>wood</b>')
    yield folder
    folder.close()


def write(folder, name, **options):
    return export_labels(folder, name, ExportOptions(**options))


def read(path, **options):
    return Manifest(path, splits=SHARED, image_size=64, **options)


def items_of(path, **options):
    data = read(path, **options)
    return {data.annotations[k].id: data.item(k) for k in range(len(data))}


def test_a_manifest_is_checked_and_read_with_no_step_between(folder, tmp_path, capsys):
    out = tmp_path / "work" / "manifest.jsonl"
    exported = write(folder, "avkit")
    assert (exported.out, exported.clips) == (out, 2)
    assert exported.notes == ["1 clip without labels left out", f"check it: avkit check {out}"]
    assert main(["check", str(out), "--allow-shared"]) == 0
    assert "all is there and can be read" in capsys.readouterr().out
    items = items_of(out)
    assert set(items) == {"one", "two"}
    targets = items["one"].targets
    assert targets["mask_known"].tolist() == [True] * 3
    assert targets["caption"] == ["a dog barks", "a dog barks", ""]
    assert targets["audio_segments"][:, 0].tolist() == [1, 1, 0]
    assert targets["visual_segments"][:, 0].tolist() == [1, 1, 1]
    want = square(0.5)
    mask = targets["mask"][0].numpy()[np.ix_((np.arange(48) * 2 + 1) * 64 // 96, np.arange(64))]
    assert (mask == want).mean() > 0.99
    assert not targets["mask"][2].any()  # it is silent
    assert items["two"].targets["caption"] == ['a "saw" — of <b>wood</b>'] * 3


def test_the_same_export_again_replaces_its_own_and_nothing_else(folder, tmp_path):
    out = tmp_path / "work" / "manifest.jsonl"
    write(folder, "avkit")
    write(folder, "avkit")
    out.write_text(out.read_text() + "\n")
    with pytest.raises(DataError, match=r"manifest\.jsonl exists"):
        write(folder, "avkit")
    write(folder, "avkit", overwrite=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    for name in ("coco", "cvat"):
        with pytest.raises(DataError, match="exists and is not what was exported before"):
            write(folder, name, out=mine, overwrite=True)
    (tmp_path / "mine.json").write_text("{}")
    with pytest.raises(DataError, match="exists and is not what was exported before"):
        write(folder, "label-studio", out=tmp_path / "mine.json")
    assert (mine / "notes.txt").read_text() == "mine"


def test_half_labelled_clips_are_refused_by_name_or_written_as_far_as_they_are(folder, tmp_path):
    clip = next(clip for clip in folder.clips.values() if clip.name == "three.mp4")
    put(folder, clip, "object", 1, 0, {"name": "dog", "colour": "#112233"})
    put(folder, clip, "spans", 1, 0, {"spans": [[0, 3]]})
    runs = {"size": [48, 64], "runs": [48 * 64]}
    put(folder, clip, "mask", 1, 0, runs)
    put(folder, clip, "mask", 1, 1, {**runs, "proposed": "flow"})
    with pytest.raises(DataError) as raised:
        write(folder, "avkit")
    text = str(raised.value)
    assert "1 clip is half labelled: three.mp4 (nobody has said whether sound and picture match" in text
    assert "1 proposal wait" in text
    assert "--partial" in text
    assert not (tmp_path / "work" / "manifest.jsonl").exists()
    exported = write(folder, "avkit", partial=True)
    assert exported.clips == 3
    item = items_of(exported.out)["three"]
    assert item.targets["mask_known"].tolist() == [True, False, False]  # a proposal is no label


def test_clips_whose_sound_does_not_match_are_left_out(folder):
    clip = next(clip for clip in folder.clips.values() if clip.name == "one.mp4")
    put(folder, clip, "clip", 0, 0, {"match": "no", "note": "wrong track"})
    exported = write(folder, "avkit")
    assert exported.clips == 1
    assert "1 clip left out: sound and picture do not match" in exported.notes


def test_nothing_to_write_is_said(media, tmp_path):
    folder = opened(media, work=tmp_path / "empty")
    with pytest.raises(DataError, match=r"No clip of .* is labelled"):
        write(folder, "avkit")
    with pytest.raises(ValueError, match="Unknown format 'cocoo'"):
        write(folder, "cocoo")
    folder.close()


def imported(folder, tmp_path, name, file, *more):
    out = tmp_path / f"{name}.jsonl"
    assert main(["import", name, str(file), "-o", str(out), "--media", str(folder.root), *more]) == 0
    return items_of(out)


def test_masks_come_back_from_coco_and_cvat(folder, tmp_path, capsys):
    own = items_of(write(folder, "avkit").out)
    coco = write(folder, "coco").out
    assert (coco / "frames/one/frame_0000500.jpg").is_file()
    cvat = write(folder, "cvat").out
    back = {
        "coco": imported(folder, tmp_path, "coco", coco / "instances.json", "--fps", "1000"),
        "cvat": imported(folder, tmp_path, "cvat", cvat),
    }
    for items in back.values():
        for clip, steps in (("one", 2), ("two", 3)):
            for key in ("mask", "class_mask"):
                assert (items[clip].targets[key][:steps] == own[clip].targets[key][:steps]).all()
    (annotation,) = [
        entry for entry in json.loads((coco / "instances.json").read_text())["annotations"] if entry["video_id"] == 1
    ]
    assert annotation["areas"][:2] == [256, 256]
    assert annotation["spans"] == [[0, 2]]


def test_sources_spans_and_sentences_come_back_from_coco(folder, tmp_path):
    clip = two_dogs(folder)
    put(folder, clip, "sentence", 0, 1, {"text": "a yard"})
    put(folder, clip, "mask", 2, 0, {"size": [48, 64], "runs": [48 * 64]})
    put(folder, clip, "mask", 1, 2, {"size": [48, 64], "runs": [48 * 64]})  # silent and out of view
    manifest = write(folder, "avkit", partial=True).out
    own = items_of(manifest)["one"].targets
    coco = write(folder, "coco", partial=True).out
    back = imported(folder, tmp_path, "coco", coco / "instances.json", "--fps", "1000")["one"].targets
    assert own["caption"] == [
        "a dog barks",
        "a yard and a dog barks and another dog growls",
        "a yard and another dog growls",
    ]
    for key in ("caption", "source_caption"):
        assert back[key] == own[key]
    for key in ("mask", "mask_known", "class_mask", "source_mask", "source_known", "audio_segments", "visual_segments"):
        assert (back[key] == own[key]).all(), key
    lines = [json.loads(path.read_text().splitlines()[0]) for path in (manifest, tmp_path / "coco.jsonl")]
    assert lines[0]["sources"] == lines[1]["sources"]
    assert lines[0]["events"] == lines[1]["events"]
    # and so do the labels
    objects = taken_over(folder, tmp_path, tmp_path / "coco.jsonl", count=2)
    assert {number: (entry.name, entry.spans) for number, entry in objects.items()} == {
        1: ("dog", [(0.25, 1.75)]),
        2: ("dog", [(1.25, 3.0)]),
    }


def test_spans_sentences_and_boxes_come_back_from_label_studio(folder, tmp_path):
    file = write(folder, "label-studio").out
    items = imported(folder, tmp_path, "label-studio", file, "--captions", "sentences")
    targets = items["one"].targets
    assert targets["caption"] == ["a dog barks", "a dog barks", ""]
    assert targets["audio_segments"][:, 0].tolist() == [1, 1, 0]
    assert targets["boxes"][0, 0].tolist() == pytest.approx([10 / 64, 16 / 48, 26 / 64, 32 / 48], abs=0.01)


def test_layouts_of_avsbench_are_read_by_their_readers(tmp_path):
    folder = opened(write_folder(tmp_path / "videos", ("a b.mp4", "ü.mp4"), seconds=5), work=tmp_path / "work")
    for clip in folder.clips.values():
        label(folder, clip, spans=((0.0, 5.0),))
    for name in ("avsbench-s4", "avsbench-ms3", "avsbench-avss"):
        out = write(folder, name, split="test").out
        data = find_dataset(name)(out, "test", image_size=64)
        assert len(data) == 2
        targets = data.item(0).targets
        assert targets["mask_known"].tolist() == [True] * 5
        assert targets["mask"][4].float().mean() == pytest.approx(square(4.5).mean(), abs=0.01)
        if name == "avsbench-avss":
            assert data.vocabulary.classes[int(targets["class_mask"][0].max()) - 1] == "dog"
    put(folder, clip, "object", 1, 0, {"name": "zebra", "colour": "#112233"})
    for name in ("avsbench-s4", "avsbench-avss"):
        with pytest.raises(DataError, match=r"'zebra' is no .*avsbench-ms3"):
            write(folder, name)
    folder.close()


def test_layouts_of_avsbench_are_imported_again(tmp_path):
    folder = opened(write_folder(tmp_path / "videos", ("first.mp4",), seconds=5), work=tmp_path / "work")
    label(folder, folder.clips[1], spans=((0.0, 5.0),))
    for name, label_of in (("avsbench-s4", "dog"), ("avsbench-ms3", "object"), ("avsbench-avss", "dog")):
        layout = write(folder, name, split="test").out
        manifest = tmp_path / f"{name}.jsonl"
        assert main(["import", name, str(layout), "-o", str(manifest), "--media", str(folder.root)]) == 0
        line = json.loads(manifest.read_text())
        assert (line["id"], line["split"], len(line["masks"])) == ("first", "test", 5)
        assert ("classes" in line["masks"][0]) == (name != "avsbench-ms3")
        other = opened(folder.root, work=tmp_path / f"other-{name}")
        assert take_over_manifest(other, manifest) == 1
        (entry,) = read_labels(other, other.clips[1]).objects
        other.close()
        assert (entry.name, sorted(entry.masks), entry.spans) == (label_of, [0, 1, 2, 3, 4], [(0, 5)])
        assert all((entry.mask(step) == square(step + 0.5)).all() for step in range(5))
    (layout / "v1m/first/labels_semantic/3.png").unlink()
    (layout / "v1m/first/labels_rgb/3.png").unlink()
    assert main(["import", "avsbench-avss", str(layout), "-o", str(tmp_path / "no.jsonl")]) == 2
    folder.close()


def make_corpus(root):
    """A folder as avkit build leaves it: clips without labels."""
    for name in ("first", "second"):
        write_folder(root / "clips" / name, ("video.mp4",))
        meta = {"id": name, "kind": "single", "num_frames": 15, "sources": [{"source": 1, "label": "dog"}]}
        (root / "clips" / name / "meta.json").write_text(json.dumps(meta | {"origin": [name]}))
    facts = {"name": "f-lifescene", "version": 1, "fps": 5, "size": [48, 64], "classes": ["cat", "dog"]}
    (root / "dataset.json").write_text(json.dumps(facts))
    (root / "splits").mkdir()
    for split, names in (("train", "first\n"), ("val", "second\n"), ("test", "")):
        (root / "splits" / f"{split}.txt").write_text(names)
    return root


def test_clips_of_avkit_build_get_masks_and_sentences_in_their_places(tmp_path):
    root = make_corpus(tmp_path / "corpus")
    folder = opened(root)
    clip = next(clip for clip in folder.clips.values() if clip.name == "first")
    label(folder, clip, name="horse")
    with pytest.raises(DataError, match="'horse' is none of the classes of f-lifescene: cat, dog"):
        write(folder, "avkit")
    put(folder, clip, "object", 1, 0, {"name": "dog", "colour": "#112233"})
    put(folder, clip, "object", 2, 0, {"name": "cat", "colour": "#112233"})
    put(folder, clip, "spans", 2, 0, {"spans": [[1, 3]]})
    put(folder, clip, "sentence", 2, 0, {"text": "a cat meows"})
    for step in range(3):
        put(folder, clip, "mask", 2, step, {"size": [48, 64], "runs": [0, 64, 47 * 64]})
    assert write(folder, "avkit").out == root
    folder.close()
    assert main(["check", "f-lifescene", "--root", str(root), "--hop", "1"]) == 0
    assert (root / "splits/val.txt").read_text() == "second\n"
    data = find_dataset("f-lifescene")(root, "train", image_size=64)
    targets = data.item(0).targets
    assert targets["caption"] == ["a dog barks", "a dog barks and a cat meows", "a cat meows"]
    assert set(targets["class_mask"][1].unique().tolist()) == {0, 1, 2}
    assert set(targets["class_mask"][2].unique().tolist()) == {0, 1}
    # opened again elsewhere, the labels are taken over and give the same files
    other = opened(root, work=tmp_path / "other")
    assert take_over_corpus(other) == 1
    put(other, clip, "clip", 0, 0, {"match": "yes", "note": ""})
    before = (root / "clips/first/captions.jsonl").read_text()
    with pytest.raises(DataError, match="was not exported from here"):
        write(other, "avkit")
    write(other, "avkit", overwrite=True)
    other.close()
    assert (root / "clips/first/captions.jsonl").read_text() == before
    again = find_dataset("f-lifescene")(root, "train", image_size=64).item(0).targets
    assert (again["class_mask"] == targets["class_mask"]).all()


def test_clips_that_do_not_match_leave_the_lists_of_splits_until_they_do(tmp_path):
    root = make_corpus(tmp_path / "corpus")
    for match, val, rejected in (("no", "", "val second\n"), ("yes", "second\n", "")):
        folder = opened(root)  # a rejected clip is still there
        clips = {clip.name: clip for clip in folder.clips.values()}
        for clip in clips.values():
            label(folder, clip)
        put(folder, clips["second"], "clip", 0, 0, {"match": match, "note": ""})
        notes = write(folder, "avkit").notes
        folder.close()
        assert (root / "splits/val.txt").read_text() == val
        assert (root / "rejected.txt").read_text() == rejected
        assert any("1 clip in rejected.txt" in note for note in notes) == (match == "no")
        assert read_rejected(root) == ({"second": "val"} if match == "no" else {})


def test_a_manifest_is_taken_over_and_written_again_the_same(folder, tmp_path):
    clip = next(clip for clip in folder.clips.values() if clip.name == "one.mp4")
    put(folder, clip, "object", 3, 0, {"name": "saw", "colour": "#112233"})
    put(folder, clip, "spans", 3, 0, {"spans": [[1.25, 2.5]]})
    put(folder, clip, "sentence", 3, 0, {"text": "a saw"})
    for step in range(3):
        put(folder, clip, "mask", 3, step, {"size": [48, 64], "runs": [0, 64, 47 * 64]})
    first = write(folder, "avkit").out
    other = opened(folder.root, work=tmp_path / "other")
    assert take_over_manifest(other, first) == 2
    assert take_over_manifest(other, first) == 0  # they have labels now
    for entry in other.clips.values():
        if entry.name != "three.mp4":
            put(other, entry, "clip", 0, 0, {"match": "yes", "note": ""})
    second = write(other, "avkit").out
    other.close()
    own, again = items_of(first), items_of(second)
    for name, item in own.items():
        assert item.targets["caption"] == again[name].targets["caption"]
        for key in ("mask", "class_mask", "audio_segments"):
            assert (item.targets[key] == again[name].targets[key]).all()


def two_dogs(folder):
    """Clip `one` with two dogs: the first in view and heard from the start, the second heard later and once unseen."""
    clip = next(clip for clip in folder.clips.values() if clip.name == "one.mp4")
    put(folder, clip, "object", 2, 0, {"name": "dog", "colour": "#112233"})
    put(folder, clip, "spans", 1, 0, {"spans": [[0.25, 1.75]]})
    put(folder, clip, "spans", 2, 0, {"spans": [[1.25, 3.0]]})
    put(folder, clip, "sentence", 2, 0, {"text": "another dog growls"})
    put(folder, clip, "mask", 2, 1, {"size": [48, 64], "runs": [0, 64, 47 * 64]})
    put(folder, clip, "mask", 2, 2, {"size": [48, 64], "runs": [48 * 64]})
    return clip


def test_two_objects_of_one_class_stay_apart_in_a_manifest(folder, tmp_path):
    clip = two_dogs(folder)
    first = write(folder, "avkit").out
    line = json.loads(first.read_text().splitlines()[0])
    heard = [event for event in line["events"] if event["modality"] == "audio"]
    assert [(event["source"], event["start"], event["end"]) for event in heard] == [(1, 0.25, 1.75), (2, 1.25, 3.0)]
    other = opened(folder.root, work=tmp_path / "other")
    take_over_manifest(other, first)
    put(other, clip, "clip", 0, 0, {"match": "yes", "note": ""})
    labels = {entry.number: entry for entry in read_labels(other, clip).objects}
    assert {number: (entry.name, entry.spans) for number, entry in labels.items()} == {
        1: ("dog", [(0.25, 1.75)]),
        2: ("dog", [(1.25, 3.0)]),
    }
    assert {number: sorted(entry.masks) for number, entry in labels.items()} == {1: [0, 1], 2: [1, 2]}
    assert not labels[2].mask(2).any()  # heard, not in view
    assert labels[2].sentences == {1: "another dog growls"}
    second = write(other, "avkit", partial=True).out
    other.close()
    again = json.loads(second.read_text().splitlines()[0])
    assert [event for event in again["events"] if event["modality"] == "audio"] == heard
    assert again["sources"] == line["sources"]


def line_of(folder, tmp_path, masks, events, sources=None):
    """A manifest of one line about clip `one`; masks are values of three columns by time."""
    path = tmp_path / "lines" / "m.jsonl"
    path.parent.mkdir()
    records = []
    for k, (time, values) in enumerate(masks.items()):
        pixels = np.repeat(np.array(values, np.uint8)[None], 48, 0).repeat([21, 22, 21], 1)
        Image.fromarray(pixels).save(path.parent / f"{k}.png")
        records.append({"time": time, "file": f"{k}.png", "classes": {str(v): "dog" for v in {*values, 1} - {0}}})
    line = {"id": "a", "video": str(folder.root / "one.mp4"), "masks": records, "events": events}
    path.write_text(json.dumps(line | ({"sources": sources} if sources else {})) + "\n")
    return path


def taken_over(folder, tmp_path, path, count=1):
    other = opened(folder.root, work=tmp_path / "other")
    assert take_over_manifest(other, path) == count
    labels = read_labels(other, next(clip for clip in other.clips.values() if clip.name == "one.mp4"))
    other.close()
    return {entry.number: entry for entry in labels.objects}


def test_spans_without_a_source_go_to_the_objects_of_their_class_that_masks_show(folder, tmp_path):
    masks = {0.5: [1, 0, 0], 1.5: [0, 0, 0], 2.5: [0, 255, 0]}
    events = [{"start": 0, "end": 1, "label": "dog"}, {"start": 2.25, "end": 3, "label": "dog"}]
    objects = taken_over(folder, tmp_path, line_of(folder, tmp_path, masks, events))
    assert {number: entry.spans for number, entry in objects.items()} == {1: [(0, 1)], 2: [(2.25, 3.0)]}
    assert objects[2].mask(2).sum() == 22 * 48  # 255 is no number that objects have


def test_of_several_masks_in_a_step_the_one_in_its_middle_is_taken_over(folder, tmp_path):
    masks = {0.1: [1, 0, 0], 0.4: [0, 2, 0], 0.9: [3, 3, 3], 1.9: [0, 0, 1]}
    objects = taken_over(folder, tmp_path, line_of(folder, tmp_path, masks, []))
    assert {number: sorted(entry.masks) for number, entry in objects.items()} == {1: [1], 2: [0], 3: []}
    assert objects[2].mask(0).sum() == 22 * 48
    assert objects[2].spans == [(0, 1)]


def test_events_of_a_source_that_there_is_not_are_refused(folder, tmp_path):
    event = {"start": 0, "end": 1, "label": "dog", "source": 4}
    path = line_of(folder, tmp_path, {0.5: [1, 0, 0]}, [event])
    with pytest.raises(DataError, match=r"'events\[0\].source': 4 is no pixel value that 'classes' of a mask name"):
        read(path)
    line = json.loads(path.read_text())
    line["events"][0] |= {"source": 1, "label": "cat"}
    path.write_text(json.dumps(line))
    with pytest.raises(DataError, match=r"'events\[0\].label': 'cat' is of source 1, which is 'dog'"):
        read(path)


def test_hostile_names_stay_inside(tmp_path, capsys):
    names = ["a'b\"<script>.mp4", "-o.mp4", "sub/one.mp4", "one.mp4", "%2e%2e.mp4", "x\ny.mp4"]
    root = write_folder(tmp_path / "videos", names, seconds=1)
    (root / "link.mp4").symlink_to("/etc/passwd")
    folder = opened(root, work=tmp_path / "work")
    assert sorted(clip.name for clip in folder.clips.values()) == sorted(names)
    for clip in folder.clips.values():
        label(folder, clip, spans=((0.0, 1.0),), text="'; DROP TABLE clips; -- <img onerror=alert(1)>")
    for name in FORMATS:
        if not name.startswith("avsbench"):
            write(folder, name, out=tmp_path / "out" / f"x.{'jsonl' if name == 'avkit' else 'json'}")
            assert {path.name for path in tmp_path.iterdir()} <= {"videos", "work", "out"}
            written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
            assert all(path.resolve().is_relative_to(tmp_path / "out") for path in written)
            if name == "avkit":
                assert len(items_of(tmp_path / "out/x.jsonl")) == len(names)
            for path in sorted((tmp_path / "out").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    folder.close()


def test_export_by_command(media, tmp_path, capsys):
    folder = opened(media, work=tmp_path / "work")
    label(folder, folder.clips[1])
    folder.close()
    out = tmp_path / "mine.jsonl"
    assert main(["annotate", str(media), "--work", str(tmp_path / "work"), "--export", "avkit", "-o", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"{out}: 1 clips" in text
    assert "2 clips without labels left out" in text
    assert main(["annotate", str(media), "--work", str(tmp_path / "work"), "--export", "yolo"]) == 2
    assert "Unknown format 'yolo'" in capsys.readouterr().err
    assert main(["annotate", str(tmp_path / "nowhere"), "--export", "avkit"]) == 2
    assert "is no folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_to_is_said(media, tmp_path, capsys, monkeypatch):
    def refuse(self, *args, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)
    assert main(["annotate", str(media), "--export", "avkit"]) == 2
    text = capsys.readouterr().err
    assert "cannot be written to: Permission denied. Labels need a place: name a folder of yours with --work." in text


@pytest.fixture
def read_only():
    """A folder of clips that this process may read and not write to; for the superuser as somebody else."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o777)
    root = write_folder(place / "videos", ("one.mp4",), seconds=1)
    root.chmod(0o555)
    user = os.geteuid() if hasattr(os, "geteuid") else None
    if user is None:
        pytest.skip("this system has no permissions of files")
    try:
        if user == 0:
            os.seteuid(65534)
        yield root
    finally:
        if user == 0:
            os.seteuid(0)
        root.chmod(0o755)
        shutil.rmtree(place)


def test_a_folder_that_may_only_be_read_is_labelled_elsewhere(read_only, capsys):
    assert main(["annotate", str(read_only), "--port", "0"]) == 2
    text = capsys.readouterr().err
    assert ".avkit_annotate cannot be written to: Permission denied" in text
    assert "--work" in text
    work = read_only.parent / "work"
    folder = opened(read_only, work=work)
    label(folder, folder.clips[1], spans=((0.0, 1.0),))
    assert write(folder, "avkit").out == work / "manifest.jsonl"
    assert items_of(work / "manifest.jsonl")["one"].targets["mask_known"].tolist() == [True]
    folder.close()
    assert sorted(path.name for path in read_only.iterdir()) == ["one.mp4"]


def test_run_length_text_is_that_of_coco():
    generator = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (300, 400)):
        for density in (0.0, 0.01, 0.5, 1.0):
            runs = encode_runs(generator.random(shape) < density)
            assert decode_text(encode_text(runs), "here").tolist() == runs.tolist()
    assert encode_text(np.array([6, 1, 40, 4, 5, 4, 5, 4, 21])) == "61X13mN000`0"
