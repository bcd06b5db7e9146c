# SPDX-License-Identifier: Apache-2.0
"""What a line of a manifest may hold, declared once: for the check of each line and for the published JSON Schema."""

import copy
import math
import re
from typing import Any

from avkit.datasets.annotations import field_error
from avkit.datasets.faults import RAISE, Faults
from avkit.errors import unknown_name

SPLITS = ("train", "val", "test")

_COLOUR = "#[0-9a-fA-F]{6}"


def _key(kind: str, description: str, **rules: Any) -> dict[str, Any]:
    """The schema of a value of one JSON type."""
    if kind == "string":
        rules.setdefault("minLength", 1)
    return {"type": kind, "description": description, **rules}


def _object(description: str, required: tuple[str, ...], **keys: dict[str, Any]) -> dict[str, Any]:
    """The schema of an object with some keys and no others."""
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
_SOURCE = _object(
    "a source of sound that pixel values of masks and captions refer to",
    ("source", "label"),
    source=_key("integer", "its number: its pixel value in the masks of the line", minimum=1, maximum=65535),
    label=_key("string", "name of its class"),
)
_CAPTION = _object(
    "one sentence and when it holds",
    ("text",),
    start=_START,
    end=_END,
    text=_key("string", "the sentence"),
    source=_key("integer", "the source that it is about: its pixel value in the masks of the line", minimum=1),
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
    source=_key("integer", "the source that it is of: its pixel value in the masks of the line", minimum=1),
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
#: Schema of one line of the file.
SCHEMA: dict[str, Any] = _object(
    "one clip",
    ("id",),
    id=_key("string", "name of the clip, used once in the file"),
    video=_key("string", "path of a video file"),
    picture=_key("string", "path of a picture, shown for as long as 'audio' lasts"),
    audio=_key("string", "path of a sound file, in place of the video's own sound"),
    split=_key("string", "where the clip is used; left out, it is drawn by video", enum=list(SPLITS)),
    group=_key("string", "what the clip belongs to, such as a recording or a person; a group goes to one split"),
    start=_key("number", "second of the media file at which the clip starts", minimum=0),
    end=_key("number", "second of the media file at which the clip ends", minimum=0),
    sources=_key(
        "array",
        "sources by their pixel values, for masks without 'classes' or 'foreground'; empty where masks show none",
        items=_SOURCE,
    ),
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


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "string": ((str,), "a string"),
    "integer": ((int,), "a whole number"),
    "number": ((int, float), "a number"),
    "array": ((list,), "a list in square brackets"),
    "object": ((dict,), "an object in braces"),
    "null": ((type(None),), "null"),
}


def _has_type(value: Any, name: str) -> bool:
    return isinstance(value, _TYPES[name][0]) and not isinstance(value, bool)


def check_value(value: Any, schema: dict[str, Any], where: str, field: str = "", faults: Faults = RAISE) -> None:
    """Check a value against the part of `SCHEMA` for it.

    Args:
        value: A value of JSON.
        schema: Its schema.
        where: File and line, for messages.
        field: Path of the value within the line, such as `masks[0].file`; empty for the whole line.
        faults: Takes the faults of parts of the value, where it collects.

    Raises:
        DataError: At the first fault, naming line and field; where faults are collected, if the value itself is faulty.
    """
    if "anyOf" in schema:
        schema = _fitting_branch(value, schema, where, field)
    if not _has_type(value, schema["type"]):
        raise field_error(where, field, f"{value!r} is not {_TYPES[schema['type']][1]}; give {schema['description']}.")
    if isinstance(value, dict):
        _check_object(value, schema, where, field, faults)
    elif isinstance(value, list):
        _check_array(value, schema, where, field, faults)
    else:
        _check_scalar(value, schema, where, field)


def _fitting_branch(value: Any, schema: dict[str, Any], where: str, field: str) -> dict[str, Any]:
    """The branch of `anyOf` for a value's type."""
    branch: dict[str, Any]
    for branch in schema["anyOf"]:
        if _has_type(value, branch["type"]):
            return branch
    raise field_error(where, field, f"{value!r} is not accepted; give {schema['description']}.")


def _check_array(value: list[Any], schema: dict[str, Any], where: str, field: str, faults: Faults) -> None:
    min_items = schema.get("minItems", 0)
    max_items = schema.get("maxItems", math.inf)
    if not min_items <= len(value) <= max_items:
        count = f"{min_items}" if min_items == max_items else f"at least {min_items}"
        raise field_error(
            where,
            field,
            f"has {len(value)} entries and takes {count}; give {schema['description']}, or leave the key out.",
        )
    for k, entry in enumerate(value):
        with faults:
            check_value(entry, schema["items"], where, f"{field}[{k}]", faults)


def _check_object(value: dict[str, Any], schema: dict[str, Any], where: str, field: str, faults: Faults) -> None:
    prefix = f"{field}." if field else ""
    properties = schema.get("properties", {})
    additional = schema["additionalProperties"]
    for key in schema.get("required", ()):
        with faults:
            if key not in value:
                meaning = properties[key]["description"]
                raise field_error(where, field, f"the key {key!r} is missing; give {meaning}.")
    if len(value) < schema.get("minProperties", 0):
        raise field_error(where, field, f"is empty; give {schema['description']}, or leave the key out.")
    for key, entry in value.items():
        with faults:
            if "propertyNames" in schema:
                _check_scalar(key, schema["propertyNames"], where, field)
            if key not in properties and additional is False:
                raise field_error(where, field, str(unknown_name("key", key, properties)))
            check_value(entry, properties.get(key, additional), where, prefix + key, faults)


def _check_scalar(value: Any, schema: dict[str, Any], where: str, field: str) -> None:
    if "enum" in schema and value not in schema["enum"]:
        raise field_error(where, field, str(unknown_name("value", value, schema["enum"])))
    if isinstance(value, str):
        _check_text(value, schema, where, field)
    elif value is not None:
        _check_number(value, schema, where, field)


def _check_text(value: str, schema: dict[str, Any], where: str, field: str) -> None:
    meaning = schema["description"]
    if len(value.strip()) < schema.get("minLength", 0):
        raise field_error(where, field, f"is empty; give {meaning}, or leave it out.")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        raise field_error(where, field, f"{value!r} is not accepted; give {meaning}.")


def _check_number(value: float, schema: dict[str, Any], where: str, field: str) -> None:
    minimum = schema.get("minimum", -math.inf)
    maximum = schema.get("maximum", math.inf)
    if not (math.isfinite(value) and minimum <= value <= maximum):
        limits = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
        raise field_error(where, field, f"{value!r} is not a number {limits}; give {schema['description']}.")
