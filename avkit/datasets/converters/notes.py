# SPDX-License-Identifier: Apache-2.0
"""What an annotation tool's file says of one clip, in a form that all converters share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from avkit.datasets.converters.shapes import Shape

#: Values of a line of a manifest.
Value: TypeAlias = "str | float | int | Sequence[Value] | Mapping[str, Value] | None"
#: Keys of a line whose values are lists.
LIST_KEYS = ("events", "captions", "questions", "labels")


@dataclass
class Sighting:
    """An object at one moment.

    Attributes:
        time: Seconds from the start of the file.
        shape: Where it is, or None where it is out of sight from here on.
    """

    time: float
    shape: Shape | None


@dataclass
class Track:
    """An object over time.

    Attributes:
        sightings: Where it is, in order of time; it stays until the next one, or the end of the file.
    """

    sightings: list[Sighting]


@dataclass
class ClipNotes:
    """What is known of one clip.

    Attributes:
        where: File, and place in it, for messages.
        media: Name of its media file, as the annotation file has it.
        id: Name of the clip; made of the media file's name if empty.
        size: Height and width of its pictures in pixels as the annotation file states them, if it does.
        values: Keys of a line of a manifest that need no work.
        frames: Shapes in single pictures, by their time in seconds.
        frame_names: Names of pictures as the annotation file has them, by their time.
        tracks: Objects over time.
    """

    where: str
    media: str
    id: str = ""
    size: tuple[int, int] | None = None
    values: dict[str, Value] = field(default_factory=dict)
    frames: dict[float, list[Shape]] = field(default_factory=dict)
    frame_names: dict[float, str] = field(default_factory=dict)
    tracks: list[Track] = field(default_factory=list)

    def add(self, key: str, value: Value) -> None:
        """Add an entry to a list of the line, such as an event."""
        entries = self.values.setdefault(key, [])
        assert isinstance(entries, list)
        entries.append(value)

    def add_label(self, label: str) -> None:
        """Add a class of the whole clip, once."""
        entries = self.values.setdefault("labels", [])
        assert isinstance(entries, list)
        if label not in entries:
            entries.append(label)

    def add_shape(self, time: float, shape: Shape) -> None:
        """Add a shape in one picture."""
        self.frames.setdefault(time, []).append(shape)
