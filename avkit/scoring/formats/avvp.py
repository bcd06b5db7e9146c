# SPDX-License-Identifier: Apache-2.0
"""Predictions for audio-visual video parsing: a table of events or segments with modality, or one for each modality."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from avkit.errors import DataError, unknown_name
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.formats.spans import Span, has_spans, read_spans

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


def find_tables(folder: Path) -> dict[str, Path]:
    """The table of each modality in a folder, by the word `audio` or `visual` in the file's name.

    Raises:
        DataError: If several files bear one of the words.
    """
    tables: dict[str, Path] = {}
    files = sorted(path for path in folder.iterdir() if path.name.lower().endswith(_ENDINGS))
    for path in files:
        name = path.name.lower()
        for modality in ("audio", "visual"):
            if modality in name and has_spans(path):
                if modality in tables:
                    raise DataError(
                        f"{folder} has two tables of {modality} events, {tables[modality].name} and {path.name}. Leave "
                        "one of them there."
                    )
                tables[modality] = path
    return tables


def read_modality_events(path: Path, ids: SampleIds, names: ClassNames, steps: int) -> Iterator[dict[str, Any]]:
    """Audible and visible events of every clip, in whole seconds.

    Clips without a row have no events: a table of events cannot say it otherwise.

    Args:
        path: A table with a column `modality`, or a folder with one table for each modality.
        ids: Ids of the clips that are scored.
        names: Classes.
        steps: Steps of a clip.

    Yields:
        `id`, and `audio` and `visual`: lists of class, start and end in seconds.

    Raises:
        DataError: If a row names no clip, class or modality; names file and line.
    """
    active: dict[str, dict[str, dict[str, set[int]]]] = defaultdict(lambda: {"audio": {}, "visual": {}})
    for modalities, span in _spans(path, steps):
        name = ids.find(span.id, span.where)
        if name is None:
            continue
        labels = names.find_several(span.label, span.where)
        covered = span.steps(steps)
        for modality in modalities:
            for label in labels:
                active[name][modality].setdefault(label, set()).update(covered)
    for name in (*active, *(name for name in ids if name not in active)):
        by_modality = active.get(name, {"audio": {}, "visual": {}})
        yield {"id": name, "audio": _runs(by_modality["audio"]), "visual": _runs(by_modality["visual"])}


def _spans(path: Path, steps: int) -> Iterator[tuple[Sequence[str], Span]]:
    """The rows of all tables with their modalities."""
    if path.is_dir():
        tables = find_tables(path)
        if len(tables) < 2:
            found = ", ".join(file.name for file in tables.values()) or "none"
            raise DataError(
                f"{path}: two tables are needed, with 'audio' and 'visual' in their names, and there is {found}. Or "
                "give one table with a column modality."
            )
        for modality, file in tables.items():
            for span in read_spans(file, steps).spans:
                yield (modality,), span
        return
    for span in read_spans(path, steps).spans:
        yield _modalities(span), span


def _modalities(span: Span) -> Sequence[str]:
    letters = "".join(character for character in span.modality.casefold() if character.isalpha())
    if not letters:
        raise DataError(
            f"{span.where}: the modality is missing. Add a column modality with audio, visual or both, or give a "
            "folder with one table for each."
        )
    if letters not in _MODALITIES:
        raise DataError(f"{span.where}: {unknown_name('modality', span.modality, ('audio', 'visual', 'both'))}")
    return _MODALITIES[letters]


def _runs(steps_by_label: dict[str, set[int]]) -> list[list[str | float]]:
    """Events of one modality: class, start and end of every run of steps."""
    events: list[list[str | float]] = []
    for label, steps in steps_by_label.items():
        for _, group in groupby(enumerate(sorted(steps)), lambda pair: pair[1] - pair[0]):
            run = [step for _, step in group]
            events.append([label, float(run[0]), float(run[-1] + 1)])
    return events
