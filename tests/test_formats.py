# SPDX-License-Identifier: Apache-2.0
"""Prediction files of others: every form that people write, and one clear line for what is wrong."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from avkit.answers.encoding import decode
from avkit.datasets.avsbench_avss import CLASSES as AVSS_CLASSES
from avkit.datasets.avsbench_avss import palette_colour
from avkit.errors import AvkitError, DataError, FileError
from avkit.scoring.formats import FORMATS
from avkit.scoring.formats.ave import read_step_labels
from avkit.scoring.formats.avvp import read_modality_events
from avkit.scoring.formats.boxes import box_heat, read_boxes
from avkit.scoring.formats.captions import CaptionGrid, read_captions
from avkit.scoring.formats.heat_maps import read_heat_maps
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.formats.listed import ClipSteps
from avkit.scoring.formats.mask_files import files_of_steps, find_masks
from avkit.scoring.formats.mask_pixels import LevelCounts, read_classes, read_grey

ROOT = Path(__file__).parents[1]
CLASSES = ["Male speech, man speaking", "Bark", "Frying (food)"]
STEPS = ClipSteps(10, 1.0)
CLIP = "-en7GAdXAQk"
OTHER = "abcdefgh_12"
COLOURS = {(r << 16) + (g << 8) + b: k for k in range(71) for r, g, b in [palette_colour(k)]}


def ids_of(*names, others=None):
    return SampleIds(names, "the test", lambda: others or {})


def file(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def scale_of(paths):
    counts = LevelCounts()
    for path in paths:
        counts.add(path, read_grey(path))
    return counts.scale()


def save(path, values, mode=None, palette=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(values, np.uint8))
    if mode:
        image = image.convert(mode)
    if palette:
        image = Image.fromarray(np.asarray(values, np.uint8), "P")
        image.putpalette(palette)
    image.save(path)
    return path


def one_line(error):
    return "\n" not in str(error.value)


def records_of(lines):
    """Records by id; the first error is raised."""
    records = {}
    for line in lines:
        if isinstance(line, FileError):
            raise line
        name = line.values["id"]
        assert name not in records
        records[name] = {key: value for key, value in line.values.items() if key != "id"}
    return records


class TestIds:
    LISTED = ("-en7GAdXAQk_30_40", "abcdefgh_12_000030", "3photo#7", "baby_dog_2_1", "_4R3qHn1n50", "9876543210")

    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("-en7GAdXAQk_30_40", "-en7GAdXAQk_30_40"),
            ("-en7GAdXAQk_30_40.mp4", "-en7GAdXAQk_30_40"),
            ("videos/-en7GAdXAQk.MP4", "-en7GAdXAQk_30_40"),
            ("-en7GAdXAQk", "-en7GAdXAQk_30_40"),
            ("-en7GAdXAQk_30", "-en7GAdXAQk_30_40"),
            ("-en7GAdXAQk_30.0_40.0", "-en7GAdXAQk_30_40"),
            ("abcdefgh_12_30", "abcdefgh_12_000030"),
            ("abcdefgh_12_30_40", "abcdefgh_12_000030"),
            ("3photo", "3photo#7"),
            ("baby_dog_2", "baby_dog_2_1"),
            ("_4R3qHn1n50_0", "_4R3qHn1n50"),
            ("_4R3qHn1n50_0_5000.png", "_4R3qHn1n50"),
            ("9876543210", "9876543210"),
        ],
    )
    def test_ways_to_write_one(self, written, meant):
        assert ids_of(*self.LISTED).find(written, "here") == meant

    @pytest.mark.parametrize("written", ["-en7GAdXAQk_20_30", "-en7GAdXAQl", "3photo#8", "abcdefgh", "", "12345"])
    def test_none_is_meant(self, written):
        with pytest.raises(DataError, match=r"^f\.csv, line 3: id .* is none of the test\.") as error:
            ids_of(*self.LISTED).find(written, "f.csv, line 3")
        assert one_line(error)

    def test_nearest_is_named(self):
        with pytest.raises(DataError, match="The nearest is '-en7GAdXAQk_30_40'"):
            ids_of(*self.LISTED).find("-en7GAdXAOk_30_40", "here")

    def test_two_are_never_chosen_from(self):
        ids = ids_of("abcdefghijk#3", "abcdefghijk#9", "x_0", "x_1", "x")
        with pytest.raises(DataError, match="may mean 2 samples of the test: 'abcdefghijk#3', 'abcdefghijk#9'"):
            ids.find("abcdefghijk", "here")
        assert ids.find("abcdefghijk#9", "here") == "abcdefghijk#9"
        assert ids.find("x", "here") == "x"
        assert ids.find("x_1.mp4", "here") == "x_1"

    def test_samples_of_other_splits_are_left_out_and_counted(self):
        ids = ids_of("x", others={"val": ["x_1", "-en7GAdXAQk_30_40"]})
        assert ids.find("x_1", "here") is None, "it stands in the list of val, though x would fit"
        assert ids.find("-en7GAdXAQk", "here") is None
        assert ids.other_splits == {"val": 2}


class TestClasses:
    @pytest.mark.parametrize(
        ("written", "meant"),
        [
            ("Bark", "Bark"),
            ("bark ", "Bark"),
            ("male_speech_man_speaking", CLASSES[0]),
            ("Frying_(food)", CLASSES[2]),
            ("1", "Bark"),
            ("3", None),
            ("Background", None),
            ("", None),
        ],
    )
    def test_ways_to_write_one(self, written, meant):
        assert ClassNames(CLASSES, "AVE", background=3).find(written, "here") == meant

    def test_unknown_ones(self):
        names = ClassNames(CLASSES, "AVE", background=3)
        with pytest.raises(DataError, match=r"^here: 'Barks' is no class of AVE. The nearest is 'Bark'"):
            names.find("Barks", "here")
        with pytest.raises(DataError, match="class 4 is none of AVE, whose classes are 0 to 3"):
            names.find("4", "here")

    def test_several(self):
        names = ClassNames(CLASSES, "LLP")
        assert names.find_several("Bark, Frying (food),Bark", "here") == ["Bark", CLASSES[2]]
        assert names.find_several(CLASSES[0], "here") == [CLASSES[0]]
        assert names.find_several("", "here") == []


class TestAVE:
    NAMES = ClassNames(CLASSES, "AVE", background=3)

    def read(self, path, *clips):
        clips = clips or (CLIP, OTHER)
        lines = read_step_labels(path, ids_of(*clips), self.NAMES, dict.fromkeys(clips, STEPS))
        return {name: record["labels"] for name, record in records_of(lines).items()}

    @pytest.mark.parametrize(
        "text",
        [
            'id,start,end,label\n{0},0,8,"Male speech, man speaking"\n{1},2,4,Bark\n',
            "id,start,end,label\n{0}.mp4,0,8,Male speech, man speaking\n{1}_0,2,4,Bark\n",
            "Category,VideoID,Quality,StartTime,EndTime\nMale speech, man speaking,{0},good,0,8\nBark,{1},good,2,4\n",
            "Category&VideoID&Quality&StartTime&EndTime\nMale speech, man speaking&{0}&good&0&8\nBark&{1}&good&2&4\n",
            "Male speech, man speaking&{0}&good&0&8\nBark&{1}&good&2&4\n",
            "filename\tonset\toffset\tevent_labels\n{0}\t0.0\t8.0\tmale speech, man speaking\n{1}\t2\t4\t1\n\n",
            "video_id;begin;stop;class\n{0};0;8;0\n{1};1.6;4.4;Bark\n",
        ],
    )
    def test_events(self, tmp_path, text):
        labels = self.read(file(tmp_path, "x.csv", text.format(CLIP, OTHER)))
        assert labels[CLIP] == [CLASSES[0]] * 8 + [None] * 2
        assert labels[OTHER] == [None] * 2 + ["Bark"] * 2 + [None] * 6

    def test_clips_without_a_row_are_background(self, tmp_path):
        labels = self.read(file(tmp_path, "x.csv", f"id,start,end,label\n{CLIP},9,9.3,Bark\n"))
        assert labels == {CLIP: [None] * 9 + ["Bark"], OTHER: [None] * 10}

    def test_a_row_with_an_id_alone_says_that_nothing_happens(self, tmp_path):
        path = file(tmp_path, "x.csv", f"id,start,end,label\n{CLIP},,,\n")
        assert self.read(path, CLIP, OTHER, "third") == {CLIP: [None] * 10}, (
            "the others are missing: it is a third of them"
        )

    @pytest.mark.parametrize("first", [0, 1])
    def test_segments(self, tmp_path, first):
        rows = [f"{CLIP},{k + first},{'Bark' if k < 3 else 'background'}" for k in range(10)]
        labels = self.read(file(tmp_path, "x.csv", "\n".join(["id,second,label", *rows])))
        assert labels == {CLIP: ["Bark"] * 3 + [None] * 7}, "the other clip is missing: every second has a row here"

    def test_segments_of_events_alone(self, tmp_path):
        labels = self.read(file(tmp_path, "x.csv", f"video,segment,pred\n{CLIP},0,Bark\n{CLIP},2,Bark\n"))
        assert labels == {CLIP: ["Bark", None, "Bark", *[None] * 7], OTHER: [None] * 10}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("id,start,label\nx,1,Bark\n", r"line 1: the header .* has no column end"),
            (f"{CLIP},0,8,Bark\n", r"line 1: the header '-en7GAdXAQk,0,8,Bark' has no column id, start, end, label"),
            ("", "line 1: the header '' has no column"),
            (
                f"id,start,end,label\n{CLIP},0,11,Bark\n",
                "line 2: 'Bark' lasts from 0 to 11 s, and the clip from 0 to 10",
            ),
            (f"id,start,end,label\n{CLIP},5,3,Bark\n", "line 2: 'Bark' lasts from 5 to 3 s"),
            (f"id,start,end,label\n{CLIP},-1,3,Bark\n", "line 2: 'Bark' lasts from -1 to 3 s"),
            (f"id,start,end,label\n{CLIP},nan,3,Bark\n", "line 2: start is 'nan' and not a number"),
            (f"id,start,end,label\n{CLIP},0,3,Dog\n", "line 2: 'Dog' is no class of AVE"),
            (f"id,start,end,label\n{CLIP},0,3\n", "line 2: 3 cells where the header has 4, separated by commas"),
            ("id,start,end,label\nnobody,0,3,Bark\n", "line 2: id 'nobody' is none of the test"),
            (
                f"id,start,end,label\n{CLIP},0,3,Bark\n{CLIP}.mp4,2,4,Frying (food)\n",
                r"line 3: second 2 of .* is 'Frying \(food\)' here and 'Bark' in .*line 2",
            ),
            (f"id,second,label\n{CLIP},3,background\n", r"line 2: clip '-en7GAdXAQk' has no row for second 0, 1, 2, 4"),
            (f"id,second,label\n{CLIP},1.5,Bark\n", "line 2: second is '1.5' and not a whole number"),
            (f"id,second,label\n{CLIP},12,Bark\n", "line 2: step 12 is none of the clip, whose steps are 0 to 9"),
        ],
    )
    def test_faults(self, tmp_path, text, message):
        with pytest.raises(DataError, match=message) as error:
            self.read(file(tmp_path, "x.csv", text))
        assert one_line(error)
        assert str(error.value).startswith(str(tmp_path / "x.csv"))


class TestAVVP:
    NAMES = ClassNames(["Speech", "Frying_(food)", "Dog"], "LLP")

    def read(self, path):
        return records_of(read_modality_events(path, ids_of(CLIP, OTHER), self.NAMES, {CLIP: STEPS, OTHER: STEPS}))

    EXPECTED: ClassVar = {
        CLIP: {"audio": [["Speech", 0.0, 3.0], ["Dog", 2.0, 4.0], ["Dog", 9.0, 10.0]], "visual": [["Dog", 2.0, 4.0]]},
        OTHER: {"audio": [], "visual": []},
    }

    @pytest.mark.parametrize(
        "text",
        [
            "filename\tonset\toffset\tevent_labels\tmodality\n{0}\t0\t3\tSpeech\taudio\n{0}\t2\t4\tDog\tboth\n"
            "{0}\t9\t10\tDog\tA\n",
            "id,start,end,label,modality\n{0}.mp4,0,2,Speech,heard\n{0},1,3,speech,audio\n{0},2,4,Dog,audio-visual\n"
            "{0},9,10,2,audio\n",
            'id,second,label,modality\n{0},0,Speech,a\n{0},1,Speech,a\n{0},2,"Speech,Dog",a\n{0},3,Dog,a\n{0},9,Dog,a\n'
            "{0},2,Dog,v\n{0},3,Dog,v\n{1},0,,a\n",
            "id,start,end,label,modality\n{1},,,,\n{0},0,3,Speech,a\n{0},2,4,Dog,av\n{0},9,10,Dog,a\n",
        ],
    )
    def test_one_table(self, tmp_path, text):
        assert self.read(file(tmp_path, "x.csv", text.format(CLIP, OTHER))) == self.EXPECTED

    def test_a_table_for_each_modality(self, tmp_path):
        head = "filename\tonset\toffset\tevent_labels\n"
        file(tmp_path, "eval_audio.csv", f"{head}{CLIP}\t0\t3\tSpeech\n{CLIP}\t2\t4\tDog\n{CLIP}\t9\t10\tDog\n")
        with pytest.raises(DataError, match=r"one table with 'visual' in its name is needed, and there is none"):
            self.read(tmp_path)
        file(tmp_path, "eval_visual.csv", f"{head}{CLIP}\t2\t4\tDog\n")
        assert self.read(tmp_path) == self.EXPECTED
        file(tmp_path, "audio.csv", head)
        with pytest.raises(DataError, match=r"one table with 'audio' .* there is audio\.csv, eval_audio\.csv"):
            self.read(tmp_path)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (f"id,start,end,label\n{CLIP},0,1,Dog\n", "line 2: the modality is missing. Add a column modality"),
            (f"id,start,end,label,modality\n{CLIP},0,1,Dog,smell\n", "line 2: Unknown modality 'smell'"),
            (f"id,start,end,label,modality\n{CLIP},9,0,Dog,a\n", "line 2: 'Dog' lasts from 9 to 0 s"),
            ("filename\tevent_labels\nx\tDog\n", "line 1: the header .* has no column start, end"),
        ],
    )
    def test_faults(self, tmp_path, text, message):
        with pytest.raises(DataError, match=message) as error:
            self.read(file(tmp_path, "x.csv", text))
        assert one_line(error)


class TestMaskFiles:
    """Layouts of savers and of datasets."""

    CLIPS = ("abcdefgh_12", "baby_dog_2_1", CLIP)

    def found(self, folder):
        """The files of each clip in the order of its steps, of a dataset that counts its own masks from 1."""
        found = find_masks(folder, ids_of(*self.CLIPS))
        for error in found.errors:
            raise error
        chosen = {}
        for clip, files in files_of_steps(found.files, {clip: dict(enumerate(range(1, 6))) for clip in self.CLIPS}):
            if isinstance(files, FileError):
                raise files
            assert list(files) == list(range(5))
            chosen[clip] = list(files.values())
        return chosen

    @pytest.mark.parametrize(
        ("pattern", "first"),
        [
            ("helicopter/{clip}/{clip}_{k}.png", 0),
            ("{clip}/{clip}_{k}.png", 0),
            ("test/helicopter/{clip}/{clip}_{k}.png", 1),
            ("{clip}/{clip}.mp4_{k}.png", 1),
            ("{clip}/{k}.png", 0),
            ("{clip}/{k:05d}.png", 0),
            ("v1s/{clip}_0_5000/labels_semantic/{k}.png", 0),
            ("clips/{clip}/masks/{k:05d}.png", 0),
            ("{clip}_{k}.png", 0),
            ("{clip}/frame_{k}.png", 0),
            ("{clip}/{k}_mask.png", 1),
        ],
    )
    def test_layouts(self, tmp_path, pattern, first):
        for clip in self.CLIPS:
            for k in range(5):
                save(tmp_path / pattern.format(clip=clip, k=k + first), [[k]])
        for files in self.found(tmp_path).values():
            assert [int(np.asarray(Image.open(path))[0, 0]) for path in files] == list(range(5))

    def test_colour_maps_beside_class_maps_are_left_out(self, tmp_path):
        for kind in ("labels_rgb", "labels_semantic"):
            for k in range(5):
                save(tmp_path / CLIP / kind / f"{k}.png", [[k]])
        assert {path.parent.name for path in self.found(tmp_path)[CLIP]} == {"labels_semantic"}

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], "holds no PNG"),
            (
                [f"{CLIP}/{k}.png" for k in (0, 1, 3)],
                "lacks the mask of frame 2, 4; it has 0, 1, 3. Write a mask of each of",
            ),
            ([f"{CLIP}/{k}.png" for k in (1, 2, 3, 4)], "lacks the mask of frame 5; it has 1, 2, 3, 4"),
            (
                [f"{CLIP}/{k}.png" for k in range(6)],
                "numbered from 0 to 5, and clips have 5 frames, so that it is not known",
            ),
            ([f"{CLIP}/{k}.png" for k in range(10)], "numbered from 0 to 9, and clips have 5 frames"),
            ([f"{CLIP}/0.png", f"again/{CLIP}/0.png"], "is of the same frame of the same clip"),
            (["stranger/0.png"], r"0\.png: id 'stranger' is none of the test"),
            (["v1s/stranger/labels_semantic/0.png"], r"0\.png: id 'stranger' is none of the test"),
            ([f"{CLIP}/mask.png"], "the name has no number of the frame"),
            (["0.png"], r"masks/0\.png: neither the file nor a folder bears the id of a clip"),
        ],
    )
    def test_faults(self, tmp_path, names, message):
        for name in names:
            save(tmp_path / "masks" / name, [[0]])
        with pytest.raises(DataError, match=message) as error:
            self.found(tmp_path / "masks")
        assert one_line(error)


class TestMaskPixels:
    MASK = np.kron(np.eye(2), np.ones((2, 2)))

    @pytest.mark.parametrize("level", [1, 45, 255])
    @pytest.mark.parametrize("mode", [None, "P", "RGB", "RGBA", "LA"])
    def test_two_levels_are_a_mask(self, tmp_path, level, mode):
        path = save(tmp_path / "0.png", self.MASK * level, mode)
        scale = scale_of([path, save(tmp_path / "1.png", self.MASK * 0)])
        assert scale.binary
        assert np.array_equal(scale.probabilities(read_grey(path)), self.MASK)

    def test_one_bit(self, tmp_path):
        path = save(tmp_path / "0.png", self.MASK * 255, "1")
        assert np.array_equal(scale_of([path]).probabilities(read_grey(path)), self.MASK)

    def test_palette_of_colours(self, tmp_path):
        path = save(tmp_path / "0.png", self.MASK, palette=[0, 0, 0, 255, 0, 0])
        assert np.array_equal(scale_of([path]).probabilities(read_grey(path)), self.MASK)

    @pytest.mark.parametrize("white", [255, 65535])
    def test_more_levels_are_probabilities(self, tmp_path, white):
        values = np.arange(256, dtype=np.int64).reshape(16, 16) * (white // 255)
        path = tmp_path / "0.png"
        Image.fromarray(values.astype(np.uint8 if white == 255 else np.uint16)).save(path)
        scale = scale_of([path, save(tmp_path / "1.png", self.MASK * 255)])
        assert not scale.binary
        expected = np.arange(256, dtype=np.float32).reshape(16, 16) / np.float32(255)
        assert np.allclose(scale.probabilities(read_grey(path)), expected, atol=1e-7)

    def test_numbers_of_classes_are_no_probabilities(self, tmp_path):
        path = save(tmp_path / "0.png", [[0, 9], [41, 41]])
        with pytest.raises(DataError, match=r"0\.png: .* They look like numbers of classes") as error:
            scale_of([path])
        assert one_line(error)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda path: save(path, np.full((2, 2, 3), (200, 0, 0))), "it has colours, and a mask is grey"),
            (lambda path: save(path, np.zeros((2, 2, 4))), "it has transparent pixels"),
            (lambda path: path.write_bytes(b"not a picture"), "is a damaged picture"),
        ],
    )
    def test_faults(self, tmp_path, make, message):
        path = tmp_path / "0.png"
        make(path)
        with pytest.raises(AvkitError, match=message) as error:
            read_grey(path)
        assert one_line(error)
        assert str(path) in str(error.value)

    def test_truncated(self, tmp_path):
        noise = np.random.default_rng(0).integers(0, 256, (64, 64))
        path = save(tmp_path / "0.png", noise)
        path.write_bytes(path.read_bytes()[:1500])
        with pytest.raises(AvkitError, match=r"0\.png is a damaged picture .*Download or export it again") as error:
            scale_of([path])
        assert one_line(error)

    @pytest.mark.parametrize("form", ["index", "colour", "palette", "grey palette"])
    def test_class_maps(self, tmp_path, form):
        classes = np.arange(72).reshape(8, 9) % 71
        colours = [palette_colour(k) for k in range(256)]
        path = tmp_path / "0.png"
        if form == "index":
            save(path, classes)
        elif form == "colour":
            save(path, np.array(colours)[classes])
        elif form == "palette":
            save(path, classes, palette=[value for colour in colours for value in colour])
        else:
            save(path, classes, "P")
        assert np.array_equal(read_classes(path, COLOURS, 71), classes)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([[0, 71]], r"1 pixels are of no class, such as 71 in row 0, column 1. Classes are 0 \(background\) to 70"),
            ([[[0, 0, 0], [1, 2, 3]]], r"a colour that is no class's, such as #010203 in row 0, column 1"),
        ],
    )
    def test_pixels_of_no_class(self, tmp_path, values, message):
        with pytest.raises(DataError, match=message) as error:
            read_classes(save(tmp_path / "0.png", values), COLOURS, 71)
        assert one_line(error)

    def test_real_masks(self, real):
        crab = real / "clips/crab"
        classes = read_classes(crab / "avss/0.png", COLOURS, 71)
        assert np.unique(classes).tolist() == [0, 1 + AVSS_CLASSES.index("clarinet")]
        assert (classes > 0).sum() == 9697
        assert np.unique(read_classes(crab / "ms3/1.png", COLOURS, 71)).tolist() == [0, 9, 41]
        assert scale_of([crab / "s4/0.png"]).binary
        scale = scale_of([crab / "ref-avs/00007.png"])
        assert scale.probabilities(read_grey(crab / "ref-avs/00007.png")).sum() == 39114
        with pytest.raises(DataError, match="numbers of classes"):
            scale_of([crab / "ms3/1.png"])


class TestCaptions:
    def read(self, path, described=()):
        grid = CaptionGrid({CLIP: 3, OTHER: 3}, {CLIP: described, OTHER: described}, hop=1.0, fps=30)
        return {
            name: record["captions"]
            for name, record in records_of(read_captions(path, ids_of(CLIP, OTHER), grid)).items()
        }

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("x.json", [{"image_id": f"{CLIP}_{k}", "caption": text} for k, text in enumerate("abc")]),
            ("x.json", {"annotations": [{"image_id": CLIP, "step": k, "caption": t} for k, t in enumerate("abc")]}),
            ("x.json", {CLIP: ["a", "b", "c"]}),
            ("x.json", [{"image_id": f"{CLIP}/{k:05d}", "caption": t} for k, t in ((0, "a"), (45, "b"), (60, "c"))]),
            ("x.jsonl", [{"id": CLIP, "second": k, "text": text} for k, text in enumerate("abc")]),
            ("x.jsonl", [{"id": CLIP, "frame": k, "text": text} for k, text in ((0, "a"), (30, "b"), (70, "c"))]),
            ("x.jsonl", [{"id": CLIP, "captions": ["a", "b", "c"]}]),
            ("x.csv", f"video,second,caption\n{CLIP}.mp4,0,a\n{CLIP},1,b\n{CLIP},2,c\n"),
            ("x.tsv", f"id\tstep\ttext\n{CLIP}\t0\ta\n{CLIP}\t1\tb\n{CLIP}\t2\tc\n"),
            ("x.txt", f"{CLIP}_0\ta\n{CLIP}_1\tb\n\n{CLIP}_2\tc\n"),
        ],
    )
    def test_forms(self, tmp_path, name, content):
        if not isinstance(content, str):
            content = "\n".join(map(json.dumps, content)) if name.endswith("l") else json.dumps(content)
        assert self.read(file(tmp_path, name, content)) == {CLIP: ["a", "b", "c"]}

    def test_one_sentence_for_the_whole_clip(self, tmp_path):
        path = file(tmp_path, "x.json", json.dumps([{"image_id": CLIP, "caption": "a"}]))
        assert self.read(path) == {CLIP: ["a", "a", "a"]}

    def test_steps_without_a_sentence(self, tmp_path):
        path = file(tmp_path, "x.json", json.dumps([{"image_id": f"{CLIP}_1", "caption": "a"}]))
        assert self.read(path, described={1}) == {CLIP: ["", "a", ""]}
        with pytest.raises(
            DataError, match=r"record 0: clip '-en7GAdXAQk' has no caption for step 2, of which"
        ) as error:
            self.read(path, described={1, 2})
        assert one_line(error)

    def test_lines_of_the_dataset(self, tmp_path):
        lines = [
            {"frame": 0, "source": 2, "text": "two"},
            {"frame": 0, "source": 1, "text": "one"},
            {"frame": 30, "source": 1, "text": ""},
            {"frame": 60, "source": None, "text": "all"},
        ]
        file(tmp_path, f"clips/{CLIP}/captions.jsonl", "\n".join(map(json.dumps, lines)))
        assert self.read(tmp_path) == {CLIP: ["one and two", "two", "all and two"]}

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("x.json", "3", "holds int instead of a list of entries"),
            ("x.json", '[{"image_id": 7, "caption": "a"}]', "record 0: id '7' is none of the test"),
            ("x.json", '[{"image_id": "x"}]', "record 0, field 'caption': is missing"),
            ("x.json", '[{"caption": "a"}]', "record 0, field 'image_id': is missing"),
            ("x.json", f'[{{"image_id": "{CLIP}", "caption": 3}}]', "record 0, field 'caption': is 3 and not a text"),
            ("x.json", f'{{"{CLIP}": ["a", 3]}}', "field 'caption': entry 1 is 3 and not a text"),
            (
                "x.jsonl",
                f'{{"id": "{CLIP}", "text": "a"}}\n' * 2,
                "line 2: .* has a caption for the same place in .*line 1",
            ),
            ("x.jsonl", f'{{"id": "{CLIP}", "text": "a"', "line 1 is no whole JSON"),
            ("x.txt", f"{CLIP} a b\n", "line 1: .* is no id and text separated by a tab"),
        ],
    )
    def test_faults(self, tmp_path, name, text, message):
        with pytest.raises(DataError, match=message) as error:
            self.read(file(tmp_path, name, text))
        assert one_line(error)


class TestBoxes:
    EXPECTED: ClassVar = {CLIP: [[0.25, 0.5, 0.75, 1.0], [0.0, 0.0, 0.5, 0.25]], OTHER: [[0.0, 0.0, 1.0, 1.0]]}

    def read(self, path):
        boxes_by_name = {}
        for boxes in read_boxes(path, ids_of(CLIP, OTHER)):
            if isinstance(boxes, FileError):
                raise boxes
            boxes_by_name[boxes.id] = boxes.corners.tolist()
        return boxes_by_name

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("x.csv", "id,x1,y1,x2,y2\n{0},.25,.5,.75,1\n{0},0,0,.5,.25\n{1},0,0,1,1\n"),
            ("x.csv", "file,xmin,ymin,xmax,ymax,score\n{0}.jpg,.25,.5,.75,1,1\n{0},0,0,.5,.25,.3\n{1},0,0,1,1,1\n"),
            ("x.tsv", "image\tx\ty\twidth\theight\n{0}\t.25\t.5\t.5\t.5\n{0}\t0\t0\t.5\t.25\n{1}\t0\t0\t1\t1\n"),
            (
                "x.json",
                '[{{"file": "{0}", "bbox": [[0.25, 0.5, 0.75, 1], [0, 0, 0.5, 0.25]]}}, '
                '{{"file": "{1}", "class": "cat", "bbox": [[0, 0, 1, 1]]}}]',
            ),
            (
                "x.json",
                '[{{"image_id": "{0}", "bbox": [0.25, 0.5, 0.5, 0.5]}}, '
                '{{"image_id": "{0}", "bbox": [0, 0, 0.5, 0.25]}}, '
                '{{"image_id": "{1}", "bbox": [0, 0, 1, 1], "score": 0.5}}]',
            ),
            ("x.json", '{{"{0}": [[0.25, 0.5, 0.75, 1], [0, 0, 0.5, 0.25]], "{1}": [0, 0, 1, 1]}}'),
            (
                "x.jsonl",
                '{{"id": "{0}", "x1": 0.25, "y1": 0.5, "x2": 0.75, "y2": 1}}\n'
                '{{"id": "{0}", "box": [0, 0, 0.5, 0.25]}}\n'
                '{{"id": "{1}", "boxes": [[0, 0, 1, 1]]}}',
            ),
        ],
    )
    def test_fractions(self, tmp_path, name, text):
        assert self.read(file(tmp_path, name, text.format(CLIP, OTHER))) == self.EXPECTED

    def test_pixels(self, tmp_path):
        rows = [f"{CLIP},80,90,240,180", f"{CLIP},0,0,160,45", f"{OTHER},0,0,320,180"]
        head = "id,x1,y1,x2,y2"
        sized = [f"{row},320,180" for row in rows]
        path = file(tmp_path, "x.csv", "\n".join([f"{head},image_width,image_height", *sized]))
        assert self.read(path) == self.EXPECTED
        path = file(tmp_path, "x.csv", "\n".join([head, *rows]))
        with pytest.raises(DataError, match=r"line 2: a coordinate is 240, so boxes are in pixels") as error:
            self.read(path)
        assert one_line(error)
        path = file(tmp_path, "x.csv", f"{head},image_width,image_height\n{rows[0]},200,200\n")
        with pytest.raises(DataError, match=r"line 2: box 80, 90, 240, 180 is reversed or outside .* of 200 x 200"):
            self.read(path)

    def test_heat(self):
        heat = box_heat(np.array([[0.25, 0.5, 0.75, 1.0]]), 8)
        assert heat.sum() == 4 * 4
        assert heat[4:, 2:6].all()

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("x.csv", "id,x1,y1,x2,y2\nnobody,0,0,1,1\n", "line 2: id 'nobody' is none"),
            ("x.csv", f"id,x1,y1,x2,y2\n{CLIP},.5,0,.4,1\n", "line 2: box 0.5, 0, 0.4, 1 is reversed"),
            ("x.csv", f"id,x1,y1,x2,y2\n{CLIP},nan,0,.4,1\n", "line 2: x1 is 'nan' and not a number"),
            ("x.csv", f"id,x1,y1,x2\n{CLIP},0,0,1\n", "line 1: the header .* has no column y2"),
            ("x.json", f'[{{"id": "{CLIP}", "box": [0, 0, 1]}}]', r"record 0: \[0, 0, 1\] is no box of four"),
            ("x.json", f'[{{"id": "{CLIP}"}}]', "record 0, field 'boxes': is missing"),
            ("x.json", '"boxes"', "holds str instead of a list"),
        ],
    )
    def test_faults(self, tmp_path, name, text, message):
        with pytest.raises(DataError, match=message) as error:
            self.read(file(tmp_path, name, text))
        assert one_line(error)


class TestHeatMaps:
    MAPS: ClassVar = {CLIP: np.arange(6.0).reshape(2, 3), OTHER: np.ones((2, 3), np.float16)}

    def read(self, path):
        heat = {}
        for name, record in records_of(read_heat_maps(path, ids_of(CLIP, OTHER))).items():
            assert record["steps"] == [0]
            (heat[name],) = decode(record["heat"])
        return heat

    @pytest.mark.parametrize("form", ["folder", "axes", "archive"])
    def test_forms(self, tmp_path, form):
        if form == "archive":
            path = tmp_path / "x.npz"
            np.savez(path, **self.MAPS)
        else:
            path = tmp_path
            for name, values in self.MAPS.items():
                np.save(path / f"{name}.npy", values[None, None] if form == "axes" else values)
        heat = self.read(path)
        assert heat.keys() == self.MAPS.keys()
        for name, values in heat.items():
            assert values.dtype == np.float32
            assert np.array_equal(values, self.MAPS[name])

    @pytest.mark.parametrize(
        ("name", "values", "message"),
        [
            (CLIP, np.full((2, 2), np.nan), r"npy: 4 of 4 values are NaN or infinite"),
            (CLIP, np.zeros(3), r"npy: an array of shape \(3,\) is no heat map"),
            (CLIP, np.zeros((2, 3, 3)), r"npy: an array of shape \(2, 3, 3\) is no heat map"),
            ("nobody", np.zeros((2, 2)), "id 'nobody' is none of the test"),
        ],
    )
    def test_faults(self, tmp_path, name, values, message):
        np.save(tmp_path / f"{CLIP}.npy", np.zeros((2, 2)))
        np.save(tmp_path / f"{name}.npy", values)
        with pytest.raises(DataError, match=message) as error:
            self.read(tmp_path)
        assert one_line(error)

    def test_damaged(self, tmp_path):
        with pytest.raises(DataError, match=r"holds no \.npy"):
            self.read(tmp_path)
        np.save(tmp_path / f"{CLIP}.npy", np.zeros((8, 8)))
        path = tmp_path / f"{CLIP}.npy"
        path.write_bytes(path.read_bytes()[:-8])
        with pytest.raises(
            DataError, match=r"npy is damaged: its header states 512 bytes of numbers and 504 are there"
        ):
            self.read(tmp_path)


def test_the_page_has_every_form():
    pages = [(ROOT / "docs" / name) for name in ("prediction-formats.md", "scoring.md")]
    page = "".join(path.read_text() for path in pages if path.exists())
    assert all(f"`{name}`" in page or name == "avkit" for name in FORMATS)
