# SPDX-License-Identifier: Apache-2.0
"""Predictions for AVE as a table of events (`id,start,end,label`) or of segments (`id,second,label`)."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avkit.errors import DataError
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.formats.spans import Span, SpanTable, read_spans


def read_step_labels(path: Path, ids: SampleIds, names: ClassNames, steps: int) -> Iterator[dict[str, Any]]:
    """One label per step of every clip of a table, None for background.

    A table in which no row is of background has rows of events alone: seconds and clips without a row are background.
    In one with such rows a clip has a row for each of its seconds, or none at all and is missing.

    Args:
        path: The table.
        ids: Ids of the clips that are scored.
        names: Classes.
        steps: Steps of a clip.

    Yields:
        `id` and `labels`, in the order of the table; then clips without events, where the table has events alone.

    Raises:
        DataError: If a row names no clip or class, or two classes hold at once; names file and line.
    """
    table = read_spans(path, steps)
    by_clip: dict[str, list[Span]] = defaultdict(list)
    for span in table.spans:
        name = ids.find(span.id, span.where)
        if name is not None:
            by_clip[name].append(span)
    complete = table.by_segment and _has_background(table, names)
    for name, spans in by_clip.items():
        yield {"id": name, "labels": _labels(spans, names, steps, complete=complete)}
    if not complete:
        for name in ids:
            if name not in by_clip:
                yield {"id": name, "labels": [None] * steps}


def _has_background(table: SpanTable, names: ClassNames) -> bool:
    return any(names.find(span.label, span.where) is None for span in table.spans)


def _labels(spans: list[Span], names: ClassNames, steps: int, *, complete: bool) -> list[str | None]:
    """The label of each step of one clip.

    Args:
        spans: Its rows.
        names: Classes.
        steps: Number of steps.
        complete: Whether every step has a row.
    """
    labels: list[str | None] = [None] * steps
    rows: dict[int, str] = {}  # where the label of each step stands
    for span in spans:
        label = names.find(span.label, span.where)
        for step in span.steps(steps):
            if step in rows and labels[step] != label:
                raise DataError(
                    f"{span.where}: second {step} of {span.id!r} is {label or 'background'!r} here and "
                    f"{labels[step] or 'background'!r} in {rows[step]}. AVE has one class in a second."
                )
            labels[step] = label
            rows[step] = span.where
    if complete and len(rows) < steps:
        lacking = ", ".join(str(step) for step in range(steps) if step not in rows)
        raise DataError(
            f"{spans[0].where}: clip {spans[0].id!r} has no row for second {lacking}. A table with rows of background "
            "has one for every second."
        )
    return labels
