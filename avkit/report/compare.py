# SPDX-License-Identifier: Apache-2.0
"""Any runs compared: every score with n, interval and spread over seeds, and whether it differs from the first's."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from avkit.errors import RunError
from avkit.report.evidence import Difference, deviation, difference, mean, mean_draws
from avkit.report.scores import Key, Scores, check_same_tests, option_differences

_ADVICE = "Test them on the same data with 'avkit test RUN', or pass --allow_different to see them without differences."


@dataclass
class Variant:
    """Runs that differ in nothing but their seed.

    Attributes:
        label: Its name in tables.
        runs: One per seed.
    """

    label: str
    runs: list[Scores]


@dataclass
class Cell:
    """One score of one variant.

    Attributes:
        value: Mean over seeds.
        deviation: Standard deviation over seeds; None for one.
        n: How many answers it counts; 0 where that is not known.
        counted: What they are.
        low: Lower end of its 95 % interval over clips; None where there is none.
        high: Upper end.
        difference: From the first variant; None for the first one, and where that has no such score.
        best: Whether no variant has a higher value.
    """

    value: float
    deviation: float | None
    n: int
    counted: str
    low: float | None
    high: float | None
    difference: Difference | None = None
    best: bool = False


@dataclass
class CompareRow:
    """One metric of one task.

    Attributes:
        cells: By variant; None where it was not scored.
    """

    task: str
    metric: str
    unit: str
    cells: list[Cell | None]


@dataclass
class Comparison:
    """All that a comparison shows; the first variant is what the others are compared with."""

    variants: list[Variant]
    rows: list[CompareRow]
    tests: dict[str, str]
    notes: list[str] = field(default_factory=list)


def group_seeds(runs: Sequence[Scores]) -> list[Variant]:
    """Runs of equal options together, in the order of their first; a run whose options are not known stays alone."""
    groups: dict[str, list[Scores]] = {}
    for number, run in enumerate(runs):
        known = None if run.options is None else [run.options, sorted(run.tasks)]
        key = f"alone {number}" if known is None else json.dumps(known, sort_keys=True, default=str)
        groups.setdefault(key, []).append(run)
    variants: list[Variant] = []
    for group in groups.values():
        seeds = {run.seed for run in group}
        # two runs of one seed are no sample of seeds
        parts = [group] if len(seeds) == len(group) else [[run] for run in group]
        variants += [Variant(common_name([run.name for run in part]), part) for part in parts]
    return _distinct(variants)


def common_name(names: Sequence[str]) -> str:
    """A name for runs: the last part of their path without what tells seeds apart, or the folder that holds them."""
    bases = [name.rstrip("/").rpartition("/")[2] or name for name in names]
    if len(bases) == 1:
        return bases[0]
    shared = ""
    for letters in zip(*bases, strict=False):
        if len(set(letters)) > 1:
            break
        shared += letters[0]
    shared = shared.rstrip("0123456789").rstrip("-_. ")
    folders = {name.rstrip("/").rpartition("/")[0].rpartition("/")[2] for name in names}
    common_folder = folders.pop() if len(folders) == 1 else ""
    return shared.removesuffix("seed").rstrip("-_. ") or common_folder or bases[0]


def _distinct(variants: list[Variant]) -> list[Variant]:
    """Variants with labels of their own: where two are equal, those of their first run's whole name."""
    labels = [variant.label for variant in variants]
    for variant in variants:
        if labels.count(variant.label) > 1:
            variant.label = variant.runs[0].name
    return variants


def compare_variants(variants: Sequence[Variant], *, allow_different: bool = False) -> Comparison:
    """Every score that a variant has, with its difference from the first variant's.

    Args:
        variants: Two or more, or one of several seeds.
        allow_different: Show scores of different tests too, without a difference.

    Raises:
        RunError: If there is only one run, variants have no task in common, or tests differ.
    """
    runs = [run for variant in variants for run in variant.runs]
    names = [run.name.rstrip("/") for run in runs]
    for name in names:
        if names.count(name) > 1:
            raise RunError(f"{name} is named twice. Name each run once.")
    if len(runs) < 2:
        raise RunError(f"{runs[0].name} is the only run; a comparison needs another one.")
    tasks = [task for task in variants[0].runs[0].tasks if all(task in run.tasks for run in runs)]
    if not tasks:
        raise RunError(f"{', '.join(v.label for v in variants)} have no task in common, so nothing compares.")
    if not allow_different:
        for number in range(len(runs)):
            check_same_tests(runs[number:], _ADVICE)
    rows = []
    for key in _keys(runs, tasks):
        rows.append(_row(variants, key))
    tests = {task: _test_of(task, runs) for task in tasks}
    return Comparison(list(variants), rows, tests, _notes(variants, tasks))


def _keys(runs: Sequence[Scores], tasks: Sequence[str]) -> list[Key]:
    """Tasks and metrics that a run has, in the order of tasks."""
    keys = dict.fromkeys(key for run in runs for key in run.values)
    return [key for task in tasks for key in keys if key[0] == task]


def _row(variants: Sequence[Variant], key: Key) -> CompareRow:
    """A metric of all variants."""
    cells = [_cell(variant, key) for variant in variants]
    scored = [cell for cell in cells if cell is not None]
    best = max(cell.value for cell in scored)
    first = cells[0]
    for variant, cell in zip(variants, cells, strict=True):
        if cell is None:
            continue
        cell.best = cell.value == best
        if first is not None and cell is not first:
            cell.difference = difference(variants[0].runs, variant.runs, key)
    units = [run.units[key] for variant in variants for run in variant.runs if key in run.units]
    return CompareRow(key[0], key[1], units[0] if units else "fraction", cells)


def _cell(variant: Variant, key: Key) -> Cell | None:
    """A score of a variant; None unless all its runs have it."""
    runs = variant.runs
    if not all(key in run.values for run in runs):
        return None
    value = mean(runs, key)
    n, counted = runs[0].counts.get(key, (0, ""))
    low, high = _interval(runs, key, value)
    return Cell(value, deviation(runs, key), n, counted, low, high)


def _interval(runs: Sequence[Scores], key: Key, value: float) -> tuple[float | None, float | None]:
    """The 95 % interval over clips: a run's own, or that of the mean over seeds."""
    if len(runs) == 1:
        return runs[0].intervals.get(key, (None, None))
    if not all(key in run.draws for run in runs):
        return None, None
    draws = mean_draws(runs, key)
    draws = draws[np.isfinite(draws)]
    if not len(draws):
        return None, None
    low, middle, high = np.percentile(draws, (2.5, 50, 97.5)).tolist()
    ends = (value + low - middle, value + high - middle)
    if runs[0].units.get(key) == "number":
        return ends
    return max(0.0, ends[0]), min(1.0, ends[1])


def _test_of(task: str, runs: Sequence[Scores]) -> str:
    """What a task was tested on, in words."""
    tests = [run.tests.get(task, {}) for run in runs]
    names = list(dict.fromkeys(name for test in tests for name in test if name != "clips"))
    parts = []
    for name in names:
        values = dict.fromkeys(test[name] for test in tests if test.get(name))
        if values:
            parts.append(f"{name} {' or '.join(values)}")
    return ", ".join(parts)


def _notes(variants: Sequence[Variant], tasks: Sequence[str]) -> list[str]:
    """What a reader of the differences needs."""
    notes = []
    first = variants[0]
    for variant in variants[1:]:
        ours = first.runs[0].options
        theirs = variant.runs[0].options
        if ours is not None and theirs is not None:
            differences = option_differences(ours, theirs)
            shown = "; ".join(differences) or "nothing that a config says"
            notes.append(f"{variant.label} differs from {first.label} in {shown}.")
    for variant in variants:
        others = [task for task in variant.runs[0].tasks if task not in tasks]
        if others:
            notes.append(f"{variant.label} is of {', '.join(others)} too, which not all runs are of.")
    single = [variant.label for variant in variants if len(variant.runs) == 1]
    if single:
        notes.append(
            f"{', '.join(single)}: one seed, so the tests tell these trained models apart, not the ways they were "
            "trained; another seed may differ by more."
        )
    return notes
