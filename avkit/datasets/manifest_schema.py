# SPDX-License-Identifier: Apache-2.0
"""What a line of a manifest may hold, declared once: for the check of each line and for the published JSON Schema."""

import copy
import math
import re
from typing import Any

from avkit.datasets.annotations import fault
from avkit.errors import unknown_name

SPLITS = ("train", "val", "test")

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


def check(value: Any, schema: dict[str, Any], where: str, field: str = "") -> None:
    """Hold one value against the part of `SCHEMA` for it; `field` is its path within the line."""
    if "anyOf" in schema:
        fitting = [branch for branch in schema["anyOf"] if _is(value, branch["type"])]
        if not fitting:
            raise fault(where, field, f"{value!r} is not accepted; give {schema['description']}.")
        schema = fitting[0]
    meaning = schema["description"]
    if not _is(value, schema["type"]):
        raise fault(where, field, f"{value!r} is not {_KINDS[schema['type']][1]}; give {meaning}.")
    if isinstance(value, dict):
        _check_object(value, schema, where, field)
    elif isinstance(value, list):
        low, high = schema.get("minItems", 0), schema.get("maxItems", math.inf)
        if not low <= len(value) <= high:
            count = low if low == high else f"at least {low}"
            raise fault(
                where, field, f"has {len(value)} entries and takes {count}; give {meaning}, or leave the key out."
            )
        for k, entry in enumerate(value):
            check(entry, schema["items"], where, f"{field}[{k}]")
    else:
        _check_scalar(value, schema, where, field)


def _check_object(value: dict[str, Any], schema: dict[str, Any], where: str, field: str) -> None:
    dot = f"{field}." if field else ""
    known, others = schema.get("properties", {}), schema["additionalProperties"]
    for key in schema.get("required", ()):
        if key not in value:
            raise fault(where, field, f"the key {key!r} is missing; give {known[key]['description']}.")
    if len(value) < schema.get("minProperties", 0):
        raise fault(where, field, f"is empty; give {schema['description']}, or leave the key out.")
    for key, entry in value.items():
        if "propertyNames" in schema:
            _check_scalar(key, schema["propertyNames"], where, field)
        if key not in known and others is False:
            raise fault(where, field, str(unknown_name("key", key, known)))
        check(entry, known.get(key, others), where, dot + key)


def _check_scalar(value: Any, schema: dict[str, Any], where: str, field: str) -> None:
    meaning = schema["description"]
    if "enum" in schema and value not in schema["enum"]:
        raise fault(where, field, str(unknown_name("value", value, schema["enum"])))
    if isinstance(value, str):
        if len(value.strip()) < schema.get("minLength", 0):
            raise fault(where, field, f"is empty; give {meaning}, or leave it out.")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            raise fault(where, field, f"{value!r} is not accepted; give {meaning}.")
    elif value is not None:
        low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
        if not (math.isfinite(value) and low <= value <= high):
            limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
            raise fault(where, field, f"{value!r} is not a number {limits}; give {meaning}.")
