# SPDX-License-Identifier: Apache-2.0
"""The page of a task on the site: a picture of its answer, format, metrics, published figures and recipes."""

import json
from collections.abc import Iterator, Sequence
from textwrap import dedent

from avkit.answers.encoding import encode
from avkit.datasets import DATASETS
from avkit.datasets.scenes import Scenes
from avkit.fields import FIELDS
from avkit.heads import list_heads
from avkit.leaderboard.boards import DOUBTFUL, Board, Setting
from avkit.leaderboard.experiments import Experiment, read_experiments
from avkit.report.figure import THEMES
from avkit.report.records import Result
from avkit.scoring.formats import FORMATS, find_format
from avkit.tasks import find_task
from avkit.tasks.base import Task

#: Letters of a line of the answer's JSON that are shown.
_LETTERS = 100


def task_page(name: str, boards: Sequence[Board], result: Result) -> str:
    """The Markdown of a task's page.

    Args:
        name: Name of the task.
        boards: All leaderboards.
        result: The right answer to a clip, whose picture lies beside the page.
    """
    task = find_task(name)
    first, _, rest = (task.__doc__ or "").partition("\n\n    Args:")[0].strip().partition("\n")
    parts = [
        "---\nhide: [toc]\n---",  # a time line needs the room
        f"# {name}",
        first,
        dedent(rest).strip(),
        _figure(name),
        f"`avkit fit --tasks {name}` trains it on the built-in scenes, on one of whose clips it is drawn here; its "
        f"usual dataset is `{task.benchmark}`.",
        "## Format",
        "What a sample must have, from whichever [dataset](../datasets.md) or [manifest](../manifest.md):",
        _table(["target", "what it is"], [[f"`{target}`", FIELDS[target].doc] for target in task.targets]),
        *_answers(result),
        *_formats(task),
        "## Metrics",
        *_metrics(task),
        "## Heads",
        ", ".join(f"`{head}`" for head in list_heads(name))
        + f"; another than the first by `--model.heads.{name} NAME`.",
        *_published(name, boards),
        *_recipes(name),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figure(name: str) -> str:
    """The picture, for light and for dark pages; narrow screens scroll it."""
    alt = f"The right answer to {name} on a clip of the built-in scenes, over time"
    images = [f"![{alt}]({name}-{theme}.webp#only-{theme})" for theme in THEMES]
    caption = "The right answer to a clip of the scenes, drawn as <code>avkit predict</code> draws a model's."
    return f'<div class="timeline" markdown>\n{"".join(images)}\n</div>\n<small>{caption}</small>'


def _answers(result: Result) -> Iterator[str]:
    """Kinds of answers, and the first as it is stored."""
    kinds = ", ".join(f"`{type(answer).__name__}`" for answer in result.answers)
    yield f"What it answers: {kinds}. The first of them as JSON, long lines cut:"
    record = encode(result.answers[0])
    lines = [f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in record.items()]
    shown = [line if len(line) <= _LETTERS else f"{line[:_LETTERS]} ..." for line in lines]
    yield "```\n" + "\n".join(shown) + "\n```"


def _formats(task: type[Task]) -> Iterator[str]:
    """Files that `avkit score` reads for the task."""
    rows = []
    for name in FORMATS:
        kind = find_format(name)
        if not kind.tasks or task.name in kind.tasks:
            rows.append([f"`{name}`", kind.title])
    if rows and task.benchmark in DATASETS:
        yield f"Predictions of others, `avkit score FILE --dataset {task.benchmark} --root ROOT`:"
        yield _table(["[format](../prediction-formats.md)", "what it is"], rows)


def _metrics(task: type[Task]) -> Iterator[str]:
    """The official metrics, and those that a report shows first."""
    asked = task(Scenes("val").vocabulary)
    rows = []
    for metric in asked.metrics().values():
        first = (type(metric).__doc__ or "").strip().splitlines()[0]
        rows.append([f"`{type(metric).__name__}`", first])
    yield _table(["[metric](../metrics.md)", "what it is"], rows)
    yield f"Reports show first: {', '.join(asked.headline)}. The best checkpoint is chosen by {asked.monitor}."


def _published(name: str, boards: Sequence[Board]) -> Iterator[str]:
    """The best published row of each setting."""
    rows = []
    for board in boards:
        for setting in board.settings:
            best = _best(setting)
            if setting.terms.task == name and best is not None:
                rows.append([f'<a href="../../boards/{board.name}.html">{board.title}</a>', setting.title, *best])
    if rows:
        yield "## Best published"
        yield _table(["board", "terms", "metric", "figure", "method"], rows)


def _best(setting: Setting) -> list[str] | None:
    """Metric, figure and method of the best row of a setting that nothing speaks against."""
    metric = setting.metrics[0]
    rows = [row for row in setting.rows if row.kind == "comparison" and row.word not in DOUBTFUL]
    rows = [row for row in rows if metric in row.cells and row.cells[metric].value is not None]
    if not rows:
        return None
    best = min(rows, key=lambda row: row.sort_key([metric]))
    return [metric, best.cells[metric].text, best.method]


def _recipes(name: str) -> Iterator[str]:
    """Recipes that train the task, with the published rows that they aim at."""
    rows: dict[str, list[str]] = {}
    for experiment in read_experiments():
        if experiment.recipe and _asks(experiment, name):
            recipe = experiment.recipe[-1].removesuffix(".yaml")
            rows.setdefault(recipe, []).append(f"{experiment.paper}, {experiment.table}: {experiment.row}")
    if rows:
        yield "## Recipes"
        first = min(rows)
        yield (
            f"`avkit fit --config {first} --data.root ROOT` starts one; what each needs, and how it differs from its "
            "rows, stands in [reproducing](../reproducing.md)."
        )
        yield _table(["recipe", "published rows that it aims at"], _recipe_cells(rows))


def _recipe_cells(rows: dict[str, list[str]]) -> list[list[str]]:
    cells = []
    for recipe, aims in sorted(rows.items()):
        more = f" and {len(aims) - 2} more" if len(aims) > 2 else ""
        cells.append([f"`{recipe}`", "; ".join(aims[:2]) + more])
    return cells


def _asks(experiment: Experiment, task: str) -> bool:
    return task in str(experiment.all_options().get("tasks", "")).split(",")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)
