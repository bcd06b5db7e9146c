# SPDX-License-Identifier: Apache-2.0
"""What joint training brings: the arithmetic, the table, the files, and what cannot be compared."""

import json
import statistics

import numpy as np
import pytest

from avkit.cli import main
from avkit.errors import RunError
from avkit.report.scores import Scores
from avkit.report.transfer import compare, conclusion, write_transfer
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


def with_draws(run, per_clip):
    """A run whose mIoU is the mean of its clips' scores."""
    counts = np.random.default_rng(1).multinomial(len(per_clip), np.full(len(per_clip), 1 / len(per_clip)), 1000)
    for task in run.tasks:
        run.values[task, "mIoU"] = float(np.mean(per_clip))
        run.draws[task, "mIoU"] = (counts @ per_clip / len(per_clip)).astype(np.float32)
        run.tests[task] = {"clips": f"{len(per_clip)} abc"}
    return run


CLIPS = np.random.default_rng(0).random(64) * 0.8


@pytest.mark.parametrize(
    ("gain", "seeds", "clips", "text"),
    [
        (0.1, 2, 64, "avs mIoU: joint training is better, +10.0 (95 % +10.0 to +10.0, 64 clips, 2 and 2 seeds)."),
        (-0.1, 2, 64, "avs mIoU: joint training is worse, \N{MINUS SIGN}10.0 "),
        (
            0.1,
            1,
            64,
            "avs mIoU: the joint run scores higher, +10.0 (95 % +10.0 to +10.0, 64 clips, 1 and 1 seeds); one seed",
        ),
        (0.0, 1, 64, "avs mIoU: undecided, 0.0 (95 % 0.0 to 0.0, 64 clips, 1 and 1 seeds)."),
        (0.3, 1, 9, "avs mIoU: no conclusion, fewer than 10 clips."),
    ],
)
def test_conclusions_need_evidence(tmp_path, gain, seeds, clips, text):
    joint = [with_draws(scores(["avs", "ave"], seed), CLIPS[:clips] + gain) for seed in range(seeds)]
    single = [with_draws(scores(["avs"], seed), CLIPS[:clips]) for seed in range(seeds)]
    report = compare([*joint, *single])
    (sentence,) = conclusion(report)
    assert sentence.startswith(text)
    page = write_transfer(tmp_path, report).read_text()
    assert sentence in page
    assert ('class="value good"' in page) == (gain > 0 and clips == 64)
    assert json.loads((tmp_path / "transfer.json").read_text())["conclusion"] == [sentence]


def test_without_draws_nothing_is_concluded():
    assert conclusion(compare(pair([0.5, 0.7], [0.4, 0.5]))) == [
        "avs mIoU: no conclusion, no draws over clips.",
        "ave mIoU: no conclusion, no draws over clips.",
    ]


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
        (
            [scores(["avs", "ave"]), scores(["avs"], dataset="mine")],
            "avs-ave-0 and avs-0 were not tested alike on avs: data scenes and mine",
        ),
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
        assert "avs mIoU: no conclusion, no draws over clips." in text
        assert "better" not in text
        assert "avs had 2 training steps jointly and 4 alone" in text
        record = json.loads((tmp_path / "out" / "transfer.json").read_text())
        assert [row["difference"] for row in record["rows"]] == pytest.approx([0.01, -0.09])
        assert (
            "| avs | mIoU | 61.0 | 60.0 | +1.0 |  | one seed | 1 and 1 |"
            in (tmp_path / "out" / "transfer.md").read_text()
        )

    @pytest.mark.parametrize("form", ["--csv", "--latex"])
    def test_other_forms(self, tmp_path, capsys, form):
        runs = [self.folder(tmp_path / "joint", ["avs", "ra_ssu"], 0.61), self.folder(tmp_path / "a", ["avs"], 0.6)]
        assert main(["report", *runs, form, "--out", str(tmp_path / "out")]) == 0
        lines = capsys.readouterr().out.splitlines()
        if form == "--csv":
            assert lines[1].startswith("avs,mIoU,fraction,0.61,,0,0.6,,0,0.01")
        else:
            assert "avs & mIoU & \\textbf{61.0} & 60.0 & +1.0 \\\\" in lines

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
