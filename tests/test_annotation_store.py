# SPDX-License-Identifier: Apache-2.0
"""Edits of labels: revisions, undo and redo, bad values, kills."""

import json
import os
import signal
import sqlite3
import subprocess
import sys

import numpy as np
import pytest

from avkit.annotation.rows import Change
from avkit.annotation.store import StaleEdit, Store
from avkit.annotation.values import ClipShape, Key, LabelError, mask_value, read_mask
from avkit.errors import DataError

SHAPE = ClipShape(3, 3.0, (4, 6))
NAME = Key("object", 1, 0)


def thing(name):
    return {"name": name, "colour": "#112233"}


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path / "labels.sqlite")
    store.add_clips(["a.mp4", "b.mp4"])
    yield store
    store.close()


def say(store, key, value, base=None, author="ann", clip=1):
    return store.edit(clip, author, [Change(key, value, base)], SHAPE)


def values(store, clip=1):
    return {item.key: item.value for item in store.items(clip)}


def test_an_edit_made_from_an_old_revision_is_refused_and_shows_what_is_there(store):
    (item,) = say(store, NAME, thing("dog"), base=0)
    assert item.revision == 1
    say(store, NAME, thing("cat"), base=1, author="ben")
    with pytest.raises(StaleEdit, match="ben changed this meanwhile") as raised:
        say(store, NAME, thing("cow"), base=1)
    assert [entry.value["name"] for entry in raised.value.items] == ["cat"]
    with pytest.raises(StaleEdit):
        say(store, NAME, thing("cow"), base=0)
    assert values(store)[NAME]["name"] == "cat"


def test_an_edit_with_one_bad_change_changes_nothing(store):
    say(store, NAME, thing("dog"))
    changes = [Change(NAME, thing("cat"), 1), Change(Key("spans", 1, 0), {"spans": [[2, 9]]}, 0)]
    with pytest.raises(LabelError, match=r"The span 2 to 9 s does not lie in the clip of 3\.00 s"):
        store.edit(1, "ann", changes, SHAPE)
    assert values(store) == {NAME: thing("dog")}


def test_undo_and_redo_go_back_and_forth_by_author(store):
    say(store, NAME, thing("dog"))
    say(store, NAME, thing("cat"))
    say(store, Key("clip", 0, 0), {"match": "no"}, author="ben")
    store.undo(1, "ann")
    assert values(store)[NAME] == thing("dog")
    store.undo(1, "ann")
    assert NAME not in values(store)
    assert store.undo(1, "ann") == []
    assert values(store)[Key("clip", 0, 0)]["match"] == "no"
    store.redo(1, "ann")
    store.redo(1, "ann")
    assert values(store)[NAME] == thing("cat")
    assert store.redo(1, "ann") == []
    store.undo(1, "ann")
    say(store, NAME, thing("cow"))
    assert store.redo(1, "ann") == []  # what was undone is gone after a new edit
    store.undo(1, "ann")
    assert values(store)[NAME] == thing("dog")


def test_undo_overwrites_nobody_else(store):
    say(store, NAME, thing("dog"))
    say(store, NAME, thing("cat"), author="ben")
    with pytest.raises(StaleEdit, match="ben"):
        store.undo(1, "ann")
    assert values(store)[NAME] == thing("cat")
    assert store.undo(1, "ann") == []  # that edit is no longer in the way of earlier ones


def test_edits_of_a_job_are_undone_together(store):
    say(store, NAME, thing("dog"))
    first = say(store, Key("sentence", 1, 0), {"text": "a"})[0].edit
    store.edit(1, "ann", [Change(Key("sentence", 1, 1), {"text": "b"}, None)], SHAPE, together_with=first)
    assert len(store.items(1, since=first)) == 1  # pages are told of it
    store.undo(1, "ann")
    assert values(store) == {NAME: thing("dog")}
    store.redo(1, "ann")
    assert len(values(store)) == 3


def test_deleting_an_object_deletes_what_is_said_of_it_and_undo_brings_it_back(store):
    say(store, NAME, thing("dog"))
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    say(store, Key("mask", 1, 2), mask_value(mask))
    store.edit(1, "ann", [Change(NAME, None, 1)], SHAPE)
    assert values(store) == {}
    with pytest.raises(LabelError, match="There is no object 1"):
        say(store, Key("mask", 1, 2), mask_value(mask))
    store.undo(1, "ann")
    assert (read_mask(values(store)[Key("mask", 1, 2)]) == mask).all()


def test_new_objects_of_two_people_get_numbers_of_their_own(store):
    new = Key("object", -1, 0)
    (first,) = store.edit(1, "ann", [Change(new, thing("dog"), 0)], SHAPE)
    spans = Change(Key("spans", -1, 0), {"spans": [[0, 1]]}, 0)
    second, _ = store.edit(1, "ben", [Change(new, thing("cat"), 0), spans], SHAPE)
    assert (first.key.object, second.key.object) == (1, 2)
    assert values(store)[Key("spans", 2, 0)] == {"spans": [[0, 1]]}
    store.edit(1, "ann", [Change(Key("object", 2, 0), None, 1)], SHAPE)
    (third,) = store.edit(1, "ann", [Change(new, thing("cow"), 0)], SHAPE)
    assert third.key.object == 3


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (Key("colour", 1, 0), {}, "'colour' is no kind of item"),
        (Key("mask", 1, 3), {}, "Steps are numbered from 0 to 2"),
        (Key("object", 999, 0), {}, "Objects are numbered from 1 to 200"),
        (NAME, {"name": " \n", "colour": "#112233"}, "name is empty"),
        (NAME, {"name": "x" * 101, "colour": "#112233"}, "name has 101 characters"),
        (NAME, {"name": "x", "colour": "red"}, "colour is 'red'"),
        (NAME, {"name": "\ud800", "colour": "#112233"}, "half of a character"),
        (Key("clip", 0, 0), {"match": "maybe"}, "match is 'maybe'"),
        (Key("spans", 1, 0), {"spans": [[1, float("nan")]]}, "is not start and end"),
        (Key("mask", 1, 0), {"size": [4, 6], "runs": [25]}, "add up to the 24 pixels"),
        (Key("mask", 1, 0), {"size": [4, 6], "runs": [-1, 25]}, "add up to the 24 pixels"),
        (Key("mask", 1, 0), {"size": [4, 6], "runs": [True, 23]}, "add up to the 24 pixels"),
        (Key("mask", 1, 0), {"size": [400, 600], "runs": [1]}, "of size"),
        (Key("sentence", 1, 0), {"text": 7}, "text is 7"),
    ],
)
def test_bad_values_are_refused_in_words(store, key, value, text):
    say(store, NAME, thing("dog"))
    with pytest.raises(LabelError, match=text):
        say(store, key, value)
    assert values(store) == {NAME: thing("dog")}


def test_texts_are_one_line_and_spans_that_touch_are_one(store):
    say(store, NAME, thing("a\n\tdog\x00<b>"))
    assert values(store)[NAME]["name"] == "a dog <b>"
    say(store, Key("spans", 1, 0), {"spans": [[2, 3.001], [0, 1], [0.5, 2]], "junk": 1})
    assert values(store)[Key("spans", 1, 0)] == {"spans": [[0, 3]]}


def test_items_since_an_edit_tell_deleted_ones_too(store):
    edit = say(store, NAME, thing("dog"))[0].edit
    assert store.items(1, since=edit) == []
    say(store, NAME, None, base=1)
    (item,) = store.items(1, since=edit)
    assert item.value is None
    assert store.items(1) == []
    assert store.newest_of() == {1: item.edit}


def test_what_was_saved_survives_a_kill(tmp_path):
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from avkit.annotation.store import Change, Store
from avkit.annotation.values import ClipShape, Key
store = Store({str(tmp_path / "labels.sqlite")!r})
from pathlib import Path
store.add_clips(["a.mp4"])
number = 0
while True:
    number += 1
    changes = [Change(Key("object", 1, 0), {{"name": str(number), "colour": "#112233"}}, None)]
    changes.append(Change(Key("sentence", 1, 0), {{"text": str(number)}}, None))
    store.edit(1, "ann", changes, ClipShape(3, 3.0, (4, 6)))
    print(number, flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    for _ in range(20):
        confirmed = int(process.stdout.readline())
    os.kill(process.pid, signal.SIGKILL)
    confirmed = int((process.stdout.read().split() or [confirmed])[-1])
    process.wait()
    store = Store(tmp_path / "labels.sqlite")
    saved = values(store)
    store.close()
    number = int(saved[NAME]["name"])
    assert confirmed <= number <= confirmed + 1
    assert saved[Key("sentence", 1, 0)]["text"] == str(number)  # an edit is whole or not there


def test_files_of_something_else_are_refused(tmp_path):
    (tmp_path / "text.sqlite").write_text("not a database, but a text that is long enough to be taken for one" * 99)
    with pytest.raises(DataError, match="cannot be used as a file of labels"):
        Store(tmp_path / "text.sqlite")
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE mine (x)")
    other.commit()
    other.close()
    with pytest.raises(DataError, match="database of something else"):
        Store(tmp_path / "other.sqlite")


def test_masks_round_trip_by_runs():
    generator = np.random.default_rng(0)
    for density in (0.0, 0.5, 1.0):
        mask = generator.random((4, 6)) < density
        value = json.loads(json.dumps(mask_value(mask)))
        assert (read_mask(value) == mask).all()
