# SPDX-License-Identifier: Apache-2.0
"""A model card made of what a run and its report know: figures, licences, limits, and how to load it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from avkit import __version__
from avkit.reading.text import read_json
from avkit.tasks import find_task
from avkit.training.domain import domains_by_dataset, warning_of
from avkit.training.run_folder import RunFacts, RunFolder
from avkit.training.run_licences import licence_notes, licence_rows, licences_of

_ABOUT = {
    "avs": "masks of what sounds",
    "avqa": "answers to questions about sound and picture",
    "ave": "the event of each second that is heard and seen",
    "ave_weak": "the event of each second, learned from labels of clips",
    "avvp": "events heard and events seen, second by second",
    "davel": "events in long videos with their starts and ends",
    "ra_ssu": "masks and captions of what sounds",
    "ssl": "heat maps of where the sound comes from",
}
#: A figure that changes by less than this share of itself without sound does not need the sound.
_LISTENS = 0.05


def model_card(run: RunFolder, name: str) -> str:
    """The card in Markdown, with the hub's facts in front.

    Args:
        run: The run.
        name: Where it will be loaded from.

    Raises:
        RunError: If the folder is no run.
    """
    facts = run.read_facts()
    rows = _report_rows(run)
    front = yaml.safe_dump(_front(run, facts, name, rows), sort_keys=False, allow_unicode=True)
    sections = [f"---\n{front}---", f"# {name}", _summary(facts), *_figures(rows), *_listening(rows)]
    sections += ["## Limits", *_limits(facts, rows), "## Licences", *_licences(run), "## Use", _use(facts, name)]
    return "\n\n".join(sections) + "\n"


def _report_rows(run: RunFolder) -> list[dict[str, Any]]:
    """Rows of the run's report with a figure; none where it was not tested."""
    path = run.path / "report.json"
    if not path.exists():
        return []
    content = read_json(path)
    rows = content.get("rows", []) if isinstance(content, dict) else []
    return [row for row in rows if isinstance(row, dict) and row.get("value") is not None]


def _front(run: RunFolder, facts: RunFacts, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the hub reads: library, tags, licence, data, and figures as a model index."""
    free = all(row.commercial == "yes" for row in licences_of(run))
    front: dict[str, Any] = {
        "library_name": "avkit",
        "tags": ["audio-visual", *facts["tasks"]],
        "license": "apache-2.0" if free else "other",
    }
    if rows:
        front["model-index"] = [{"name": name, "results": [_result(row) for row in rows]}]
    return front


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    """One figure; it is not verified by anybody else than whoever pushed the run."""
    return {
        "task": {"type": row["task"], "name": _ABOUT.get(row["task"].partition("/")[0], row["task"])},
        "dataset": {"type": row["dataset"], "name": row["dataset"], "split": row["split"]},
        "metrics": [{"type": row["metric"], "name": row["metric"], "value": row["value"], "verified": False}],
    }


def _summary(facts: RunFacts) -> str:
    """Tasks and data in a sentence."""
    tasks = "; ".join(f"`{task}`, {_ABOUT.get(task, 'a task from outside avkit')}" for task in facts["tasks"])
    return (
        f"An audio-visual model for {tasks}. Trained with [avkit](https://github.com/avkit/avkit) on "
        f"{facts['dataset'].replace('+', ', ')}, with pictures of {facts['image_size']} pixels."
    )


def _figures(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The table of figures with what they have to beat."""
    yield "## Figures"
    if not rows:
        yield "The run was not tested."
        return
    lines = ["| task | data | split | metric | value | without sound | baseline |", "|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["task"], row["dataset"], row["split"], row["metric"]]
        cells += [_number(row.get(score)) for score in ("value", "silence", "baseline")]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    yield "\n".join(lines)
    yield "Measured by avkit's official metrics; fractions lie in [0, 1]."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _listening(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the figures without sound say."""
    yield "## Does it listen?"
    compared = [row for row in rows if row.get("silence") is not None]
    if not compared:
        yield "It was not tested without its sound."
        return
    for row in compared:
        gain = row["value"] - row["silence"]
        if row.get("better") == "lower":
            gain = -gain
        listens = gain > _LISTENS * abs(row["value"])
        says = "falls without sound: it listens" if listens else "hardly needs the sound"
        yield f"- {row['task']}, {row['metric']}: {row['value']:.3f}, and {row['silence']:.3f} in silence; it {says}."


def _limits(facts: RunFacts, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What a user must know of the training data and of the tests."""
    domains = facts.get("domains") or domains_by_dataset(facts["tasks"], facts["dataset"])
    warning = warning_of(domains, facts["tasks"])
    if warning:
        yield f"- {warning}"
    classes = facts["vocabulary"].get("classes") or []
    if classes:
        yield f"- It knows {len(classes)} classes: {', '.join(classes[:40])}{' ...' if len(classes) > 40 else ''}."
    if any(row.get("clips", 0) < row.get("of", 0) for row in rows):
        yield "- Not all clips of the split were scored; the report says how many."
    yield "- Nobody else has verified its figures."


def _licences(run: RunFolder) -> Iterator[str]:
    """Licences of data and of encoders' weights."""
    rows = licence_rows(run)
    if not rows:
        yield "It was made of nothing that has a licence of its own but avkit (Apache-2.0)."
        return
    yield "\n".join(f"- {name}: {licence}" for name, licence in rows.items())
    yield from licence_notes(run)


def _use(facts: RunFacts, name: str) -> str:
    """Lines that load the run."""
    asks = any(":" not in task and find_task(task).needs_question() for task in facts["tasks"])
    question = ', question="..."' if asks else ""
    return (
        f'```python\nimport avkit\n\nmodel = avkit.load("{name}")\n'
        f'result = model.predict("clip.mp4"{question})\n```\n\n'
        f"Written by avkit {__version__}; the run holds tensors and plain values, and loading it runs no code of it."
    )
