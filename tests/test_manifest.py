# SPDX-License-Identifier: Apache-2.0
import json
import pickle
import re
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from clips import write_clip
from PIL import Image

from avkit.batch import Vocabulary
from avkit.collate import collate
from avkit.datasets.manifest import SCHEMA, Manifest, json_schema
from avkit.datasets.splits import SplitOptions
from avkit.errors import DataError, MediaError

ROOT = Path(__file__).parents[1]
RATE = 16_000
EVENTS = frozenset({"events", "audio_segments", "visual_segments", "video_labels"})


def write_video(path, seconds=3, width=64, height=48, fps=4, sound=True):
    """A clip that is red in its first second, green in its second, blue after; its tone grows louder each second."""
    with av.open(str(path), "w") as box:
        video = box.add_stream("mpeg4", rate=fps)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        track = box.add_stream("aac", rate=RATE, layout="mono") if sound else None
        for k in range(seconds * fps):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[..., min(k // fps, 2)] = 255
            for packet in video.encode(av.VideoFrame.from_ndarray(picture)):
                box.mux(packet)
        for packet in video.encode():
            box.mux(packet)
        if track is not None:
            t = np.arange(seconds * RATE)
            frame = av.AudioFrame.from_ndarray(tone(t)[None], format="fltp", layout="mono")
            frame.sample_rate = RATE
            for packet in [*track.encode(frame), *track.encode()]:
                box.mux(packet)


def tone(t):
    return (np.sin(2 * np.pi * 440 * t / RATE) * 0.2 * (1 + t // RATE)).astype(np.float32)


def write_wave(path, seconds):
    import wave

    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((tone(np.arange(round(seconds * RATE))) * 32767).astype("<i2").tobytes())


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4")
    write_video(folder / "silent.mp4", sound=False)
    write_wave(folder / "a.wav", 2.02)
    Image.new("RGB", (64, 48), (255, 255, 0)).save(folder / "a.png")
    half = np.zeros((48, 64), np.uint8)
    half[:, 32:] = 45
    half[:12, :16] = 9
    Image.fromarray(half).save(folder / "grey.png")
    Image.fromarray(half > 0).save(folder / "bit.png")
    palette = Image.fromarray(half)
    palette.putpalette([k % 256 for k in range(768)])
    assert palette.mode == "P"
    palette.save(folder / "palette.png")
    Image.fromarray(half.astype(np.uint16) * 256).save(folder / "deep.png")
    colour = np.zeros((48, 64, 3), np.uint8)
    colour[:, 32:] = 64, 128, 128
    Image.fromarray(colour).save(folder / "colour.png")
    Image.new("L", (64, 64)).save(folder / "square.png")
    Image.new("LA", (64, 48), (255, 128)).save(folder / "alpha.png")
    Image.fromarray(half).convert("RGB").save(folder / "lossy.jpg")
    Image.new("RGB", (64, 48)).convert("CMYK").save(folder / "print.tif")
    (folder / "broken.png").write_bytes(b"not a picture")
    return folder


@pytest.fixture
def manifest(tmp_path, root):
    """Write lines (dicts, or text as it is) and open them."""

    def build(*lines, **options):
        path = tmp_path / "manifest.jsonl"
        rows = [line if isinstance(line, str) else json.dumps({"id": "a", "video": "a.mp4"} | line) for line in lines]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return Manifest(path, **{"root": root, "image_size": 16} | options)

    return build


def item(manifest, line, *fields, **options):
    return manifest(line, **options).item(0, frozenset(fields) or None)


def test_frames_come_from_step_middles_and_sound_fits(manifest):
    got = item(manifest, {})
    assert got.frames.shape == (3, 3, 16, 16)
    assert got.frames.dtype == torch.uint8
    assert got.frames.float().mean((2, 3)).argmax(1).tolist() == [0, 1, 2]
    assert got.waveform.shape == (3 * RATE,)
    loudness = got.waveform.reshape(3, RATE)[:, 2000:14000].square().mean(1).sqrt()
    assert torch.allclose(loudness, torch.tensor([0.2, 0.4, 0.6]) / 2**0.5, atol=0.02)
    assert got.targets == {}
    assert got.text is None


def test_span_is_cut_from_picture_and_sound(manifest):
    got = item(manifest, {"start": 1.5, "end": 3})
    assert got.duration == pytest.approx(1.5)
    assert got.frames.float().mean((2, 3)).argmax(1).tolist() == [2, 2]  # at 2.0 s and 3.0 s
    got = item(manifest, {"start": 1, "end": 2})
    assert got.steps == 1
    assert got.frames[0].float().mean((1, 2)).argmax() == 1
    assert got.waveform.shape == (RATE,)
    assert got.waveform[2000:14000].square().mean().sqrt() == pytest.approx(0.4 / 2**0.5, abs=0.02)


def test_max_steps_keeps_the_start(manifest):
    line = {"captions": "red", "masks": [{"step": 0, "file": "grey.png"}, {"step": 2, "file": "grey.png"}]}
    got = item(manifest, line, max_steps=2)
    assert (got.steps, got.duration, len(got.waveform)) == (2, 2.0, 2 * RATE)
    assert got.targets["mask_known"].tolist() == [True, False]
    assert got.targets["caption"] == ["red", "red"]


def test_picture_lasts_as_long_as_its_sound(tmp_path, root):
    line = {"id": "p", "picture": "a.png", "audio": "a.wav", "masks": [{"time": 1, "file": "grey.png"}]}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    got = Manifest(tmp_path / "m.jsonl", root, image_size=16).item(0)
    assert got.steps == 2
    assert (got.frames[0] == got.frames[1]).all()
    assert got.frames.float().mean((0, 2, 3)).tolist() == pytest.approx([255, 255, 0], abs=4)
    assert got.targets["mask_known"].tolist() == [False, True]
    assert got.targets["mask"][0].sum() == 0


def expected_mask():
    """The picture of the fixture at 16 x 16, drawn by hand: the right half 45, a corner of 4 x 4 with 9."""
    out = np.zeros((16, 16), np.uint8)
    out[:, 8:] = 45
    out[:4, :4] = 9
    return out


@pytest.mark.parametrize("file", ["grey.png", "bit.png", "palette.png", "deep.png"])
def test_masks_of_every_kind(manifest, file):
    got = item(manifest, {"masks": [{"time": 1.2, "file": file}]}).targets
    assert sorted(got) == ["mask", "mask_known", "source"]
    assert got["mask"].dtype == torch.uint8
    assert got["mask_known"].tolist() == [False, True, False]
    assert np.array_equal(got["mask"][1].numpy(), expected_mask() > 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "RGB", "P", "I;16"])
def test_what_is_transparent_is_background(manifest, root, mode):
    """Opaque white, and white that is transparent but in the right half: only that half sounds."""
    file = root / f"transparent_{mode.replace(';', '')}.png"
    right = expected_mask() == 45
    shape = np.kron(right, np.ones((3, 4))) > 0
    if mode in ("RGBA", "LA"):
        alpha = Image.fromarray((255 * shape).astype(np.uint8))
        picture = Image.new(mode[:-1], (64, 48), "white")
        picture.putalpha(alpha)
        picture.save(file)
    else:
        colour = 3 if mode in ("L", "P", "I;16") else (3, 3, 3)
        values = np.where(shape, 200, 3).astype(np.uint16 if mode == "I;16" else np.uint8)
        picture = Image.fromarray(values)
        if mode == "RGB":
            picture = picture.convert("RGB")
        if mode == "P":
            picture.putpalette([k % 256 for k in range(768)])
        picture.save(file, transparency=colour)
    got = item(manifest, {"masks": [{"time": 0, "file": file.name}]}).targets["mask"][0].numpy()
    assert np.array_equal(got, right)


def test_foreground_names_the_values(manifest):
    got = item(manifest, {"masks": [{"time": 0, "file": "palette.png", "foreground": [9]}]}).targets
    assert np.array_equal(got["mask"][0].numpy(), expected_mask() == 9)
    got = item(manifest, {"masks": [{"time": 0, "file": "colour.png", "foreground": ["#408080"]}]}).targets
    assert np.array_equal(got["mask"][0].numpy(), expected_mask() == 45)


def test_classes_are_sorted_and_counted_from_one(manifest):
    line = {"masks": [{"time": 0, "file": "grey.png", "classes": {"45": "mower", "9": "bee"}}]}
    data = manifest(line)
    assert data.vocabulary.classes == ["bee", "mower"]
    truth = expected_mask()
    assert np.array_equal(data.item(0).targets["class_mask"][0].numpy(), (truth == 9) + 2 * (truth == 45))
    line["masks"][0]["classes"]["9"] = None
    got = manifest(line).item(0).targets
    assert np.array_equal(got["mask"][0].numpy(), truth == 45)
    assert np.array_equal(got["class_mask"][0].numpy(), truth == 45)
    got = item(manifest, {"masks": [{"time": 0, "file": "colour.png", "classes": {"#408080": "clarinet"}}]}).targets
    assert np.array_equal(got["class_mask"][0].numpy(), truth == 45)


def test_class_mask_holds_no_more_than_255_classes(manifest):
    line = {"masks": [{"time": 0, "file": "colour.png", "classes": {"#408080": "5"}}]}
    with pytest.raises(DataError, match="256 classes do not fit into 'class_mask', which takes 255"):
        item(manifest, line, vocabulary=Vocabulary([str(k) for k in range(256)]))


def test_class_mask_needs_every_mask_to_name_its_classes(manifest):
    masks = [{"time": 0, "file": "grey.png"}, {"time": 1, "file": "colour.png", "classes": {"#408080": "clarinet"}}]
    data = manifest({"masks": masks})
    assert data.provides == {"mask", "mask_known", "source"}
    with pytest.raises(DataError, match="no line of split 'train' has 'masks' whose masks all have 'classes', which"):
        data.indices(frozenset({"class_mask"}))


def test_of_several_masks_in_a_step_the_one_nearest_the_picture_counts(manifest):
    masks = [{"time": t, "file": f} for t, f in ((0.0, "colour.png"), (0.4, "grey.png"), (0.9, "colour.png"))]
    got = item(manifest, {"masks": masks}).targets
    assert np.array_equal(got["mask"][0].numpy(), expected_mask() > 0)
    assert got["mask_known"].tolist() == [True, False, False]
    got = item(manifest, {"masks": [{"time": 0.3, "file": "grey.png"}]}, hop=0.1).targets
    assert got["mask_known"].nonzero().flatten().tolist() == [3]


def test_captions_hold_from_start_to_end(manifest):
    captions = [{"start": 1, "end": 2, "text": "green"}, {"start": 2, "text": "blue"}]
    assert item(manifest, {"captions": captions}).targets["caption"] == ["", "green", "blue"]
    short = [{"start": 0.6, "end": 0.9, "text": "blink"}]  # holds no middle: stays where its own middle is
    assert item(manifest, {"captions": short}).targets["caption"] == ["blink", "", ""]


def test_events_by_modality(manifest):
    events = [
        {"start": 0, "end": 3, "label": "saw", "modality": "audio"},
        {"start": 1, "end": 2, "label": "saw", "modality": "visual"},
        {"start": 2, "end": 4, "label": "dog"},
    ]
    got = item(manifest, {"events": events, "labels": ["cat"]}).targets
    assert got["audio_segments"].tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 1]]
    assert got["visual_segments"].tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert got["video_labels"].tolist() == [1, 1, 1]
    assert got["events"].tolist() == [[1, 2, 2], [2, 3, 1]]
    quiet = item(manifest, {"events": []}).targets
    assert quiet.keys() == EVENTS
    assert quiet["events"].shape == (0, 3)


def test_boxes(manifest):
    boxes = [{"time": 1, "box": [0, 0, 0.5, 1]}, {"step": 1, "box": [0.5, 0, 1, 1]}, {"step": 0, "box": [0, 0, 1, 1]}]
    got = item(manifest, {"boxes": boxes}).targets["boxes"]
    assert got.shape == (3, 2, 4)
    assert got[1].tolist() == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    assert got[0, 0].tolist() == [0, 0, 1, 1]
    assert got.isnan().all(2).tolist() == [[False, True], [False, False], [True, True]]


def test_the_source_is_what_boxes_cover_else_what_masks_show(manifest):
    masks, boxes = [{"time": 0, "file": "grey.png"}], [{"step": 1, "box": [0, 0, 0.5, 1]}]
    got = item(manifest, {"masks": masks}).targets
    assert np.array_equal(got["source"].numpy(), got["mask"].numpy())
    got = item(manifest, {"masks": masks, "boxes": boxes}).targets["source"]
    side = got.shape[-1]
    assert got[1, :, : side // 2].all()
    assert got.sum() == side * (side // 2)


def test_each_question_is_a_sample_and_a_clip_is_not_repeated(manifest):
    questions = [
        {"question": "Is it red?", "answer": "yes", "type": "Visual Location"},
        {"question": "b", "answer": "no"},
    ]
    data = manifest({"questions": questions, "captions": "a red clip"}, {"id": "b"}, {"id": "c", "captions": "it's"})
    assert len(data) == 5
    assert data.provides == {"answer", "question_type", "caption"}
    assert data.indices(frozenset({"caption"})) == [0, 4]
    asked = data.indices(frozenset({"answer", "question_type", "caption"}))
    items = [data.item(i, frozenset({"answer", "question_type"})) for i in asked]
    assert [x.id for x in items] == ["a#1", "a#2"]
    assert [x.text for x in items] == ["Is it red?", "b"]
    assert [x.targets["question_type"] for x in items] == ["Visual Location", "Other"]
    batch = collate(items, "avqa")
    assert batch.targets["answer"] == ["yes", "no"]
    assert batch.frames.shape == (2, 3, 3, 16, 16)
    assert data.vocabulary == Vocabulary([], ["no", "yes"], ["?", "a", "b", "clip", "is", "it", "it's", "red"])


def test_splits_and_vocabulary_of_the_train_lines(manifest):
    lines = [
        {"id": "t", "split": "train", "events": [{"label": "dog"}]},
        {"id": "v", "split": "val", "events": [{"label": "dgo"}]},
        {"id": "both", "labels": ["cat"]},
    ]
    shared = SplitOptions(allow_shared=True)
    data = manifest(*lines, split="val", splits=shared)
    assert [annotation.id for annotation in data.annotations] == ["v", "both"]
    assert data.vocabulary.classes == ["cat", "dog"]
    with pytest.raises(
        DataError, match=re.escape("line 2, field 'events[0].label': Unknown class 'dgo'. Did you mean 'dog'?")
    ):
        data.item(0)
    data = manifest(*lines, split="val", splits=shared, vocabulary=Vocabulary(["dgo", "cat"]))
    assert data.item(0).targets["video_labels"][0] == 1
    with pytest.raises(DataError, match="no line belongs to split 'test', only to train"):
        manifest(lines[0], split="test")
    with pytest.raises(ValueError, match=r"Unknown split 'valid'\. Did you mean 'val'"):
        manifest(lines[0], split="valid")


def test_silence_only_where_it_is_allowed(manifest):
    with pytest.raises(MediaError, match="no audio track"):
        item(manifest, {"video": "silent.mp4"})
    assert item(manifest, {"video": "silent.mp4"}, silent_ok=True).waveform.abs().max() == 0
    assert item(manifest, {"video": "silent.mp4", "start": 1}, silent_ok=True).waveform.shape == (2 * RATE,)


def test_decoded_clips_are_kept_up_to_a_limit(manifest, monkeypatch):
    from avkit.media import decode

    reads, read_clip = [], decode.read_clip
    monkeypatch.setattr(decode, "read_clip", lambda *a, **k: reads.append(a) or read_clip(*a, **k))
    lines = [{"id": "a"}, {"id": "b", "video": "silent.mp4", "audio": "a.wav"}]
    data = manifest(*lines)
    for i in (0, 1, 0, 1):
        data.item(i)
    assert len(reads) == 2
    one = 3 * 3 * 16 * 16 + 3 * RATE * 4
    data = manifest(*lines, cache_bytes=one + 1)
    for i in (0, 1, 1, 0):
        data.item(i)
    assert len(reads) == 5
    data = manifest(*lines, cache_bytes=1)
    data.item(0)
    assert data.item(0).steps == 3
    assert len(reads) == 7
    assert pickle.dumps(data)  # loader processes get a copy


MASK = {"time": 0, "file": "grey.png"}
ASK = {"question": "q", "answer": "a"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{'id': 'a'}", "line 1: not JSON at column 2"),
        ('{"id": "a",', "line 1: not JSON"),
        ('["a"]', "line 1: ['a'] is not an object in braces; give one clip."),
        ('{"video": "a.mp4"}', "line 1: the key 'id' is missing; give name of the clip"),
        ({"vidio": "x"}, "line 1: Unknown key 'vidio'. Did you mean 'video'?"),
        ({"id": ""}, "field 'id': is empty"),
        ({"id": 3}, "field 'id': 3 is not a string"),
        ({"video": "b.mp4"}, "field 'video': 'b.mp4' does not exist under root '"),
        ({"picture": "a.png"}, "line 1: give either 'video' or 'picture'"),
        ('{"id": "a"}', "line 1: give either 'video' or 'picture'"),
        ('{"id": "a", "picture": "a.png"}', "field 'picture': a picture has no sound; give the sound file as 'audio'"),
        ({"split": "validation"}, "field 'split': Unknown value 'validation'. Known: test, train, val."),
        ({"start": 2, "end": 2}, "field 'end': 2 s is not after the start at 2 s"),
        ({"start": -1}, "field 'start': -1 is not a number at least 0"),
        ({"start": True}, "field 'start': True is not a number"),
        ('{"id": "a", "video": "a.mp4", "start": NaN}', "field 'start': nan is not a number at least 0"),
        ({"masks": []}, "field 'masks': has 0 entries and takes at least 1"),
        ({"masks": [MASK, {"time": 1, "file": "x.png"}]}, "field 'masks[1].file': 'x.png' does not exist under root"),
        ({"masks": [{"file": "grey.png"}]}, "field 'masks[0]': give either 'time' in seconds or 'step'"),
        ({"masks": [MASK | {"step": 1}]}, "field 'masks[0]': give either 'time'"),
        ({"masks": [{"step": 1.5, "file": "grey.png"}]}, "field 'masks[0].step': 1.5 is not a whole number"),
        ({"masks": [MASK, MASK]}, "field 'masks[1].time': 0 is that of masks[0] too"),
        ({"masks": [MASK | {"foreground": "all"}]}, "field 'masks[0].foreground': Unknown value 'all'"),
        ({"masks": [MASK | {"foreground": 9}]}, "field 'masks[0].foreground': 9 is not accepted; give 'nonzero'"),
        ({"masks": [MASK | {"classes": {"45": 3}}]}, "field 'masks[0].classes.45': 3 is not accepted; give name"),
        ({"masks": [MASK | {"classes": {"red": "a"}}]}, "field 'masks[0].classes': 'red' is not accepted"),
        ({"masks": [MASK | {"classes": {}}]}, "field 'masks[0].classes': is empty"),
        ({"masks": [MASK | {"classes": {"9": "a"}, "foreground": [9]}]}, "'masks[0]': give 'classes' or 'foreground'"),
        ({"captions": ""}, "field 'captions': is empty"),
        ({"captions": []}, "field 'captions': has 0 entries"),
        ({"captions": [{"text": " "}]}, "field 'captions[0].text': is empty"),
        ({"captions": [{"start": 1, "end": 1, "text": "a"}]}, "field 'captions[0].end': 1 s is not after the start"),
        (
            {"captions": [{"text": "a", "end": 2}, {"text": "b", "start": 1}]},
            "field 'captions[1].start': 1 s lies within captions[0]",
        ),
        ({"questions": [{"question": "q"}]}, "field 'questions[0]': the key 'answer' is missing; give its answer"),
        ({"questions": [ASK, ASK | {"answer": ""}]}, "field 'questions[1].answer': is empty"),
        ({"questions": [ASK | {"anwser": "b"}]}, "field 'questions[0]': Unknown key 'anwser'. Did you mean 'answer'?"),
        ({"events": [{"label": "a", "modality": "sound"}]}, "field 'events[0].modality': Unknown value 'sound'"),
        ({"boxes": [{"time": 0, "box": [0, 0, 1]}]}, "field 'boxes[0].box': has 3 entries and takes 4"),
        ({"boxes": [{"time": 0, "box": [0, 0, 64, 48]}]}, "field 'boxes[0].box[2]': 64 is not a number from 0 to 1"),
        ({"boxes": [{"time": 0, "box": [1, 0, 0, 1]}]}, "field 'boxes[0].box': [1, 0, 0, 1] has no area"),
    ],
)
def test_faults_of_a_line(manifest, line, message):
    with pytest.raises(DataError, match=re.escape(message)) as caught:
        manifest(line)
    assert "manifest.jsonl, line 1" in str(caught.value)


def test_faults_of_a_file(manifest, tmp_path):
    with pytest.raises(DataError, match=re.escape("line 3, field 'id': 'a' is already the id of line 1")):
        manifest({}, "", {})
    with pytest.raises(DataError, match=r"is empty\. Write one JSON object per line"):
        manifest("")
    with pytest.raises(DataError, match="cannot be read: No such file"):
        Manifest(tmp_path / "none.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "caf\xe9"}')
    with pytest.raises(DataError, match="is not UTF-8 text \\(byte 11\\)"):
        Manifest(tmp_path / "latin.jsonl")
    with pytest.raises(ValueError, match="hop 0"):
        manifest({}, hop=0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"masks": [MASK | {"file": "square.png"}]}, "'square.png' is 64 x 64 pixels and its picture 64 x 48"),
        ({"masks": [MASK | {"file": "broken.png"}]}, "field 'masks[0].file': 'broken.png' cannot be read as a picture"),
        ({"masks": [MASK | {"file": "alpha.png"}]}, "'alpha.png' has half-transparent pixels"),
        ({"masks": [MASK | {"file": "lossy.jpg"}]}, "field 'masks[0].file': 'lossy.jpg' is a JPEG picture"),
        ({"masks": [MASK | {"file": "print.tif"}]}, "field 'masks[0].file': 'print.tif' is a TIFF picture"),
        ({"events": [{"label": "a", "end": 9}]}, "field 'events[0].end': 9 s is after the end of the clip"),
        ({"masks": [MASK | {"classes": {"45": "a"}}]}, "192 pixels have the value 9, which 'classes' does not"),
        ({"masks": [MASK | {"file": "colour.png", "classes": {"45": "a"}}]}, "1536 pixels have the value #408080"),
        ({"masks": [MASK | {"time": 3.1}]}, "field 'masks[0].time': 3.1 is beyond the clip, which lasts 3.0"),
        ({"masks": [{"step": 7, "file": "grey.png"}]}, "field 'masks[0].step': 7 is beyond the clip"),
        ({"captions": [{"start": 4, "text": "a"}]}, "field 'captions[0].start': 4 s is beyond the clip"),
        ({"start": 5}, "field 'start': the file lasts 3.0"),
        ({"end": 60}, "field 'end': the file lasts 3.0"),
    ],
)
def test_faults_found_with_the_media(manifest, line, message):
    with pytest.raises(DataError, match=re.escape(message)):
        item(manifest, line)


def test_fields_that_nothing_gives(manifest):
    data = manifest({"captions": "a"}, {"id": "b", "masks": [MASK]})
    with pytest.raises(DataError, match="no line of split 'train' has 'questions', which gives the field 'answer'"):
        data.indices(frozenset({"answer"}))
    with pytest.raises(DataError, match="no line of split 'train' has 'events' or 'labels', which"):
        data.indices(frozenset({"video_labels"}))
    with pytest.raises(DataError, match=r"gives \['caption', 'mask'\] together"):
        data.indices(frozenset({"caption", "mask"}))
    with pytest.raises(DataError, match="no key that gives the field 'instance_mask'"):
        data.indices(frozenset({"instance_mask"}))
    with pytest.raises(ValueError, match=r"Unknown field 'masks'\. Did you mean 'mask'"):
        data.indices(frozenset({"masks"}))
    with pytest.raises(DataError, match=re.escape("line 1: sample 0 does not give ['boxes']")):
        data.item(0, frozenset({"boxes"}))


def test_masks_of_a_line_without_any_are_unknown(manifest):
    data = manifest({"captions": "a"}, {"id": "b", "masks": [MASK]})
    item = data.item(0, frozenset({"caption", "mask", "mask_known"}))
    assert not item.targets["mask_known"].any()
    assert item.targets["mask"].shape == item.frames[:, 0].shape


def test_unknown_masks_leave_the_source_to_the_boxes(manifest):
    data = manifest({"boxes": [{"step": 0, "box": [0, 0, 1, 1]}]}, {"id": "b", "masks": [MASK]})
    targets = data.item(0, frozenset({"mask", "mask_known", "source"})).targets
    assert targets["source"][0].min() == 1
    assert not targets["mask_known"].any()


def test_class_masks_are_provided_only_if_all_masks_name_classes(manifest):
    named = {"file": MASK["file"], "step": 0, "classes": {"255": "dog"}}
    assert "class_mask" in manifest({"masks": [named]}).provides
    assert "class_mask" not in manifest({"masks": [named]}, {"id": "b", "masks": [MASK]}).provides


def fits(value, schema):
    """The least of a JSON Schema validator, written from the standard and not from the package."""
    kinds = {"string": str, "array": list, "object": dict, "null": type(None), "integer": int, "number": (int, float)}
    if "anyOf" in schema:
        return any(fits(value, part) for part in schema["anyOf"])
    if not isinstance(value, kinds[schema["type"]]) or isinstance(value, bool):
        return False
    if isinstance(value, dict):
        keys, rest = schema.get("properties", {}), schema.get("additionalProperties", {})
        named = (
            all(re.search(schema["propertyNames"]["pattern"], k) for k in value) if "propertyNames" in schema else True
        )
        known = all(fits(v, keys[k]) if k in keys else rest is not False and fits(v, rest) for k, v in value.items())
        return named and known and set(schema.get("required", ())) <= value.keys()
    if isinstance(value, list):
        return len(value) >= schema.get("minItems", 0) and all(fits(v, schema["items"]) for v in value)
    return value in schema.get("enum", [value])


def test_json_schema_takes_the_published_manifest_and_refuses_faults():
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["properties"].keys() == SCHEMA["properties"].keys()
    schema["properties"].clear()  # a copy: the declaration stays as it is
    assert "video" in SCHEMA["properties"]
    lines = [json.loads(row) for row in (ROOT / "benchmarks/real/manifest.jsonl").read_text().splitlines()]
    assert all(fits(line, json_schema()) for line in lines)
    for fault in ({"vidio": "x"}, {"captions": 3}, {"masks": [{"time": 0}]}, {"split": "dev"}):
        assert not fits(lines[0] | fault, json_schema())


def test_every_key_of_the_schema_is_documented():
    text = (ROOT / "docs/manifest.md").read_text()

    def keys(schema):
        for name, part in schema.get("properties", {}).items():
            yield name
            for branch in [part, *part.get("anyOf", [])]:
                yield from keys(branch.get("items", {}))

    assert [name for name in keys(SCHEMA) if f"`{name}`" not in text] == []


def test_examples_of_the_documentation_are_accepted(root, tmp_path):
    rows = re.findall(r"^\{.*\}$", (ROOT / "docs/manifest.md").read_text(), re.MULTILINE)
    assert len(rows) >= 5
    for k, row in enumerate(rows):
        assert fits(json.loads(row), json_schema()), row
        for name in re.findall(r'"([^"]+\.(?:mp4|wav|jpg|png))"', row):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        (tmp_path / "m.jsonl").write_text(row)
        assert len(Manifest(tmp_path / "m.jsonl").annotations) == 1, k


def test_real_clips_read_for_all_fields(real):
    data = Manifest(ROOT / "benchmarks/real/manifest.jsonl", root=real, splits=SplitOptions(allow_shared=True))
    assert len(data.annotations) == 20
    for name in data.provides:
        assert data.indices(frozenset({name}))
    items = {x.id: x for x in (data.item(i) for i in range(len(data)))}
    assert len(items) == 80
    for x in items.values():
        assert x.frames.shape == (x.steps, 3, 96, 96)
        assert x.waveform.shape == (x.steps * RATE,)
        assert x.waveform.abs().max() > 0.05
        assert all(6 <= len(text.split()) <= 14 for text in x.targets["caption"])
    # pixels of the sounding object as counted in the official PNGs, over all pixels
    counts = {
        "s4-mower": (44840, 388800),
        "ms3-man": (204622, 921600),
        "avss-clarinet": (9697, 921600),
        "ref-avs-fire-engine": (39114, 921600),
    }
    for name, (pixels, all_pixels) in counts.items():
        mask, known = items[name].targets["mask"], items[name].targets["mask_known"]
        assert known.sum() == 1
        assert mask[known].float().mean() == pytest.approx(pixels / all_pixels, rel=0.06)
    saw = data.vocabulary.classes.index("chainsaw")  # LLP test: heard 0-10, seen 0-1, 3-6, 9-10
    assert items["llp-chainsaw"].targets["audio_segments"][:, saw].tolist() == [1] * 10
    assert items["llp-chainsaw"].targets["visual_segments"][:, saw].tolist() == [1, 0, 0, 1, 1, 1, 0, 0, 0, 1]
    assert items["unav-speech"].duration == 10


def test_sentences_of_sources_stay_apart_and_are_joined_for_the_caption(tmp_path):
    write_clip(tmp_path / "a.mp4", [k / 10 for k in range(20)], sound=tone(np.arange(2 * RATE))[None], rate=RATE)
    Image.fromarray(np.eye(48, 64, dtype=np.uint8)).save(tmp_path / "a.png")
    mask = {"time": 0.5, "file": "a.png", "classes": {"1": "dog"}}
    captions = [{"text": "a yard"}, {"text": "a dog barks", "source": 1, "start": 1}]
    line = {"id": "a", "video": "a.mp4", "masks": [mask], "captions": captions}

    def read():
        (tmp_path / "m.jsonl").write_text(json.dumps(line))
        return Manifest(tmp_path / "m.jsonl", splits=SplitOptions(allow_shared=True))

    data = read()
    assert [caption.source for caption in data.annotations[0].captions] == [None, 1]
    assert data.item(0).targets["caption"] == ["a yard", "a yard and a dog barks"]
    captions[1]["source"] = 2
    with pytest.raises(DataError, match=r"'captions\[1\]\.source': 2 is no pixel value that 'classes' of a mask name"):
        read()
    captions[1] = {"text": "a dog", "source": 1}
    captions.append({"text": "it barks", "source": 1, "start": 1})
    with pytest.raises(DataError, match="one sentence of a source holds at a time"):
        read()
