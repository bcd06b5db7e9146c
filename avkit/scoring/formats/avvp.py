# SPDX-License-Identifier: Apache-2.0
"""Predictions for audio-visual video parsing: a table of events or segments with modality, or one for each modality."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from avkit.errors import DataError, FileError, unknown_name
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.by_clip import group_by_clip
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.formats.listed import ClipSteps, class_names, clip_steps, sample_ids
from avkit.scoring.formats.spans import Span, has_spans, read_spans
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth

#: Ways to write the modalities that are meant.
_MODALITIES = {
    "audio": ("audio",),
    "a": ("audio",),
    "heard": ("audio",),
    "visual": ("visual",),
    "video": ("visual",),
    "v": ("visual",),
    "seen": ("visual",),
    "both": ("audio", "visual"),
    "av": ("audio", "visual"),
    "audiovisual": ("audio", "visual"),
}
_ENDINGS = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".txt.gz")

#: Steps of each class of one modality.
Active = dict[str, set[int]]


class ModalityTable(Format):
    """A table of events or segments with modality, or a folder with a table for each."""

    name = "avvp-table"
    title = "table of events or segments with a column modality, or a folder with one of audio and one of visual events"
    tasks: ClassVar[tuple[str, ...]] = ("avvp",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether the first line names the columns of events or segments, or a folder has such tables."""
        if path.is_dir():
            return bool(_tables(path, "audio") or _tables(path, "visual"))
        return has_spans(path)

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """As `read_modality_events`."""
        ids = sample_ids(truth)
        yield from read_modality_events(path, ids, class_names(truth), clip_steps(truth))
        truth.notes += ids.left_out(path)


def read_modality_events(
    path: Path, ids: SampleIds, names: ClassNames, steps: Mapping[str, ClipSteps]
) -> Iterator[PlacedRecord | FileError]:
    """Audible and visible events of every clip.

    Clips without a row have no events, where half of the list or more have one.

    Args:
        path: A table with a column `modality`, or a folder with one table for each modality.
        ids: Ids of the clips that are scored.
        names: Classes.
        steps: Steps of each clip.

    Yields:
        `id`, and `audio` and `visual`: lists of class, start and end in seconds; an error for a row that names no clip,
        and for a clip with a row that is wrong.

    Raises:
        DataError: If the file is no such table, or a folder has not one for each modality.
    """
    clips = group_by_clip(_spans(path, max(clip.number for clip in steps.values())), ids)
    yield from clips.errors
    for name, spans in clips.entries.items():
        try:
            audio, visual = _active(spans, names, steps[name])
        except DataError as error:
            yield FileError(str(error))
        else:
            hop = steps[name].hop
            yield PlacedRecord(spans[0].where, {"id": name, "audio": _runs(audio, hop), "visual": _runs(visual, hop)})
    for name in clips.eventless(ids):
        yield PlacedRecord(str(path), {"id": name, "audio": [], "visual": []})


def _active(spans: list[Span], names: ClassNames, steps: ClipSteps) -> tuple[Active, Active]:
    """Steps of each class that is audible, and that is visible, in one clip."""
    active: dict[str, Active] = {"audio": defaultdict(set), "visual": defaultdict(set)}
    for span in spans:
        labels = names.find_several(span.label, span.where)
        covered = span.covered(steps)
        if not labels:  # the row says that nothing happens
            continue
        for modality in _modalities(span):
            for label in labels:
                active[modality][label].update(covered)
    return active["audio"], active["visual"]


def _spans(path: Path, longest: int) -> Iterator[Span]:
    """The rows of all tables with their modalities."""
    if not path.is_dir():
        yield from read_spans(path, longest).spans
        return
    for modality in ("audio", "visual"):
        tables = _tables(path, modality)
        if len(tables) != 1:
            found = ", ".join(table.name for table in tables) or "none"
            raise DataError(
                f"{path}: one table with {modality!r} in its name is needed, and there is {found}. Or give one table "
                "with a column modality."
            )
        for span in read_spans(tables[0], longest).spans:
            yield replace(span, modality=modality)


def _tables(folder: Path, modality: str) -> list[Path]:
    """Tables of events in a folder that have a modality in their names."""
    files = []
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if modality in name and name.endswith(_ENDINGS) and has_spans(path):
            files.append(path)
    return files


def _modalities(span: Span) -> tuple[str, ...]:
    letters = "".join(character for character in span.modality.casefold() if character.isalpha())
    if not letters:
        raise DataError(
            f"{span.where}: the modality is missing. Add a column modality with audio, visual or both, or give a "
            "folder with one table for each."
        )
    if letters not in _MODALITIES:
        raise DataError(f"{span.where}: {unknown_name('modality', span.modality, ('audio', 'visual', 'both'))}")
    return _MODALITIES[letters]


def _runs(active: Active, hop: float) -> list[list[str | float]]:
    """Events of one modality: class, start and end in seconds of every run of steps."""
    events: list[list[str | float]] = []
    for label, steps in active.items():
        for _, group in groupby(enumerate(sorted(steps)), lambda pair: pair[1] - pair[0]):
            run = [step for _, step in group]
            events.append([label, run[0] * hop, (run[-1] + 1) * hop])
    return events
