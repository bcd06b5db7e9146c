# SPDX-License-Identifier: Apache-2.0
"""What joint training brings: the arithmetic, the table, the files, and what cannot be compared."""

import json
import statistics

import pytest

from avkit.cli import main
from avkit.errors import RunError
from avkit.report.transfer import Scores, compare, write_transfer
from avkit.training.run_folder import FORMAT


def scores(tasks, seed=0, value=0.5, steps=100, **changes):
    values = {(task, "mIoU"): value for task in tasks} | {(task, "F"): value / 2 for task in tasks}
    given = {"dataset": "scenes", "steps": dict.fromkeys(tasks, steps), "values": values}
    return Scores(**{"name": f"{'-'.join(tasks)}-{seed}", "tasks": tasks, "seed": seed} | given | changes)


def pair(joint, single):
    """Runs of two tasks together, and of each alone, one of each per value."""
    runs = [scores(["avs", "ave"], seed, v) for seed, v in enumerate(joint)]
    return runs + [scores([task], seed, v) for task in ("avs", "ave") for seed, v in enumerate(single)]


def test_difference_and_spread_of_seeds_in_pairs():
    row = compare(pair([0.5, 0.7, 0.6], [0.4, 0.5, 0.6])).rows[0]
    assert (row.task, row.metric) == ("avs", "mIoU")
    assert row.difference == pytest.approx(0.1)
    assert row.spread == pytest.approx(statistics.stdev([0.1, 0.2, 0.0]))


def test_seeds_that_differ_count_as_independent():
    runs = [scores(["avs", "ave"], seed, v) for seed, v in ((0, 0.5), (1, 0.7))]
    row = compare([*runs, scores(["avs"], 2, 0.4), scores(["avs"], 3, 0.5)]).rows[0]
    assert row.spread == pytest.approx((0.02 + 0.005) ** 0.5)


def test_one_seed_has_no_spread_and_says_so(tmp_path):
    report = compare(pair([0.5], [0.4]))
    assert report.rows[0].spread is None
    assert "one seed" in write_transfer(tmp_path, report).read_text()


def test_gains_count_the_first_metric_of_each_task():
    runs = [scores(["avs", "ave"], value=0.5), scores(["avs"], value=0.4), scores(["ave"], value=0.6)]
    assert compare(runs).gains() == (1, 2)


def test_what_is_missing_or_unequal_is_noted():
    runs = [scores(["avs", "ave"], steps=100), scores(["avs"], steps=200), scores(["avqa"])]
    assert compare(runs).notes == [
        "avs had 100 training steps jointly and 200 alone, so the two are not of equal effort.",
        "ave was not trained alone, so it is not compared.",
        "avqa is not among the tasks of the joint run, so its runs are left out.",
    ]


def test_a_metric_that_one_side_lacks_is_left_out():
    alone = scores(["avs"])
    del alone.values["avs", "F"]
    assert [row.metric for row in compare([scores(["avs", "ave"]), alone]).rows] == ["mIoU"]


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([scores(["avs"])], r"no joint run \(of several tasks\) among avs-0; a transfer needs both"),
        ([scores(["avs", "ave"])], "no run of one task alone"),
        ([scores(["avs", "ave"]), scores(["avs", "avqa"]), scores(["avs"])], "avs-ave-0 is of avs, ave and avs-avqa-0"),
        ([scores(["avs", "ave"]), scores(["avs"], dataset="mine")], "on scenes and avs-0 on mine"),
        ([scores(["avs", "ave"]), scores(["avs"]), scores(["avs"], name="b")], "avs-0 and b are both of avs with seed"),
        ([scores(["avs", "ave"]), scores(["avqa"])], "No run of one task alone is of avs, ave"),
    ],
)
def test_what_cannot_be_compared(runs, text):
    with pytest.raises(RunError, match=text):
        compare(runs)


def test_names_are_escaped(tmp_path):
    page = write_transfer(tmp_path, compare([scores(["<b>", "ave"]), scores(["<b>"])])).read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page


class TestCommand:
    """`avkit report`."""

    def folder(self, path, tasks, value, seed=0):
        path.mkdir()
        facts = {"format": FORMAT, "tasks": tasks, "dataset": "scenes", "seed": seed}
        (path / "run.json").write_text(json.dumps(facts))
        row = {"metric": "mIoU", "value": value, "unit": "fraction"}
        rows = [row | {"task": task} for task in tasks] + [row | {"task": "avs", "metric": "S-F", "value": None}]
        (path / "report.json").write_text(json.dumps({"rows": rows}))
        lines = [json.dumps({"step": n, "task": tasks[n % len(tasks)]}) for n in range(4)]
        (path / "history.jsonl").write_text("\n".join(lines))
        return str(path)

    def test_table_and_files(self, tmp_path, capsys):
        runs = [
            self.folder(tmp_path / "joint", ["avs", "ra_ssu"], 0.61),
            self.folder(tmp_path / "a", ["avs"], 0.6),
            self.folder(tmp_path / "b", ["ra_ssu"], 0.7),
        ]
        assert main(["report", *runs, "--out", str(tmp_path / "out")]) == 0
        text = capsys.readouterr().out
        assert "+1.0" in text
        assert "\N{MINUS SIGN}9.0" in text
        assert "joint training is at least as good on 1 of 2 tasks" in text
        assert "avs had 2 training steps jointly and 4 alone" in text
        record = json.loads((tmp_path / "out" / "transfer.json").read_text())
        assert [row["difference"] for row in record["rows"]] == pytest.approx([0.01, -0.09])
        assert "| avs | mIoU | 61.0 | 60.0 | +1.0 | one seed |" in (tmp_path / "out" / "transfer.md").read_text()

    def test_runs_that_were_not_tested(self, tmp_path, capsys):
        run = self.folder(tmp_path / "a", ["avs"], 0.5)
        (tmp_path / "a" / "report.json").unlink()
        assert main(["report", run]) == 2
        assert f"has no report.json. Test it first: avkit test {run}" in capsys.readouterr().err
        (tmp_path / "a" / "report.json").write_text("{}")
        assert main(["report", run]) == 2
        assert "is no report of avkit" in capsys.readouterr().err
        assert main(["report", str(tmp_path)]) == 2
        assert "is not a run folder" in capsys.readouterr().err
