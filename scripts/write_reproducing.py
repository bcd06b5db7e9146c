# SPDX-License-Identifier: Apache-2.0
"""Write docs/reproducing.md and the rows in the header of each recipe from avkit/configs/experiments.

`python scripts/write_reproducing.py` writes; with `--check` it exits with 1 where a file is not current.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from avkit.files import write_file
from avkit.leaderboard import CONFIGS, Experiment, Needs, read_experiments

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reproducing.md"
#: Lines of a recipe between which its rows are written.
BEGIN = "# Rows (from avkit/configs/experiments, by scripts/write_reproducing.py):"
#: Line that begins what a recipe needs and how it differs from its rows.
BEGIN_NOTES = "# What it needs, and how it differs from these rows:"
END = "# End of rows."
#: Longest line of a header.
WIDTH = 120
INTRODUCTION = """\
# Reproducing published rows

Each row below is an experiment: a recipe, its options, and the published figure that it aims at. A recipe that differs
from its paper says how; its figure is then no reproduction, whatever it is. We have not trained any row to its end.

```
avkit reproduce --list                               # ids of all rows
avkit reproduce ID --plan --root ROOT                # what it needs, what of it is here
avkit reproduce ID --root ROOT --weights FILE        # the authors' checkpoint: convert, test, record, verdict
avkit reproduce ID --root ROOT --train --seeds 3     # train the recipe, then the same
avkit reproduce ID --root ROOT --predictions FILE    # score answers that were made elsewhere
avkit reproduce ID --scenes                          # the same way on small scenes: does all of it run here?
```

Stopped at any point, the same command goes on. Its exit status is 0 where the figures agree with the published ones, 1
where they differ, 2 where they cannot be compared. To train a row in your own way, start its recipe:

```
avkit fit --config RECIPE [--config RECIPE] [OPTIONS] --data.root ROOT
```

This page is written by `scripts/write_reproducing.py` from `avkit/configs/experiments`, which also
hold what each needs.
"""


def page(experiments: Sequence[Experiment]) -> str:
    """The page of all experiments, a table for each paper."""
    parts = [INTRODUCTION]
    for paper, group in groupby(experiments, key=lambda experiment: experiment.paper):
        rows = list(group)
        parts.append(f"## {paper}\n\n{_table(rows)}\n{_needs_and_differences(rows)}")
    return "\n".join(parts)


def _table(experiments: Sequence[Experiment]) -> str:
    lines = ["| table | row | dataset | published | recipe |", "|---|---|---|---|---|"]
    for experiment in experiments:
        cells = [experiment.table, experiment.row, experiment.dataset, _published(experiment), _recipe(experiment)]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def _published(experiment: Experiment) -> str:
    return ", ".join(f"{name} {text}" for name, text in experiment.published.items())


def _recipe(experiment: Experiment) -> str:
    if not experiment.recipe:
        return f"none: {experiment.reason}"
    words = [f"`{name}`" for name in experiment.recipe]
    options = experiment.words()[2 * len(experiment.recipe) :]
    return " + ".join(words) + (f" `{' '.join(options)}`" if options else "")


def _needs_and_differences(experiments: Sequence[Experiment]) -> str:
    """A list: what holds for all experiments of a paper, then what holds for those of each recipe."""
    runnable = [experiment for experiment in experiments if experiment.recipe]
    shared = _shared_notes(runnable)
    lines = [f"- All: {' '.join(shared)}"] if shared else []
    for recipe in dict.fromkeys(tuple(experiment.recipe) for experiment in runnable):
        group = [experiment for experiment in runnable if tuple(experiment.recipe) == recipe]
        names = " + ".join(f"`{name}`" for name in recipe)
        lines += [f"- {names}: {text}" for text in _note_lines(group, leave_out=shared)]
    return "\n".join(lines) + "\n" if lines else ""


def _shared_notes(experiments: Sequence[Experiment]) -> list[str]:
    """Notes that all experiments have, in the order of the first."""
    notes = [list(_notes(experiment)) for experiment in experiments]
    return [note for note in notes[0] if all(note in others for others in notes)] if notes else []


def _note_lines(experiments: Sequence[Experiment], leave_out: Sequence[str] = ()) -> Iterator[str]:
    """What experiments need and how they differ: first what holds for all, then the rest with its rows."""
    shared = _shared_notes(experiments)
    first = " ".join(note for note in shared if note not in leave_out)
    if first:
        yield first
    groups: dict[str, list[Experiment]] = {}
    for experiment in experiments:
        rest = " ".join(note for note in _notes(experiment) if note not in shared)
        if rest:
            groups.setdefault(rest, []).append(experiment)
    for text, group in groups.items():
        yield f"{_rows(group)}: {text}"


def _rows(experiments: Sequence[Experiment]) -> str:
    return "; ".join(f"{experiment.table}, {experiment.row}" for experiment in experiments)


def _notes(experiment: Experiment) -> Iterator[str]:
    if experiment.code:
        yield f"Code: {experiment.code}."
    needs = _needs(experiment.needs)
    if needs:
        yield f"Needs: {needs}."
    yield from experiment.differs


def _needs(needs: Needs) -> str:
    parts = [needs.features] if needs.features else []
    kind = "measured" if needs.measured else "estimated"
    if needs.memory_gb is not None:
        parts.append(f"{needs.memory_gb:g} GB of GPU memory ({kind})")
    if needs.hours is not None:
        parts.append(f"{needs.hours:g} h on one GPU ({kind})")
    return "; ".join(parts)


def header(experiments: Sequence[Experiment]) -> list[str]:
    """The lines of a recipe's header that say which rows it aims at."""
    lines = [BEGIN]
    one_dataset = len({experiment.dataset for experiment in experiments}) == 1
    for experiment in experiments:
        options = experiment.words()[2 * len(experiment.recipe) :]
        place = [experiment.paper, experiment.table, experiment.row]
        if not one_dataset:
            place.append(experiment.dataset)
        row = f"{', '.join(place)}: {_published(experiment)}"
        lines += _wrapped(row + (f", with {' '.join(options)}" if options else ""))
    lines += [BEGIN_NOTES]
    for text in _note_lines(experiments):
        lines += _wrapped(text)
    return [*lines, END]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_long_words=False, break_on_hyphens=False
    )


def with_header(text: str, experiments: Sequence[Experiment]) -> str:
    """A recipe with its rows, in place of those that it has, else after its first comment."""
    lines = text.splitlines()
    if BEGIN in lines:
        start = lines.index(BEGIN)
        del lines[start : lines.index(END) + 1]
    else:
        start = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    if experiments:
        lines[start:start] = header(experiments)
    return "\n".join(lines) + "\n"


def contents(experiments: Sequence[Experiment]) -> dict[Path, str]:
    """The text that each generated file should have; a recipe's rows are those of which it is the last file."""
    texts = {PAGE: page(experiments)}
    for path in sorted(CONFIGS.rglob("*.yaml")):
        name = path.relative_to(CONFIGS).as_posix()
        if not name.startswith("experiments/"):
            rows = [experiment for experiment in experiments if experiment.recipe and experiment.recipe[-1] == name]
            texts[path] = with_header(path.read_text(), rows)
    return texts


def main() -> int:
    """Write the files, or with --check say which are not current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    changed = []
    for path, text in contents(read_experiments(CONFIGS / "experiments")).items():
        if not path.exists() or path.read_text() != text:
            changed.append(path)
            if not check:
                write_file(path, text)
    for path in changed:
        print(f"{path.relative_to(ROOT)} {'is not current' if check else 'written'}")
    return int(check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
