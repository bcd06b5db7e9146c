# SPDX-License-Identifier: Apache-2.0
"""`avkit import` of files in the exact form in which the tools export them, beside what each means."""

import json
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from avkit.cli import main
from avkit.datasets.converters.run_lengths import decode_packed, encode_runs
from avkit.errors import DataError
from tests.clips import tone, write_clip, write_wav

SECONDS = 4
SIZE = (48, 64)


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A video of 64 x 48 pixels at 8 frames per second, and a picture with its sound."""
    folder = tmp_path_factory.mktemp("media")
    times = [k / 8 for k in range(SECONDS * 8)]
    write_clip(folder / "dog.mp4", times, 8, sound=tone(SECONDS, 16_000, 300))
    Image.fromarray(np.full((*SIZE, 3), 90, np.uint8)).save(folder / "lawn.png")
    write_wav(folder / "lawn.wav", tone(3, 16_000, 700))
    return folder


@pytest.fixture
def convert(media, tmp_path, capsys):
    """Convert one file and read the manifest, or the error."""

    def run(name, file, content, *words):
        path = tmp_path / file
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        out = tmp_path / "out" / "m.jsonl"
        code = main(["import", name, str(path), "-o", str(out), "--media", str(media), "--overwrite", *words])
        shown = capsys.readouterr()
        if code:
            assert shown.err.count("\n") == 1
            return shown.err
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(lines) == 1
        for mask in lines[0].get("masks", ()):
            mask["pixels"] = np.array(Image.open(out.parent / mask["file"]))
        return lines[0]

    return run


CVAT_META = """<?xml version="1.0" encoding="utf-8"?>
<annotations>
  <version>1.1</version>
  <meta>
    <task>
      <id>812</id><name>barks</name><size>32</size><mode>{mode}</mode><overlap>5</overlap><bugtracker></bugtracker>
      <created>2024-03-02 09:11:27.118272+00:00</created><updated>2024-03-02 09:30:02.401113+00:00</updated>
      <subset>default</subset><start_frame>0</start_frame><stop_frame>31</stop_frame><frame_filter></frame_filter>
      <segments><segment><id>640</id><start>0</start><stop>31</stop><url>https://app.cvat.ai/api/jobs/640</url></segment>
      </segments>
      <owner><username>kay</username><email>kay@example.org</email></owner><assignee></assignee>
      <labels>
        <label><name>dog</name><color>#33ddff</color><type>any</type><attributes></attributes></label>
        <label><name>mower</name><color>#fa3253</color><type>any</type><attributes></attributes></label>
      </labels>
      {size}
    </task>
    <dumped>2024-03-02 09:31:10.883427+00:00</dumped>
  </meta>
"""


def cvat_video():
    meta = CVAT_META.format(
        mode="interpolation",
        size="<original_size><width>64</width><height>48</height></original_size><source>dog.mp4</source>",
    )
    box = (
        '<box frame="{frame}" keyframe="{key}" outside="{outside}" occluded="0" xtl="{x}.00" ytl="0.00" '
        'xbr="{right}.00" ybr="24.00" z_order="0"><attribute name="loud">yes</attribute></box>'
    )
    rows = [(frame, int(frame in (0, 16)), 0, 2 * frame) for frame in range(17)]  # what lies between is exported too
    rows.append((17, 1, 1, 32))
    boxes = [box.format(frame=f, key=k, outside=o, x=x, right=x + 16) for f, k, o, x in rows]
    mask = (
        '<mask frame="28" keyframe="1" outside="0" occluded="0" rle="0, 4, 4, 4" left="8" top="4" width="4" height="3" '
        'z_order="0"></mask><mask frame="31" keyframe="1" outside="1" occluded="0" rle="0, 12" left="8" top="4" '
        'width="4" height="3" z_order="0"></mask>'
    )
    tracks = f'<track id="0" label="dog" source="manual">{"".join(boxes)}</track>'
    return f'{meta}{tracks}<track id="1" label="mower" source="manual">{mask}</track></annotations>'


def test_cvat_for_video(convert):
    line = convert("cvat", "annotations.xml", cvat_video())
    assert [entry["time"] for entry in line["boxes"]] == [0.5, 1.5]
    assert line["boxes"][1]["box"] == [0.375, 0, 0.625, 0.5]
    assert [mask["time"] for mask in line["masks"]] == [3.5]
    assert line["masks"][0]["pixels"][4:7, 8:12].tolist() == [[1] * 4, [0] * 4, [1] * 4]


CVAT_BOX = (
    '<box label="dog" source="manual" occluded="0" xtl="32.00" ytl="24.00" xbr="48.00" ybr="48.00" z_order="0"></box>'
)
CVAT_POLYGON = '<polygon label="mower" source="manual" occluded="0" points="0,0;16,0;16,16;0,16" z_order="0"></polygon>'


def cvat_images(*shapes):
    meta = CVAT_META.format(mode="annotation", size="")
    return f'{meta}<image id="0" name="lawn.png" width="64" height="48">{"".join(shapes)}</image></annotations>'


def test_cvat_for_images(convert):
    tag = '<tag label="dog" source="manual"></tag>'
    line = convert("cvat", "annotations.xml", cvat_images(CVAT_POLYGON, tag))
    assert line["labels"] == ["dog"]
    assert line["masks"][0]["pixels"][:16, :16].all()


COCO = {
    "info": {"description": "", "url": "", "version": "1.0", "year": 2024, "contributor": "", "date_created": ""},
    "licenses": [{"id": 0, "name": "", "url": ""}],
    "images": [
        {"id": 1, "width": 64, "height": 48, "file_name": "lawn.png", "license": 0, "flickr_url": "", "coco_url": ""}
    ],
    "categories": [{"id": 1, "name": "mower", "supercategory": ""}, {"id": 2, "name": "dog", "supercategory": ""}],
}


def coco(*annotations):
    rest = {"image_id": 1, "area": 256.0, "iscrowd": 0}
    return COCO | {"annotations": [{"id": k + 1} | rest | entry for k, entry in enumerate(annotations)]}


COCO_SQUARE = {"category_id": 1, "segmentation": [[0, 0, 16, 0, 16, 16, 0, 16]], "bbox": [0, 0, 16, 16]}
#: Columns 2 and 3 of rows 4 to 9, as pycocotools' `encode` gives them and as crowds have them.
COMPRESSED = "T36Z10li2"
UNCOMPRESSED = [100, 6, 42, 6, 2918]


def test_coco_run_lengths_compressed_and_not(convert):
    for counts in (COMPRESSED, UNCOMPRESSED):
        entry = {"category_id": 2, "segmentation": {"counts": counts, "size": list(SIZE)}, "bbox": [2, 4, 2, 6]}
        pixels = convert("coco", "instances_default.json", coco(entry | {"iscrowd": 1}))["masks"][0]["pixels"]
        assert pixels[4:10, 2:4].all()
        assert pixels.sum() == 12


def test_coco_of_videos(convert):
    """YouTube-VIS: frames by name, every fifth of the video, null where the object is not."""
    run = {"counts": UNCOMPRESSED, "size": list(SIZE)}
    content = {
        "info": {},
        "licenses": [],
        "videos": [
            {"id": 1, "width": 64, "height": 48, "length": 3, "date_captured": "", "license": 1, "flickr_url": "",
             "file_names": ["dog/00000.jpg", "dog/00005.jpg", "dog/00010.jpg"], "coco_url": ""},
        ],
        "categories": [{"id": 2, "name": "dog", "supercategory": "object"}],
        "annotations": [
            {"id": 1, "video_id": 1, "category_id": 2, "iscrowd": 0, "width": 64, "height": 48, "length": 1,
             "segmentations": [None, run, None], "bboxes": [None, [2.0, 4.0, 2.0, 6.0], None],
             "areas": [None, 12, None]},
        ],
    }  # fmt: skip
    line = convert("coco", "instances.json", content, "--fps", "8")
    assert line["id"] == "dog"
    assert [entry["time"] for entry in line["masks"] + line["boxes"]] == [0.625, 0.625]
    assert line["masks"][0]["pixels"].sum() == 12
    content["annotations"][0]["segmentations"].append(None)
    error = convert("coco", "instances.json", content, "--fps", "8")
    assert "annotations[0], field 'segmentations': has 4 entries, and the video has 3 file_names" in error


VIA2_HEAD = {
    "_via_settings": {"ui": {"annotation_editor_height": 25}, "core": {"buffer_size": 18, "default_filepath": ""}},
    "_via_attributes": {"region": {"name": {"type": "text", "description": "", "default_value": ""}}, "file": {}},
    "_via_data_format_version": "2.0.10",
    "_via_image_id_list": ["lawn.png218"],
}
VIA2_POLYGON = {"name": "polygon", "all_points_x": [0, 16, 16, 0], "all_points_y": [0, 0, 16, 16]}
VIA2_RECT = {"name": "rect", "x": 32, "y": 24, "width": 16, "height": 24}


def via2(*shapes):
    regions = [
        {"shape_attributes": shape, "region_attributes": {"name": "dog" if shape["name"] == "rect" else "mower"}}
        for shape in shapes
    ]
    entry = {"filename": "lawn.png", "size": 218, "regions": regions, "file_attributes": {}}
    return VIA2_HEAD | {"_via_img_metadata": {"lawn.png218": entry}}


def test_via_2(convert):
    assert convert("via", "via_project.json", via2(VIA2_POLYGON))["masks"][0]["pixels"][:16, :16].all()
    boxes = convert("via", "via_project.json", via2(VIA2_RECT))["boxes"]
    assert boxes == [{"time": 0, "box": [0.5, 0.5, 0.75, 1.0]}]


def test_via_3(convert):
    content = {
        "project": {"pid": "__VIA_PROJECT_ID__", "rev": "__VIA_PROJECT_REV_ID__", "pname": "barks", "creator": "VIA",
                    "rev_timestamp": "__VIA_PROJECT_REV_TIMESTAMP__", "created": 1709370687000, "vid_list": ["1"]},
        "config": {"file": {"loc_prefix": {"1": "", "2": "", "3": "", "4": ""}}, "ui": {}},
        "attribute": {
            "1": {"aname": "sound", "anchor_id": "FILE1_Z2_XY0", "type": 4, "desc": "", "options": {"0": "bark"},
                  "default_option_id": ""},
            "2": {"aname": "object", "anchor_id": "FILE1_Z1_XY1", "type": 1, "desc": "", "options": {},
                  "default_option_id": ""},
        },
        "file": {"1": {"fid": "1", "fname": "dog.mp4", "type": 4, "loc": 1, "src": ""}},
        "metadata": {
            "1_WBAr2Ih3": {"vid": "1", "flg": 0, "z": [0.5, 1.75], "xy": [], "av": {"1": "0"}},
            "1_HC3aXuTy": {"vid": "1", "flg": 0, "z": [2.5], "xy": [2, 16, 12, 16, 24], "av": {"2": "dog"}},
            "1_pY7d0qLk": {"vid": "1", "flg": 0, "z": [3.5], "xy": [7, 0, 0, 16, 0, 16, 16, 0, 16], "av": {"2": "dog"}},
        },
        "view": {"1": {"fid_list": ["1"]}},
    }  # fmt: skip
    line = convert("via", "via_project.json", content)
    assert line["events"] == [{"start": 0.5, "end": 1.75, "label": "bark", "modality": "both"}]
    assert line["boxes"] == [{"time": 2.5, "box": [0.25, 0.25, 0.5, 0.75]}]
    assert line["masks"][0]["pixels"][:16, :16].all()


def test_audacity_with_spectral_lines(convert):
    text = (
        "0.500000\t1.250000\tbark\n\\\t310.271545\t4033.529785\n2.000000\t3.000000\thowl\n\\\t-1.000000\t900.000000\n"
    )
    line = convert("audacity", "dog.txt", text)
    assert [(event["start"], event["end"], event["label"]) for event in line["events"]] == [
        (0.5, 1.25, "bark"),
        (2, 3, "howl"),
    ]


def eaf(previous='PREVIOUS_ANNOTATION="a5"', refers="a2"):
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2024-03-02T10:11:27+01:00" FORMAT="3.0" VERSION="3.0"
    xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
    xsi:noNamespaceSchemaLocation="http://www.mpi.nl/tools/elan/EAFv3.0.xsd">
  <LICENSE LICENSE_URL=""/>
  <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">
    <MEDIA_DESCRIPTOR MEDIA_URL="file:///Users/kay/clips/dog.mp4" MIME_TYPE="video/mp4" RELATIVE_MEDIA_URL="./dog.mp4"/>
    <PROPERTY NAME="URN">urn:nl-mpi-tools-elan-eaf:1d0d6d2c</PROPERTY><PROPERTY NAME="lastUsedAnnotationId">6</PROPERTY>
  </HEADER>
  <TIME_ORDER>
    <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="1500"/>
    <TIME_SLOT TIME_SLOT_ID="ts3" TIME_VALUE="2000"/><TIME_SLOT TIME_SLOT_ID="ts4" TIME_VALUE="3000"/>
  </TIME_ORDER>
  <TIER LINGUISTIC_TYPE_REF="note" PARENT_REF="audio" TIER_ID="description">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1"><ANNOTATION_VALUE>a dog</ANNOTATION_VALUE>
      </REF_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="default-lt" TIER_ID="audio">
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
      <ANNOTATION_VALUE>bark</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
    <ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a2" TIME_SLOT_REF1="ts3" TIME_SLOT_REF2="ts4">
      <ANNOTATION_VALUE>howl</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
  </TIER>
  <TIER LINGUISTIC_TYPE_REF="part" PARENT_REF="audio" TIER_ID="parts">
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="{refers}"><ANNOTATION_VALUE>up</ANNOTATION_VALUE>
      </REF_ANNOTATION></ANNOTATION>
    <ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a6" ANNOTATION_REF="{refers}" {previous}>
      <ANNOTATION_VALUE>down</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
  </TIER>
  <LINGUISTIC_TYPE GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="default-lt" TIME_ALIGNABLE="true"/>
  <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Association" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="note"
    TIME_ALIGNABLE="false"/>
  <LINGUISTIC_TYPE CONSTRAINTS="Symbolic_Subdivision" GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="part"
    TIME_ALIGNABLE="false"/>
</ANNOTATION_DOCUMENT>
"""


def test_elan_tiers_that_refer_to_others(convert):
    line = convert("elan", "dog.eaf", eaf(), "--captions", "description,parts")
    assert [event["label"] for event in line["events"]] == ["bark", "howl"]
    assert line["captions"] == [
        {"start": 0.5, "end": 1.5, "text": "a dog"},
        {"start": 2, "end": 2.5, "text": "up"},
        {"start": 2.5, "end": 3, "text": "down"},
    ]
    line = convert("elan", "dog.eaf", eaf(), "--captions", "parts", "--skip", "audio,description")
    assert "events" not in line, "the tier that others refer to may be left out itself"
    assert len(line["captions"]) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (eaf(refers="a9"), "tier 'parts', field 'ANNOTATION_REF': 'a9' is no annotation"),
        (eaf(previous='PREVIOUS_ANNOTATION="a8"'), "field 'PREVIOUS_ANNOTATION': does not name each"),
        (eaf().replace('PARENT_REF="audio"', 'PARENT_REF="sound"'), "depends on 'sound', which is no tier"),
        (eaf().replace('TIER_ID="audio"', 'TIER_ID="audio" PARENT_REF="parts"'), "depends on itself"),
    ],
)
def test_faults_of_elan_references(convert, text, message):
    assert message in convert("elan", "dog.eaf", text, "--captions", "description,parts")


def pack(mask):
    """Label Studio's code of a mask painted with one brush: runs of RGBA bytes, each as a repeated or literal run."""
    colours = np.zeros((*mask.shape, 4), np.uint8)
    colours[mask] = 255
    values = colours.reshape(-1)
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in (3, 4, 8, 16))
    edges = [0, *(np.flatnonzero(np.diff(values.astype(int))) + 1).tolist(), len(values)]
    for start, end in pairwise(edges):
        length = end - start - 1
        choice = next(k for k, width in enumerate((3, 4, 8, 16)) if length < 2**width)
        is_literal = length < 2  # as the tool does where repeating saves nothing
        words = "".join(f"{value:08b}" for value in (values[start:end] if is_literal else values[start : start + 1]))
        bits += f"{int(not is_literal)}{choice:02b}{length:0{(3, 4, 8, 16)[choice]}b}{words}"
    bits += "0" * (-len(bits) % 8)
    return [int(bits[k : k + 8], 2) for k in range(0, len(bits), 8)]


def test_label_studio_code_of_brushes():
    rng = np.random.default_rng(0)
    for mask in (rng.random(SIZE) > 0.5, np.zeros(SIZE, bool), np.ones(SIZE, bool)):
        decoded = decode_packed(pack(mask), 4 * mask.size, "x")
        assert (decoded[3::4] > 0).reshape(SIZE).tolist() == mask.tolist()
        counts = encode_runs(mask)
        assert np.repeat(np.arange(len(counts)) % 2 == 1, counts).tolist() == mask.reshape(-1).tolist()
    whole = pack(rng.random(SIZE) > 0.5)
    for end in (0, 3, 7, len(whole) // 2, len(whole) - 2):
        with pytest.raises(DataError, match="damaged or cut off"):
            decode_packed(whole[:end], 4 * SIZE[0] * SIZE[1], "x")
    with pytest.raises(DataError, match="holds 12288 values of 8 bits where the picture needs 4"):
        decode_packed(whole, 4, "x")


def painted():
    mask = np.zeros(SIZE, bool)
    mask[10:20, 5:40] = True
    return mask


def studio(*results, data):
    """A task as Label Studio exports it as JSON."""
    annotation = {
        "id": 51, "completed_by": 1, "result": list(results), "was_cancelled": False, "ground_truth": False,
        "created_at": "2024-03-02T09:11:27.118272Z", "updated_at": "2024-03-02T09:11:27.118272Z", "lead_time": 12.9,
        "prediction": {}, "result_count": 1, "unique_id": "0b1c", "task": 7, "project": 3, "parent_annotation": None,
    }  # fmt: skip
    return [
        {"id": 7, "annotations": [annotation], "file_upload": "0123abcd-lawn.png", "drafts": [], "predictions": [],
         "data": data, "meta": {}, "inner_id": 1, "total_annotations": 1, "project": 3, "updated_by": 1}
    ]  # fmt: skip


def brush(**more):
    return {
        "original_width": 64, "original_height": 48, "image_rotation": 0, "id": "xKq", "from_name": "tag",
        "to_name": "image", "type": "brushlabels", "origin": "manual",
        "value": {"format": "rle", "rle": pack(painted()), "brushlabels": ["mower"]},
    } | more  # fmt: skip


def test_label_studio_brush(convert):
    data = {"image": "/data/upload/3/0123abcd-lawn.png"}
    line = convert("label-studio", "project-3.json", studio(brush(), data=data))
    assert (line["masks"][0]["pixels"] == painted()).all()
    assert line["masks"][0]["classes"] == {"1": "mower"}
    error = convert("label-studio", "project-3.json", studio(brush(image_rotation=90), data=data))
    assert "field 'image_rotation': a picture that was turned is not read" in error
    error = convert("label-studio", "project-3.json", studio(brush(original_width=63), data=data))
    assert "holds 12288 values of 8 bits where the picture needs 12096" in error


def studio_min(**results):
    """A task as Label Studio exports it as JSON-MIN."""
    return [
        {"id": 7, "annotator": 1, "annotation_id": 51, "created_at": "2024-03-02T09:11:27.118272Z", "lead_time": 12.9,
         "updated_at": "2024-03-02T09:11:27.118272Z"} | results
    ]  # fmt: skip


def test_label_studio_json_min(convert):
    outer = {"original_width": 64, "original_height": 48}
    value = {"format": "rle", "rle": pack(painted()), "brushlabels": ["mower"]}
    line = convert(
        "label-studio", "min.json", studio_min(image="/data/upload/3/0123abcd-lawn.png", tag=[value | outer])
    )
    assert (line["masks"][0]["pixels"] == painted()).all()
    task = studio_min(
        audio="/data/upload/3/0123abcd-dog.mp4",
        sound=[{"start": 0.5, "end": 2.0, "channel": 0, "labels": ["bark"]}],
        place="garden",
        note="a dog barks",
        kinds={"choices": ["loud", "near"]},
    )
    line = convert("label-studio", "min.json", task, "--captions", "note", "--label", "place")
    assert line["events"] == [{"start": 0.5, "end": 2.0, "label": "bark", "modality": "audio"}]
    assert line["labels"] == ["garden", "loud", "near"]
    assert line["captions"] == [{"text": "a dog barks"}]
    error = convert("label-studio", "min.json", task, "--captions", "note")
    assert "field 'place': what is 'garden'? Say so with --captions place, --label place" in error


MIXED = {
    "coco": coco(COCO_SQUARE, {"category_id": 2, "segmentation": [], "bbox": [32, 24, 16, 24]}),
    "cvat": cvat_images(CVAT_POLYGON, CVAT_BOX),
    "via": via2(VIA2_POLYGON, VIA2_RECT),
}


@pytest.mark.parametrize("name", list(MIXED))
def test_objects_with_a_box_alone_beside_masks(name, convert):
    file = "a.xml" if name == "cvat" else "a.json"
    error = convert(name, file, MIXED[name])
    assert "'lawn.png' at 0 s: 1 object (dog) has a box and no mask, while others have masks" in error
    filled = convert(name, file, MIXED[name], "--box_only", "fill")["masks"][0]
    classes = {label: int(value) for value, label in filled["classes"].items()}
    assert (filled["pixels"][24:, 32:48] == classes["dog"]).all()
    assert (filled["pixels"] == classes["dog"]).sum() == 24 * 16
    background = convert(name, file, MIXED[name], "--box_only", "background")
    assert len(background["boxes"]) == (2 if name == "coco" else 1)
    assert not background["masks"][0]["pixels"][24:, 32:48].any()
    assert "masks" not in convert(name, file, MIXED[name], "--box_only", "drop")
