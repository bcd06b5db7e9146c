# SPDX-License-Identifier: Apache-2.0
"""Rows of the labels' database: items, changes of them, and what reads and writes them within a transaction."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from avkit.annotation.values import MAX_OBJECTS, ClipShape, Key, LabelError, check_key, check_value
from avkit.reading.text import parse_json


@dataclass(frozen=True)
class Item:
    """An item of a clip.

    Attributes:
        key: What it is about.
        value: What is said; None where it was deleted.
        revision: Number of its changes.
        author: Who changed it last.
        edit: Number of the edit that changed it last.
    """

    key: Key
    value: dict[str, Any] | None
    revision: int
    author: str
    edit: int


@dataclass(frozen=True)
class Change:
    """A change of one item.

    Attributes:
        key: The item; object -1 stands for a new object, the same one in all changes of an edit.
        value: What it shall say; None deletes it.
        base: Revision that it was made from, 0 for an item that never was; None overwrites whatever there is.
    """

    key: Key
    value: dict[str, Any] | None
    base: int | None


#: Columns of an item.
COLUMNS = "kind, object, step, value, revision, author, edit"
_OF_KEY = "clip = ? AND kind = ? AND object = ? AND step = ?"


def item_of(row: tuple[Any, ...]) -> Item:
    """The item of a row with the columns `COLUMNS`."""
    kind, number, step, value, revision, author, edit = row
    parsed = None if value is None else parse_json(value, "labels")
    return Item(Key(kind, number, step), parsed, revision, author, edit)


def read_item(db: sqlite3.Connection, clip: int, key: Key) -> Item:
    """An item as it is now; one of revision 0 where it never was."""
    row = db.execute(f"SELECT {COLUMNS} FROM items WHERE {_OF_KEY}", (clip, *key)).fetchone()
    return Item(key, None, 0, "nobody", 0) if row is None else item_of(row)


def value_of(db: sqlite3.Connection, clip: int, key: Key) -> str | None:
    """The value of an item as JSON; None where it has none."""
    row = db.execute(f"SELECT value FROM items WHERE {_OF_KEY}", (clip, *key)).fetchone()
    return None if row is None else row[0]


def revision_of(db: sqlite3.Connection, clip: int, key: Key) -> int:
    """Number of changes of an item."""
    row = db.execute(f"SELECT revision FROM items WHERE {_OF_KEY}", (clip, *key)).fetchone()
    return 0 if row is None else row[0]


def write_item(db: sqlite3.Connection, clip: int, key: Key, value: str | None, author: str, edit: int) -> str | None:
    """Write an item; returns the value that it had."""
    before = value_of(db, clip, key)
    revision = revision_of(db, clip, key) + 1
    db.execute(
        "INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (clip, *key, value, revision, author, edit)
    )
    return before


def add_edit(db: sqlite3.Connection, clip: int, author: str, state: str) -> int:
    """Add a row for an edit; returns its number."""
    edit = db.execute("INSERT INTO edits (clip, author, state) VALUES (?, ?, ?)", (clip, author, state)).lastrowid
    assert edit is not None
    return edit


def group_of(db: sqlite3.Connection, clip: int, author: str, number: int | None) -> int | None:
    """The edit that further changes go with, if it is done; else what was undone cannot be made again."""
    row = (clip, author, number)
    if db.execute(
        "SELECT 1 FROM edits WHERE clip = ? AND author = ? AND number = ? AND state = 'done'", row
    ).fetchone():
        return number
    db.execute("UPDATE edits SET state = 'dropped' WHERE clip = ? AND author = ? AND state = 'undone'", row[:2])
    return None


def check_changes(db: sqlite3.Connection, clip: int, changes: Sequence[Change], shape: ClipShape) -> list[Change]:
    """Changes with checked values; a new object gets its number, what depends on a deleted object is deleted too."""
    new = 0
    checked: dict[Key, Change] = {}
    for change in changes:
        key = change.key
        if key.object == -1:
            new = new or _free_object(db, clip)
            key = key._replace(object=new)
        check_key(key, shape)
        if key in checked:
            raise LabelError(f"An edit changes {key.kind!r} of object {key.object} twice. Send one change of it.")
        value = None if change.value is None else check_value(key, change.value, shape)
        checked[key] = Change(key, value, change.base)
    for key, change in list(checked.items()):
        if key.kind == "object" and change.value is None:
            rows = db.execute(
                "SELECT kind, object, step FROM items WHERE clip = ? AND object = ? AND value IS NOT NULL",
                (clip, key.object),
            )
            for row in rows.fetchall():
                checked.setdefault(Key(*row), Change(Key(*row), None, None))
    for key, change in checked.items():
        owner = Key("object", key.object, 0)
        if key.object and key != owner and change.value is not None:
            is_there = checked[owner].value is not None if owner in checked else value_of(db, clip, owner) is not None
            if not is_there:
                raise LabelError(f"There is no object {key.object} in this clip any more. Reload the clip.")
    return list(checked.values())


def _free_object(db: sqlite3.Connection, clip: int) -> int:
    """Number of a new object: one that none has had."""
    (last,) = db.execute("SELECT ifnull(max(object), 0) FROM items WHERE clip = ?", (clip,)).fetchone()
    if last >= MAX_OBJECTS:
        raise LabelError(f"A clip has up to {MAX_OBJECTS} objects, and this one has had them all.")
    return int(last) + 1
