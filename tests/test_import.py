# SPDX-License-Identifier: Apache-2.0
"""`avkit import`: annotations of other tools become a manifest that `avkit check` finds no fault in."""

import json

import numpy as np
import pytest
from PIL import Image

from avkit.cli import main
from tests.clips import tone, write_clip, write_wav

SECONDS = 4
SIZE = (48, 64)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Three videos that differ, and a picture with its sound."""
    folder = tmp_path_factory.mktemp("media")
    times = [k / 8 for k in range(SECONDS * 8)]
    for k, name in enumerate(("dog", "saw", "duo")):
        write_clip(folder / f"{name}.mp4", times, 8, sound=tone(SECONDS, 16_000, 300 + 100 * k))
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(folder / "lawn.png")
    write_wav(folder / "lawn.wav", tone(3, 16_000, 700))
    return folder


@pytest.fixture
def convert(media, tmp_path, capsys):
    """Convert files and read the manifest."""

    def run(name, files, *words):
        paths = []
        for file, content in files.items():
            path = tmp_path / "in" / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(content if isinstance(content, str) else json.dumps(content))
            paths.append(str(path))
        out = tmp_path / "out" / "m.jsonl"
        code = main(["import", name, *paths, "-o", str(out), "--media", str(media), *words])
        shown = capsys.readouterr()
        if code:
            assert "Traceback" not in shown.err
            assert shown.err.count("\n") == 1
            return shown.err
        assert not list(out.parent.glob(".*"))
        return [json.loads(line) for line in out.read_text().splitlines()]

    return run


@pytest.fixture
def check(tmp_path, capsys):
    """Faults that `avkit check` finds in the manifest."""

    def run():
        main(["check", "manifest", "--manifest", str(tmp_path / "out" / "m.jsonl"), "--allow-shared", "--json"])
        state = json.loads(capsys.readouterr().out)
        return [(p["what"], p["faults"]) for p in state["problems"] if p["fatal"]]

    return run


def three(entry):
    """The same of each video."""
    return [entry | {"video": f"{name}.mp4"} for name in ("dog", "saw", "duo")]


def test_audacity(convert, check):
    lines = convert(
        "audacity",
        {"dog.txt": "0.5\t1.25\tbark\n\\\t100.0\t900.0\n2\t3\thowl\n", "saw.txt": "1\t2\tsaw\n", "duo.txt": "\n"},
    )
    assert lines[0]["events"] == [
        {"start": 0.5, "end": 1.25, "label": "bark", "modality": "audio"},
        {"start": 2, "end": 3, "label": "howl", "modality": "audio"},
    ]
    assert [line["id"] for line in lines] == ["dog", "saw", "duo"]
    assert lines[2]["events"] == []
    assert check() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\t1\tbark\n", "dog.txt, line 1, field 'end': 1 s is not after the start at 2 s."),
        ("0\t1\tbark\n1,5\t2\tbark\n", "dog.txt, line 2, field 'start': '1,5' is no time"),
        ("0 1 bark\n", "dog.txt, line 1: '0 1 bark' has 1 fields"),
        ("0\t1\t\n", "dog.txt, line 1, field 'label': is empty"),
        ("0\t9\tbark\n", "field 'events[0].end': 9.0 s is after the end of the clip, which lasts 4.00 s"),
        ("5.5\t6\tbark\n6\t7\tbark\n", "events[0].start': 5.5 s is beyond the clip, which lasts 4.00 s"),
    ],
)
def test_faults_of_audacity(convert, tmp_path, text, message):
    assert message in convert("audacity", {"dog.txt": text})
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_missing_media_are_counted(convert):
    error = convert("audacity", {"dog.txt": "0\t1\ta\n", "cat.txt": "0\t1\ta\n", "owl.txt": "0\t1\ta\n"})
    assert "2 of 3 media files are not under" in error
    assert "'cat', 'owl'. Name their folder with --media" in error


def test_an_existing_manifest_is_kept(convert, tmp_path):
    convert("audacity", {"dog.txt": "0\t1\ta\n"})
    before = (tmp_path / "out" / "m.jsonl").read_bytes()
    assert "m.jsonl exists. Choose another name with -o, or pass --overwrite." in convert("audacity", {"saw.txt": ""})
    assert (tmp_path / "out" / "m.jsonl").read_bytes() == before
    assert convert("audacity", {"saw.txt": ""}, "--overwrite")[0]["id"] == "saw"


def test_csv(convert, check):
    text = (
        "video,start,end,class,modality,caption,question,answer,split,note\n"
        'dog.mp4,0,1.5,bark,audio,,,,train,"x, y"\n'
        "dog.mp4,,,,,a dog barks,,,train,\n"
        "saw.mp4,,,bark,,,how many,one,val,\n"
        "duo.mp4,00:00:01,00:00:03,bark,,,,,test,\n"
    )
    lines = convert("csv", {"a.csv": text}, "--columns", "label=class", "--skip", "note")
    assert lines[0] == {
        "id": "dog",
        "video": lines[0]["video"],
        "split": "train",
        "events": [{"start": 0, "end": 1.5, "label": "bark", "modality": "audio"}],
        "captions": [{"text": "a dog barks"}],
    }
    assert lines[1]["labels"] == ["bark"]
    assert lines[1]["questions"] == [{"question": "how many", "answer": "one"}]
    assert lines[2]["events"] == [{"start": 1, "end": 3, "label": "bark", "modality": "both"}]
    assert check() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,strat,end,label\ndog,0,1,a\n", "a.csv, line 1: Unknown column 'strat'. Did you mean 'start'?"),
        ("video,start,end,label\ndog,2,1,a\n", "a.csv, line 2, field 'end': 1 s is not after the start at 2 s"),
        ("video,start,end,label\ndog,0,1\n", "a.csv, line 2: 3 cells where the first row has 4"),
        ("video,start,end,label\ndog,0,,a\n", "a.csv, line 2, field 'end': is empty"),
        ("video,start,end,label,modality\ndog,0,1,a,sound\n", "events[0].modality': Unknown value 'sound'"),
        ("video,label,split\ndog,a,train\ndog,b,val\n", "a.csv, line 3, field 'split': 'val' where"),
        ("start,end,label\n0,1,a\n", "there is no column 'video' or 'id'"),
        ("", "there is no column 'video' or 'id'"),
    ],
)
def test_faults_of_csv(convert, text, message):
    assert message in convert("csv", {"a.csv": text})


def coco(annotations, **image):
    return {
        "images": [{"id": 1, "file_name": "lawn.png", "height": 48, "width": 64} | image],
        "categories": [{"id": 7, "name": "mower"}, {"id": 9, "name": "man"}],
        "annotations": [{"image_id": 1, "category_id": 7} | annotation for annotation in annotations],
    }


def encode(mask):
    """COCO's compressed text of a mask, number by number as its description has it."""
    pixels = mask.T.ravel().astype(int)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], pixels])))
    counts = np.diff(np.concatenate([[0], edges, [pixels.size]])).tolist()
    text = ""
    for k, count in enumerate(counts):
        value = count - counts[k - 2] if k > 2 else count
        more = True
        while more:
            code = value & 31
            value >>= 5
            more = value != (-1 if code & 16 else 0)
            text += chr((code | 32 if more else code) + 48)
    return text, counts


def read_mask(tmp_path, entry):
    return np.array(Image.open(tmp_path / "out" / entry["file"]))


def test_coco_masks_are_those_of_the_file(convert, check, tmp_path):
    blob = np.random.default_rng(0).random(SIZE) > 0.4
    text, counts = encode(blob)
    square = [[8, 4, 24, 4, 24, 20, 8, 20]]
    for segmentation in ({"size": list(SIZE), "counts": text}, {"size": list(SIZE), "counts": counts}):
        lines = convert("coco", {"a.json": coco([{"segmentation": segmentation}])}, "--overwrite")
        assert (read_mask(tmp_path, lines[0]["masks"][0]) == blob).all()
    annotations = [{"segmentation": square, "bbox": [8, 4, 16, 16]}, {"category_id": 9, "bbox": [32, 24, 16, 24]}]
    lines = convert("coco", {"a.json": coco(annotations)}, "--overwrite", "--box_only", "background")
    assert lines[0]["picture"].endswith("lawn.png")
    assert lines[0]["audio"].endswith("lawn.wav")
    assert lines[0]["boxes"] == [
        {"time": 0, "box": [0.125, 0.083333, 0.375, 0.416667]},
        {"time": 0, "box": [0.5, 0.5, 0.75, 1.0]},
    ]
    mask = read_mask(tmp_path, lines[0]["masks"][0])
    assert lines[0]["masks"][0]["classes"] == {"1": "mower"}
    assert mask[4:20, 8:24].all()
    assert mask.sum() <= 17 * 17
    assert check() == []


def test_coco_frames_of_a_video(convert, check, tmp_path):
    content = coco([])
    content["images"] = []
    content["annotations"] = []
    for name in ("dog", "saw", "duo"):
        for number in (1, 2, 3, 12):
            key = len(content["images"])
            file = f"{name}/frame_{number:05d}.jpg"
            content["images"].append({"id": key, "file_name": file, "height": 48, "width": 64})
            square = [[8, 8, 32, 8, 32, 32, 8, 32]]
            content["annotations"].append({"image_id": key, "category_id": 9, "segmentation": square})
    assert "say with --fps how many" in convert("coco", {"a.json": content})
    lines = convert("coco", {"a.json": content}, "--fps", "4", "--first_frame", "1")
    assert [line["id"] for line in lines] == ["dog", "saw", "duo"]
    assert [mask["time"] for mask in lines[0]["masks"]] == [0.5, 2.75]
    assert check() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a.json: [] is no object in braces"),
        ({"images": []}, "field 'categories': is missing"),
        (coco([{"image_id": 5, "bbox": [0, 0, 9, 9]}]), "annotations[0], field 'image_id': 5 is the id of no image"),
        (coco([{"category_id": 5, "bbox": [0, 0, 9, 9]}]), "field 'category_id': 5 is no category"),
        (coco([{"bbox": [0, 0, 900, 9]}]), "the box 0, 0, 900, 9 of 'mower' leaves its picture of 64 x 48 pixels"),
        (coco([{"bbox": [0, 0, 9]}]), "field 'bbox': [0, 0, 9] is not x, y, width, height"),
        (coco([{"segmentation": [[0, 1, 2]]}]), "has 3 numbers; give x, y of three corners or more"),
        (coco([{"segmentation": {"size": [9, 9], "counts": [81]}}]), "the mask is 9 x 9 pixels and its image 64 x 48"),
        (coco([{"segmentation": {"size": [48, 64], "counts": [81]}}]), "has runs of 81 pixels where its picture has"),
        (coco([{"segmentation": {"size": [48, 64], "counts": "~~"}}]), "is no compressed run-length code"),
        (coco([{"bbox": [0, 0, 9, 9]}], width=48), "and lawn.png has 64 x 48"),
        (coco([{}]), "has neither segmentation nor bbox"),
    ],
)
def test_faults_of_coco(convert, tmp_path, content, message):
    assert message in convert("coco", {"a.json": content})
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def eaf(tier='<ALIGNABLE_ANNOTATION TIME_SLOT_REF1="a" TIME_SLOT_REF2="b">', name="dog.mp4", slots="", more=""):
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">'
        f'<MEDIA_DESCRIPTOR MEDIA_URL="file:///C:/clips/{name}" MIME_TYPE="video/mp4"/></HEADER>'
        '<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="m"/>'
        f'<TIME_SLOT TIME_SLOT_ID="b" TIME_VALUE="1500"/>{slots}</TIME_ORDER>'
        f'<TIER TIER_ID="audio"><ANNOTATION>{tier}<ANNOTATION_VALUE>bark</ANNOTATION_VALUE>'
        f"</ALIGNABLE_ANNOTATION></ANNOTATION></TIER>{more}</ANNOTATION_DOCUMENT>"
    )


def test_elan(convert, check):
    parts = [("a", "m", "first"), ("m", "b", "then")]
    inner = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{end}"><ANNOTATION_VALUE>{text}'
        "</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
        for start, end, text in parts
    )
    notes = f'<TIER TIER_ID="notes">{inner}</TIER>'
    files = {f"{name}.eaf": eaf(name=f"{name}.mp4", more=notes) for name in ("dog", "saw", "duo")}
    lines = convert("elan", files, "--captions", "notes")
    assert lines[0]["events"] == [{"start": 0.5, "end": 1.5, "label": "bark", "modality": "audio"}]
    assert lines[0]["captions"] == [
        {"start": 0.5, "end": 1.0, "text": "first"},
        {"start": 1.0, "end": 1.5, "text": "then"},
    ]
    assert check() == []


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        (eaf(tier='<ALIGNABLE_ANNOTATION TIME_SLOT_REF1="b" TIME_SLOT_REF2="a">'), (), "0.5 s is not after the start"),
        (eaf(tier='<ALIGNABLE_ANNOTATION TIME_SLOT_REF1="a" TIME_SLOT_REF2="x">'), (), "'x' is no time slot"),
        (eaf(tier='<ALIGNABLE_ANNOTATION TIME_SLOT_REF1="a" TIME_SLOT_REF2="m">'), (), "has no time"),
        (eaf(), ("--captions", "nots"), "there is no tier 'nots'; there are: audio"),
        (eaf(name="cat.mp4"), (), "1 of 1 media files are not under"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><ANNOTATION_DOCUMENT/>", (), "declares '<!DOCTYPE' in line 1"),
        ("<ANNOTATION_DOCUMENT>", (), "is no whole XML"),
        ("<annotations/>", (), "has the outermost element 'annotations'"),
        ("<ANNOTATION_DOCUMENT>" + 200 * "<a>" + 200 * "</a>" + "</ANNOTATION_DOCUMENT>", (), "nested more than"),
        (eaf().replace("500", "x"), (), "'x' is no whole number of milliseconds"),
    ],
)
def test_faults_of_elan(convert, text, words, message):
    assert message in convert("elan", {"dog.eaf": text}, *words)


def cvat_track(name="dog", frames=None):
    boxes = frames or (
        '<box frame="0" keyframe="1" outside="0" xtl="0" ytl="0" xbr="16" ybr="24"/>'
        '<box frame="16" keyframe="1" outside="0" xtl="32" ytl="0" xbr="48" ybr="24"/>'
        '<box frame="24" keyframe="1" outside="1" xtl="32" ytl="0" xbr="48" ybr="24"/>'
    )
    return (
        "<annotations><version>1.1</version><meta><task><id>3</id><original_size><width>64</width>"
        f"<height>48</height></original_size><source>{name}.mp4</source></task></meta>"
        f'<track id="0" label="dog">{boxes}</track></annotations>'
    )


def test_cvat_tracks(convert, check):
    lines = convert("cvat", {f"{name}.xml": cvat_track(name) for name in ("dog", "saw", "duo")})
    assert [entry["time"] for entry in lines[0]["boxes"]] == [0.5, 1.5, 2.5]
    assert lines[0]["boxes"][0]["box"] == [0.125, 0, 0.375, 0.5]
    assert lines[0]["boxes"][2]["box"] == [0.5, 0, 0.75, 0.5]
    assert check() == []


def cvat_image(shape, width=64, name="lawn.png"):
    head = f'<image id="0" name="{name}" width="{width}" height="48">'
    return f"<annotations><meta/>{head}{shape}</image></annotations>"


def test_cvat_images(convert, check, tmp_path):
    shapes = (
        '<mask label="mower" rle="1, 2, 3" left="10" top="5" width="3" height="2" z_order="1"/>'
        '<polygon label="lawn" points="0,24;64,24;64,48;0,48" z_order="0"/><tag label="garden"/>'
    )
    lines = convert("cvat", {"a.xml": cvat_image(shapes)})
    mask = read_mask(tmp_path, lines[0]["masks"][0])
    assert lines[0]["masks"][0]["classes"] == {"1": "lawn", "2": "mower"}
    assert mask[5, 10:13].tolist() == [0, 2, 2]
    assert not mask[6, 10:13].any()
    assert (mask[24:] == 1).all()
    assert lines[0]["labels"] == ["garden"]
    assert check() == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (cvat_image('<ellipse label="a" cx="1" cy="1" rx="1" ry="1"/>'), "a ellipse is not read"),
        (cvat_image('<box label="a" xtl="0" ytl="0" xbr="x" ybr="9"/>'), "field 'xbr': 'x' is no number"),
        (cvat_image('<box label="a" xtl="9" ytl="0" xbr="3" ybr="9"/>'), "the box 9, 0, 3, 9 of 'a' has no area"),
        (cvat_image('<polygon label="a" points="0,0;5,0;5,5"/>', width=48), "and lawn.png has 64 x 48"),
        (cvat_image('<mask label="a" rle="1, 2" left="0" top="0" width="2" height="2"/>'), "has runs of 3 pixels"),
        (cvat_image('<mask label="a" rle="4" left="63" top="0" width="2" height="2"/>'), "leaves its picture"),
        ("<!ENTITY a><annotations/>", "declares '<!ENTITY'"),
        ("<annotations><meta/></annotations>", "has no annotation that can be taken"),
    ],
)
def test_faults_of_cvat(convert, text, message):
    assert message in convert("cvat", {"a.xml": text})


def studio(results, **data):
    data = data or {"video": "/data/upload/1/0123abcd-dog.mp4"}
    return [{"id": 1, "data": data, "annotations": [{"result": results}]}]


def result(kind, value, **more):
    return {"type": kind, "from_name": kind, "to_name": "x", "value": value} | more


def test_label_studio(convert, check, tmp_path):
    sequence = [
        {"frame": 1, "x": 0, "y": 0, "width": 50, "height": 50, "rotation": 0, "enabled": True},
        {"frame": 17, "x": 50, "y": 0, "width": 50, "height": 50, "rotation": 0, "enabled": False},
    ]
    results = [
        result("labels", {"start": 0.5, "end": 2, "channel": 0, "labels": ["bark"]}),
        result("timelinelabels", {"ranges": [{"start": 1, "end": 8}], "timelinelabels": ["bark"]}),
        result("videorectangle", {"framesCount": 32, "duration": 4, "sequence": sequence, "labels": ["bark"]}),
        result("choices", {"choices": ["bark"]}),
        result("textarea", {"text": ["a dog barks"]}),
    ]
    lines = convert("label-studio", {"a.json": studio(results)}, "--captions", "textarea")
    assert lines[0]["id"] == "dog"
    assert lines[0]["events"] == [
        {"start": 0.5, "end": 2, "label": "bark", "modality": "audio"},
        {"start": 0, "end": 1, "label": "bark", "modality": "both"},
    ]
    assert [entry["time"] for entry in lines[0]["boxes"]] == [0.5, 1.5]
    assert lines[0]["boxes"][1]["box"] == [0.375, 0, 0.875, 0.5]
    assert lines[0]["labels"] == ["bark"]
    assert lines[0]["captions"] == [{"text": "a dog barks"}]
    assert check() == []
    points = [[0, 50], [100, 50], [100, 100], [0, 100]]
    area = result("polygonlabels", {"points": points, "polygonlabels": ["lawn"]}, original_width=64, original_height=48)
    lines = convert("label-studio", {"a.json": studio([area], image="lawn.png")}, "--overwrite")
    assert read_mask(tmp_path, lines[0]["masks"][0])[24:].all()
    assert check() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds dict instead of a list of records"),
        (studio([result("labels", {"start": 2, "end": 1, "labels": ["a"]})]), "1 s is not after the start at 2 s"),
        (studio([result("labels", {"start": 0, "end": 9, "labels": ["a"]})]), "9.0 s is after the end of the clip"),
        (studio([result("labels", {"start": 0, "labels": ["a"]})]), "field 'end': is missing"),
        (studio([result("labels", {"start": 0, "end": 1, "labels": []})]), "[] is not the name of one class"),
        (studio([result("keypointlabels", {"x": 1})]), "'keypointlabels' is not read. Leave it out with --skip"),
        (studio([result("textarea", {"text": ["a"]})]), "Say so with --captions textarea"),
        (studio([result("labels", None)]), "field 'value': None is no object"),
        (studio([], video="cat.mp4"), "1 of 1 media files are not under"),
    ],
)
def test_faults_of_label_studio(convert, content, message):
    assert message in convert("label-studio", {"a.json": content})


def via_video(*entries):
    return {
        "project": {"pid": "x"},
        "attribute": {"1": {"aname": "sound", "options": {"0": "bark", "1": "saw"}}},
        "file": {"1": {"fid": "1", "fname": "dog.mp4", "type": 4}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": {f"1_{k}": {"vid": "1", "flg": 0} | entry for k, entry in enumerate(entries)},
    }


def via_picture(shape, **attributes):
    region = {"shape_attributes": shape, "region_attributes": attributes or {"name": "mower"}}
    entry = {"filename": "lawn.png", "size": 9, "regions": [region], "file_attributes": {}}
    return {"_via_settings": {}, "_via_img_metadata": {"lawn.png9": entry}}


def test_via(convert, check, tmp_path):
    content = via_video(
        {"z": [0.5, 2], "xy": [], "av": {"1": "0"}}, {"z": [1], "xy": [2, 16, 12, 16, 24], "av": {"1": "0"}}
    )
    lines = convert("via", {"a.json": content})
    assert lines[0]["events"] == [{"start": 0.5, "end": 2, "label": "bark", "modality": "both"}]
    assert lines[0]["boxes"] == [{"time": 1, "box": [0.25, 0.25, 0.5, 0.75]}]
    assert check() == []
    shape = {"name": "polygon", "all_points_x": [0, 64, 64, 0], "all_points_y": [24, 24, 48, 48]}
    lines = convert("via", {"a.json": via_picture(shape)}, "--overwrite")
    assert read_mask(tmp_path, lines[0]["masks"][0])[24:].all()
    assert check() == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (via_video({"z": [2, 1], "xy": [], "av": {"1": "0"}}), "1 s is not after the start at 2 s"),
        (via_video({"z": [0, 9], "xy": [], "av": {"1": "0"}}), "9.0 s is after the end of the clip"),
        (via_video({"z": [0], "xy": [3, 5, 5, 5], "av": {"1": "0"}}), "a circle is not read"),
        (via_video({"z": [0, 1], "xy": [], "av": {}}), "which attribute names the class?"),
        (via_video({"z": [0, 1], "xy": [], "av": {"7": "0"}}), "field '7': None is no object"),
        (via_picture({"name": "rect", "x": 0, "y": 0, "width": 99, "height": 9}), "leaves its picture of 64 x 48"),
        (via_picture({"name": "rect", "x": 0, "y": 0, "width": 9, "height": 9}, a="x", b="y"), "there are: a, b"),
    ],
)
def test_faults_of_via(convert, content, message):
    assert message in convert("via", {"a.json": content})


def test_an_imported_manifest_trains(convert, tmp_path):
    files = {f"{name}.txt": "0\t2\tbark\n2\t3.5\tsaw\n" for name in ("dog", "saw", "duo")}
    convert("audacity", files, "--modality", "both")
    words = ["--data.dataset", "manifest", "--data.manifest", str(tmp_path / "out" / "m.jsonl"), "--tasks", "ave"]
    words += ["--data.splits.allow_shared", "true", "--data.image_size", "32", "--data.loader.workers", "0"]
    words += ["--trainer.max_epochs", "1", "--data.steps_per_epoch", "3", "--out", str(tmp_path / "run")]
    assert main(["fit", *words]) == 0
