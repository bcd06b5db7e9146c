# SPDX-License-Identifier: Apache-2.0
"""Test samples of a run with predicted and true answers, for its report."""

from collections.abc import Iterator, Mapping, Sequence

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray

from avkit.answers import Answer, Scope, StepGrid
from avkit.batch import Batch, Prediction
from avkit.cli.beside import Beside
from avkit.cli.feature_pictures import FeaturePictures, feature_pictures, with_frames, with_sources
from avkit.datasets import Dataset
from avkit.report import Example, Sample
from avkit.report.renderers import find_renderer
from avkit.training.datamodule import AVDataModule
from avkit.training.evaluator import silence
from avkit.training.module import AVModel
from avkit.training.ranking import SampleRanking
from avkit.training.shared_evaluation import ResultsInOrder

#: Most pictures of a sample that are shown; of longer clips they are evenly apart.
PICTURES = 12

Kinds = Sequence[type[Answer]]


def examples(
    model: AVModel,
    batches: Mapping[str, Sequence[Batch]],
    datasets: Mapping[str, Dataset] | None = None,
    beside: Beside | None = None,
) -> Iterator[Example]:
    """A few test samples of each task with the model's answers, the true ones, and those of another run.

    Args:
        model: The model.
        batches: By benchmark.
        datasets: Dataset of each benchmark, for pictures of clips that are read as stored features.
        beside: Another run whose answers are shown too.
    """
    model.eval()
    for name, task_batches in batches.items():
        kinds = model.benchmarks[name].answers
        for batch in task_batches:
            pictures = None
            if datasets is not None and model.benchmarks[name].needs_question():
                pictures = feature_pictures(batch, datasets[name])
            inputs = with_sources(batch, pictures).to(model.device)
            with torch.inference_mode():
                prediction = model(inputs)
            scopes = [_scope(model, batch, row) for row in range(len(batch))]
            silent = None
            shown = with_frames(batch, pictures)
            if shown.frames is not None and _drawn_on_frames(kinds, prediction, scopes):
                with torch.inference_mode():
                    silent = model(silence(inputs))
            other = None if beside is None else beside.predict(inputs)
            for row, scope in enumerate(scopes):
                example = make_example(kinds, shown, prediction, silent, row, scope, other, beside)
                if pictures is not None:
                    _add_notes(example, pictures, has_parts="parts" in prediction.values)
                yield example


def _add_notes(example: Example, pictures: FeaturePictures, *, has_parts: bool) -> None:
    """Say what is missing of an example that tells what the model looked at; others show no pictures of features."""
    if not example.marks:
        example.images = []
        example.times = []
        return
    notes = [f"{example.note}."] if example.note else []
    if has_parts and example.heats is None and pictures.without_sources:
        notes.append(pictures.without_sources)
    if pictures.without_frames:
        notes.append(pictures.without_frames)
    if len(notes) > 1 or not example.note:
        example.note = " ".join(notes)


def ranked_examples(
    trainer: L.Trainer, model: AVModel, data: AVDataModule, ranking: SampleRanking, beside: Beside | None = None
) -> list[Example]:
    """The test samples of each benchmark that are answered worst, the worst first, and those answered best, best last.

    With several processes all must call it: each makes its share, and the first one has them all.

    Args:
        trainer: What tested them.
        model: The model.
        data: Its data, from which the chosen samples are read again.
        ranking: Scores of all test samples, in the first process.
        beside: Another run whose answers are shown too.
    """
    shown: list[Example] = []
    results = ResultsInOrder(shown.append)
    datasets = {name: data.split("test", name) for name in model.benchmarks}
    place = 0
    for name, task in model.benchmarks.items():
        chosen = trainer.strategy.broadcast(ranking.chosen(name))
        count = trainer.strategy.broadcast(ranking.count(name))
        own = chosen[trainer.global_rank :: trainer.world_size]
        batches = data.batches_of("test", {name: [sample.number for sample in own]}, size=1)
        made = zip(examples(model, batches, datasets, beside), own, strict=True)
        for number, (example, sample) in enumerate(made):
            example.score = f"{task.monitor} {100 * sample.score:.1f}, {sample.rank} of {count}"
            results.hold(place + trainer.global_rank + number * trainer.world_size, example)
        place += len(chosen)
    results.flush()
    return shown


def make_example(
    kinds: Kinds,
    batch: Batch,
    prediction: Prediction,
    silent: Prediction | None,
    row: int,
    scope: Scope,
    other: Prediction | None = None,
    beside: Beside | None = None,
) -> Example:
    """One sample of a batch with its predicted and true answers, and those of another run, where one is given."""
    predicted = _read_answers(kinds, prediction, row, scope)
    steps = _shown_steps(predicted, scope.grid.steps)
    example = Example(batch.benchmark, batch.id[row], duration=scope.grid.end)
    if batch.frames is not None:
        frames = batch.frames[_clip_of(batch, row)].cpu().numpy()
        example.images = list(frames[steps].transpose(0, 2, 3, 1))
        example.times = [(step + 0.5) * batch.hop for step in steps.tolist()]
    if beside is not None and other is not None:
        example.beside = beside.name
    for answer in predicted:
        kind = type(answer)
        silent_answer = None if silent is None else kind.read(silent, row, scope)
        sample = Sample(answer, silent_answer, kind.read_target(batch, row, scope), steps)
        if beside is not None and other is not None:
            sample.beside = kind.read(other, row, beside.scope(scope))
        find_renderer(kind).fill_example(example, sample)
    return example


def _scope(model: AVModel, batch: Batch, row: int) -> Scope:
    """What the answer to a sample is about."""
    vocabulary = model.vocabulary.of(batch.task)
    clip = _clip_of(batch, row)
    grid = StepGrid(batch.hop, int(batch.valid[clip].sum()), float(batch.duration[clip]))
    question = "" if batch.text is None else batch.text[row]
    return Scope(batch.task, grid, vocabulary.classes, vocabulary.answers, question)


def _clip_of(batch: Batch, row: int) -> int:
    """Index of a sample's clip in the batch."""
    return row if batch.clip is None else int(batch.clip[row])


def _read_answers(kinds: Kinds, prediction: Prediction, row: int, scope: Scope) -> list[Answer]:
    """The answers in one row of a prediction, of those kinds that the model gives."""
    answers = [kind.read(prediction, row, scope) for kind in kinds]
    return [answer for answer in answers if answer is not None]


def _drawn_on_frames(kinds: Kinds, prediction: Prediction, scopes: Sequence[Scope]) -> bool:
    """Whether an answer is drawn on frames, so that the same in silence is worth showing."""
    answers = _read_answers(kinds, prediction, 0, scopes[0])
    return any(find_renderer(type(answer)).drawn_on_frames(answer) for answer in answers)


def _shown_steps(answers: Sequence[Answer], count: int) -> NDArray[np.intp]:
    """Evenly chosen steps of a clip of `count` steps, and the key steps of its answers."""
    steps = np.unique(np.linspace(0, count - 1, min(count, PICTURES)).round().astype(int))
    key_steps: list[int] = []
    for answer in answers:
        key_steps += answer.key_steps()
    if not key_steps or count <= PICTURES:
        return steps
    stride = max(1, len(key_steps) // 4)
    return np.unique(np.concatenate([steps[::stride], key_steps]))
