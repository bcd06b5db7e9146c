# SPDX-License-Identifier: Apache-2.0
"""One page for a folder of results: a picture of each video, its answers, and a link; the least certain ones first."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from avkit.answers.encoding import Record
from avkit.errors import AvkitError
from avkit.files import write_file
from avkit.reading.checksums import check_record
from avkit.reading.text import read_json
from avkit.report.files import render

#: File of a result's small picture.
THUMBNAIL = "thumbnail.jpg"
#: Captions, events and answers of a video that the page shows.
_SHOWN = 3


@dataclass
class Entry:
    """A video on the page.

    Attributes:
        name: Its result's folder, from the page's folder on; empty for a video that failed.
        address: Address of its own page, empty if there is none.
        picture: Address of its picture, empty if there is none.
        detail: Length and other facts.
        lines: Its captions, events and answers.
        certainty: Mean probability of its answers and events, in [0, 1]; None where nothing has one.
        problem: Why there is no result; empty if there is one.
        notes: Sentences that a reader of the answers needs.
    """

    name: str
    address: str = ""
    picture: str = ""
    detail: str = ""
    lines: list[str] = field(default_factory=list)
    certainty: float | None = None
    problem: str = ""
    notes: list[str] = field(default_factory=list)


def write_gallery(folder: Path, failures: Sequence[str] = ()) -> Path:
    """Write index.html for all results inside a folder, also those of earlier calls.

    Videos that failed come first, then the others, the least certain one first, then those without a probability.

    Args:
        folder: Folder whose folders, at any depth, hold a result.json each.
        failures: Why videos have no result, a sentence each.

    Returns:
        The page, which links to pages and pictures beside it.
    """
    entries = [Entry("", problem=problem) for problem in failures]
    results = [read_entry(path, folder) for path in sorted(folder.rglob("result.json"))]
    entries += sorted(results, key=_order)
    page = render("gallery.html.j2", entries=entries, notes=_take_shared_notes(results))
    return write_file(folder / "index.html", page)


def read_entry(path: Path, folder: Path) -> Entry:
    """What the page shows of a result; a file that is none is shown as a problem."""
    place = path.parent.relative_to(folder)
    address = quote(place.as_posix())
    try:
        record = read_json(path)
        check_record(record, path)
        entry = _entry_of(record, place.as_posix())
    except (AvkitError, ValueError, KeyError, TypeError, AttributeError):
        return Entry(place.as_posix(), problem="result.json is not readable; predict this video again.")
    if (path.parent / "report.html").exists():
        entry.address = f"{address}/report.html"
    if (path.parent / THUMBNAIL).exists():
        entry.picture = f"{address}/{THUMBNAIL}"
    return entry


def _entry_of(record: Record, name: str) -> Entry:
    """What the page shows of the content of a result.json."""
    captions = [caption["text"] for caption in record["captions"] if caption["text"]]
    events = list(dict.fromkeys(event["name"] for event in record["events"]))
    lines = _shortened(list(dict.fromkeys(captions)), "captions")
    if events:
        lines.append(", ".join(_shortened(events, "events")))
    lines += _shortened([f"{a['question']} {a['answer'] or 'no answer'}" for a in record["answers"]], "answers")
    return Entry(
        name,
        detail=f"{record['duration']:.1f} s",
        lines=lines,
        certainty=_certainty(record),
        notes=[str(note) for note in record["notes"]],
    )


def _certainty(record: Record) -> float | None:
    """Mean probability of answers and events; None where nothing has one."""
    values = [float(event["score"]) for event in record["events"] if event["score"] is not None]
    values += [max(answer["scores"].values()) for answer in record["answers"] if answer["scores"]]
    return statistics.fmean(values) if values else None


def _shortened(texts: list[str], kind: str) -> list[str]:
    """The first texts, and how many more there are."""
    if len(texts) <= _SHOWN:
        return texts
    return [*texts[:_SHOWN], f"and {len(texts) - _SHOWN} more {kind}"]


def _take_shared_notes(results: list[Entry]) -> list[str]:
    """Take the notes that all results have, so that the page says them once."""
    whole = [entry for entry in results if not entry.problem]
    if len(whole) < 2:
        return []
    shared = [note for note in whole[0].notes if all(note in entry.notes for entry in whole)]
    for entry in whole:
        entry.notes = [note for note in entry.notes if note not in shared]
    return shared


def _order(entry: Entry) -> tuple[bool, float, str]:
    """Problems first, then the least certain one, then those without a probability."""
    if entry.problem:
        return (False, -1.0, entry.name)
    return (entry.certainty is None, entry.certainty or 0.0, entry.name)
