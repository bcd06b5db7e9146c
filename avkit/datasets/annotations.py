# SPDX-License-Identifier: Apache-2.0
"""Annotations of a clip as typed records: the one form that every reader on disk brings its data into.

`Annotation` has one attribute for each key of a manifest (`docs/manifest.md`). Readers build records with keywords; a
wrong keyword is an error that names the nearest.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeVar

from avkit.datasets.annotation_fields import SOURCE_FIELDS, provided_fields
from avkit.errors import DataError, unknown_name

_Record = TypeVar("_Record", bound="AnnotationRecord")


@dataclass(slots=True)
class AnnotationRecord:
    """Base of all records.

    Raises:
        TypeError: If a keyword is no attribute of the record; the message names the nearest.
    """

    def __new__(cls: type[_Record], *args: object, **keywords: object) -> _Record:
        """A record whose keywords are checked before its constructor runs."""
        for key in keywords:
            if key not in cls.__dataclass_fields__:
                raise TypeError(f"{cls.__name__}: {unknown_name('key', key, cls.__dataclass_fields__)}")
        return object.__new__(cls)


@dataclass(slots=True, kw_only=True)
class FrameAnnotation(AnnotationRecord):
    """What is known of one frame; its place is given in one of two ways.

    Attributes:
        time: Seconds from the start of the clip.
        step: Step counted from 0.
    """

    time: float | None = None
    step: int | None = None

    @property
    def place(self) -> tuple[str, float]:
        """`time` or `step`, whichever is given, and its value."""
        if self.time is not None:
            return "time", self.time
        assert self.step is not None, "one of the two is given"
        return "step", self.step

    def seconds(self, hop: float) -> float:
        """Time of the frame in seconds, for steps of `hop` seconds."""
        name, value = self.place
        return value if name == "time" else value * hop


@dataclass(slots=True, kw_only=True)
class SpanAnnotation(AnnotationRecord):
    """What is known of a part of the clip.

    Attributes:
        start: First second, from the start of the clip.
        end: Last second; the end of the clip by default.
    """

    start: float = 0
    end: float = math.inf


@dataclass(slots=True, kw_only=True)
class MaskAnnotation(FrameAnnotation):
    """A PNG that marks what sounds in one frame.

    Attributes:
        file: Path of the PNG.
        foreground: Pixel values that sound, such as `[255]` or `["#408080"]`; all but 0 for `nonzero` and None.
        classes: Class of each pixel value, None for background; or None where classes are not known.
    """

    file: str
    foreground: Literal["nonzero"] | list[int | str] | None = None
    classes: Mapping[str, str | None] | None = None


@dataclass(slots=True, kw_only=True)
class BoxAnnotation(FrameAnnotation):
    """The box of one sounding object in one frame.

    Attributes:
        box: x1, y1, x2, y2 as fractions of width and height.
    """

    box: list[float]


@dataclass(slots=True, kw_only=True)
class CaptionAnnotation(SpanAnnotation):
    """A sentence and when it holds.

    Attributes:
        text: The sentence.
        source: Number of the source that it is about, its pixel value in masks; None for all that sounds.
    """

    text: str
    source: int | None = None


@dataclass(slots=True, kw_only=True)
class EventAnnotation(SpanAnnotation):
    """An event that is audible, visible or both for a while.

    Attributes:
        label: Name of its class.
        modality: In which modality it is noticed.
        source: Number of the source that it is of, its pixel value in masks; None where that is not said.
    """

    label: str
    modality: Literal["audio", "visual", "both"] = "both"
    source: int | None = None


@dataclass(slots=True, kw_only=True)
class SourceAnnotation(AnnotationRecord):
    """A source of sound that masks and sentences refer to.

    Attributes:
        source: Its number, which is its pixel value in masks.
        label: Name of its class.
    """

    source: int
    label: str


@dataclass(slots=True, kw_only=True)
class QuestionAnnotation(AnnotationRecord):
    """A question about the clip.

    Attributes:
        question: Its text.
        answer: The right answer.
        type: Its type, such as `Audio-Visual Counting`.
        choices: Answers to choose from, where it has its own; empty strings stand for choices that do not exist.
        id: Its id; `CLIP#N` for the clip's N-th question by default.
    """

    question: str
    answer: str
    type: str = "Other"
    choices: list[str] | None = None
    id: str | None = None


#: The record of each key whose value is a list of records.
_RECORDS: dict[str, type[AnnotationRecord]] = {
    "sources": SourceAnnotation,
    "masks": MaskAnnotation,
    "captions": CaptionAnnotation,
    "questions": QuestionAnnotation,
    "events": EventAnnotation,
    "boxes": BoxAnnotation,
}


@dataclass(slots=True, kw_only=True)
class Annotation(AnnotationRecord):
    """One clip, or one row of an official file, and what is known about it. None means not known.

    Attributes:
        id: Name of the clip, unique in its split.
        where: File and line that it was read from, for messages.
        root: Folder that its paths start from.
        split: Split that the clip is used in; drawn by video if None, see `avkit.datasets.splits`.
        group: What the clip belongs to, such as a recording or a person; clips of one group go to one split.
        video: Path of a video.
        picture: Path of a picture that is shown for as long as `audio` lasts.
        audio: Path of an audio file that is used in place of the video's own track.
        frames: Paths of the pictures of all steps, or of a folder of pictures, used in place of the video.
        start: Second of the media file at which the clip starts.
        end: Second of the media file at which the clip ends.
        sources: Sources that the pixel values of masks stand for; those of masks that say nothing of their values.
        masks: Masks of what sounds.
        captions: Sentences about the clip.
        questions: Questions with answers.
        events: Events; an empty list says that nothing happens.
        labels: Classes audible or visible somewhere in the clip.
        boxes: Boxes of what sounds.
        text: A sentence that says what to look for.
        media: Name of the clip's media and stored features; the id by default. Several rows may share it.
        duration: Length in seconds, where the official file gives it.
        steps: Number of steps, where it differs from clip to clip.
        placeholders: Values of the placeholders of `MediaPatterns` besides `{media}`.
        mask_steps: Steps that have a mask, for readers that find masks by a pattern.
    """

    id: str
    where: str
    root: Path
    split: str | None = None
    group: str | None = None
    video: str | None = None
    picture: str | None = None
    audio: str | None = None
    frames: str | list[str] | None = None
    start: float | None = None
    end: float | None = None
    sources: list[SourceAnnotation] | None = None
    masks: list[MaskAnnotation] | None = None
    captions: list[CaptionAnnotation] | None = None
    questions: list[QuestionAnnotation] | None = None
    events: list[EventAnnotation] | None = None
    labels: list[str] | None = None
    boxes: list[BoxAnnotation] | None = None
    text: str | None = None
    media: str = ""
    duration: float | None = None
    steps: int | None = None
    placeholders: dict[str, str] = field(default_factory=dict)
    mask_steps: list[int] | None = None

    def __post_init__(self) -> None:
        if not self.media:
            self.media = self.id

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str, root: Path) -> "Annotation":
        """Build an annotation from nested dictionaries with the keys of a manifest, such as a line of JSON.

        Args:
            values: What is known of the clip. `captions` may be one sentence for the whole clip.
            where: File and line that it was read from.
            root: Folder that its paths start from.

        Raises:
            ValueError: If a key is unknown or missing; the message names the place, and the nearest key.
        """
        keywords: dict[str, Any] = {**values, "where": where, "root": root}
        if isinstance(keywords.get("captions"), str):
            keywords["captions"] = [{"text": keywords["captions"]}]
        for key, record in _RECORDS.items():
            if keywords.get(key) is not None:
                entries = enumerate(keywords[key])
                keywords[key] = [_build(record, entry, f"{where}, field '{key}[{k}]'") for k, entry in entries]
        return _build(cls, keywords, where)

    @property
    def fields(self) -> frozenset[str]:
        """Targets that the annotation provides."""
        values = {
            "masks": self.masks,
            "captions": self.captions,
            "questions": self.questions,
            "events": self.events,
            "labels": self.labels,
            "boxes": self.boxes,
        }
        names = provided_fields(values)
        if any(mask.classes is None for mask in self.masks or ()):
            names.discard("class_mask")
        if {"class_mask", "caption"} <= names:
            names |= SOURCE_FIELDS
        if self.questions and all(question.choices is not None for question in self.questions):
            names.add("choices")
        return frozenset(names)

    @property
    def class_names(self) -> set[str]:
        """Names of classes that occur in sources, masks, events and labels."""
        names: set[str | None] = set(self.labels or ())
        names.update(source.label for source in self.sources or ())
        for mask in self.masks or ():
            names.update((mask.classes or {}).values())
        for event in self.events or ():
            names.add(event.label)
        return {name for name in names if name is not None}

    def error(self, field: str, message: str) -> DataError:
        """The error for one field of this annotation, or for all of it where `field` is empty."""
        return field_error(self.where, field, message)


def _build(record: type[_Record], values: Mapping[str, Any], where: str) -> _Record:
    """A record of a dictionary; a key that is unknown or missing is a ValueError."""
    for attribute in fields(record):
        is_required = attribute.default is MISSING and attribute.default_factory is MISSING
        if is_required and attribute.name not in values:
            raise ValueError(f"{where}: the key {attribute.name!r} is missing.")
    try:
        return record(**values)
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from error


def field_error(where: str, field: str, message: str) -> DataError:
    """The error for one field of the annotation at `where`, or for all of it where `field` is empty."""
    return DataError(f"{where}, field {field!r}: {message}" if field else f"{where}: {message}")


def annotation_texts(annotations: Iterable[Annotation]) -> list[str]:
    """All questions, captions and sentences of some annotations."""
    texts: list[str] = []
    for annotation in annotations:
        texts += [question.question for question in annotation.questions or ()]
        texts += [caption.text for caption in annotation.captions or ()]
        if annotation.text is not None:
            texts.append(annotation.text)
    return texts
