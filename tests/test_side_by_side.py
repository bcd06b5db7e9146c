# SPDX-License-Identifier: Apache-2.0
"""Runs of the same tasks side by side."""

import pytest

from avkit.errors import RunError
from avkit.report.side_by_side import same_tasks, side_by_side, write_side_by_side
from avkit.report.transfer import Scores


def scores(name, values, dataset="scenes", tasks=("avs", "avqa")):
    units = dict.fromkeys(values, "fraction")
    return Scores(name, list(tasks), dataset, 0, {}, values, units)


NAMED = scores("named", {("avs", "mIoU"): 0.5, ("avqa", "Overall"): 0.25})
DEFAULT = scores("de|fault", {("avs", "mIoU"): 0.4, ("avqa", "Overall"): 0.75, ("avs", "F"): 0.1})


def test_rows_are_the_metrics_that_all_runs_have():
    rows = side_by_side([DEFAULT, NAMED])
    assert rows == [("avs", "mIoU", ["40.0", "50.0"]), ("avqa", "Overall", ["75.0", "25.0"])]


def test_only_several_runs_of_the_same_tasks_are_shown():
    assert same_tasks([NAMED, DEFAULT])
    assert same_tasks([NAMED, scores("other order", {}, tasks=("avqa", "avs"))])
    assert not same_tasks([NAMED])
    assert not same_tasks([NAMED, scores("alone", {}, tasks=("avs",))])


def test_other_data_are_refused():
    with pytest.raises(RunError, match="named was tested on scenes and x on llp; scores of different data"):
        side_by_side([NAMED, scores("x", {}, dataset="llp")])


def test_the_file_shows_names_literally(tmp_path):
    path = write_side_by_side(tmp_path, [DEFAULT, NAMED], side_by_side([DEFAULT, NAMED]))
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "| Task | Metric | de\\|fault | named |"
    assert lines[2] == "| avs | mIoU | 40.0 | 50.0 |"
