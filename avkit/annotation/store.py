# SPDX-License-Identifier: Apache-2.0
"""All edits of a folder in one SQLite file: a transaction per edit, revisions against overwriting, undo and redo.

Every item has a revision that grows with each change. An edit names the revision that it was made from; where somebody
has changed the item since, the whole edit is refused. Undo puts back what an edit of the same person replaced, unless
somebody has changed it since. A deleted item stays as a row without a value, so that its revisions go on.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avkit.annotation.rows import (
    COLUMNS,
    Change,
    Item,
    add_edit,
    check_changes,
    group_of,
    item_of,
    read_item,
    revision_of,
    value_of,
    write_item,
)
from avkit.annotation.values import ClipShape, Key, LabelError
from avkit.errors import AvkitError, DataError

#: Marks a file as ours: "avka" as a number, and the version of its tables.
_APPLICATION = 0x61766B61
_VERSION = 1
_TABLES = """
CREATE TABLE clips (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE items (
  clip INTEGER NOT NULL REFERENCES clips, kind TEXT NOT NULL, object INTEGER NOT NULL, step INTEGER NOT NULL,
  value TEXT, revision INTEGER NOT NULL, author TEXT NOT NULL, edit INTEGER NOT NULL,
  PRIMARY KEY (clip, kind, object, step)) WITHOUT ROWID;
CREATE INDEX newest ON items (clip, edit);
CREATE TABLE edits (
  number INTEGER PRIMARY KEY, clip INTEGER NOT NULL REFERENCES clips, author TEXT NOT NULL,
  time TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%SZ')), state TEXT NOT NULL);
CREATE INDEX of_author ON edits (clip, author, state, number);
CREATE TABLE changes (
  edit INTEGER NOT NULL REFERENCES edits, kind TEXT NOT NULL, object INTEGER NOT NULL, step INTEGER NOT NULL,
  before TEXT, after TEXT);
CREATE INDEX of_edit ON changes (edit);
"""


class StoreError(DataError):
    """The disk refused an edit; nothing was changed, and it may be tried again."""


class StaleEdit(AvkitError):
    """Somebody else has changed an item meanwhile.

    Attributes:
        items: The items as they are now.
    """

    def __init__(self, items: list[Item]) -> None:
        names = ", ".join(sorted({item.author for item in items}))
        super().__init__(f"{names} changed this meanwhile. It is shown as it is now; make your change again.")
        self.items = items


class Store:
    """The labels of a folder; may be used from several threads.

    Args:
        path: The SQLite file, made where there is none.

    Raises:
        DataError: If the file is something else, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        try:
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            self._prepare()
        except sqlite3.Error as error:
            raise DataError(
                f"{path} cannot be used as a file of labels: {error}. Move it away, or name another folder with --work."
            ) from error

    def _prepare(self) -> None:
        """Make the tables, or refuse a file of something else."""
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if (application, version) == (_APPLICATION, _VERSION):
            return
        if self._db.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise DataError(
                f"{self.path} is a database of something else, or of another version ({version}, this is {_VERSION}). "
                "Move it away, or name another folder with --work."
            )
        self._db.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT;"
        )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing; one at a time.

        Raises:
            StoreError: If the disk refuses it; nothing is changed then.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                if self._db.in_transaction:  # SQLite ends it by itself where the disk is full
                    self._db.execute("ROLLBACK")
                if not isinstance(error, sqlite3.Error):
                    raise
                raise StoreError(f"{self.path} was not changed: {error}. Free space, or check the disk.") from error

    def add_clips(self, names: Sequence[str]) -> dict[str, int]:
        """Give each clip a number that stays; returns those of all clips by name."""
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO clips (name) VALUES (?)", [(name,) for name in names])
            return dict(db.execute("SELECT name, number FROM clips"))

    def items(self, clip: int, since: int = 0, *, brief: bool = False) -> list[Item]:
        """Items of a clip.

        Args:
            clip: Number of the clip.
            since: Number of an edit: those that were changed after it, deleted ones too; 0 for all with a value.
            brief: Leave the runs of masks out.
        """
        condition = "edit > ?" if since else "edit > ? AND value IS NOT NULL"
        columns = COLUMNS.replace("value", "json_remove(value, '$.runs')") if brief else COLUMNS
        with self._transaction() as db:
            rows = db.execute(f"SELECT {columns} FROM items WHERE clip = ? AND {condition}", (clip, since)).fetchall()
        return [item_of(row) for row in rows]

    def newest_of(self) -> dict[int, int]:
        """Number of the newest edit of each clip that has one."""
        with self._transaction() as db:
            return dict(db.execute("SELECT clip, max(number) FROM edits GROUP BY clip"))

    def newest(self) -> int:
        """Number of the newest edit of all clips."""
        with self._transaction() as db:
            return int(db.execute("SELECT ifnull(max(number), 0) FROM edits").fetchone()[0])

    def edit(
        self, clip: int, author: str, changes: Sequence[Change], shape: ClipShape, together_with: int | None = None
    ) -> list[Item]:
        """Make changes together, or none of them.

        Args:
            clip: Number of the clip.
            author: Who makes them.
            changes: At least one.
            shape: What their values are checked against.
            together_with: An edit of the same person with which they are undone, if that has not been undone.

        Returns:
            The changed items.

        Raises:
            LabelError: If a change says something that no clip can have.
            StaleEdit: If somebody has changed one of the items since its base.
        """
        if not changes:
            raise LabelError("An edit has at least one change.")
        with self._transaction() as db:
            checked = check_changes(db, clip, changes, shape)
            stale = [change.key for change in checked if change.base not in (None, revision_of(db, clip, change.key))]
            if stale:
                raise StaleEdit([read_item(db, clip, key) for key in stale])
            group = group_of(db, clip, author, together_with)
            edit = add_edit(db, clip, author, "done" if group is None else "part")
            for change in checked:
                after = None if change.value is None else json.dumps(change.value, ensure_ascii=False)
                before = write_item(db, clip, change.key, after, author, edit)
                db.execute("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?)", (group or edit, *change.key, before, after))
            return [read_item(db, clip, change.key) for change in checked]

    def undo(self, clip: int, author: str) -> list[Item]:
        """Put back what somebody's last edit of a clip replaced; the items that this changes, none if there is no edit.

        Raises:
            StaleEdit: If somebody else has changed them since; the next call takes the edit before.
        """
        return self._reverse(clip, author, "done", "undone")

    def redo(self, clip: int, author: str) -> list[Item]:
        """Make the edit again that somebody undid last; as `undo`."""
        return self._reverse(clip, author, "undone", "done")

    def _reverse(self, clip: int, author: str, state: str, new_state: str) -> list[Item]:
        stale, items = self._try_to_reverse(clip, author, state, new_state)
        if stale:
            raise StaleEdit(stale)
        return items

    def _try_to_reverse(self, clip: int, author: str, state: str, new_state: str) -> tuple[list[Item], list[Item]]:
        """Items that others have changed, where an edit cannot be reversed and is dropped; else the changed items."""
        order = "DESC" if state == "done" else "ASC"
        with self._transaction() as db:
            row = db.execute(
                f"SELECT number FROM edits WHERE clip = ? AND author = ? AND state = ? ORDER BY number {order} LIMIT 1",
                (clip, author, state),
            ).fetchone()
            if row is None:
                return [], []
            rows = db.execute("SELECT kind, object, step, before, after FROM changes WHERE edit = ?", row).fetchall()
            changes = [(Key(*fields[:3]), *(fields[3:] if state == "done" else fields[:2:-1])) for fields in rows]
            stale = [read_item(db, clip, key) for key, _, current in changes if value_of(db, clip, key) != current]
            if stale:
                db.execute("UPDATE edits SET state = 'dropped' WHERE number = ?", row)
                return stale, []
            # a row of its own, so that pages which ask what is new are told
            edit = add_edit(db, clip, author, "reversal")
            for key, target, _ in changes:
                write_item(db, clip, key, target, author, edit)
            db.execute("UPDATE edits SET state = ? WHERE number = ?", (new_state, *row))
            return [], [read_item(db, clip, key) for key, _, _ in changes]
