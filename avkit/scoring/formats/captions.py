# SPDX-License-Identifier: Apache-2.0
"""Captions of clips: COCO results (`image_id`, `caption`), lines of JSON, tables, or `ID<tab>text`."""

import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from avkit.datasets.json_records import JsonRecord
from avkit.errors import AvkitError, DataError, FileError
from avkit.reading.text import parse_json, read_json, read_text
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.by_clip import group_by_clip
from avkit.scoring.formats.ids import SampleIds
from avkit.scoring.formats.listed import sample_ids
from avkit.scoring.formats.tables import COLUMN_NAMES, read_table, table_columns
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth
from avkit.text.joining import join_sentences

_FORM = "An entry has image_id (the clip, or CLIP_k for its k-th step or frame) and caption"
_ID_KEYS = ("image_id", "id", "clip", "clip_id", "video", "video_id", "filename", "name", "sample_id")
_TEXT_KEYS = ("caption", "text", "sentence", "prediction", "answer", "response", "output", "captions")
#: Frames per second of f-Music and f-Lifescene.
_FPS = 30.0
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
        described: Steps of which the dataset has a caption, by clip.
        hop: Seconds per step.
        fps: Frames per second by which frames are numbered.
    """

    steps: Mapping[str, int]
    described: Mapping[str, Container[int]]
    hop: float
    fps: float

    def frame_of(self, step: int) -> float:
        """Number of the frame in the middle of a step."""
        return (step + 0.5) * self.hop * self.fps


class Captions(Format):
    """Captions of clips, their steps or their frames."""

    name = "captions"
    title = "captions: COCO results (image_id, caption), lines of JSON, a table (id,second,caption), or ID<tab>text"
    tasks: ClassVar[tuple[str, ...]] = ("ra_ssu",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether it is a text file that begins like one of these, or a folder with `captions.jsonl`."""
        if path.is_dir():
            return next(path.rglob("captions.jsonl"), None) is not None
        try:
            return not _is_avkit(path) and next(_entries(path), None) is not None
        except AvkitError:
            return False

    @classmethod
    def task_options(cls, truth: Truth) -> Mapping[str, object]:
        """No masks."""
        return {"masks": False}

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """As `read_captions`."""
        ids = sample_ids(truth)
        yield from read_captions(path, ids, caption_grid(truth))
        truth.notes += ids.left_out(path)


def _is_avkit(path: Path) -> bool:
    """Whether a file has lines of avkit's own, which hold masks and captions."""
    first = read_text(path).partition("\n")[0]
    return first.startswith("{") and any(f'"{key}":' in first for key in ("task", "masks"))


def caption_grid(truth: Truth) -> CaptionGrid:
    """Where captions are scored; frames are numbered at 30 a second where the dataset does not say it."""
    steps = {}
    described = {}
    hop = 1.0
    for name in truth.ids:
        item = truth.item(name, "caption")
        steps[name] = item.steps
        described[name] = {step for step, text in enumerate(item.targets["caption"]) if text}
        hop = item.hop
    return CaptionGrid(steps, described, hop, _FPS)


def read_captions(path: Path, ids: SampleIds, grid: CaptionGrid) -> Iterator[PlacedRecord | FileError]:
    """A caption for every step of every clip of a file.

    A sentence without a number is that of the whole clip. Numbers are those of steps if none reaches the number of
    steps of its clip, else of frames, whose sentence holds until the next one. Sentences about several sources at once
    are joined by "and", as those of the dataset are.

    Args:
        path: A file, or a folder of `ID/captions.jsonl`.
        ids: Ids of the clips that are scored.
        grid: Their steps.

    Yields:
        `id` and `captions`, one per step; an error for an entry that names no clip, and for a clip with two sentences
        in one place or without one where the dataset has one.

    Raises:
        DataError: If the file holds no captions.
    """
    clips = group_by_clip((_take_number(entry, ids) for entry in _entries(path)), ids)
    yield from clips.errors
    by_frame = any(_are_frames(entries, grid.steps[name]) for name, entries in clips.entries.items())
    for name, entries in clips.entries.items():
        try:
            captions = _captions(entries, grid, name, by_frame=by_frame)
        except DataError as error:
            yield FileError(str(error))
        else:
            yield PlacedRecord(entries[0].where, {"id": name, "captions": captions})


def _are_frames(entries: list[_Entry], steps: int) -> bool:
    """Whether numbers are those of frames: one of them is no step of the clip."""
    return any(entry.number is not None and entry.number >= steps for entry in entries)


def _captions(entries: list[_Entry], grid: CaptionGrid, name: str, *, by_frame: bool) -> list[str]:
    """The caption of each step of one clip; empty where there is none, and the dataset has none either."""
    _check_once(entries)
    captions = []
    lacking = []
    for step in range(grid.steps[name]):
        caption = _caption_at(grid.frame_of(step) if by_frame else step, entries, holds=by_frame)
        if caption is None and step in grid.described[name]:
            lacking.append(str(step))
        captions.append(caption or "")
    if lacking:
        raise DataError(
            f"{entries[0].where}: clip {name!r} has no caption for step {', '.join(lacking)}, of which the dataset has "
            "one. Write a caption for each of its steps, or one without a number for the whole clip."
        )
    return captions


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
    return join_sentences(texts)


def _order(entry: _Entry) -> int:
    return -1 if entry.number is None else entry.number


def _take_number(entry: _Entry, ids: SampleIds) -> _Entry:
    """The entry with the number that stands behind its id, where the id without it is that of a sample."""
    numbered = _NUMBERED.fullmatch(entry.id)
    if entry.number is not None or numbered is None or ids.has(entry.id) or not ids.has(numbered[1]):
        return entry
    return replace(entry, id=numbered[1], number=int(numbered[2]))


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
