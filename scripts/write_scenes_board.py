# SPDX-License-Identifier: Apache-2.0
"""Write docs/scenes-board.md, and the best figures in README's table of tasks, from the results on scenes in results/.

`python scripts/write_scenes_board.py` writes; with `--check` it exits with 1 where one of them is not current.
"""

import argparse
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from avkit.files import write_file
from avkit.leaderboard.board_rows import shown
from avkit.leaderboard.measured import SCENES, Measurement, find_records, group_seeds
from avkit.leaderboard.metric_names import RANKED_BY, our_metric

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scenes-board.md"
README = ROOT / "README.md"
#: A task's row in README's table.
_ROW = re.compile(r"\| `(\w+)` \| ")
#: Metrics of a table.
COLUMNS = 4
INTRODUCTION = """\
# The board of scenes

Our own benchmark: systems that we train ourselves on generated scenes, each on the same budget for all of a task.
Scenes are not the data of any paper, networks are small and trainings last minutes of one core, so no figure here says
which method is better where it was published. What the board says: how far each system comes, and how much of its
first figure is left with the sound replaced by silence and by that of another clip (`in silence`, `another sound`).
Each was recorded and can be scored again on any machine. Systems on stored features read those of small encoders that
were trained on scenes (`avkit extract scenes --recipe scenes`). Figures are percent, mean ± standard deviation over
seeds; without ± they are of one seed.

```
avkit leaderboard scenes                       # the same figures
avkit leaderboard verify results               # score all predictions again
python benchmarks/scenes_board.py --root DIR   # train all of it again; its head says how the stores in DIR are made
```

This page is written by `scripts/write_scenes_board.py` from `results/`.
"""


def measured() -> list[Measurement]:
    """Measurements on scenes, those of a task together, the best first."""
    records = [record for record in find_records([ROOT / "results"]) if record.by == SCENES]
    tasks = list(RANKED_BY)
    return sorted(group_seeds(records), key=lambda row: (tasks.index(_task(row)), -_mean(row, _metrics(row)[0])))


def page(rows: Sequence[Measurement]) -> str:
    """The page of all measurements, a table for each task."""
    parts = [INTRODUCTION]
    for task in dict.fromkeys(map(_task, rows)):
        parts.append(_table(task, [row for row in rows if _task(row) == task]))
    return "\n".join(parts)


def readme(text: str, rows: Sequence[Measurement]) -> str:
    """README with the best measurement of each task in the last cell of its row, beside the best constant rule."""
    lines = []
    for line in text.splitlines():
        name = _ROW.match(line)
        if name is not None:
            line = f"{line.rstrip(' |').rpartition(' | ')[0]} | {_best(name[1], rows)} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def _best(task: str, rows: Sequence[Measurement]) -> str:
    """The best measurement of a task; a dash where there is none."""
    first = next((row for row in rows if _task(row) == task), None)
    if first is None:
        return "-"
    metric = _metrics(first)[0]
    return f"{first.records[0].method}: {metric} {_figure(first, metric)} (rule {_baseline(first, metric)})"


def _table(task: str, rows: Sequence[Measurement]) -> str:
    """The measurements of a task, with what they were trained on and how long."""
    metrics = _metrics(rows[0])
    options = rows[0].records[0].options
    steps = int(str(options["data.steps_per_epoch"])) * int(str(options["trainer.max_epochs"]))
    record = rows[0].records[0]
    layout = "the built-in scenes" if record.dataset == SCENES else f"scenes in the layout of {record.dataset}"
    batch = options["data.batch_size.whole"]
    lines = [f"## {task}\n\n{steps} steps of {batch} clips on {layout}; {record.n:,} test samples.\n"]
    heads = ["system", *metrics, "in silence", "another sound", "seeds", "features"]
    lines.append(f"| {' | '.join(heads)} |\n|---|{'--:|' * (len(metrics) + 3)}---|")
    for row in rows:
        features = "; ".join(text.partition(" (")[0] for text in row.records[0].features.values())
        cells = [row.records[0].method, *(_figure(row, metric) for metric in metrics)]
        cells += [_silence(row, metrics[0]), _swapped(row, metrics[0]), str(len(row.records))]
        cells.append(features or "pictures and sound")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| best constant rule | {' | '.join(_baseline(rows[0], metric) for metric in metrics)} | | | | |\n")
    return "\n".join(lines)


def _task(row: Measurement) -> str:
    return row.records[0].task


def _metrics(row: Measurement) -> list[str]:
    """The metrics that rank a task, as many as fit."""
    record = row.records[0]
    names = [our_metric(record.task, record.dataset, name) or name for name in RANKED_BY[record.task]]
    return [name for name in names if name in record.figures][:COLUMNS]


def _mean(row: Measurement, metric: str) -> float:
    return statistics.fmean(record.figures[metric].value for record in row.records)


def _figure(row: Measurement, metric: str) -> str:
    """A figure in percent, mean and standard deviation over seeds."""
    return _spread(record.figures[metric].value for record in row.records)


def _silence(row: Measurement, metric: str) -> str:
    return _spread(record.figures[metric].silence for record in row.records)


def _swapped(row: Measurement, metric: str) -> str:
    return _spread(record.figures[metric].swapped for record in row.records)


def _baseline(row: Measurement, metric: str) -> str:
    return _spread([row.records[0].figures[metric].baseline])


def _spread(values: Iterable[float | None]) -> str:
    numbers = [value for value in values if value is not None]
    if not numbers:
        return ""
    mean = shown(statistics.fmean(numbers), "percent")
    return mean if len(numbers) == 1 else f"{mean} ± {shown(statistics.stdev(numbers), 'percent')}"


def main() -> int:
    """Write the page, or tell that it is not current."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--check", action="store_true", help="write nothing; exit with 1 where the page is not current")
    check = p.parse_args().check
    rows = measured()
    contents = {PAGE: page(rows), README: readme(README.read_text(encoding="utf-8"), rows)}
    stale = [path for path, text in contents.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is not current: run scripts/write_scenes_board.py")
        else:
            write_file(path, contents[path])
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
