# SPDX-License-Identifier: Apache-2.0
"""Bodies of requests, read with care."""

from collections.abc import Mapping
from typing import Any

from avkit.annotation.rows import Change
from avkit.annotation.values import Key, LabelError
from avkit.reading.text import parse_json

#: Changes of one edit.
_MAX_CHANGES = 20_000
_MAX_AUTHOR = 60


def json_of(content: bytes) -> Mapping[str, Any]:
    """The object of JSON that a body holds; an empty one for no body.

    Raises:
        LabelError: If it holds something else.
        FileError: If it is no JSON.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise LabelError("The request is not UTF-8.") from error
    body = parse_json(text or "{}", "The request", advice="Reload the page.")
    if not isinstance(body, dict):
        raise LabelError("The request is no object of JSON.")
    return body


def author_of(body: Mapping[str, Any]) -> str:
    """Who sends a request."""
    author = body.get("author")
    if not isinstance(author, str) or not author.strip() or len(author) > _MAX_AUTHOR or not author.isprintable():
        raise LabelError(f"author is {author!r}; type your name, up to {_MAX_AUTHOR} characters.")
    return author.strip()


def changes_of(body: Mapping[str, Any]) -> list[Change]:
    """The changes of an edit: lists of kind, object, step, value and base."""
    changes = body.get("changes")
    if not isinstance(changes, list) or len(changes) > _MAX_CHANGES:
        raise LabelError(f"changes is a list of up to {_MAX_CHANGES} changes.")
    return [_change(change) for change in changes]


def _change(change: Any) -> Change:
    if not isinstance(change, list) or len(change) != 5:
        raise LabelError("A change is a list of kind, object, step, value and base.")
    kind, target, step, value, base = change
    if not isinstance(kind, str) or type(target) is not int or type(step) is not int or abs(target) > 10**6:
        raise LabelError(f"{change[:3]!r} names no item: a kind and two whole numbers.")
    if value is not None and not isinstance(value, dict):
        raise LabelError(f"The value of {kind!r} is {type(value).__name__}; it is an object with keys, or null.")
    if type(base) is not int:
        raise LabelError(f"base is {base!r}; it is the revision that the change was made from.")
    return Change(Key(kind, target, step), value, base)


def whole_of(text: str, name: str) -> int:
    """A whole number of an address."""
    if not text.isascii() or not text.isdigit() or len(text) > 15:
        raise LabelError(f"{name} is {text[:20]!r}; it is a whole number.")
    return int(text)
