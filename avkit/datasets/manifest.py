# SPDX-License-Identifier: Apache-2.0
"""Your own videos: a JSON Lines file that names each clip and what is known about it.

`SCHEMA` declares every key once. The check of each line and the published JSON Schema both come from it.
"""

import copy
import json
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.batch import FIELDS, SAMPLE_RATE, Item, Vocabulary
from avkit.errors import DataError, unknown_name
from avkit.media import decode
from avkit.words import count_words

_Read = TypeVar("_Read", decode.Clip, dict[str, Tensor])

SPLITS = ("train", "val", "test")

#: The fields that each key of a line gives; `class_mask` comes with masks that all name their classes.
GIVES: dict[str, frozenset[str]] = {
    "masks": frozenset({"mask", "mask_known", "class_mask"}),
    "captions": frozenset({"caption"}),
    "questions": frozenset({"answer", "question_type"}),
    "events": frozenset({"events", "audio_segments", "visual_segments", "video_labels"}),
    "labels": frozenset({"video_labels"}),
    "boxes": frozenset({"boxes"}),
}

_COLOUR = "#[0-9a-fA-F]{6}"


def _key(kind: str, description: str, **rules: Any) -> dict[str, Any]:
    if kind == "string":
        rules.setdefault("minLength", 1)
    return {"type": kind, "description": description, **rules}


def _object(description: str, required: tuple[str, ...], **keys: dict[str, Any]) -> dict[str, Any]:
    return _key("object", description, properties=keys, required=list(required), additionalProperties=False)


_TIME = _key("number", "seconds from the start of the clip", minimum=0)
_STEP = _key("integer", "step counted from 0, a step being `hop` seconds long", minimum=0)
_START = _key("number", "first second, from the start of the clip", minimum=0)
_END = _key("number", "last second, from the start of the clip", minimum=0)
_VALUE = {
    "description": "a pixel value such as 255, or a colour such as '#408080'",
    "anyOf": [
        _key("integer", "a pixel value", minimum=0, maximum=65535),
        _key("string", "a colour such as '#408080'", pattern=f"^{_COLOUR}$"),
    ],
}
_MASK = _object(
    "one PNG that marks what sounds in one picture",
    ("file",),
    time=_TIME,
    step=_STEP,
    file=_key("string", "path of a PNG (1, 8 or 16 bit, palette or colour)"),
    foreground={
        "description": "'nonzero' (default), or the list of pixel values that mark what sounds",
        "anyOf": [
            _key("string", "'nonzero'", enum=["nonzero"]),
            _key("array", "pixel values", items=_VALUE, minItems=1),
        ],
    },
    classes=_key(
        "object",
        "the class of each pixel value, such as {'45': 'mower', '#408080': 'clarinet', '255': null}; null: background",
        propertyNames=_key(
            "string", "a pixel value such as '45', or a colour such as '#408080'", pattern=f"^([0-9]{{1,5}}|{_COLOUR})$"
        ),
        additionalProperties={
            "description": "name of a class, or null for background",
            "anyOf": [_key("string", "name of a class"), _key("null", "background")],
        },
        minProperties=1,
    ),
)
_CAPTION = _object(
    "one sentence and when it holds", ("text",), start=_START, end=_END, text=_key("string", "the sentence")
)
_QUESTION = _object(
    "a question and its answer",
    ("question", "answer"),
    question=_key("string", "the question"),
    answer=_key("string", "its answer, one of a small set of words"),
    type=_key("string", "such as 'Audio-Visual Counting'"),
)
_EVENT = _object(
    "something heard or seen for a while",
    ("label",),
    start=_START,
    end=_END,
    label=_key("string", "name of a class"),
    modality=_key("string", "where it is noticed, by default 'both'", enum=["audio", "visual", "both"]),
)
_BOX = _object(
    "where one sounding object is in one picture",
    ("box",),
    time=_TIME,
    step=_STEP,
    box=_key(
        "array",
        "x1, y1, x2, y2 as fractions of width and height",
        items=_key("number", "a fraction", minimum=0, maximum=1),
        minItems=4,
        maxItems=4,
    ),
)
#: One line of the file.
SCHEMA: dict[str, Any] = _object(
    "one clip",
    ("id",),
    id=_key("string", "name of the clip, used once in the file"),
    video=_key("string", "path of a video file"),
    picture=_key("string", "path of a picture, shown for as long as 'audio' lasts"),
    audio=_key("string", "path of a sound file, in place of the video's own sound"),
    split=_key("string", "where the clip is used; left out, it is used in every split", enum=list(SPLITS)),
    start=_key("number", "second of the media file at which the clip starts", minimum=0),
    end=_key("number", "second of the media file at which the clip ends", minimum=0),
    masks=_key("array", "masks of what sounds; steps without one count as not annotated", items=_MASK, minItems=1),
    captions={
        "description": "a sentence for the whole clip, or a list of sentences with their times",
        "anyOf": [_key("string", "a sentence"), _key("array", "sentences", items=_CAPTION, minItems=1)],
    },
    questions=_key("array", "questions with answers", items=_QUESTION, minItems=1),
    events=_key("array", "events; an empty list says that nothing happens", items=_EVENT),
    labels=_key(
        "array", "classes heard or seen somewhere in the clip, without times", items=_key("string", "name of a class")
    ),
    boxes=_key("array", "boxes of what sounds", items=_BOX, minItems=1),
)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of one line, for editors and other programs."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "avkit manifest line",
        **copy.deepcopy(SCHEMA),
    }


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a string"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "array": ((list,), "a list in square brackets"),
    "object": ((dict,), "an object in braces"),
    "null": ((type(None),), "null"),
}


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _KINDS[kind][0]) and not isinstance(value, bool)


def _fault(where: str, field: str, what: str) -> DataError:
    return DataError(f"{where}, field {field!r}: {what}" if field else f"{where}: {what}")


def _check(value: Any, schema: dict[str, Any], where: str, field: str = "") -> None:
    """Hold one value against the part of `SCHEMA` for it; `field` is its path within the line."""
    if "anyOf" in schema:
        fitting = [branch for branch in schema["anyOf"] if _is(value, branch["type"])]
        if not fitting:
            raise _fault(where, field, f"{value!r} is not accepted; give {schema['description']}.")
        schema = fitting[0]
    meaning = schema["description"]
    if not _is(value, schema["type"]):
        raise _fault(where, field, f"{value!r} is not {_KINDS[schema['type']][1]}; give {meaning}.")
    if isinstance(value, dict):
        _check_object(value, schema, where, field)
    elif isinstance(value, list):
        low, high = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if not low <= len(value) <= high:
            count = low if low == high else f"at least {low}"
            raise _fault(
                where, field, f"has {len(value)} entries and takes {count}; give {meaning}, or leave the key out."
            )
        for k, entry in enumerate(value):
            _check(entry, schema["items"], where, f"{field}[{k}]")
    else:
        _check_scalar(value, schema, where, field)


def _check_object(value: dict[str, Any], schema: dict[str, Any], where: str, field: str) -> None:
    dot = f"{field}." if field else ""
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    for key in schema.get("required", ()):
        if key not in value:
            raise _fault(where, field, f"the key {key!r} is missing; give {known[key]['description']}.")
    if len(value) < schema.get("minProperties", 0):
        raise _fault(where, field, f"is empty; give {schema['description']}, or leave the key out.")
    for key, entry in value.items():
        if "propertyNames" in schema:
            _check_scalar(key, schema["propertyNames"], where, field)
        if key not in known and others is False:
            raise _fault(where, field, str(unknown_name("key", key, known)))
        _check(entry, known.get(key, others), where, dot + key)


def _check_scalar(value: Any, schema: dict[str, Any], where: str, field: str) -> None:
    meaning = schema["description"]
    if "enum" in schema and value not in schema["enum"]:
        raise _fault(where, field, str(unknown_name("value", value, schema["enum"])))
    if isinstance(value, str):
        if len(value.strip()) < schema.get("minLength", 0):
            raise _fault(where, field, f"is empty; give {meaning}, or leave it out.")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise _fault(where, field, f"{value!r} is not accepted; give {meaning}.")
    elif value is not None:
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not (math.isfinite(value) and low <= value <= high):
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise _fault(where, field, f"{value!r} is not a number {limits}; give {meaning}.")


@dataclass(frozen=True)
class Line:
    """One checked line of a manifest.

    Attributes:
        where: File and line number, for messages.
        data: The object as written, see `SCHEMA`.
        root: Folder of the paths in it.
    """

    where: str
    data: dict[str, Any]
    root: Path

    @property
    def fields(self) -> frozenset[str]:
        """Target fields that this line gives."""
        given = frozenset().union(*(GIVES[key] for key in GIVES if key in self.data))
        named = all("classes" in mask for mask in self.data.get("masks", ()))
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

    def check(self) -> None:
        """Check the line against `SCHEMA`, then what a schema cannot say.

        Raises:
            DataError: At the first fault, naming file, line and field.
        """
        _check(self.data, SCHEMA, self.where)
        self._check_media()
        for key in ("captions", "events"):
            for k, entry in enumerate(self.captions if key == "captions" else self.data.get(key, ())):
                self._check_span(entry, f"{key}[{k}].")
        self._check_span(self.data, "")
        for key in ("masks", "boxes"):
            for k, entry in enumerate(self.data.get(key, ())):
                if ("time" in entry) == ("step" in entry):
                    raise self.fault(f"{key}[{k}]", "give either 'time' in seconds or 'step', one of the two.")
        self._check_masks()
        self._check_boxes()
        self._check_captions()

    def fault(self, field: str, what: str) -> DataError:
        """The error for one field of this line."""
        return _fault(self.where, field, what)

    def _file(self, field: str, name: str) -> None:
        if not (self.root / name).is_file():
            raise self.fault(
                field,
                f"{name!r} does not exist under root {str(self.root)!r}. "
                "Mend the path, or pass as root the folder it starts from.",
            )

    def _check_media(self) -> None:
        if ("video" in self.data) == ("picture" in self.data):
            raise self.fault("", "give either 'video' or 'picture', one of the two.")
        if "picture" in self.data and "audio" not in self.data:
            raise self.fault("picture", "a picture has no sound; give the sound file as 'audio'.")
        for key in ("video", "picture", "audio"):
            if key in self.data:
                self._file(key, self.data[key])

    def _check_span(self, entry: dict[str, Any], prefix: str) -> None:
        start, end = entry.get("start", 0), entry.get("end", math.inf)
        if end <= start:
            raise self.fault(f"{prefix}end", f"{end} s is not after the start at {start} s.")

    def _check_masks(self) -> None:
        seen: dict[Any, int] = {}
        for k, mask in enumerate(self.data.get("masks", ())):
            self._file(f"masks[{k}].file", mask["file"])
            if "classes" in mask and "foreground" in mask:
                raise self.fault(
                    f"masks[{k}]", "give 'classes' or 'foreground', one of the two; a class that is null is background."
                )
            time = ("time", mask["time"]) if "time" in mask else ("step", mask["step"])
            if time in seen:
                raise self.fault(
                    f"masks[{k}].{time[0]}", f"{time[1]} is that of masks[{seen[time]}] too; draw both into one PNG."
                )
            seen[time] = k

    def _check_boxes(self) -> None:
        for k, entry in enumerate(self.data.get("boxes", ())):
            x1, y1, x2, y2 = entry["box"]
            if x2 <= x1 or y2 <= y1:
                raise self.fault(
                    f"boxes[{k}].box", f"{entry['box']} has no area; give x1, y1, x2, y2 with x1 < x2 and y1 < y2."
                )

    def _check_captions(self) -> None:
        spans = sorted((c.get("start", 0), c.get("end", math.inf), k) for k, c in enumerate(self.captions))
        for (_, end, i), (start, _, k) in pairwise(spans):
            if start < end:
                raise self.fault(
                    f"captions[{k}].start",
                    f"{start} s lies within captions[{i}], which ends at {end} s; one sentence holds at a time.",
                )


def read_lines(path: Path, root: Path) -> list[Line]:
    """Every line of a manifest, checked.

    Raises:
        DataError: At the first fault, naming file, line and field; if the file is empty, or an id occurs twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(
            f"The manifest {str(path)!r} cannot be read: {error.strerror}. Give the path of a JSON Lines file."
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start}). Save it again as UTF-8.") from error
    lines, ids = [], dict[str, str]()
    for number, row in enumerate(text.split("\n"), 1):
        if row.strip():
            line = Line(f"{path}, line {number}", _parse(row, f"{path}, line {number}"), root)
            line.check()
            name = line.data["id"]
            if name in ids:
                raise line.fault("id", f"{name!r} is already the id of {ids[name]}. Give each line its own.")
            ids[name] = f"line {number}"
            lines.append(line)
    if not lines:
        raise DataError(f'{path} is empty. Write one JSON object per line, such as {{"id": "a", "video": "a.mp4"}}.')
    return lines


def _parse(row: str, where: str) -> Any:
    try:
        return json.loads(row)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{where}: not JSON at column {error.colno} ({error.msg}). "
            "Each line holds one whole object in braces, with no list around the lines."
        ) from error


class Manifest:
    """Clips listed in a JSON Lines file; `docs/manifest.md` describes every key.

    A sample is a clip, or a clip with one of its questions. Samples run in the order of the file: each clip first, then
    its questions, with ids such as `clip#1`. `indices` picks those that carry what a task reads, so that one file
    serves all tasks, and a clip is never repeated for its questions unless the answers are asked for.

    Pictures are squeezed to a square, as the official code of AVSBench does, taken from the middle of each step; masks
    follow with nearest-neighbour sampling. Decoded clips and masks stay in memory, the longest unused go first.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it; by default the folder of the file.
        split: `train`, `val` or `test`; lines without a split belong to all three.
        picture: Side of pictures and masks in pixels.
        hop: Seconds per step.
        max_steps: Read this many steps from the start of each clip at most.
        silent_ok: Use silence for videos that have no sound.
        vocabulary: Names to use instead of the file's own, such as those that a model was trained with.
        memory: Decoded clips and masks to keep, in bytes, per loader process.

    Attributes:
        lines: The checked lines of this split.
        samples: Index into `lines` and question number, None for the clip by itself.

    Raises:
        DataError: At the first fault in the file, naming line and field, or if no line belongs to `split`.
    """

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        split: str = "train",
        picture: int = 96,
        hop: float = 1.0,
        max_steps: int | None = None,
        silent_ok: bool = False,
        vocabulary: Vocabulary | None = None,
        memory: int = 512 * 2**20,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if picture < 1 or not hop > 0 or (max_steps is not None and max_steps < 1):
            raise ValueError(f"picture is {picture}, hop {hop}, max_steps {max_steps}; each must be greater than 0.")
        self.path, self.split, self.picture, self.hop, self.max_steps = Path(path), split, picture, hop, max_steps
        self.silent_ok = silent_ok
        every = read_lines(self.path, Path(root) if root is not None else self.path.parent)
        self.lines = [line for line in every if line.data.get("split", split) == split]
        if not self.lines:
            raise DataError(
                f"{path}: no line belongs to split {split!r}, only to {sorted({line.data['split'] for line in every})}."
            )
        self.samples: list[tuple[int, int | None]] = [
            (i, q) for i, line in enumerate(self.lines) for q in (None, *range(len(line.data.get("questions", ()))))
        ]
        self._train = [line for line in every if line.data.get("split", "train") == "train"] or every
        self._vocabulary = vocabulary
        self._cache = _Cache(memory)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def provides(self) -> frozenset[str]:
        """Target fields that occur in this split; class masks only if every line with masks names classes."""
        found: frozenset[str] = frozenset().union(*(line.fields for line in self.lines))
        unnamed = any("mask" in line.fields and "class_mask" not in line.fields for line in self.lines)
        return found - {"class_mask"} if unnamed else found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words of the train lines, each sorted; of all lines where none is for training."""
        if self._vocabulary is not None:
            return self._vocabulary
        questions = [q for line in self._train for q in line.data.get("questions", ())]
        texts = [q["question"] for q in questions] + [c["text"] for line in self._train for c in line.captions]
        return Vocabulary(
            classes=sorted(set().union(*(line.classes for line in self._train))),
            answers=sorted({q["answer"] for q in questions}),
            words=count_words(texts),
        )

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Samples that carry all of `fields`: questions where an answer is among them, else clips.

        Raises:
            ValueError: If a field is not in `FIELDS`.
            DataError: If no sample carries them.
        """
        for name in fields - FIELDS.keys():
            raise unknown_name("field", name, FIELDS)
        asks = bool(fields & GIVES["questions"])
        found = [
            i for i, (k, q) in enumerate(self.samples) if (q is not None) == asks and fields <= self.lines[k].fields
        ]
        if not found:
            raise self._lacking(fields)
        return found

    def item(self, index: int, fields: frozenset[str] | None = None) -> Item:
        """Read one sample; its frames and sound are shared with later calls, so do not write into them.

        Args:
            index: Place in `samples`.
            fields: Targets to read; by default all that the sample carries. Masks may be asked of a line without any:
                no step of them is then known.

        Raises:
            IndexError: If `index` is not below the number of samples.
            MediaError: If a media file cannot be read.
            DataError: If the line lacks a field, or contradicts its media file.
        """
        number, q = self.samples[index]
        line = self.lines[number]
        carried = line.fields - (GIVES["questions"] if q is None else frozenset())
        fields = carried if fields is None else fields
        unknown = fields & GIVES["masks"] if "mask" not in carried else frozenset()
        if not fields - unknown <= carried:
            raise line.fault(
                "",
                f"sample {index} does not give {sorted(fields - carried)}. Take samples from 'indices'.",
            )
        clip = self._clip(line)
        makers: dict[str, Callable[[Line, decode.Clip], dict[str, Any]]] = {
            "masks": self._masks,
            "captions": self._captions,
            "events": self._events,
            "boxes": self._boxes,
        }
        targets: dict[str, Any] = {}
        for key, make in makers.items():
            if fields & GIVES[key] - unknown:
                targets |= make(line, clip)
        targets |= self._unknown_masks(clip) if unknown else {}
        question = line.data["questions"][q] if q is not None else {}
        targets |= {"answer": question.get("answer"), "question_type": question.get("type", "Other")}
        limit = math.inf if self.max_steps is None else self.max_steps * self.hop
        return Item(
            id=line.data["id"] if q is None else f"{line.data['id']}#{q + 1}",
            duration=min(clip.duration, limit),
            hop=self.hop,
            frames=clip.frames,
            waveform=clip.waveform,
            text=question.get("question"),
            targets={name: targets[name] for name in sorted(fields)},
        )

    def _lacking(self, fields: frozenset[str]) -> DataError:
        """The error for fields that no line of the split carries, or none carries together."""
        for name in sorted(fields - self.provides):
            keys = [repr(key) for key, given in GIVES.items() if name in given]
            if not keys:
                return DataError(
                    f"A manifest has no key that gives the field {name!r}. Leave out the task that reads it."
                )
            more = " whose masks all have 'classes'" if name == "class_mask" and "mask" in self.provides else ""
            return DataError(
                f"{self.path}: no line of split {self.split!r} has {' or '.join(keys)}{more}, "
                f"which gives the field {name!r}. Add it to a line, or leave out the task that reads it."
            )
        return DataError(
            f"{self.path}: no line of split {self.split!r} gives {sorted(fields)} together. Put their keys on one line."
        )

    def _clip(self, line: Line) -> decode.Clip:
        """The decoded clip; frames and waveform are shared with later calls."""
        data = line.data
        source = line.root / data.get("video", data.get("picture", ""))
        audio = line.root / data["audio"] if "audio" in data else None
        key = (source, audio, data.get("start", 0), data.get("end"))

        def read() -> decode.Clip:
            if "start" in data or "end" in data:
                return self._read_span(line, source, audio)
            clip = decode.read_clip(source, hop=self.hop, size=self.picture, audio=audio, silent_ok=self.silent_ok)
            return self._cut(clip)

        return self._cache.get(key, read)

    def _read_span(self, line: Line, source: Path, audio: Path | None) -> decode.Clip:
        """The part of a file from `start` to `end`."""
        info = decode.probe(source)
        length = decode.probe(audio).duration if info.is_image and audio is not None else info.duration
        start, end = line.data.get("start", 0), line.data.get("end", length)
        if start >= length or end > length + self.hop / 2:
            name = "start" if start >= length else "end"
            raise line.fault(name, f"the file lasts {length:.2f} s; give a span within it, not {start} to {end} s.")
        duration = float(min(end, length) - start)
        times = [start + time for time in decode.step_times(duration, self.hop)]
        # one step as long as all that is wanted: sound of exactly that length, silent where there is none
        until = start + len(times) * self.hop
        whole = decode.read_clip(
            source, hop=until, size=self.picture, audio=audio, silent_ok=self.silent_ok, steps=1, offset=0
        )
        frames = decode.read_frames(source, times, size=self.picture, info=info)
        waveform = whole.waveform[-round(len(times) * self.hop * SAMPLE_RATE) :].clone()
        return self._cut(replace(whole, frames=frames, waveform=waveform, duration=duration, hop=self.hop))

    def _cut(self, clip: decode.Clip) -> decode.Clip:
        if self.max_steps is not None and clip.steps > self.max_steps:
            clip.frames = clip.frames[: self.max_steps].clone()
            clip.waveform = clip.waveform[: round(self.max_steps * self.hop * SAMPLE_RATE)].clone()
        return clip

    def _step(self, line: Line, clip: decode.Clip, key: str, k: int) -> int:
        """The step of one mask or box; it may lie beyond those that `max_steps` keeps."""
        entry = line.data[key][k]
        time: float = entry["time"] if "time" in entry else entry["step"] * self.hop
        if time >= max(clip.duration, clip.steps * self.hop):
            name = "time" if "time" in entry else "step"
            raise line.fault(
                f"{key}[{k}].{name}", f"{entry[name]} is beyond the clip, which lasts {clip.duration:.2f} s."
            )
        # 0.3 s at a hop of 0.1 s is step 3, whatever the floating point says
        return math.floor(time / self.hop + 1e-6)

    def _masks(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        """The mask nearest to the middle of each step, where its picture was taken."""

        def read() -> dict[str, Tensor]:
            size = (clip.steps, self.picture, self.picture)
            out = {
                "mask": torch.zeros(size, dtype=torch.uint8),
                "mask_known": torch.zeros(clip.steps, dtype=torch.bool),
            }
            out |= {"class_mask": torch.zeros(size, dtype=torch.uint8)} if "class_mask" in line.fields else {}
            for step, k in self._nearest(line, clip):
                mask, classes = self._read_mask(line, clip, k)
                out["mask"][step], out["mask_known"][step] = torch.from_numpy(mask), True
                if "class_mask" in out:
                    out["class_mask"][step] = torch.from_numpy(classes)
            return out

        return self._cache.get((line.data["id"], "masks"), read)

    def _unknown_masks(self, clip: decode.Clip) -> dict[str, Any]:
        """Masks of a clip that has none."""
        empty = torch.zeros((clip.steps, self.picture, self.picture), dtype=torch.uint8)
        known = torch.zeros(clip.steps, dtype=torch.bool)
        return {"mask": empty, "class_mask": empty, "mask_known": known}

    def _nearest(self, line: Line, clip: decode.Clip) -> Iterator[tuple[int, int]]:
        """Step and number of the mask to use, for each step that has one."""
        best: dict[int, tuple[float, int]] = {}
        for k, mask in enumerate(line.data["masks"]):
            step = self._step(line, clip, "masks", k)
            middle = (step + 0.5) * self.hop
            best[step] = min(best.get(step, (math.inf, k)), (abs(mask.get("time", middle) - middle), k))
        return ((step, k) for step, (_, k) in best.items() if step < clip.steps)

    def _read_mask(self, line: Line, clip: decode.Clip, k: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Sounding or not, and class index + 1 or 0, of one PNG at the size of the pictures."""
        entry, field = line.data["masks"][k], f"masks[{k}].file"
        values = _pixel_values(line.root / entry["file"], line, field)
        (h, w), (height, width) = values.shape, clip.source_size
        if abs(math.log((w / h) / (width / height))) > 0.02:
            raise line.fault(
                field,
                f"{entry['file']!r} is {w} x {h} pixels and its picture {width} x {height}; "
                "give a mask of the same shape.",
            )
        named = {_value(text): name for text, name in entry.get("classes", {}).items()}
        if len(self.vocabulary.classes) > 255 and named:
            count = len(self.vocabulary.classes)
            raise line.fault(field, f"{count} classes do not fit into 'class_mask', which takes 255. Use fewer names.")
        if named:
            self._check_values(values, named, line, field)
        small = values[np.ix_(*((np.arange(self.picture) * 2 + 1) * n // (2 * self.picture) for n in values.shape))]
        classes = np.zeros(small.shape, np.uint8)
        for value, name in named.items():
            classes[small == value] = 0 if name is None else self._class(name, line, f"masks[{k}].classes") + 1
        if named:
            return (classes > 0).astype(np.uint8), classes
        wanted = entry.get("foreground", "nonzero")
        sounding = small != 0 if wanted == "nonzero" else np.isin(small, [_value(v) for v in wanted])
        return sounding.astype(np.uint8), classes

    def _check_values(self, values: NDArray[np.int64], named: dict[int, str | None], line: Line, field: str) -> None:
        found, counts = np.unique(values, return_counts=True)
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            if value != 0 and value not in named:
                text = f"{value}" if value <= 65535 else f"#{value - _COLOURED:06x}"
                raise line.fault(
                    field,
                    f"{count} pixels have the value {text}, which 'classes' does not name. "
                    f'Add "{text}" with its class, or with null for background.',
                )

    def _captions(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        out = [""] * clip.steps
        for k, caption in enumerate(line.captions):
            for step in np.flatnonzero(self._covered(line, clip, caption, f"captions[{k}]")):
                out[step] = caption["text"]
        return {"caption": out}

    def _events(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        """Segments per modality, labels of the clip, and the spans both heard and seen."""
        events, classes = line.data.get("events", []), len(self.vocabulary.classes)
        segments = {name: torch.zeros(clip.steps, classes, dtype=torch.uint8) for name in ("audio", "visual")}
        labels = torch.zeros(classes, dtype=torch.uint8)
        spans: dict[str, list[tuple[float, float, int]]] = {"audio": [], "visual": [], "both": []}
        for k, event in enumerate(events):
            index, modality = self._class(event["label"], line, f"events[{k}].label"), event.get("modality", "both")
            steps = torch.from_numpy(self._covered(line, clip, event, f"events[{k}]"))
            labels[index] = 1
            for name in segments:
                if modality in (name, "both"):
                    segments[name][steps, index] = 1
            spans[modality].append((event.get("start", 0), event.get("end", math.inf), index))
        for label in line.data.get("labels", ()):
            labels[self._class(label, line, "labels")] = 1
        end = clip.steps * self.hop
        met = [(max(a, c), min(b, d), i) for a, b, i in spans["audio"] for c, d, j in spans["visual"] if i == j]
        both = sorted((a, min(b, clip.duration, end), i) for a, b, i in (*spans["both"], *met) if a < min(b, end))
        return {
            "audio_segments": segments["audio"],
            "visual_segments": segments["visual"],
            "video_labels": labels,
            "events": torch.tensor(both, dtype=torch.float32).reshape(-1, 3),
        }

    def _boxes(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        rows: dict[int, list[list[float]]] = {}
        for k, entry in enumerate(line.data["boxes"]):
            rows.setdefault(self._step(line, clip, "boxes", k), []).append(entry["box"])
        out = torch.full((clip.steps, max(map(len, rows.values())), 4), math.nan)
        for step, boxes in rows.items():
            if step < clip.steps:
                out[step, : len(boxes)] = torch.tensor(boxes, dtype=torch.float32)
        return {"boxes": out}

    def _covered(self, line: Line, clip: decode.Clip, entry: dict[str, Any], field: str) -> NDArray[np.bool_]:
        """Steps, bool (T,), whose middle lies in a span; the one around the span's own middle if it holds none."""
        start, end = entry.get("start", 0), min(entry.get("end", math.inf), max(clip.duration, clip.steps * self.hop))
        if start >= end:
            raise line.fault(f"{field}.start", f"{start} s is beyond the clip, which lasts {clip.duration:.2f} s.")
        middles = (np.arange(clip.steps) + 0.5) * self.hop
        hit: NDArray[np.bool_] = (middles >= start) & (middles < end)
        if not hit.any():
            hit = np.arange(clip.steps) == int((start + end) / 2 / self.hop)
        return hit

    def _class(self, name: str, line: Line, field: str) -> int:
        try:
            return self.vocabulary.classes.index(name)
        except ValueError:
            raise line.fault(
                field, f"{unknown_name('class', name, self.vocabulary.classes)} Classes are those of the train lines."
            ) from None


#: Added to 0xRRGGBB of all colours but black, so that no colour equals a pixel value of a grey or palette PNG.
_COLOURED = 1 << 24


def _value(text: str | int) -> int:
    """The number of a pixel value as written in `classes` or `foreground`."""
    if isinstance(text, str) and text.startswith("#"):
        colour = int(text[1:], 16)
        return colour + _COLOURED if colour else 0
    return int(text)


def _pixel_values(path: Path, line: Line, field: str) -> NDArray[np.int64]:
    """Pixel values (H, W) of a PNG: grey level, palette index, or colour as a number, see `_value`."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except OSError as error:
        raise line.fault(
            field, f"{path.name!r} cannot be read as a picture ({error}). Export it again as PNG."
        ) from error
    if image.mode in ("RGB", "RGBA"):
        rgb = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
        return np.where(rgb > 0, rgb + _COLOURED, 0)
    values = np.asarray(image)
    if values.ndim != 2 or image.mode == "F":
        raise line.fault(field, f"{path.name!r} is a PNG of mode {image.mode}; give grey, palette or RGB.")
    return values.astype(np.int64)


class _Cache:
    """Results of slow reads, up to a number of bytes; the longest unused go first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self.kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Any, read: Callable[[], _Read]) -> _Read:
        """What is kept under `key`, or else what `read` returns."""
        if key not in self.kept:
            value = read()
            tensors = list(value.values()) if isinstance(value, dict) else [value.frames, value.waveform]
            size = sum(t.untyped_storage().nbytes() for t in tensors)
            if size > self.limit:
                return value
            self.kept[key] = value, size
            self.size += size
            while self.size > self.limit:
                self.size -= self.kept.popitem(last=False)[1][1]
        self.kept.move_to_end(key)
        kept: _Read = self.kept[key][0]
        return kept
