# SPDX-License-Identifier: Apache-2.0
"""Answers that keep sources apart: stored, scored again, read back and drawn."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from avkit.answers import Caption, Scope, Sources, StepGrid
from avkit.batch import Prediction
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.report.images import palette
from avkit.report.overlay import overlay_frames
from avkit.report.records import Result
from avkit.report.renderers.table import step_regions
from avkit.report.result import save_result
from avkit.scoring import TruthOptions, score
from avkit.scoring.predictions import PredictionWriter
from avkit.tasks import find_task
from avkit.training.evaluator import Evaluator


def true_prediction(batch, order=(0, 1, 2, 3), sentences=(0, 1, 2, 3)):
    """A prediction of four sources: true masks in an order, and true sentences in one."""
    masks = batch.targets["source_mask"].float()
    masks = torch.cat([masks, masks.new_zeros((*masks.shape[:2], 4, *masks.shape[3:]))], 2)
    captions = []
    for clip in batch.targets["source_caption"]:
        full = [[*texts, "", "", "", ""] for texts in clip]
        captions.append([[texts[k] for k in sentences] for texts in full])
    values = {"mask": batch.targets["mask"].float(), "caption": batch.targets["caption"]}
    values |= {"source_mask": masks[:, :, list(order)], "source_caption": captions}
    return Prediction("ra_ssu", batch.id, values)


def has_pair(batch, row):
    """Whether two sources sound in view at once in a clip."""
    return int(batch.targets["source_mask"][row].flatten(2).any(2).sum(1).max()) > 1


@pytest.fixture(scope="module")
def scenes():
    data = Scenes("val", size=6, image_size=24)
    task = find_task("ra_ssu")(data.vocabulary)
    fields = frozenset((*task.targets, *task.optional)) & data.provides
    return task, collate([data.item(index, fields) for index in range(6)], "ra_ssu")


@pytest.mark.parametrize(
    ("order", "sentences"), [((0, 1, 2, 3), (0, 1, 2, 3)), ((3, 1, 0, 2), (3, 1, 0, 2)), ((0, 1, 2, 3), (1, 2, 0, 3))]
)
def test_stored_sources_have_the_same_figures(scenes, tmp_path, order, sentences):
    task, batch = scenes
    prediction = true_prediction(batch, order, sentences)
    evaluator = Evaluator({"ra_ssu": task}, quick=True)
    evaluator.update(prediction, batch)
    figures = evaluator.compute("ra_ssu")
    assert figures["pairing IoU"] == 1
    assert 0.3 < figures["pairing chance"] <= 0.5
    assert (figures["pairing accuracy"] == 1) == (order == sentences)
    path = tmp_path / "predictions.jsonl"
    with PredictionWriter(path) as writer:
        writer.write(task, "scenes", prediction, batch)
    record = json.loads(path.read_text().splitlines()[0])
    assert [source["source"] for source in record["sources"]] == [1, 2, 3, 4]
    assert len(record["sources"][0]["masks"]) == len(record["sources"][0]["captions"]) == 10
    scored = score(path, options=TruthOptions(split="val", size=6), task_options={"captions": True})
    for name, value in figures.items():
        if name.startswith("pairing") or name in ("mIoU", "F"):
            assert scored.rows[name].value == value


def test_samples_without_a_prediction_have_no_pairs(scenes, tmp_path):
    task, batch = scenes
    prediction = true_prediction(batch)
    path = tmp_path / "predictions.jsonl"
    with PredictionWriter(path) as writer:
        records = task.records(prediction, batch)
        several = [row for row in range(6) if has_pair(batch, row)]
        assert len(several) > 1
        del records[several[0]]
        writer.write_records("ra_ssu", "scenes", records)
    options = TruthOptions(split="val", size=6)
    assert score(path, options=options, allow_partial=True).rows["pairing accuracy"].value == 1
    assert score(path, options=options).rows["pairing accuracy"].value < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda source: source.update(source="x"), "give objects with 'source', a number of its own"),
        (lambda source: source.update(source=2), "give objects with 'source', a number of its own"),
        (lambda source: source["masks"].pop(), "source 1: 'masks' has 9 entries; give 10, one for each of 'steps'"),
        (lambda source: source["masks"][0].update(size=[2, 2]), "source 1: the runs of a mask cover 576 pixels"),
        (lambda source: source.update(captions=["a"]), "source 1: 'captions' has 1 entries; give 10"),
        (lambda source: source["captions"].__setitem__(0, 3), "source 1: 'captions' holds 3; give texts"),
    ],
)
def test_damaged_records_of_sources_are_refused(scenes, change, message):
    task, batch = scenes
    records = task.records(true_prediction(batch), batch)
    change(records[0]["sources"][0])
    with pytest.raises(ValueError, match=message):
        task.prediction(records, batch)


def test_a_model_that_keeps_no_sources_apart_has_no_figure_of_them(scenes):
    task, batch = scenes
    prediction = true_prediction(batch)
    for name in ("source_mask", "source_caption"):
        del prediction.values[name]
    evaluator = Evaluator({"ra_ssu": task}, quick=True)
    evaluator.update(prediction, batch)
    assert not any(name.startswith("pairing") for name in evaluator.compute("ra_ssu"))
    assert not any(name.startswith("pairing") for name in evaluator.compute_rows("ra_ssu"))
    assert "sources" not in task.records(prediction, batch)[0]


class TestAnswers:
    """Sources as an answer: read, stored, drawn."""

    def answer(self, scenes):
        _, batch = scenes
        row = next(row for row in range(6) if has_pair(batch, row))
        scope = Scope("ra_ssu", StepGrid(1.0, 10, 10.0))
        return Sources.read(true_prediction(batch), row, scope), Sources.read_target(batch, row, scope)

    def test_it_is_stored_and_read_back(self, scenes):
        predicted, true = self.answer(scenes)
        again = Sources.from_json(json.loads(json.dumps(predicted.to_json())))
        assert again == predicted
        assert again.grid == predicted.grid
        assert true.maps.shape[1] == len(true.texts[0]) <= 4
        assert np.array_equal(true.labels(0), predicted.labels(0))
        halves = []
        for start, end in ((0, 5), (5, 10)):
            grid = StepGrid(1.0, 5, end, start)
            halves.append(Sources("ra_ssu", predicted.maps[start:end], predicted.texts[start:end], grid))
        assert Sources.join(halves) == predicted

    def test_it_is_shown_in_a_colour_and_with_a_sentence_for_each_source(self, scenes, tmp_path):
        predicted, _ = self.answer(scenes)
        frames = np.zeros((10, 3, 240, 320), np.uint8)
        caption = Caption("ra_ssu", ["joined"] * 10, predicted.grid)
        result = Result(Path("a.mp4"), 10.0, 1.0, ["ra_ssu"], [caption, predicted], frames=frames)
        step = next(t for t in range(10) if sum(map(bool, predicted.texts[t])) > 1)
        regions = step_regions(result, step, (240, 320))
        assert list(regions.sentences) == predicted.texts[step]
        shown = set(np.unique(regions.labels)) - {0}
        assert shown == {k for k, mask in enumerate(predicted.maps[step], 1) if mask.any()}
        picture = next(iter(overlay_frames([(step + 0.5, frames[0].transpose(1, 2, 0))], result)))
        colours = {tuple(colour) for colour in picture.reshape(-1, 3).tolist()}
        assert all(any(abs(np.array(c) - palette()[k]).max() <= 2 for c in colours) for k in shown)
        save_result(tmp_path, result)
        record = json.loads((tmp_path / "result.json").read_text())["steps"][step]
        written = [source["caption"] for source in record["sources"] if source["caption"]]
        assert written == [text for text in predicted.texts[step] if text]
        ids = np.asarray(Image.open(tmp_path / record["source_file"]))
        assert set(np.unique(ids)) - {0} == shown
        page = (tmp_path / "report.html").read_text()
        assert "<h2>Sources</h2>" in page
        assert next(t for t in predicted.texts[step] if t) in page
