# SPDX-License-Identifier: Apache-2.0
"""Splits of a manifest: drawn by video and group, the same at every reading; a clip in two splits is an error."""

import re
from pathlib import Path

import pytest

from avkit.datasets.annotations import Annotation, EventAnnotation
from avkit.datasets.splits import SPLITS, SplitOptions, split_lines
from avkit.errors import DataError

PATH = Path("m.jsonl")


def line(number, video="", split=None, **keys):
    video = video or f"{number}.mp4"
    return Annotation(id=f"c{number}", where=f"{PATH}, line {number}", root=Path(), video=video, split=split, **keys)


def ids(lines, **options):
    by_split, _ = split_lines(lines, SplitOptions(**options), PATH)
    return {split: [x.id for x in by_split[split]] for split in SPLITS}


def test_lines_without_a_split_are_shared_out():
    lines = [line(k) for k in range(20)]
    found = ids(lines)
    assert [len(found[split]) for split in SPLITS] == [14, 3, 3]
    assert sorted(name for names in found.values() for name in names) == sorted(x.id for x in lines)
    assert {split: sorted(names) for split, names in ids(lines[::-1]).items()} == {
        split: sorted(names) for split, names in found.items()
    }
    assert ids(lines, seed=1) != found
    assert [len(ids(lines, val=0.3, test=0.5)[split]) for split in SPLITS] == [4, 6, 10]


def test_lines_of_one_video_or_group_stay_together():
    lines = [line(k, f"{k // 3}.mp4") for k in range(30)]
    lines += [line(100 + k, group=f"g{k % 5}") for k in range(20)]
    for seed in range(5):
        found = ids(lines, seed=seed)
        split_of = {name: split for split, names in found.items() for name in names}
        for k in range(0, 30, 3):
            assert len({split_of[f"c{k + i}"] for i in range(3)}) == 1
        for k in range(5):
            assert len({split_of[f"c{100 + k + i}"] for i in range(0, 20, 5)}) == 1


def test_a_video_joins_groups_that_share_it():
    lines = [line(1, "a.mp4", group="x"), line(2, "a.mp4", group="y"), line(3, group="y"), line(4), line(5), line(6)]
    for seed in range(8):
        found = ids(lines, seed=seed)
        assert any({"c1", "c2", "c3"} <= set(names) for names in found.values())


def test_links_to_one_file_are_one_video(tmp_path):
    (tmp_path / "a.mp4").touch()
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    lines = [
        Annotation(id=name, where=name, root=tmp_path, video=f"{name}.mp4", split=split)
        for name, split in (("a", "train"), ("b", "test"))
    ]
    with pytest.raises(DataError, match=r"one clip of a\.mp4"):
        split_lines(lines, SplitOptions(), PATH)


def test_given_splits_stay_and_their_videos_follow():
    lines = [line(1, "a.mp4", "test", end=3), line(2, "a.mp4", start=4)] + [line(k) for k in range(10, 20)]
    found = ids(lines)
    assert {"c1", "c2"} <= set(found["test"])


@pytest.mark.parametrize(
    ("second", "shared"),
    [
        (line(2, "a.mp4", "test"), "one clip of a.mp4"),
        (line(2, "a.mp4", "val", start=2, end=4), "one clip of a.mp4"),
        (line(2, "b.mp4", "test", group="street"), "group 'street'"),
    ],
)
def test_a_clip_in_two_splits_is_an_error(second, shared):
    lines = [line(1, "a.mp4", "train", group="street"), second, line(3, split="val"), line(4, split="test")]
    if shared.startswith("one"):
        lines[0].group = None
    message = f"m.jsonl, line 2, field 'split': 'c2' is in split '{second.split}' and 'c1' in 'train', but both are of "
    with pytest.raises(DataError, match=re.escape(message + shared)) as caught:
        ids(lines)
    assert "--data.splits.allow_shared true" in str(caught.value)
    by_split, facts = split_lines(lines, SplitOptions(allow_shared=True), PATH)
    assert [x.id for x in by_split["train"]] == ["c1"]
    assert ("more than one split" in facts.note) == shared.startswith("one clip of a.mp4") or second.start is not None


def test_parts_of_a_video_in_two_splits_are_noted():
    lines = [line(1, "a.mp4", "train", end=5), line(2, "a.mp4", "test", start=5), line(3, split="val")]
    _, facts = split_lines(lines, SplitOptions(), PATH)
    assert facts.note == "m.jsonl: 1 videos have parts in several splits, so the splits are not independent"
    assert not facts.drawn


def test_what_was_done_is_said():
    _, facts = split_lines([line(k) for k in range(10)], SplitOptions(seed=3), PATH)
    assert facts.note == (
        "m.jsonl: 10 of 10 lines have no split, so avkit drew one by video with seed 3: 6 train, 2 val, 2 test clips"
    )
    assert facts.drawn
    assert facts.counts == {"train": 6, "val": 2, "test": 2}
    _, other = split_lines([line(k) for k in range(20)], SplitOptions(seed=3), PATH)
    assert other.digest != facts.digest


def test_lines_without_a_split_are_in_all_where_that_is_allowed():
    lines = [line(1), line(2, split="val")]
    found = ids(lines, allow_shared=True)
    assert found == {"train": ["c1"], "val": ["c1", "c2"], "test": ["c1"]}


def test_classes_stay_in_training_where_possible():
    lines = []
    for k in range(12):
        events = [EventAnnotation(label="rare" if k in (3, 7) else "dog")]
        lines.append(line(k, events=events))
    for seed in range(10):
        by_split, _ = split_lines(lines, SplitOptions(seed=seed), PATH)
        assert {event.label for x in by_split["train"] for event in x.events} == {"dog", "rare"}


def test_few_videos_all_go_to_training():
    assert [len(names) for names in ids([line(1), line(2)]).values()] == [2, 0, 0]
    assert [len(names) for names in ids([line(1), line(2), line(3)]).values()] == [1, 1, 1]


@pytest.mark.parametrize("shares", [{"val": 0}, {"val": 0.5, "test": 0.5}, {"test": -1}])
def test_shares_leave_something_for_training(shares):
    with pytest.raises(ValueError, match=r"data\.splits\.val is"):
        SplitOptions(**shares)
