# SPDX-License-Identifier: Apache-2.0
"""What a training says while it runs, and how it reckons the time left."""

import re

import pytest

from avkit.cli import main
from avkit.training.progress import TimeLeft, in_words


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_the_time_left_counts_steps_validations_and_the_test():
    """100 steps of 2 s, validations of 5 s after 50 and 100, and a test of three validations; one was thought 4 s."""
    clock = Clock()
    time = TimeLeft(100, 2, 3.0, 2.0, clock)
    time.start(0)
    clock.now = 80.0  # 40 steps
    assert time.step_seconds(40) == pytest.approx(2.0)
    assert time.left(40) == pytest.approx(60 * 2 + 2 * 4 + 3 * 4)
    clock.now = 100.0
    time.start_validation()
    clock.now = 105.0
    time.end_validation()
    assert time.step_seconds(50) == pytest.approx(2.0)
    assert time.left(50) == pytest.approx(50 * 2 + 5 + 3 * 5)
    clock.now = 205.0
    time.start_validation()
    clock.now = 210.0
    time.end_validation()
    assert time.left(100) == pytest.approx(15.0)


def test_a_resumed_training_is_timed_from_where_it_goes_on():
    clock = Clock()
    time = TimeLeft(100, 1, 0.0, clock=clock)
    clock.now = 1000.0
    time.start(60)
    clock.now = 1010.0
    assert time.step_seconds(70) == pytest.approx(1.0)
    assert time.left(70) == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (99, "99 s"), (100, "2 min"), (5940, "99 min"), (6000, "1 h 40 min")]
)
def test_times_are_written_for_people(seconds, words):
    assert in_words(seconds) == words


def test_a_piped_training_prints_plain_lines(tmp_path, capsys):
    words = [
        "fit",
        "--tasks",
        "avs",
        "--out",
        str(tmp_path),
        "--trainer.max_epochs",
        "2",
        "--data.steps_per_epoch",
        "2",
    ]
    words += ["--data.scenes.val_size", "2", "--data.scenes.test_size", "2", "--data.image_size", "32"]
    words += ["--data.batch_size.trimmed", "2", "--data.loader.workers", "0"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "training: 4 steps, on scenes that are rendered on the way\n" in printed
    steps = re.findall(r"step (\d) of 4, [\d.e-]+ s each; about \d+ s left for (.*)", printed)
    assert steps == [(str(step), "training, validation, test and report") for step in range(1, 5)]
    assert printed.index("testing:") < printed.index("writing the report\n") < printed.index("report: ")
    assert re.search(r"validated after 2 steps: val/score 0\.\d{3}\n", printed)
    assert "testing: 1 batch\n" in printed
    assert "━" not in printed
    assert "\r" not in printed
