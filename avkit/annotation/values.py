# SPDX-License-Identifier: Apache-2.0
"""What may be said of a clip: items with a key, and values that are checked before they are stored.

A clip has items of these kinds. Object 0 stands for everything that sounds; others are numbered from 1. The keys
`proposed` of values name the helper that a value comes from until a person accepts it.

| kind | object | step | value |
|---|---|---|---|
| `clip` | 0 | 0 | `match` (whether sound and picture belong together: yes, no, unclear), `note` |
| `object` | n | 0 | `name`, `colour` |
| `spans` | n | 0 | `spans`: when it sounds, pairs of seconds |
| `mask` | n | k | `size` (height, width), `runs`: lengths of runs along rows, outside and inside in turn |
| `sentence` | 0 or n | k | `text`, which holds until the next one; empty where nothing is said any more |
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.converters.run_lengths import decode_runs, encode_runs
from avkit.errors import AvkitError

#: Answers to whether sound and picture of a clip belong together.
MATCHES = ("yes", "no", "unclear")
MAX_OBJECTS = 200
_MAX_NAME = 100
_MAX_TEXT = 2000
_MAX_SPANS = 1000
#: Seconds that a span may end after its clip, by rounding.
_OVERHANG = 0.05


class LabelError(AvkitError):
    """An edit says something that no clip can have."""


class Key(NamedTuple):
    """What an item of a clip is about."""

    kind: str
    object: int
    step: int


@dataclass(frozen=True)
class ClipShape:
    """What values of a clip are checked against.

    Attributes:
        steps: Number of steps.
        duration: Seconds.
        size: Height and width of masks in pixels.
    """

    steps: int
    duration: float
    size: tuple[int, int]


def check_key(key: Key, shape: ClipShape) -> None:
    """Refuse an item that no clip has.

    Raises:
        LabelError: With the place.
    """
    if key.kind not in _CHECKS:
        raise LabelError(f"{key.kind!r} is no kind of item. Known: {', '.join(_CHECKS)}.")
    first = 0 if key.kind in ("clip", "sentence") else 1
    last = 0 if key.kind == "clip" else MAX_OBJECTS
    if not first <= key.object <= last:
        raise LabelError(f"Object {key.object} has no item {key.kind!r}. Objects are numbered from {first} to {last}.")
    last = shape.steps - 1 if key.kind in ("mask", "sentence") else 0
    if not 0 <= key.step <= last:
        raise LabelError(f"Step {key.step} has no item {key.kind!r}. Steps are numbered from 0 to {last}.")


def check_value(key: Key, value: Any, shape: ClipShape) -> dict[str, Any]:
    """A value as it is stored: with known keys of the right form alone.

    Raises:
        LabelError: If it is something else.
    """
    if not isinstance(value, Mapping):
        raise LabelError(f"The value of {key.kind!r} is {type(value).__name__}; it is an object with keys.")
    checked = _CHECKS[key.kind](value, shape)
    proposed = value.get("proposed")
    if proposed is not None:
        checked["proposed"] = _text(proposed, "proposed", _MAX_NAME)
    return checked


def _text(value: Any, name: str, most: int, *, required: bool = True) -> str:
    """A line of text without control characters."""
    if not isinstance(value, str):
        raise LabelError(f"{name} is {value!r}; it is a text.")
    text = " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", value).split())
    if any(0xD800 <= ord(letter) < 0xE000 for letter in text):
        raise LabelError(f"{name} holds half of a character. Type it again.")
    if len(text) > most:
        raise LabelError(f"{name} has {len(text)} characters; up to {most} are kept. Shorten it.")
    if required and not text:
        raise LabelError(f"{name} is empty. Type a text.")
    return text


def _check_clip(value: Mapping[str, Any], shape: ClipShape) -> dict[str, Any]:
    match = value.get("match")
    if match is not None and match not in MATCHES:
        raise LabelError(f"match is {match!r}; it is one of {', '.join(MATCHES)}, or null.")
    return {"match": match, "note": _text(value.get("note", ""), "note", _MAX_TEXT, required=False)}


def _check_object(value: Mapping[str, Any], shape: ClipShape) -> dict[str, Any]:
    colour = value.get("colour")
    if not isinstance(colour, str) or not re.fullmatch("#[0-9a-f]{6}", colour):
        raise LabelError(f"colour is {colour!r}; it is one such as #1b9e77.")
    return {"name": _text(value.get("name"), "name", _MAX_NAME), "colour": colour}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_spans(value: Mapping[str, Any], shape: ClipShape) -> dict[str, Any]:
    spans = value.get("spans")
    if not isinstance(spans, list) or len(spans) > _MAX_SPANS:
        raise LabelError(f"spans is a list of up to {_MAX_SPANS} pairs of seconds.")
    pairs = []
    for span in spans:
        if not isinstance(span, list) or len(span) != 2 or not all(map(_is_number, span)):
            raise LabelError(f"The span {span!r} is not start and end in seconds.")
        start = max(0.0, float(span[0]))
        end = float(span[1])
        if not start < end <= shape.duration + _OVERHANG:
            raise LabelError(f"The span {start:g} to {end:g} s does not lie in the clip of {shape.duration:.2f} s.")
        pairs.append([round(start, 3), round(min(end, shape.duration), 3)])
    return {"spans": join_spans(pairs)}


def join_spans(spans: list[list[float]]) -> list[list[float]]:
    """Spans in order, those that touch joined to one, those of no length left out."""
    joined: list[list[float]] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if joined and start <= joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], end)
        else:
            joined.append([start, end])
    return joined


def _check_mask(value: Mapping[str, Any], shape: ClipShape) -> dict[str, Any]:
    size = value.get("size")
    runs = value.get("runs")
    if size != list(shape.size):
        raise LabelError(f"The mask is of size {size!r}, and those of this clip are {list(shape.size)}.")
    pixels = shape.size[0] * shape.size[1]
    if not isinstance(runs, list) or len(runs) > pixels + 1:
        raise LabelError("runs is a list of lengths of runs.")
    if not all(type(run) is int and 0 <= run <= pixels for run in runs) or sum(runs) != pixels:
        raise LabelError(f"runs are whole numbers that add up to the {pixels} pixels of the picture.")
    return {"size": list(shape.size), "runs": runs}


def _check_sentence(value: Mapping[str, Any], shape: ClipShape) -> dict[str, Any]:
    return {"text": _text(value.get("text"), "text", _MAX_TEXT, required=False)}


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], ClipShape], dict[str, Any]]] = {
    "clip": _check_clip,
    "object": _check_object,
    "spans": _check_spans,
    "mask": _check_mask,
    "sentence": _check_sentence,
}


def mask_value(mask: NDArray[np.bool_], proposed: str | None = None) -> dict[str, Any]:
    """The value of a mask (H, W)."""
    value: dict[str, Any] = {"size": list(mask.shape), "runs": encode_runs(mask).tolist()}
    if proposed is not None:
        value["proposed"] = proposed
    return value


def read_mask(value: Mapping[str, Any]) -> NDArray[np.bool_]:
    """The mask (H, W) of a value."""
    height, width = value["size"]
    return decode_runs(np.asarray(value["runs"], np.int64), height * width, "mask").reshape(height, width)
