# SPDX-License-Identifier: Apache-2.0
"""Predictions for scenes in official layouts, written as others write them and read again: equal figures."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from avkit.batch import Prediction
from avkit.cli import main
from avkit.datasets.avsbench_avss import palette_colour
from avkit.errors import DataError, FileError
from avkit.export import export
from avkit.scoring.formats import detect_format, find_format
from avkit.scoring.predictions import PredictionWriter
from avkit.scoring.scorer import score
from avkit.scoring.truth import TruthOptions, open_truth
from avkit.training.evaluator import Evaluator

PICTURE = 32
COUNTS = {"train": 1, "test": 3}


@pytest.fixture(scope="module")
def truth_of(tmp_path_factory):
    """A function that exports a layout once, and opens its test split."""
    roots = {}

    def open_one(layout, task=None, dataset=None, split="test"):
        if layout not in roots:
            counts = {"train": 1, "test": 1} if layout == "ra-ssu" else COUNTS  # 300 masks a clip
            folder = tmp_path_factory.mktemp("out") / layout
            roots[layout] = export(layout, folder, counts, PICTURE, fps=2, features=False)
        options = TruthOptions(root=roots[layout], image_size=PICTURE, split=split)
        return open_truth(task, dataset or layout, options)

    return open_one


def figures(truth, predict):
    """Figures of a function from a batch to a prediction."""
    evaluator = Evaluator({truth.task.name: truth.task}, quick=truth.task.name == "ra_ssu")
    for name in truth.ids:
        batch = truth.batch([name])
        evaluator.update(predict(batch), batch)
    return evaluator.compute(truth.task.name)


def read(path, truth, name):
    """The records of a file in the form that is found out; the first error is raised."""
    kind = detect_format(path, truth)
    assert kind is find_format(name)
    truth = truth.with_options(kind.task_options(truth))
    records = {}
    for line in kind.read(path, truth):
        if isinstance(line, FileError):
            raise line
        assert line.values["id"] not in records
        records[line.values["id"]] = line.values
    return records


def figures_of_file(path, truth, name):
    records = read(path, truth, name)
    truth = truth.with_options(find_format(name).task_options(truth))
    assert records.keys() == set(truth.ids)
    return figures(truth, lambda batch: truth.task.prediction([records[name] for name in batch.id], batch))


def same(figures, expected, names=None):
    for name in names or expected:
        assert figures[name] == pytest.approx(expected[name], abs=0, nan_ok=True), name


def write_table(path, rows, delimiter=","):
    with path.open("w", newline="") as opened:
        csv.writer(opened, delimiter=delimiter).writerows(rows)
    return path


def draw(truth, width):
    """Random scores of every step, the same for the same sample."""
    generator = np.random.default_rng(0)
    steps = truth.steps_of(truth.ids[0])
    return {name: torch.from_numpy(generator.random((steps, width), np.float32)) for name in truth.ids}


@pytest.mark.parametrize(
    ("layout", "folder", "figure", "least"),
    [
        ("avsbench-s4", "s4_data/gt_masks/test", "mIoU", 0.999),
        ("avsbench-ms3", "ms3_data/gt_masks/test", "mIoU", 0.999),
        ("avsbench-avss", "", "mIoU", 0.999),
        ("llp", "", "segment/Type", 1),
    ],
)
def test_the_usual_task_is_scored(truth_of, layout, folder, figure, least):
    root = truth_of(layout, "avvp" if layout == "llp" else "avs").dataset.root.path
    result = score(root / folder, layout, options=TruthOptions(root=root, image_size=PICTURE))
    assert result.rows[figure].value >= least
    assert result.faults == []
    assert result.n == 3
    assert result.listed == 3


def test_an_option_of_the_user_goes_before_that_of_the_form(truth_of):
    root = truth_of("vggss", "ssl").dataset.root.path
    options = TruthOptions(root=root)
    path = root / "vggss.json"
    boxes = score(path, "vggss", options=options)
    assert boxes.rows["mean_cIoU"].value == pytest.approx(1)
    assert "LVS" in boxes.notes[0]
    official = score(path, "vggss", options=options, task_options={"protocol": "ez_vsl"})
    assert official.rows["mean_cIoU"].value < 0.9, "of boxes smaller than half the picture EZ-VSL takes all of it"
    assert official.notes == []


class TestOwnLines:
    """Files of our own tests are not taken for those of others."""

    @pytest.mark.parametrize(
        ("layout", "task", "dataset"),
        [
            ("ave", "ave", None),
            ("llp", "avvp", None),
            ("avsbench-ms3", "avs", None),
            ("vggss", "ssl", None),
            ("ra-ssu", "ra_ssu", "f-music"),
        ],
    )
    def test_predictions_of_a_run(self, truth_of, tmp_path, layout, task, dataset):
        truth = truth_of(layout, task, dataset)
        batch = truth.batch(truth.ids[:1])
        (record,) = truth.task.absent(batch) or [{"id": truth.ids[0], "steps": [0], "heat": 0}]
        path = tmp_path / "predictions.jsonl"
        for line in (record, {"task": task, "dataset": layout, "batch": 0, **record}):
            path.write_text(json.dumps(line, separators=(",", ":")) + "\n")
            assert detect_format(path, truth) is find_format("avkit")

    @pytest.mark.parametrize(("layout", "task"), [("ave", "ave"), ("vggss", "ssl"), ("avsbench-ms3", "avs")])
    def test_files_of_no_form(self, truth_of, tmp_path, layout, task):
        truth = truth_of(layout, task)
        paths = {"text": b"hello\n", "empty": b"", "binary": bytes(range(256)), "x.json": b"{", "x.csv": b"a,b\n1,2\n"}
        (tmp_path / "folder").mkdir()
        for name, content in paths.items():
            (tmp_path / name).write_bytes(content)
        for name in (*paths, "folder"):
            with pytest.raises(
                FileError, match=f"{name} is no file of predictions for {task} that avkit knows"
            ) as error:
                detect_format(tmp_path / name, truth)
            assert "\n" not in str(error.value)


class TestAVE:
    @pytest.fixture
    def run(self, truth_of):
        truth = truth_of("ave", "ave")
        classes = [None, *truth.classes]
        scores = draw(truth, len(classes))
        for values in scores.values():
            values[:, 6:] = 0
        expected = figures(
            truth,
            lambda batch: Prediction("ave", batch.id, {"event_logits": torch.stack([scores[x] for x in batch.id])}),
        )
        labels = {name: [classes[k] for k in values.argmax(1).tolist()] for name, values in scores.items()}
        return truth, labels, expected

    def test_segments(self, run, tmp_path):
        truth, labels, expected = run
        rows = [["id", "second", "label"]]
        for name in truth.ids:
            rows += [[name, second, label or "background"] for second, label in enumerate(labels[name])]
        same(figures_of_file(write_table(tmp_path / "x.csv", rows), truth, "ave-table"), expected)

    def test_events(self, run, tmp_path):
        truth, labels, expected = run
        rows = [["video_id", "start", "end", "category"]]
        for name in truth.ids:  # by the video alone, each second an event
            video = name.partition("#")[0]
            rows += [[video, k, k + 1, label] for k, label in enumerate(labels[name]) if label]
        same(figures_of_file(write_table(tmp_path / "x.tsv", rows, "\t"), truth, "ave-table"), expected)

    def test_the_annotations_are_perfect(self, truth_of):
        truth = truth_of("ave", "ave")
        path = truth.dataset.root.path / "testSet.txt"
        assert figures_of_file(path, truth, "ave-table")["accuracy"] == 1

    def test_rows_of_other_splits_are_left_out_and_said(self, truth_of):
        truth = truth_of("ave", "ave")
        path = truth.dataset.root.path / "Annotations.txt"
        lines = list(find_format("ave-table").read(path, truth))
        assert {line.values["id"] for line in lines} == set(truth.ids)
        assert len(lines) == len(truth.ids)
        assert truth.notes == [f"{path}: 1 id is of split 'train' and left out, since AVE, test is scored."]

    def test_a_wrong_row_costs_its_clip_alone(self, run, tmp_path):
        truth, _, _ = run
        rows = [["id", "start", "end", "label"], ["nobody", 0, 1, "Bark"], [truth.ids[0], 0, 20, "Bark"]]
        rows.append([truth.ids[1], 0, 2, "Bark"])
        lines = list(find_format("ave-table").read(write_table(tmp_path / "x.csv", rows), truth))
        errors = [str(line) for line in lines if isinstance(line, FileError)]
        assert [error.partition(":")[0] for error in errors] == [f"{tmp_path / 'x.csv'}, line {k}" for k in (2, 3)]
        assert {line.values["id"] for line in lines if not isinstance(line, FileError)} == set(truth.ids[1:])


class TestAVVP:
    @pytest.fixture
    def run(self, truth_of):
        truth = truth_of("llp", "avvp")
        count = len(truth.classes)
        audio, visual = draw(truth, count), draw(truth, count)
        visual = {name: values.flip(0) for name, values in visual.items()}
        clip = {name: torch.linspace(0, 1, count) for name in truth.ids}

        def predict(batch):
            parts = {"audio_scores": audio, "visual_scores": visual, "clip_scores": clip}
            return Prediction("avvp", batch.id, {k: torch.stack([x[n] for n in batch.id]) for k, x in parts.items()})

        records = {}
        for name in truth.ids:
            batch = truth.batch([name])
            (records[name],) = truth.task.records(predict(batch), batch)
        return truth, records, figures(truth, predict)

    def test_one_table(self, run, tmp_path):
        truth, records, expected = run
        rows = [["filename", "onset", "offset", "event_labels", "modality"]]
        for name, record in records.items():
            for modality in ("audio", "visual"):
                rows += [[name, start, end, label, modality] for label, start, end in record[modality]]
        same(figures_of_file(write_table(tmp_path / "x.csv", rows, "\t"), truth, "avvp-table"), expected)

    def test_segments(self, run, tmp_path):
        truth, records, expected = run
        rows = [["video", "second", "label", "modality"]]
        for name, record in records.items():
            for modality in ("audio", "visual"):
                for label, start, end in record[modality]:
                    rows += [[name[:11], second, label, modality] for second in range(int(start), int(end))]
        same(figures_of_file(write_table(tmp_path / "x.csv", rows), truth, "avvp-table"), expected)

    def test_a_table_for_each(self, run, tmp_path):
        truth, records, expected = run
        for modality in ("audio", "visual"):
            rows = [["filename", "onset", "offset", "event_labels"]]
            for name, record in records.items():
                rows += [[name, start, end, label] for label, start, end in record[modality]]
            write_table(tmp_path / f"pred_{modality}.csv", rows, "\t")
        same(figures_of_file(tmp_path, truth, "avvp-table"), expected)

    def test_the_annotations_are_perfect(self, truth_of):
        truth = truth_of("llp", "avvp")
        assert set(figures_of_file(truth.dataset.root.path, truth, "avvp-table").values()) == {1.0}


class TestMasks:
    @staticmethod
    def draw(truth):
        """Random probabilities in steps of 1/255, uint8 by sample."""
        generator = np.random.default_rng(1)
        values = {}
        for name in truth.ids:
            smooth = generator.integers(0, 256, (truth.steps_of(name), 8, 8), np.uint8)
            values[name] = np.kron(smooth, np.ones((4, 4), np.uint8))
        return values

    @staticmethod
    def expected(truth, values):
        def predict(batch):
            maps = torch.from_numpy(np.stack([values[name] for name in batch.id]).astype(np.float32) / np.float32(255))
            return Prediction(truth.task.name, batch.id, {"mask": maps})

        return figures(truth, predict)

    @pytest.mark.parametrize(
        ("layout", "pattern"),
        [
            ("avsbench-s4", "helicopter/{clip}/{clip}_{k}.png"),
            ("avsbench-ms3", "{clip}/{clip}_{k}.png"),
            ("ref-avs", "{clip}/{k:05d}.png"),
        ],
    )
    def test_grey_and_binary(self, truth_of, tmp_path, layout, pattern):
        truth = truth_of(layout, "avs")
        values = self.draw(truth)
        for name, maps in values.items():
            for k, values_of_frame in enumerate(maps):
                for kind, pixels in (
                    ("grey", values_of_frame),
                    ("binary", (values_of_frame > 127).astype(np.uint8) * 255),
                ):
                    path = tmp_path / kind / pattern.format(clip=name, k=k)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    image = Image.fromarray(pixels)
                    (image.convert("P") if kind == "binary" else image).save(path)
        expected = self.expected(truth, values)
        same(figures_of_file(tmp_path / "grey", truth, "mask-folder"), expected)
        binary = figures_of_file(tmp_path / "binary", truth, "mask-folder")
        same(binary, expected, ["mIoU"])
        assert binary["F"] < expected["F"], "a mask has one F instead of the best over thresholds"

    @pytest.mark.parametrize("layout", ["avsbench-s4", "avsbench-ms3"])
    def test_the_annotations_are_perfect(self, truth_of, layout):
        truth = truth_of(layout, "avs")
        folder = truth.dataset.root.path / f"{layout.removeprefix('avsbench-')}_data" / "gt_masks" / "test"
        records = read(folder, truth, "mask-folder")
        expected = {}
        for name in truth.ids:
            expected[name] = truth.batch([name]).targets["mask"].float()
        perfect = figures(truth, lambda batch: Prediction("avs", batch.id, {"mask": expected[batch.id[0]]}))
        assert perfect["mIoU"] == pytest.approx(1)
        same(figures(truth, lambda batch: truth.task.prediction([records[x] for x in batch.id], batch)), perfect)

    def test_another_size_is_resized_to_the_nearest_pixel(self, truth_of, tmp_path):
        truth = truth_of("avsbench-ms3", "avs")
        values = {name: (maps > 127).astype(np.uint8) for name, maps in self.draw(truth).items()}
        for name, maps in values.items():
            for k, mask in enumerate(maps):
                path = tmp_path / name / f"{k}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(np.kron(mask, np.ones((3, 5), np.uint8))).save(path)
        expected = self.expected(truth, {name: maps * 255 for name, maps in values.items()})
        same(figures_of_file(tmp_path, truth, "mask-folder"), expected)
        assert truth.notes == [
            "Masks have one level beside 0, which is the mask.",
            "15 masks are of another size, such as 96 x 160, and resized to 32 x 32 by the nearest pixel, as official "
            "loaders resize true masks.",
        ]

    @pytest.mark.parametrize("form", ["index", "colour"])
    def test_class_maps(self, truth_of, tmp_path, form):
        truth = truth_of("avsbench-avss", "avs")
        generator = np.random.default_rng(2)
        colours = np.array([palette_colour(k) for k in range(71)], np.uint8)
        labels = {}
        for name in truth.ids:
            labels[name] = generator.integers(0, 71, (truth.steps_of(name), PICTURE, PICTURE))
            for k in range(10):  # the official saver writes ten, of clips of five seconds too
                frame = labels[name][min(k, len(labels[name]) - 1)]
                path = tmp_path / name / f"{name}_{k}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(colours[frame] if form == "colour" else frame.astype(np.uint8)).save(path)

        def predict(batch):
            maps = torch.from_numpy(labels[batch.id[0]])[None]
            return Prediction("avs", batch.id, {"mask": (maps > 0).float(), "class_logits": maps})

        same(figures_of_file(tmp_path, truth, "mask-folder"), figures(truth, predict))

    def test_the_class_annotations_are_perfect(self, truth_of):
        truth = truth_of("avsbench-avss", "avs")
        records = read(truth.dataset.root.path, truth, "mask-folder")

        def perfect(batch):
            maps = batch.targets["class_mask"].long()
            return Prediction("avs", batch.id, {"mask": (maps > 0).float(), "class_logits": maps})

        same(
            figures(truth, lambda batch: truth.task.prediction([records[x] for x in batch.id], batch)),
            figures(truth, perfect),
        )

    def test_masks_of_another_dataset(self, truth_of):
        truth = truth_of("avsbench-ms3", "avs")
        other = truth_of("ref-avs", "avs").dataset.root.path / "gt_mask"
        lines = list(find_format("mask-folder").read(other, truth))
        assert lines
        assert all(isinstance(line, FileError) for line in lines)
        assert "is none of AVSBench MS3, test" in str(lines[0])

    def test_a_bad_file_costs_its_clip_alone(self, truth_of, tmp_path):
        truth = truth_of("avsbench-s4", "avs")
        folder = truth.dataset.root.path / "s4_data" / "gt_masks" / "test"
        copy = shutil.copytree(folder, tmp_path / "masks")
        files = sorted(copy.rglob("*.png"))
        files[0].write_bytes(files[0].read_bytes()[:60])
        files[5].unlink()
        lines = list(find_format("mask-folder").read(copy, truth))
        errors = [str(line) for line in lines if isinstance(line, FileError)]
        assert len(errors) == 2
        assert any(error.startswith(f"{files[0]} is a damaged picture") for error in errors)
        assert any("lacks the mask of frame 1; it has 2, 3, 4, 5" in error for error in errors)
        assert len(lines) - len(errors) == len(truth.ids) - 2


def test_masks_in_folders_of_objects(tmp_path):
    """Ref-AVS: all sentences about one object share a folder, and those of other splits are left out."""
    root = export("ref-avs", tmp_path / "ref-avs", {"train": 1, "val": 1, "test": 1}, PICTURE, fps=2)
    table = root / "metadata.csv"
    *lines, last = table.read_text().splitlines()
    video, identifier, split, fid, _ = last.split(",")
    repeated = f"{video},{identifier.rsplit('_', 1)[0]}_9,{split},{fid},The same thing."
    table.write_text("\n".join([*lines, last, repeated]) + "\n")
    result = score(root / "gt_mask", "ref-avs", options=TruthOptions(root=root, image_size=PICTURE))
    assert result.n == result.listed == sum(",test_" in line for line in table.read_text().splitlines())
    assert (result.faults, result.rows["mIoU"].value) == ([], pytest.approx(1))
    assert any("of split 'train' and left out" in note for note in result.notes)
    given = shutil.copytree(root / "gt_mask", tmp_path / "given")
    (given / video / f"fid_{fid}" / "00003.png").unlink()
    result = score(given, "ref-avs", options=TruthOptions(root=root, image_size=PICTURE))
    assert result.n == result.listed - 2
    assert "lacks the mask of frame 3" in result.faults[0]


class TestRegions:
    """The exported clip is copied, with captions of our own."""

    @pytest.fixture
    def run(self, truth_of, tmp_path):
        truth = truth_of("ra-ssu", "ra_ssu", "f-music")
        (name,) = truth.ids
        batch = truth.batch([name])
        captions = [f"{text} now" for text in batch.targets["caption"][0]]
        values = {"mask": batch.targets["mask"].float(), "caption": [captions]}
        expected = figures(truth, lambda batch: Prediction("ra_ssu", batch.id, values))
        shutil.copytree(truth.dataset.root.path / "clips" / name / "masks", tmp_path / name / "masks")
        entries = [{"image_id": f"{name}_{k}", "caption": text} for k, text in enumerate(captions)]
        return truth, entries, expected, tmp_path

    def test_masks_and_captions(self, run):
        truth, entries, expected, folder = run
        (folder / "captions.json").write_text(json.dumps(entries))
        same(figures_of_file(folder, truth, "ra-ssu-folder"), expected)
        (folder / "captions.json").write_text(json.dumps([{"image_id": "nobody", "caption": "a"}]))
        errors = [str(line) for line in find_format("ra-ssu-folder").read(folder, truth)]
        assert "record 0: id 'nobody' is none of f-Music, test" in errors[0]
        assert f"clip {truth.ids[0]!r} has masks and no caption" in errors[1]

    @pytest.mark.slow
    @pytest.mark.skipif(shutil.which("java") is None, reason="no java on PATH")
    @pytest.mark.usefixtures("real_meteor")
    def test_all_scores_of_captions_by_the_command(self, run, capsys):
        """Saved predictions and COCO results of the same sentences, METEOR by its own program."""
        truth, entries, _, folder = run
        (name,) = truth.ids
        root = str(truth.dataset.root.path)
        captions = [entry["caption"] for entry in entries]
        values = {"mask": truth.batch([name]).targets["mask"].float(), "caption": [captions]}
        with PredictionWriter(folder / "predictions.jsonl") as writer:
            writer.write(truth.task, "f-music", Prediction("ra_ssu", [name], values), truth.batch([name]))
        (folder / "coco.json").write_text(json.dumps(entries))
        figures = []
        for words in ([folder / "predictions.jsonl"], [folder / "coco.json", "--dataset", "f-music"]):
            assert main(["score", *map(str, words), "--root", root, "--image_size", str(PICTURE), "--json"]) == 0
            figures.append(json.loads(capsys.readouterr().out)["figures"])
        saved, coco = figures
        assert saved["mIoU"]["value"] == pytest.approx(1)
        for metric in ("METEOR", "ROUGE-L", "CIDEr", "BLEU-4"):
            assert coco[metric]["value"] > 0.1
            assert coco[metric]["value"] == saved[metric]["value"]

    def test_masks_alone(self, run):
        truth, _, expected, folder = run
        scored = figures_of_file(folder, truth, "mask-folder")
        assert scored.keys() == {"mIoU", "F"}
        same(scored, expected, ["mIoU", "F"])

    @pytest.mark.parametrize("form", ["coco", "lines", "text"])
    def test_captions_alone(self, run, form):
        truth, entries, expected, folder = run
        path = folder / "x.json"
        if form == "coco":
            path.write_text(json.dumps(entries))
        elif form == "lines":
            path = folder / "x.jsonl"
            lines = [{"id": truth.ids[0], "frame": 30 * k, "text": x["caption"]} for k, x in enumerate(entries)]
            path.write_text("\n".join(map(json.dumps, lines)))
        else:
            path = folder / "x.txt"
            path.write_text("\n".join(f"{x['image_id']}\t{x['caption']}" for x in entries))
        scored = figures_of_file(path, truth, "captions")
        assert not scored.keys() & {"mIoU", "F"}
        same(scored, expected, scored)

    def test_a_mask_for_each_step(self, run, tmp_path_factory):
        truth, _, _, folder = run
        (name,) = truth.ids
        other = tmp_path_factory.mktemp("steps")
        for k, mask in enumerate(truth.batch([name]).targets["mask"][0].numpy()):
            Image.fromarray(mask * 255).save(other / f"{name}_{k}.png")
        assert read(other, truth, "mask-folder") == read(folder, truth, "mask-folder")

    def test_sentences_of_the_dataset(self, run, tmp_path_factory):
        truth, _, _, _ = run
        (name,) = truth.ids
        folder = tmp_path_factory.mktemp("sentences") / name
        folder.mkdir()
        shutil.copy(truth.dataset.root.path / "clips" / name / "captions.jsonl", folder)
        captions = truth.batch([name]).targets["caption"][0]
        assert read(folder.parent, truth, "captions")[name]["captions"] == captions


class TestSources:
    @pytest.mark.parametrize("form", ["folder", "archive"])
    def test_heat_maps(self, truth_of, tmp_path, form):
        truth = truth_of("vggss", "ssl")
        generator = np.random.default_rng(3)
        heat = {name: generator.normal(size=(7, 7)).astype(np.float32) for name in truth.ids}
        if form == "archive":
            path = tmp_path / "heat.npz"
            np.savez(path, **heat)
        else:
            path = tmp_path
            for name, values in heat.items():
                np.save(path / f"{name}.npy", values)

        def predict(batch):
            return Prediction("ssl", batch.id, {"heat": torch.from_numpy(heat[batch.id[0]])[None, None]})

        same(figures_of_file(path, truth, "heat-maps"), figures(truth, predict))

    @pytest.mark.parametrize("form", ["table", "records"])
    def test_boxes(self, truth_of, tmp_path, form):
        truth = truth_of("vggss", "ssl")
        truth = truth.with_options(find_format("boxes").task_options(truth))
        records = json.loads((truth.dataset.root.path / "vggss.json").read_text())
        path = truth.dataset.root.path / "vggss.json"
        if form == "table":
            rows = [["id", "x1", "y1", "x2", "y2"]]
            for record in records:
                rows += [[record["file"], *box] for box in record["bbox"]]
            path = write_table(tmp_path / "x.csv", rows)
        lines = [line for line in find_format("boxes").read(path, truth) if not isinstance(line, FileError)]
        found = {line.values["id"]: line.values for line in lines}
        scored = figures(truth, lambda batch: truth.task.prediction([found[x] for x in batch.id], batch))
        assert scored["cIoU@0.5"] == 1, "the true boxes"
        assert scored["mean_cIoU"] == pytest.approx(1)

    def test_nan(self, truth_of, tmp_path):
        truth = truth_of("vggss", "ssl")
        np.save(tmp_path / f"{truth.ids[0]}.npy", np.full((7, 7), np.nan))
        with pytest.raises(DataError, match="49 of 49 values are NaN or infinite"):
            read(tmp_path, truth, "heat-maps")


class TestReal:
    """The authors' annotations as predictions are perfect."""

    def test_ave(self, real):
        truth = open_truth("ave", "ave", TruthOptions(root=real / "annotations/ave"))
        path = real / "annotations/ave/dgsct_testSet.txt"
        assert figures_of_file(path, truth, "ave-table")["accuracy"] == 1
        assert truth.notes == []

    def test_ave_of_another_split(self, real):
        folder = real / "annotations/ave"
        truth = open_truth("ave", "ave", TruthOptions(root=folder))
        lines = list(find_format("ave-table").read(folder / "dgsct_valSet.txt", truth))
        assert lines == [], "clips of the test are missing, not background"
        assert "391 ids are of split 'val' and left out" in truth.notes[1]

    def test_llp(self, real, tmp_path):
        folder = real / "annotations/llp"
        truth = open_truth("avvp", "llp", TruthOptions(root=folder))
        for modality in ("audio", "visual"):
            shutil.copy(folder / f"AVVP_eval_{modality}.csv", tmp_path)
        kind = detect_format(tmp_path, truth)
        lines = list(kind.read(tmp_path, truth))
        errors = [str(line) for line in lines if isinstance(line, FileError)]
        unknown = [error for error in errors if "is none of LLP, test" in error]
        assert len(unknown) == 8, "names that are of no clip, as the authors have them"
        assert all(" lasts from 9 to 0 s" in error for error in errors if error not in unknown)
        assert truth.notes == [f"{tmp_path}: 649 ids are of split 'val' and left out, since LLP, test is scored."]
        records = {line.values["id"]: line.values for line in lines if not isinstance(line, FileError)}
        read = [name for name in truth.ids if name in records]
        assert len(read) >= 1199
        evaluator = Evaluator({"avvp": truth.task})
        batch = truth.batch(read)
        evaluator.update(truth.task.prediction([records[name] for name in read], batch), batch)
        assert set(evaluator.compute("avvp").values()) == {1.0}

    def test_vggss(self, real):
        truth = open_truth("ssl", "vggss", TruthOptions(root=real / "annotations/ssl", image_size=224))
        kind = find_format("boxes")
        truth = truth.with_options(kind.task_options(truth))
        lines = list(kind.read(real / "annotations/ssl/vggss.json.gz", truth))
        errors = [str(line) for line in lines if isinstance(line, FileError)]
        assert len(errors) == 12, "pictures with a corner at -2.88e16"
        assert all("is reversed or outside the picture" in error for error in errors)
        records = {line.values["id"]: line.values for line in lines if not isinstance(line, FileError)}
        names = list(records)[:200]
        evaluator = Evaluator({"ssl": truth.task}, quick=True)
        batch = truth.batch(names)
        evaluator.update(truth.task.prediction([records[name] for name in names], batch), batch)
        assert evaluator.compute("ssl")["mean_cIoU"] == 1
