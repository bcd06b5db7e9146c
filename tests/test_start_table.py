# SPDX-License-Identifier: Apache-2.0
"""What a training reads and needs, on a terminal of 80 columns and in a pipe."""

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from avkit.cli.dry_run import needs_table
from avkit.cli.start_table import print_start_table

#: Benchmarks with the longest names.
BENCHMARKS = {
    "ra_ssu": SimpleNamespace(task="ra_ssu", dataset="f-lifescene"),
    "avs": SimpleNamespace(task="avs", dataset="avsbench-avss"),
    "avqa": SimpleNamespace(task="avqa", dataset="music-avqa"),
    "ave_weak": SimpleNamespace(task="ave_weak", dataset="ave"),
}


@pytest.fixture
def data():
    """Data of many clips."""
    return SimpleNamespace(
        benchmarks=BENCHMARKS,
        steps=12_345,
        epoch=SimpleNamespace(steps=12_345, reason="data.steps_per_epoch"),
        batch_size=SimpleNamespace(for_training=lambda spec: 128),
        shares=lambda: dict.fromkeys(BENCHMARKS, 0.25),
        spec=lambda name: None,
        indices=lambda split, name: range(183_000 if split == "train" else 15_000),
    )


def printed(show, **options):
    file = io.StringIO()
    show(Console(file=file, color_system=None, **options))
    return file.getvalue()


def names_are_whole(text):
    return all(entry.task in text and entry.dataset in text for entry in BENCHMARKS.values())


def test_the_data_fit_a_terminal_of_80_columns(data):
    text = printed(lambda to: print_start_table(to, data, ("val", "test")), width=80, force_terminal=True)
    assert max(map(len, text.splitlines())) <= 80
    assert names_are_whole(text)
    assert len(text.splitlines()) == 2 + len(BENCHMARKS) + 1


def test_in_a_pipe_each_heading_has_one_line(data):
    text = printed(lambda to: print_start_table(to, data, ("val", "test")), width=1000)
    assert "share of steps  batch  passes per epoch" in text.splitlines()[0]
    assert names_are_whole(text)


def test_the_needs_of_a_dry_run_fit_a_terminal_of_80_columns():
    table = needs_table(narrow=True)
    for entry in BENCHMARKS.values():
        table.add_row(entry.task, entry.dataset, "128", "139.25", "0.123", "25.0 %")
    text = printed(lambda to: to.print(table), width=80, force_terminal=True)
    assert max(map(len, text.splitlines())) <= 80
    assert names_are_whole(text)
