# SPDX-License-Identifier: Apache-2.0
"""Tables separated by commas, with names in the first row; rows of one clip are put together."""

from collections.abc import Mapping
from pathlib import Path

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.times import check_span, read_seconds
from avkit.errors import DataError, unknown_name
from avkit.reading.text import read_text, table_rows

#: Columns that are read.
#: Columns that are read.
COLUMNS = (
    "id",
    "video",
    "start",
    "end",
    "label",
    "modality",
    "caption",
    "question",
    "answer",
    "type",
    "split",
    "group",
)
#: Columns that hold for the whole clip.
_OF_CLIP = ("split", "group")


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """Clips of a table.

    Raises:
        DataError: If a row is at fault; names file, line and column.
    """
    clips: dict[tuple[str, str], ClipNotes] = {}
    for where, cells in _rows(path, options):
        name = cells.get("video") or cells.get("id", "")
        if not name:
            raise field_error(where, "video", "is empty; give the media file, or its name without ending as id.")
        key = (cells.get("id", ""), name)
        clip = clips.setdefault(key, ClipNotes(where, name, cells.get("id", "")))
        for column in _OF_CLIP:
            value = cells.get(column)
            if value and clip.values.setdefault(column, value) != value:
                raise field_error(
                    where, column, f"{value!r} where an earlier row of {name!r} has {clip.values[column]!r}."
                )
        _add_row(clip, cells, where, options)
    return list(clips.values())


def _rows(path: Path, options: ImportOptions) -> list[tuple[str, Mapping[str, str]]]:
    """Place and cells of each row, by our names."""
    rows = table_rows(read_text(path), str(path))
    line, titles = next(rows, (0, []))
    names = {column: ours for ours, column in options.columns}
    header = [names.get(title.strip(), title.strip()) for title in titles]
    absent = sorted({column for _, column in options.columns} - {title.strip() for title in titles})
    if absent:
        raise DataError(f"{path}: --columns names {absent[0]!r}, and the table has: {', '.join(titles)}.")
    for title in header:
        if title not in COLUMNS and title not in options.skip:
            error = unknown_name("column", title, COLUMNS)
            raise DataError(
                f"{path}, line {max(line, 1)}: {error} Name it with --columns OURS={title}, or leave it out with "
                f"--skip {title}. The first row holds the names."
            )
        if header.count(title) > 1:
            raise DataError(f"{path}, line {line}: the column {title!r} is there twice.")
    if not {"id", "video"} & set(header):
        raise DataError(f"{path}, line {max(line, 1)}: there is no column 'video' or 'id'.")
    result: list[tuple[str, Mapping[str, str]]] = []
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise field_error(where, "", f"{len(cells)} cells where the first row has {len(header)}.")
        values = {title: cell.strip() for title, cell in zip(header, cells, strict=True) if title in COLUMNS}
        result.append((where, values))
    return result


def _add_row(clip: ClipNotes, cells: Mapping[str, str], where: str, options: ImportOptions) -> None:
    """Add what a row says: an event or label, a caption, a question."""
    times: dict[str, float] = {}
    for column in ("start", "end"):
        if cells.get(column):
            times[column] = read_seconds(cells[column], where, column)
    if len(times) == 1 and (cells.get("label") or cells.get("caption")):
        lacking = "end" if "start" in times else "start"
        raise field_error(where, lacking, "is empty; give both start and end, or neither.")
    if len(times) == 2:
        check_span(times["start"], times["end"], where)
    label = cells.get("label", "")
    caption = cells.get("caption", "")
    if label and times:
        clip.add("events", options.event(times["start"], times["end"], label, cells.get("modality") or "both"))
    elif label:
        clip.add_label(label)
    if caption:
        clip.add("captions", {**times, "text": caption})
    if times and not label and not caption:
        raise field_error(where, "label", "is empty, and so is the caption, of a row with times.")
    if cells.get("question") or cells.get("answer"):
        for column in ("question", "answer"):
            if not cells.get(column):
                raise field_error(where, column, "is empty; give both question and answer.")
        question = {"question": cells["question"], "answer": cells["answer"]}
        clip.add("questions", question | ({"type": cells["type"]} if cells.get("type") else {}))
