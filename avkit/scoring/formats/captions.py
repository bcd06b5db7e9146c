# SPDX-License-Identifier: Apache-2.0
"""Captions of clips: COCO results (`image_id`, `caption`), lines of JSON, tables, or `ID<tab>text`."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avkit.datasets.json_records import JsonRecord
from avkit.errors import DataError
from avkit.reading.text import parse_json, read_json, read_text
from avkit.scoring.formats.ids import SampleIds, bare_name
from avkit.scoring.formats.tables import COLUMN_NAMES, read_table, table_columns

_FORM = "An entry has image_id (the clip, or CLIP_k for its k-th step or frame) and caption"
_ID_KEYS = ("image_id", "id", "clip", "clip_id", "video", "video_id", "filename", "name", "sample_id")
_TEXT_KEYS = ("caption", "text", "sentence", "prediction", "answer", "response", "output", "captions")
#: An id with the number of a step or frame behind it.
_NUMBERED = re.compile(r"(.+?)[_/#](\d+)")


@dataclass(frozen=True)
class _Entry:
    """One sentence.

    Attributes:
        where: File and line.
        id: Id as it is written; that of the sample once it is known.
        text: The sentence.
        number: Number of the step or frame; None for the whole clip.
        source: Number of the source that it is about; empty for all that sounds.
    """

    where: str
    id: str
    text: str
    number: int | None = None
    source: str = ""


@dataclass(frozen=True)
class CaptionGrid:
    """Where captions are scored.

    Attributes:
        steps: Number of steps by clip.
        hop: Seconds per step.
        fps: Frames per second by which frames are numbered.
    """

    steps: Mapping[str, int]
    hop: float
    fps: float

    def frame_of(self, step: int) -> float:
        """Number of the frame in the middle of a step."""
        return (step + 0.5) * self.hop * self.fps


def read_captions(path: Path, ids: SampleIds, grid: CaptionGrid) -> Iterator[dict[str, Any]]:
    """A caption for every step of every clip of a file.

    A sentence without a number is that of the whole clip. Numbers are those of steps if none reaches the number of
    steps of its clip, else of frames, whose sentence holds until the next one. Sentences about several sources at once
    are joined by "and", as those of the dataset are.

    Args:
        path: A file, or a folder of `ID/captions.jsonl`.
        ids: Ids of the clips that are scored.
        grid: Their steps.

    Yields:
        `id` and `captions`, one per step; None where the clip has none.

    Raises:
        DataError: If an entry names no clip, or a step has two sentences; names file and line.
    """
    by_clip: dict[str, list[_Entry]] = defaultdict(list)
    for entry in _entries(path):
        known = _identify(entry, ids)
        if known is not None:
            by_clip[known.id].append(known)
    by_frame = _are_frames(by_clip, grid)
    for name, entries in by_clip.items():
        steps = grid.steps[name]
        marks = [grid.frame_of(step) if by_frame else step for step in range(steps)]
        yield {"id": name, "captions": [_caption_at(mark, entries, holds=by_frame) for mark in marks]}


def _are_frames(by_clip: Mapping[str, list[_Entry]], grid: CaptionGrid) -> bool:
    """Whether numbers are those of frames: one of them is no step of its clip."""
    for name, entries in by_clip.items():
        _check_once(entries)
        if any(entry.number is not None and entry.number >= grid.steps[name] for entry in entries):
            return True
    return False


def _check_once(entries: list[_Entry]) -> None:
    places: dict[tuple[int | None, str], str] = {}
    for entry in entries:
        key = (entry.number, entry.source)
        if key in places:
            raise DataError(
                f"{entry.where}: {entry.id!r} has a caption for the same place in {places[key]}. Leave one."
            )
        places[key] = entry.where


def _caption_at(mark: float, entries: list[_Entry], *, holds: bool) -> str | None:
    """The caption at a step or frame; None if there is none."""
    by_source: dict[str, _Entry] = {}
    for entry in sorted(entries, key=_order):
        number = -1 if entry.number is None else entry.number
        if number in (-1, mark) or (holds and number <= mark):
            by_source[entry.source] = entry
    texts = [by_source[source].text for source in sorted(by_source)]
    if not texts:
        return None
    return " and ".join(text for text in texts if text)


def _order(entry: _Entry) -> int:
    return -1 if entry.number is None else entry.number


def _identify(entry: _Entry, ids: SampleIds) -> _Entry | None:
    """The entry with the id of its sample, and the number that stood behind it; None if it is of another split."""
    written = bare_name(entry.id) if not _NUMBERED.fullmatch(entry.id) else entry.id
    number = entry.number
    numbered = _NUMBERED.fullmatch(written)
    if number is None and not ids.has(written) and numbered is not None and ids.has(numbered[1]):
        written = numbered[1]
        number = int(numbered[2])
    name = ids.find(written, entry.where)
    return None if name is None else replace(entry, id=name, number=number)


def _entries(path: Path) -> Iterator[_Entry]:
    if path.is_dir():
        yield from _folder_entries(path)
        return
    endings = [ending.lower() for ending in path.suffixes]
    if ".json" in endings:
        yield from _json_entries(read_json(path), path)
    elif ".jsonl" in endings:
        yield from _line_entries(path)
    else:
        yield from _table_entries(path)


def _folder_entries(folder: Path) -> Iterator[_Entry]:
    files = sorted(folder.rglob("captions.jsonl"))
    if not files:
        raise DataError(
            f"{folder} holds no captions.jsonl. Name a file of captions, or a folder of CLIP/captions.jsonl."
        )
    for path in files:
        yield from _line_entries(path, path.parent.name)


def _json_entries(content: Any, path: Path) -> Iterator[_Entry]:
    if isinstance(content, dict) and isinstance(content.get("annotations"), list):
        content = content["annotations"]
    if isinstance(content, list):
        for k, values in enumerate(content):
            yield from _record_entries(values, f"{path}, record {k}")
        return
    if not isinstance(content, dict):
        raise DataError(f"{path} holds {type(content).__name__} instead of a list of entries. {_FORM}.")
    for name, value in content.items():
        yield from _record_entries({"id": name, "caption": value}, f"{path}, key {name!r}")


def _line_entries(path: Path, clip: str = "") -> Iterator[_Entry]:
    for k, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            where = f"{path}, line {k}"
            yield from _record_entries(parse_json(line, where), where, clip)


def _record_entries(values: Any, where: str, clip: str = "") -> Iterator[_Entry]:
    """The sentences of an object: one, or a list with one for each step."""
    record = JsonRecord(values, where, _FORM)
    name = record.name(_key(record, _ID_KEYS), clip or None)
    number = None
    for key in ("step", "second", "frame"):
        if record.values.get(key) is not None:
            number = record.whole(key)
    source = "" if record.values.get("source") is None else record.name("source")
    key = _key(record, _TEXT_KEYS)
    texts = record.values.get(key)
    if not isinstance(texts, list):
        yield _Entry(where, name, record.text(key), number, source)
        return
    for k, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"{where}, field {key!r}: entry {k} is {text!r} and not a text. {_FORM}.")
        yield _Entry(where, name, text, k, source)


def _key(record: JsonRecord, keys: tuple[str, ...]) -> str:
    """The first of some keys that a record has; the first of all where it has none."""
    return next((key for key in keys if key in record.values), keys[0])


def _table_entries(path: Path) -> Iterator[_Entry]:
    columns = table_columns(path, ("id", "caption"))
    if {"id", "caption"} <= columns:
        for row in read_table(path, ("id", "caption"), ("second", "frame")):
            place = "second" if "second" in row.cells else "frame"
            number = row.whole(place) if row.cells.get(place) else None
            yield _Entry(row.where, row.cells["id"], row.cells["caption"], number)
        return
    for k, line in enumerate(read_text(path).split("\n"), 1):
        name, tab, text = line.partition("\t")
        if line.strip() and not tab:
            raise DataError(
                f"{path}, line {k}: {line[:80]!r} is no id and text separated by a tab. Give such lines, or a first "
                f"line that names columns, one of {', '.join(COLUMN_NAMES['id'][:3])} and one of "
                f"{', '.join(COLUMN_NAMES['caption'][:3])}."
            )
        if line.strip():
            yield _Entry(f"{path}, line {k}", name.strip(), text.strip())
