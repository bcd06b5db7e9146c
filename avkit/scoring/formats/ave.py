# SPDX-License-Identifier: Apache-2.0
"""Predictions for AVE as a table of events (`id,start,end,label`) or of segments (`id,second,label`)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from avkit.errors import DataError, FileError
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.by_clip import group_by_clip
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.formats.listed import ClipSteps, class_names, clip_steps, sample_ids
from avkit.scoring.formats.spans import Span, SpanTable, has_spans, read_spans
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth


class LabelTable(Format):
    """A table of events or segments, one class at a time."""

    name = "ave-table"
    title = "table of events (id,start,end,label) or segments (id,second,label) with one class at a time"
    tasks: ClassVar[tuple[str, ...]] = ("ave", "ave_weak")

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether the first line names the columns of events or segments, or is one of AVE's lists."""
        return path.is_file() and has_spans(path)

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """As `read_step_labels`."""
        ids = sample_ids(truth)
        yield from read_step_labels(path, ids, class_names(truth, background=True), clip_steps(truth))
        truth.notes += ids.left_out(path)


def read_step_labels(
    path: Path, ids: SampleIds, names: ClassNames, steps: Mapping[str, ClipSteps]
) -> Iterator[PlacedRecord | FileError]:
    """One label per step of every clip of a table, None for background.

    A table in which no row is of background has rows of events alone: seconds without a row are background, and so are
    clips, where half of the list or more have one. In one with such rows a clip has a row for each of its seconds, or
    none at all and is missing.

    Args:
        path: The table.
        ids: Ids of the clips that are scored.
        names: Classes.
        steps: Steps of each clip.

    Yields:
        `id` and `labels`, in the order of the table, then clips without events, where the table has events alone; an
        error for a row that names no clip, and for a clip with a row that is wrong.

    Raises:
        DataError: If the file is no such table.
    """
    table = read_spans(path, max(clip.number for clip in steps.values()))
    clips = group_by_clip(table.spans, ids)
    yield from clips.errors
    complete = table.by_step and _has_background(table, names)
    for name, spans in clips.entries.items():
        try:
            labels = _labels(spans, names, steps[name].number, steps[name], complete=complete)
        except DataError as error:
            yield FileError(str(error))
        else:
            yield PlacedRecord(spans[0].where, {"id": name, "labels": labels})
    if not complete:
        for name in clips.eventless(ids):
            yield PlacedRecord(str(path), {"id": name, "labels": [None] * steps[name].number})


def _has_background(table: SpanTable, names: ClassNames) -> bool:
    return any(names.is_background(span.label) for span in table.spans)


def _labels(spans: list[Span], names: ClassNames, count: int, steps: ClipSteps, *, complete: bool) -> list[str | None]:
    """The label of each step of one clip; `complete` if every step must have a row."""
    labels: list[str | None] = [None] * count
    places: dict[int, str] = {}  # where the label of each step stands
    for span in spans:
        label = names.find(span.label, span.where)
        for step in span.covered(steps):
            if step in places and labels[step] != label:
                raise DataError(
                    f"{span.where}: second {step} of {span.id!r} is {label or 'background'!r} here and "
                    f"{labels[step] or 'background'!r} in {places[step]}. AVE has one class in a second."
                )
            labels[step] = label
            places[step] = span.where
    if complete and len(places) < count:
        lacking = ", ".join(str(step) for step in range(count) if step not in places)
        raise DataError(
            f"{spans[0].where}: clip {spans[0].id!r} has no row for second {lacking}. A table with rows of background "
            "has one for every second."
        )
    return labels
