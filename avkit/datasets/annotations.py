# SPDX-License-Identifier: Apache-2.0
"""What is known of one clip, in the keys of a manifest: the one form that every reader on disk brings its data into."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avkit.errors import DataError

#: The fields that each key of a line gives; `class_mask` comes with masks that all name their classes.
GIVES: dict[str, frozenset[str]] = {
    "masks": frozenset({"mask", "mask_known", "class_mask", "source"}),
    "captions": frozenset({"caption"}),
    "questions": frozenset({"answer", "question_type"}),
    "events": frozenset({"events", "audio_segments", "visual_segments", "video_labels"}),
    "labels": frozenset({"video_labels"}),
    "boxes": frozenset({"boxes", "source"}),
}
#: Fields of a question, which a clip by itself has not.
ASKED = GIVES["questions"] | {"choices"}


@dataclass(frozen=True, slots=True)
class Line:
    """One clip, or one row of an official file, and what is known about it.

    Attributes:
        where: Place it was read from, for messages.
        data: What is known, by the keys of `docs/manifest.md`. Readers of official data use some keys more: `frames`,
            the picture of each step or a folder of pictures; `media`, the name under which features are stored, where
            it is not the id; `duration` in seconds; `text`, a sentence that says what to look for.
        root: Folder of the paths in it.
    """

    where: str
    data: dict[str, Any]
    root: Path

    @property
    def fields(self) -> frozenset[str]:
        """Target fields that this line gives."""
        given: frozenset[str] = frozenset().union(*(GIVES[key] for key in GIVES if key in self.data))
        named = all("classes" in mask for mask in self.data.get("masks", ()))
        if (questions := self.data.get("questions")) and all("choices" in q for q in questions):
            given |= {"choices"}
        return given if named else given - {"class_mask"}

    @property
    def classes(self) -> set[str]:
        """Names of classes that occur in this line."""
        masks = (name for mask in self.data.get("masks", ()) for name in mask.get("classes", {}).values())
        events = (event["label"] for event in self.data.get("events", ()))
        return {name for name in (*masks, *events, *self.data.get("labels", ())) if name is not None}

    @property
    def captions(self) -> list[dict[str, Any]]:
        """Captions with their times, a plain sentence as one caption without times."""
        given = self.data.get("captions", [])
        return [{"text": given}] if isinstance(given, str) else given

    @property
    def media(self) -> str:
        """Name of the clip's features."""
        name: str = self.data.get("media", self.data["id"])
        return name

    def fault(self, field: str, what: str) -> DataError:
        """The error for one field of this line."""
        return fault(self.where, field, what)


def fault(where: str, field: str, what: str) -> DataError:
    """The error for one field of one line."""
    return DataError(f"{where}, field {field!r}: {what}" if field else f"{where}: {what}")


def texts(lines: Iterable[Line]) -> list[str]:
    """All that is asked and told in some lines."""
    return [
        text
        for line in lines
        for text in (
            *(q["question"] for q in line.data.get("questions", ())),
            *(c["text"] for c in line.captions),
            *((line.data["text"],) if "text" in line.data else ()),
        )
    ]
