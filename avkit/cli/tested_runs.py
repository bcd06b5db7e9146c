# SPDX-License-Identifier: Apache-2.0
"""Scores of tested runs, read from their folders: what `avkit compare` and `avkit report` compare."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avkit.batch import benchmark_name
from avkit.cli.dataset_option import own_value
from avkit.errors import AvkitError, RunError
from avkit.reading.arrays import npz_names, read_npz
from avkit.reading.checksums import check_record
from avkit.reading.remote import url_of
from avkit.reading.text import read_json, read_yaml
from avkit.report.scores import Draws, Key, Scores
from avkit.training.run_copies import local_run
from avkit.training.run_folder import RunFolder

#: File of a tested run with its scores in each draw of a bootstrap over clips.
DRAWS = "resamples.npz"
#: Options that decide what is learned; of `data` and `trainer` those below.
_SECTIONS = ("model", "optimizer", "lr_scheduler")
_NOT_OF_DATA = ("seed", "loader", "root")
_OF_TRAINER = (
    "max_epochs",
    "max_steps",
    "max_time",
    "limit_train_batches",
    "overfit_batches",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "precision",
)


def read_scores(place: Path) -> Scores:
    """The scores of a run that was tested.

    Args:
        place: Its folder, or the URL of one.

    Raises:
        RunError: If it is no run, was not tested, or its report is damaged.
    """
    name = url_of(place) or str(place)
    path = local_run(place)
    run = RunFolder(path)
    facts = run.read_facts()
    if not (path / "report.json").exists():
        raise RunError(f"{name} has no report.json. Test it first: avkit test {name}")
    try:
        report = read_json(path / "report.json")
        check_record(report, path / "report.json")
        rows = [row for row in report["rows"] if row["value"] is not None]
        names = _benchmark_names(rows)
        keys = {(names[_place(row)], str(row["metric"])): row for row in rows}
        scores = Scores(
            name=name,
            tasks=_benchmarks([str(task) for task in facts["tasks"]], names),
            dataset=str(facts["dataset"]),
            seed=int(facts["seed"]),
            steps=_steps(run),
            values={key: float(row["value"]) for key, row in keys.items()},
            units={key: str(row["unit"]) for key, row in keys.items()},
            counts={key: (int(row.get("n") or 0), str(row.get("counted") or "")) for key, row in keys.items()},
            intervals={key: ends for key, row in keys.items() if (ends := _ends(row)) is not None},
        )
    except (AvkitError, ValueError, KeyError, TypeError, AttributeError) as e:
        raise RunError(f"{name}/report.json is no report of avkit ({e!r}). Test again: avkit test {name}") from e
    clips, scores.draws = _draws(path, scores)
    config = _config(run)
    scores.options = _options(config)
    for task in scores.tasks:
        of_task = [row for key, row in keys.items() if key[0] == task]
        scores.tests[task] = _test(facts, config, of_task[0] if of_task else {}, clips.get(task, ""))
        if of_task:
            scores.datasets[task] = _place(of_task[0])[1]
    return scores


def _benchmark_names(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Names of benchmarks by task and dataset: the task's, with that of the dataset where the task has several."""
    pairs = list(dict.fromkeys(_place(row) for row in rows))
    tasks = [task for task, _ in pairs]
    return {(task, data): benchmark_name(task, data if tasks.count(task) > 1 else "") for task, data in pairs}


def _place(row: Mapping[str, Any]) -> tuple[str, str]:
    """Task and dataset of a row; an early avkit wrote no dataset."""
    return str(row["task"]), str(row.get("dataset", ""))


def _benchmarks(tasks: Sequence[str], names: Mapping[tuple[str, str], str]) -> list[str]:
    """Names of the benchmarks of tasks in order; a task without a score stands for itself."""
    benchmarks: list[str] = []
    for task in tasks:
        own = [name for (of_task, _), name in names.items() if of_task == task]
        benchmarks += own or [task]
    return benchmarks


def _steps(run: RunFolder) -> dict[str, int]:
    """Training steps of each task."""
    from avkit.training.callbacks import read_history

    steps: dict[str, int] = {}
    for line in read_history(run.history):
        task = line.get("task") if isinstance(line, dict) else None
        if isinstance(task, str):
            steps[task] = steps.get(task, 0) + 1
    return steps


def _ends(row: Mapping[str, Any]) -> tuple[float, float] | None:
    """The interval of a row of report.json, None if it has none."""
    if row.get("low") is None or row.get("high") is None:
        return None
    return float(row["low"]), float(row["high"])


def _draws(path: Path, scores: Scores) -> tuple[dict[str, str], dict[Key, Draws]]:
    """What tells on which clips each task was tested, and its scores in each draw; nothing where there is no file."""
    file = path / DRAWS
    if not file.exists():
        return {}, {}
    arrays = read_npz(file, npz_names(file))
    clips = {}
    for task in scores.tasks:
        text = arrays.get(f"clips/{task}")
        if text is not None:
            clips[task] = text.astype(np.uint8).tobytes().decode("utf-8", "replace")
    draws: dict[Key, Draws] = {}
    for task, metric in scores.values:
        values = arrays.get(f"{task}/{metric}")
        if values is not None:
            draws[task, metric] = values.astype(np.float32).reshape(-1)
    return clips, draws


def _config(run: RunFolder) -> dict[str, Any]:
    """The run's options; empty where they cannot be read."""
    try:
        config = read_yaml(run.config)
    except AvkitError:
        return {}
    return config if isinstance(config, dict) else {}


def _options(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options that decide what a run learns, without its seed; None where they are not known."""
    if not config:
        return None
    options = {name: config[name] for name in _SECTIONS if config.get(name) is not None}
    data = config.get("data")
    trainer = config.get("trainer")
    if isinstance(data, dict):
        options["data"] = {name: value for name, value in data.items() if name not in _NOT_OF_DATA}
    if isinstance(trainer, dict):
        options["trainer"] = {name: trainer[name] for name in _OF_TRAINER if trainer.get(name) is not None}
    return options


def _test(facts: Mapping[str, Any], config: Mapping[str, Any], row: Mapping[str, Any], clips: str) -> dict[str, str]:
    """How a task was tested; a text is empty where it is not known."""
    data = config.get("data")
    dataset = str(row.get("dataset", ""))
    release = own_value(data.get("release"), dataset) if isinstance(data, dict) else None
    hop = own_value(data.get("hop"), dataset) if isinstance(data, dict) else None
    test = {
        "data": f"{row.get('dataset', '')} {row.get('split', '')}".strip(),
        "release": str(release or ""),
        "samples": str(row.get("clips") or ""),
        "picture size": str(facts.get("image_size") or ""),
        "hop": str(hop or ""),
        "clips": clips,
    }
    return {name: text for name, text in test.items() if text}
