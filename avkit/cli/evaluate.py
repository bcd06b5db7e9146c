# SPDX-License-Identifier: Apache-2.0
"""Test a run with everything it is compared with, and write its report."""

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avkit.cli.beside import Beside
from avkit.cli.examples import ranked_examples
from avkit.cli.run_facts import curves, efficiency, hardware, model_facts, provenance, speed_facts, weights_rows
from avkit.cli.run_records import TestedRun, make_records
from avkit.cli.run_verdicts import judge_records, with_published
from avkit.cli.saved_predictions import not_saved, saved_predictions
from avkit.cli.start_table import data_facts
from avkit.cli.tested_runs import DRAWS
from avkit.cli.trainer import AVCLI
from avkit.cli.training_checks import check_samples
from avkit.files import atomic
from avkit.leaderboard.records import RECORDS, write_records
from avkit.metrics.intervals import ScoreRow
from avkit.report import Row, RunReport, efficiency_table, open_console, print_scores, write_report
from avkit.scoring.predictions import PREDICTIONS
from avkit.training.benchmarks import Benchmark
from avkit.training.callbacks import History
from avkit.training.datamodule import AVDataModule
from avkit.training.evaluator import MODEL, fit_baselines
from avkit.training.module import AVModel
from avkit.training.ranking import SampleRanking
from avkit.training.run_folder import RunFolder
from avkit.training.run_licences import licence_rows

#: Training samples per task that baselines are counted over.
COUNTED = 256
#: Test samples per task shown in the report: those answered worst, and those answered best.
WORST = 3
BEST = 2
#: How names of baselines begin among the contestants of an `Evaluator`.
_BASELINE = "baseline: "
#: Why a table has no baselines.
_NO_BASELINES = "There are no baselines: they are counted over training clips, and these data have none."
#: What stands for a score that was not run.
_NOT_RUN = ScoreRow(math.nan, 0)


def report_run(
    cli: AVCLI,
    run: RunFolder,
    history: History | None = None,
    training_minutes: float | None = None,
    beside: Beside | None = None,
) -> Path:
    """Score the best checkpoint on the test split, print the table, write the report; returns the HTML's path.

    With several processes all must call it; the first one prints and writes, the others return the run's folder.

    Args:
        cli: Trainer, model and data.
        run: The run.
        history: What was kept of a training that has just ended.
        training_minutes: How long it took.
        beside: Another run whose answers examples show too.
    """
    model = cli.model
    data = cli.datamodule
    checkpoint = tested_checkpoint(model, run)
    check_samples(cli, ["test"])
    has_training = data.reference == "train"
    if has_training:
        model.baselines = fit_baselines(model.benchmarks, data.first_batches("train", COUNTED))
    model.ranking = SampleRanking(model.benchmarks, worst=WORST, best=BEST)
    start = time.perf_counter()
    with saved_predictions(cli, run):
        cli.trainer.test(
            model, datamodule=data, ckpt_path=None if checkpoint is None else str(checkpoint), verbose=False
        )
    seconds = time.perf_counter() - start
    if cli.trainer.is_global_zero:
        print("writing the report", flush=True)
    examples = ranked_examples(cli.trainer, model, data, model.ranking, beside)
    if not cli.trainer.is_global_zero:
        return run.path
    sizes = {task: data.coverage("test", task) for task in model.benchmarks}
    rows = label_splits(data, score_rows(model, data.benchmarks, "test", sizes))
    predictions = run.path / PREDICTIONS if cli.config.save_predictions else None
    judged = judge_records(cli, run, make_records(TestedRun(cli, run, checkpoint, rows, predictions, hardware())))
    rows = with_published(rows, judged)
    report = RunReport(
        name=run.path.name,
        title=f"{', '.join(model.tasks)} on {data.dataset}",
        rows=rows,
        examples=examples,
        examples_note=f"Of all test samples of each task the {WORST} answered worst and the {BEST} answered best.",
        curves=curves(run),
        efficiency=efficiency(model, data.first_batches("test", 1)),
        facts={
            "model": model_facts(model) | weights_rows(run),
            **({"data": data_facts(data)} if has_training else {}),
            "licences": licence_rows(run),
            "speed": speed_facts(history, training_minutes, seconds, model.evaluator, run),
            "provenance": provenance(run, checkpoint, cli.config.seed_everything),
        },
        verdicts=[verdict for entry in judged if (verdict := entry.for_report()) is not None],
        notes=[*data.notes(), *([] if has_training else [_NO_BASELINES]), *notes(model), *not_saved(cli)],
    )
    write_draws(run.path / DRAWS, model)
    write_records(run.path / RECORDS, [entry.record for entry in judged])
    path = write_report(run.path, report)
    console = open_console()
    print_scores(console, rows)
    console.print(efficiency_table(report.efficiency))
    for verdict in report.verdicts:
        console.print(f"published: {verdict.sentence}", highlight=False, markup=False, soft_wrap=True)
    for note in report.notes:
        console.print(note, style="dim", highlight=False, markup=False)
    console.print(f"report: {path}", highlight=False, markup=False, soft_wrap=True)
    return path


def tested_checkpoint(model: AVModel, run: RunFolder) -> Path | None:
    """The checkpoint that a test scores: the best one, or the last; None of a system that has nothing to train."""
    if not any(True for _ in model.parameters()):
        return None
    return run.best if run.best.exists() else run.last


def score_rows(model: AVModel, benchmarks: Mapping[str, Benchmark], split: str, sizes: dict[str, int]) -> Iterator[Row]:
    """A row per figure of each benchmark, with the best baseline, silence and another sound; headline figures first."""
    evaluator = model.evaluator
    for name, task in model.benchmarks.items():
        scores = {contestant: evaluator.compute_rows(name, contestant) for contestant in evaluator.contestants(name)}
        metric_notes = evaluator.notes(name)
        figures = scores[MODEL]
        others = [metric for metric in figures if metric not in task.headline]
        for metric in [*task.headline, *others]:
            name_of_baseline = best_baseline(scores, metric)
            baseline = scores.get(f"{_BASELINE}{name_of_baseline}", {}).get(metric, _NOT_RUN)
            silence = scores.get("silence", {}).get(metric, _NOT_RUN)
            swapped = scores.get("swapped", {}).get(metric, _NOT_RUN)
            yield Row(
                benchmarks[name].task,
                benchmarks[name].dataset,
                split,
                metric,
                figures[metric].value,
                baseline=baseline.value,
                baseline_name=name_of_baseline or "",
                silence=silence.value,
                swapped=swapped.value,
                clips=evaluator.clips[name],
                of=sizes[name],
                note=metric_notes.get(metric, ""),
                unit="number" if metric == "CIDEr" else "fraction",
                n=figures[metric].n,
                counted=figures[metric].counted,
                low=figures[metric].low,
                high=figures[metric].high,
                baseline_low=baseline.low,
                baseline_high=baseline.high,
                silence_low=silence.low,
                silence_high=silence.high,
                swapped_low=swapped.low,
                swapped_high=swapped.high,
            )


def label_splits(data: AVDataModule, rows: Iterable[Row]) -> list[Row]:
    """Rows whose split says that it was drawn, where it was, such as `test, drawn`."""
    labels = {(b.task, b.dataset): name for name, b in data.benchmarks.items()}
    return [replace(row, split=data.split_label(row.split, labels[row.task, row.dataset])) for row in rows]


def write_draws(path: Path, model: AVModel) -> None:
    """Write what a paired comparison of runs needs as `.npz`.

    By `task/metric` the score in each draw of the bootstrap, float32 (R,); by `clips/task` which samples were scored,
    a text in UTF-8 as uint8. Where a task has several datasets, `task/dataset` stands for `task`. Scores of two runs
    with equal `clips` can be subtracted draw by draw.
    """
    arrays: dict[str, Any] = {}
    for task in model.benchmarks:
        arrays[f"clips/{task}"] = np.frombuffer(model.evaluator.clips_digest(task).encode(), np.uint8)
        for metric, row in model.evaluator.compute_rows(task).items():
            if row.draws is not None:
                arrays[f"{task}/{metric}"] = row.draws.astype(np.float32)
    with atomic(path) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)


def best_baseline(scores: Mapping[str, Mapping[str, ScoreRow]], metric: str) -> str | None:
    """Name of the baseline with the highest score, the first of equal ones; None if none was scored.

    Args:
        scores: Scores by contestant and metric.
        metric: Name of the metric.
    """
    values: dict[str, float] = {}
    for contestant, figures in scores.items():
        if contestant.startswith(_BASELINE) and metric in figures and not math.isnan(figures[metric].value):
            values[contestant.removeprefix(_BASELINE)] = figures[metric].value
    return max(values, key=lambda name: values[name]) if values else None


def notes(model: AVModel) -> list[str]:
    """Notes of metrics about their figures, then those about how tasks were answered, each once."""
    sentences = model.system.config.notes()
    for name in model.benchmarks:
        for metric, text in model.evaluator.notes(name).items():
            sentences.append(f"{name} {metric}: {text}")
    for name in model.tasks:
        sentences += [f"{name}: {text}" for text in model.system.notes(name)]
    for name in model.unscored:
        sentences.append(model.unscored_note(name, model.benchmarks[name].monitor))
    return list(dict.fromkeys(sentences))
