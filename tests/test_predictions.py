# SPDX-License-Identifier: Apache-2.0
"""Stored predictions: what is written is scored as what was predicted, to the last digit."""

import json
import math
from itertools import groupby

import numpy as np
import pytest
import torch

from avkit.answers.rle import decode_rle, encode_rle
from avkit.batch import Prediction
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.errors import FileError
from avkit.metrics.mask_levels import level_probabilities, mask_levels
from avkit.metrics.mask_scores import THRESHOLDS, f_score, frame_iou
from avkit.scoring.predictions import PredictionWriter, read_predictions
from avkit.scoring.truth import TruthOptions, open_truth
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.tasks import TASKS
from avkit.tasks.stored import RecordError
from avkit.training.evaluator import Evaluator
from avkit.training.module import AVModel

SIZE = 5
OPTIONS = TruthOptions(image_size=32, size=SIZE)


def batches(task):
    """The test split in batches of two, as a run reads it."""
    dataset = Scenes("test", size=SIZE, image_size=32)
    fields = (frozenset(task.targets) | frozenset(task.optional)) & dataset.provides
    items = []
    for index in range(SIZE):
        items.append(dataset.item(index, fields))
        items[-1].place = index
    return [collate(items[start : start + 2], task.name) for start in range(0, SIZE, 2)]


def rows(evaluator, name):
    return {figure: (row.value, row.n, row.low, row.high) for figure, row in evaluator.compute_rows(name).items()}


def same(a, b):
    """Equal to the last bit, where NaN equals NaN."""
    assert a.keys() == b.keys()
    for name, values in a.items():
        for one, other in zip(values, b[name], strict=True):
            assert one == other or (math.isnan(one) and math.isnan(other)), (name, values, b[name])


@pytest.fixture(scope="module", params=TASKS)
def run(request, tmp_path_factory):
    """A task, its figures as a test makes them, and the file of its predictions."""
    torch.manual_seed(0)
    net = AVModel(request.param, Scenes("test", size=SIZE, image_size=32).vocabulary, AVUnifiedConfig(width=32)).eval()
    task = net.tasks[request.param]
    evaluator = Evaluator(net.tasks, quick=request.param == "ra_ssu")
    path = tmp_path_factory.mktemp("run") / "predictions.jsonl"
    with PredictionWriter(path) as writer, torch.no_grad():
        for batch in batches(task):
            prediction = net(batch)
            evaluator.update(prediction, batch)
            writer.write(task, "scenes", prediction, batch)
    return task, rows(evaluator, task.name), path


def test_the_file_gives_the_figures_of_the_run(run):
    task, figures, path = run
    truth = open_truth(task.name, "scenes", OPTIONS)
    again = Evaluator({task.name: truth.task}, quick=task.name == "ra_ssu")
    records = [line.values for line in read_predictions(path)]
    assert [record["id"] for record in records] == truth.ids
    for _, group in groupby(records, key=lambda record: record["batch"]):
        own = list(group)
        batch = truth.batch([record["id"] for record in own])
        again.update(truth.task.prediction(own, batch), batch)
    same(rows(again, task.name), figures)
    assert any(not math.isnan(values[0]) for values in figures.values())


def test_a_sample_without_prediction_is_scored_as_the_task_says(run):
    task, *_ = run
    truth = open_truth(task.name, "scenes", OPTIONS)
    batch = truth.batch(truth.ids)
    records = truth.task.absent(batch)
    if not records:
        assert task.if_absent == "left out"
        return
    evaluator = Evaluator({task.name: truth.task}, quick=True)
    evaluator.update(truth.task.prediction(records, batch), batch)
    score = evaluator.compute(task.name)[task.headline[-1]]
    assert score == 0 or task.if_absent.startswith("with")


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("avqa", {"answer": 3}, "'answer' is 3; give a text"),
        ("ave", {"labels": ["dog"]}, "'labels' has 1 entries; give 10, one for each step"),
        ("ave", {"labels": ["bak"] * 10}, "class 'bak' is none of 12; the nearest is 'bark'"),
        ("avvp", {"audio": [["bell", 3, 12]]}, "an event lasts from 3 to 12 s; give 0 <= start <= end <= 10"),
        ("avvp", {"visual": [["bell", 3]]}, "'visual' holds ['bell', 3]; give [label, start, end]"),
        ("davel", {"events": [[4, 3, "bell", 1]]}, "an event lasts from 4 to 3 s"),
        ("davel", {"events": [[1, 3, "bell", None]]}, "a score is None; give a finite number"),
        ("ssl", {"steps": []}, "'steps' lacks"),
        ("ssl", {"heat": [[1]]}, "'heat' is [[1]]; give"),
        ("avs", {"masks": []}, "'masks' has 0 entries; give 10, one for each of 'steps'"),
        ("avs", {"masks": [{"size": [4, 4], "counts": [16]}] * 10}, "a mask has 4 x 4 pixels, the true one 32 x 32"),
        ("avs", {"masks": [{"size": [32, 32], "counts": [9]}] * 10}, "cover 9 pixels, and its size is 32 x 32"),
        ("ra_ssu", {"captions": [None] * 10}, "'captions' holds None; give texts"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_with_its_sample(task, change, message):
    truth = open_truth(task, "scenes", TruthOptions(image_size=32, size=1))
    batch = truth.batch(truth.ids)
    steps = list(range(batch.valid.shape[1]))
    record = (truth.task.absent(batch) or [{"id": truth.ids[0], "steps": steps, "heat": 0}])[0]
    with pytest.raises(RecordError) as error:
        truth.task.prediction([record | change], batch)
    if message.endswith("'bark'"):
        message = message.partition(";")[0]
    assert message in str(error.value)
    assert str(error.value).startswith(f"sample {truth.ids[0]!r}: ")


def test_lines_that_cannot_be_read_say_file_line_and_fault(tmp_path):
    path = tmp_path / "predictions.jsonl"
    lines = ['{"id": "a"}', "[1]", '{"task": "avqa"}', '{"id": "b", "x": NaN}', '{"id": "c"', '{"id": 7}', ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    read = list(read_predictions(path))
    assert [line.values["id"] for line in read if not isinstance(line, FileError)] == ["a", "7"]
    faults = [str(line) for line in read if isinstance(line, FileError)]
    assert [fault.partition(" is ")[0].partition(" has ")[0] for fault in faults] == [
        f"{path}, line {number}" for number in (2, 3, 4, 5)
    ]
    assert all("\n" not in fault for fault in faults)


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "predictions.jsonl"
    path.write_text("old")
    with pytest.raises(KeyError), PredictionWriter(path):
        raise KeyError
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.jsonl"]


def slow_counts(mask):
    """COCO's text of a mask as its definition says, run by run and bit by bit."""
    runs, value, length = [], False, 0
    for pixel in mask.T.flatten().tolist():
        if pixel != value:
            runs.append(length)
            value, length = pixel, 0
        length += 1
    runs.append(length)
    text = ""
    for number, run in enumerate(runs):
        rest = run - runs[number - 2] if number > 2 else run
        while True:
            bits, rest = rest & 31, rest >> 5
            done = rest == (-1 if bits & 16 else 0)
            text += chr(48 + bits + (0 if done else 32))
            if done:
                break
    return text


def test_run_lengths_are_those_of_coco():
    random = np.random.default_rng(0)
    for share in (0, 0.02, 0.5, 0.98, 1):
        for height, width in ((1, 1), (7, 5), (40, 33)):
            mask = random.random((height, width)) < share
            record = encode_rle(mask)
            assert record == {"size": [height, width], "counts": slow_counts(mask)}
            np.testing.assert_array_equal(decode_rle(record), mask)
    # recorded from pycocotools 2.0: a 3 x 3 diagonal, and a square in a larger picture
    assert encode_rle(np.eye(3, dtype=bool))["counts"] == "013000"
    np.testing.assert_array_equal(decode_rle({"size": [2, 2], "counts": [1, 2, 1]}), [[False, True], [True, False]])


@pytest.mark.parametrize("counts", ["", "p", "0~", "oooooooooo0", None, [1, -1], [1.5], "PPPP"])
def test_damaged_run_lengths_are_refused(counts):
    with pytest.raises(ValueError, match="mask"):
        decode_rle({"size": [2, 2], "counts": counts})


def test_levels_and_mask_give_the_official_scores_of_probabilities():
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(6, 16, 16, generator=generator)
    probability[0].flatten()[: len(THRESHOLDS)] = THRESHOLDS
    probability[1, 0, :4] = torch.tensor([0.5, 0.50000006, 0.49999997, 1.0])
    target = (torch.rand(6, 16, 16, generator=generator) > 0.7).int()
    again = level_probabilities(mask_levels(probability), probability > 0.5)
    assert torch.equal(frame_iou(again, target, "probabilities"), frame_iou(probability, target, "probabilities"))
    assert torch.equal(f_score(again, target, "probabilities"), f_score(probability, target, "probabilities"))
    with pytest.raises(ValueError, match="pixels contradict the mask"):
        level_probabilities(mask_levels(probability), probability > 0.9)
    with pytest.raises(ValueError, match="levels go up to 255"):
        level_probabilities(torch.tensor([255]), torch.tensor([True]))


def test_an_answer_outside_the_vocabulary_is_wrong_and_no_error():
    truth = open_truth("avqa", "scenes", TruthOptions(image_size=32, size=2))
    batch = truth.batch(truth.ids)
    records = [{"id": name, "answer": "a platypus"} for name in truth.ids]
    evaluator = Evaluator({"avqa": truth.task})
    evaluator.update(truth.task.prediction(records, batch), batch)
    assert evaluator.compute("avqa")["Overall"] == 0


def test_a_line_holds_what_a_reader_of_the_docs_expects(run):
    task, _, path = run
    line = json.loads(path.read_text().partition("\n")[0])
    assert (line["task"], line["dataset"], line["id"], line["batch"]) == (task.name, "scenes", "scenes-test-000000", 0)
    assert isinstance(task.prediction([line], batches(task)[0].sample(0)), Prediction)
