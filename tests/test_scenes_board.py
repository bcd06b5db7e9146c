# SPDX-License-Identifier: Apache-2.0
"""The board of scenes: its results are whole, its page is current, and its figures are those of its predictions."""

import subprocess
import sys
from pathlib import Path
from statistics import fmean

import pytest

from avkit.cli import main
from avkit.cli.submitted import check_complete
from avkit.leaderboard.measured import find_records, group_seeds
from avkit.leaderboard.records import read_record

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "results").rglob("record.json"))
BUILT_IN = sorted((ROOT / "results" / "scenes").rglob("record.json"))


def test_the_page_is_current():
    script = [sys.executable, str(ROOT / "scripts" / "write_scenes_board.py"), "--check"]
    result = subprocess.run(script, capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, f"{result.stdout}{result.stderr}"


def test_all_systems_of_a_task_have_the_same_seeds_on_one_budget():
    rows = [row for row in group_seeds(find_records([ROOT / "results"])) if row.records[0].by == "scenes"]
    assert rows
    budgets = {}
    for row in rows:
        options = row.records[0].options
        steps = int(options["data.steps_per_epoch"]) * int(options["trainer.max_epochs"])
        sizes = [options[f"data.batch_size.{group}"] for group in ("trimmed", "whole", "untrimmed")]
        assert len(set(sizes)) == 1
        seeds = tuple(sorted(seed for record in row.records for seed in record.seeds))
        budgets.setdefault(row.records[0].task, set()).add((steps, sizes[0], row.records[0].n, seeds))
    for task, budget in budgets.items():
        assert len(budget) == 1, f"{task}: {budget}"


def test_every_system_on_stored_features_is_above_the_constant_rule_and_hears_in_the_mean_of_its_seeds():
    rows = [row for row in group_seeds(find_records([ROOT / "results"])) if row.records[0].by == "scenes"]
    rows = [row.records for row in rows if row.records[0].features]
    assert rows
    for records in rows:
        figures = [next(iter(record.figures.values())) for record in records]
        value = fmean(figure.value for figure in figures)
        for left in ("baseline", "silence", "swapped"):
            assert value > fmean(getattr(figure, left) for figure in figures), f"{records[0].benchmark}, {left}"


def test_every_run_of_them_but_one_does_so_too():
    records = [record for record in find_records([ROOT / "results"]) if record.by == "scenes" and record.features]
    below = []
    for record in records:
        figure = next(iter(record.figures.values()))
        if figure.value <= max(figure.baseline, figure.silence, figure.swapped):
            below.append((record.method, record.task, record.seeds))
    assert below == [("AVEL", "ave_weak", [2])], "RESULTS.md names it"


def test_results_are_whole():
    for file in FILES:
        (predictions,) = file.parent.glob("predictions.*")
        check_complete(read_record(file), predictions, file)


def test_results_say_nothing_of_a_machine():
    for file in FILES:
        command = read_record(file).command
        assert not [word for word in command.split() if word.startswith("/")], file


def test_the_board_is_printed(capsys):
    assert main(["leaderboard", "scenes"]) == 0
    assert "±" in capsys.readouterr().out


@pytest.mark.skipif(not BUILT_IN, reason="no result on the built-in scenes, which need no exported files")
def test_figures_on_built_in_scenes_are_those_of_the_predictions(capsys):
    assert main(["leaderboard", "verify", str(BUILT_IN[0])]) == 0, capsys.readouterr().out
