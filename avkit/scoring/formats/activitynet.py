# SPDX-License-Identifier: Apache-2.0
"""Events in the form of ActivityNet: by video a list of `{"segment": [start, end], "label": "...", "score": 0.9}`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from avkit.errors import DataError, FileError, file_error
from avkit.reading.text import read_json
from avkit.scoring.formats.base import Format
from avkit.scoring.formats.heads import file_head
from avkit.scoring.formats.labels import ClassNames
from avkit.scoring.formats.listed import class_names
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth

_FORM = 'Give {"results": {"VIDEO": [{"segment": [start, end], "label": "...", "score": 0.9}, ...]}}.'


class ActivityNet(Format):
    """A JSON of events by video, as the evaluators of ActivityNet, UnAV-100 and OpenTAD read and write it."""

    name = "activitynet"
    title = "ActivityNet's JSON of events by video, with segment, label (name or number) and score"
    tasks: ClassVar[tuple[str, ...]] = ("davel",)

    @classmethod
    def detect(cls, path: Path) -> bool:
        """Whether it is an object of JSON with `results`, or with segments."""
        head = file_head(path)
        return head.startswith("{") and ('"results"' in head or '"segment"' in head)

    @classmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """The events of each video in the order of the file."""
        content = read_json(path, finite=False)
        results = content.get("results", content) if isinstance(content, dict) else None
        if not isinstance(results, dict):
            raise file_error(path, "holds no 'results' by video", _FORM)
        names = class_names(truth)
        for video, events in results.items():
            where = f"{path}, video {video[:60]!r}"
            try:
                yield PlacedRecord(where, {"id": video, "events": _events(events, names, where)})
            except DataError as error:
                yield FileError(str(error))


def _events(events: Any, names: ClassNames, where: str) -> list[list[Any]]:
    """Start, end, label and score of each event, as they are; the task checks the numbers."""
    if not isinstance(events, list):
        raise file_error(where, f"has {str(events)[:40]!r} in place of a list of events", _FORM)
    rows = []
    for number, event in enumerate(events):
        segment = event.get("segment") if isinstance(event, dict) else None
        if not isinstance(segment, list) or len(segment) != 2 or not {"label", "score"} <= event.keys():
            raise file_error(f"{where}, event {number}", f"is {str(event)[:60]}", _FORM)
        label = names.find(str(event["label"]), f"{where}, event {number}")
        rows.append([segment[0], segment[1], label, event["score"]])
    return rows
