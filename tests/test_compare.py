# SPDX-License-Identifier: Apache-2.0
"""Any runs compared: grouping by seed, the paired bootstrap, refusals, and the files."""

import csv
import io
import json
import re

import numpy as np
import pytest

from avkit.cli import main
from avkit.errors import RunError
from avkit.report.compare import Variant, common_name, compare_variants, group_seeds
from avkit.report.compare_files import compare_tables, csv_text, latex_text, write_comparison
from avkit.report.evidence import difference
from avkit.report.latex import latex_escape
from avkit.report.scores import Scores
from avkit.training.run_folder import FORMAT

KEY = ("avs", "mIoU")
CLIPS = 64


def draws_of(per_clip):
    """Draws of a mean over clips, the same clips in each draw whatever the run."""
    counts = np.random.default_rng(1).multinomial(len(per_clip), np.full(len(per_clip), 1 / len(per_clip)), 1000)
    return (counts @ per_clip / len(per_clip)).astype(np.float32)


def run(name, per_clip=None, seed=0, clips=CLIPS, **changes):
    """A run whose score is the mean of its clips' scores."""
    if per_clip is None:
        per_clip = np.random.default_rng(seed).random(clips)
    value = float(np.mean(per_clip))
    values = {
        "tasks": ["avs"],
        "dataset": "scenes",
        "steps": {},
        "values": {KEY: value},
        "units": {KEY: "fraction"},
        "counts": {KEY: (10 * clips, "frames")},
        "intervals": {KEY: (value - 0.1, value + 0.1)},
        "draws": {KEY: draws_of(per_clip)},
        "tests": {"avs": {"data": "scenes test", "samples": str(clips), "clips": f"{clips} abc"}},
        "options": {"model": {"gate": True}},
    }
    return Scores(name=name, seed=seed, **values | changes)


HARD = np.random.default_rng(0).random(CLIPS) * 0.8


class TestDifference:
    """The paired bootstrap."""

    def test_a_small_gain_on_every_clip_is_found_although_intervals_overlap(self):
        result = difference([run("a", HARD)], [run("b", HARD + 0.05)], KEY)
        assert result.value == pytest.approx(0.05)
        assert result.low == pytest.approx(0.05, abs=1e-4)
        assert (result.verdict, result.p, result.clips) == ("higher", 0.002, CLIPS)
        assert difference([run("b", HARD + 0.05)], [run("a", HARD)], KEY).verdict == "lower"

    def test_equal_scores_are_no_difference(self):
        result = difference([run("a", HARD)], [run("b", HARD)], KEY)
        assert (result.value, result.low, result.high, result.p, result.verdict) == (0, 0, 0, 1, "")

    def test_noise_is_no_difference(self):
        noise = np.random.default_rng(3).normal(size=CLIPS)
        result = difference([run("a", HARD)], [run("b", HARD + 0.1 * (noise - noise.mean() + 0.03))], KEY)
        assert result.low < 0 < result.high
        assert result.p > 0.05
        assert result.verdict == ""

    def test_the_interval_is_that_of_the_mean_of_the_differences(self):
        gain = np.random.default_rng(4).normal(0.02, 0.2, CLIPS)
        result = difference([run("a", HARD)], [run("b", HARD + gain)], KEY)
        assert result.high - result.low == pytest.approx(2 * 1.96 * gain.std() / CLIPS**0.5, rel=0.1)

    @pytest.mark.parametrize(
        ("changes", "why"),
        [
            ({"clips": 9}, "fewer than 10 clips"),
            ({"draws": {}}, "no draws over clips"),
            ({"tests": {"avs": {"clips": f"{CLIPS} other"}}}, "tested differently"),
            ({"tests": {}}, "fewer than 10 clips"),
            ({"counts": {KEY: (5, "questions")}}, "fewer than 10 questions"),
        ],
    )
    def test_without_evidence_nothing_is_concluded(self, changes, why):
        clips = changes.get("clips", CLIPS)
        first = run("a", HARD[:clips], clips=clips)
        result = difference([first], [run("b", HARD[:clips] + 0.3, **changes)], KEY)
        assert (result.low, result.p, result.verdict, result.why) == (None, None, "", why)
        assert result.value == pytest.approx(0.3)

    def test_the_spread_over_seeds_widens_the_interval(self):
        first = [run(f"a{seed}", HARD, seed) for seed in range(3)]
        steady = [run(f"b{seed}", HARD + 0.05, seed) for seed in range(3)]
        assert difference(first, steady, KEY).verdict == "higher"
        unsteady = [run(f"b{seed}", HARD + gain, seed) for seed, gain in enumerate((-0.1, 0.05, 0.2))]
        result = difference(first, unsteady, KEY)
        # Student's t of three seeds: 4.303 times 0.15 over the root of 3
        assert result.high == pytest.approx(0.05 + 4.303 * 0.15 / 3**0.5, rel=5e-3)
        assert result.verdict == ""
        assert result.p > 0.05
        noisy = HARD + np.random.default_rng(5).normal(0.05, 0.1, CLIPS)
        both = [run(f"b{seed}", noisy + gain, seed) for seed, gain in enumerate((-0.1, 0.05, 0.2))]
        alone = difference([first[0]], [run("b", noisy + 0.05)], KEY)
        wide = difference(first, both, KEY)
        halves = [(d.high - d.low) / 2 for d in (alone, wide)]
        assert halves[1] == pytest.approx(np.hypot(halves[0], 4.303 * 0.15 / 3**0.5), rel=1e-3)


def test_an_interval_of_several_seeds_stays_a_fraction():
    first = [run(f"a{seed}", np.r_[np.zeros(CLIPS - 1), 1.0], seed) for seed in range(2)]
    cell = compare_variants([Variant("a", first), Variant("b", [run("b")])]).rows[0].cells[0]
    assert 0 <= cell.low <= cell.value <= cell.high


class TestGroups:
    """Which runs are seeds of one."""

    def test_runs_that_differ_in_their_seed_alone_are_one(self):
        runs = [run(f"runs/full-{seed}", seed=seed) for seed in (0, 1)]
        runs += [run(f"runs/no_gate-seed{seed}", seed=seed, options={"model": {"gate": False}}) for seed in (0, 1)]
        variants = group_seeds([runs[0], runs[2], runs[1], runs[3]])
        assert [(v.label, len(v.runs)) for v in variants] == [("full", 2), ("no_gate", 2)]

    def test_unknown_options_equal_seeds_and_other_tasks_stay_apart(self):
        unknown = [run("x/a", options=None), run("y/a", seed=1, options=None)]
        assert [v.label for v in group_seeds(unknown)] == ["x/a", "y/a"]
        assert len(group_seeds([run("a"), run("b")])) == 2
        assert len(group_seeds([run("a"), run("b", seed=1, tasks=["avs", "ave"])])) == 2

    def test_names(self):
        assert common_name(["runs/a-1/"]) == "a-1"
        assert common_name(["runs/a-seed0", "runs/a-seed1"]) == "a"
        assert common_name(["x", "y"]) == "x"


class TestRefusals:
    """What is not compared silently."""

    @pytest.mark.parametrize(
        ("test", "text"),
        [
            ({"data": "llp test"}, "data scenes test and llp test"),
            ({"samples": "32"}, "samples 64 and 32"),
            ({"release": "v2"}, "release v1 and v2"),
            ({"picture size": "224"}, "picture size 64 and 224"),
            ({"clips": "64 other"}, "the clips"),
        ],
    )
    def test_other_tests(self, test, text):
        usual = {"data": "scenes test", "samples": "64", "release": "v1", "picture size": "64", "clips": "64 abc"}
        variants = [Variant("a", [run("a", tests={"avs": usual})])]
        variants.append(Variant("b", [run("b", tests={"avs": usual | test})]))
        with pytest.raises(RunError, match=f"a and b were not tested alike on avs: {text}.*--allow_different"):
            compare_variants(variants)
        comparison = compare_variants(variants, allow_different=True)
        assert comparison.rows[0].cells[1].difference.why == "tested differently"
        assert comparison.rows[0].cells[1].difference.verdict == ""

    def test_one_run_a_run_twice_and_no_common_task(self):
        with pytest.raises(RunError, match="a is the only run; a comparison needs another one"):
            compare_variants(group_seeds([run("a")]))
        with pytest.raises(RunError, match="a is named twice"):
            compare_variants([Variant("x", [run("a")]), Variant("y", [run("a/")])])
        with pytest.raises(RunError, match="have no task in common"):
            compare_variants([Variant("a", [run("a")]), Variant("b", [run("b", tasks=["ave"])])])


@pytest.fixture
def comparison():
    """Two seeds of one model, a better one of one seed, and one that lacks a metric."""
    full = [run(f"full-{seed}", HARD + gain, seed) for seed, gain in enumerate((0.0, 0.02))]
    better = run("bet_ter & 100 %", HARD + 0.1, options={"model": {"gate": False}})
    other = run("other", HARD, options=None)
    other.values["avs", "F"] = 0.4
    return compare_variants([Variant("full", full), Variant("bet_ter & 100 %", [better]), Variant("<b>other", [other])])


def test_seeds_of_one_model_are_shown_with_their_spread():
    runs = [run(f"full-{seed}", HARD + gain, seed) for seed, gain in enumerate((0.0, 0.02))]
    (cell,) = compare_variants(group_seeds(runs)).rows[0].cells
    assert cell.deviation == pytest.approx(0.02 / 2**0.5)
    assert cell.difference is None


class TestFiles:
    """CSV, LaTeX, Markdown, HTML, JSON, terminal."""

    def test_csv_holds_scores_as_measured(self, comparison):
        rows = list(csv.DictReader(io.StringIO(csv_text(comparison))))
        assert [(r["metric"], r["run"]) for r in rows[:3]] == [
            ("mIoU", "full"),
            ("mIoU", "bet_ter & 100 %"),
            ("mIoU", "<b>other"),
        ]
        full, better, _, only = rows
        assert float(full["value"]) == pytest.approx(HARD.mean() + 0.01)
        assert float(full["sd"]) == pytest.approx(0.02 / 2**0.5)
        assert (full["seeds"], full["n"], full["counted"], full["difference"]) == ("0 1", "640", "frames", "")
        assert float(better["difference"]) == pytest.approx(0.09)
        assert float(better["difference_low"]) > 0
        assert (better["best"], better["clips"], better["sd"]) == ("1", "64", "")
        assert (only["metric"], only["difference"]) == ("F", "")

    def test_latex_has_the_best_in_bold_and_names_escaped(self, comparison):
        text = latex_text(comparison)
        best = f"{100 * (HARD.mean() + 0.1):.1f}"
        assert f"\\textbf{{{best}}}$^{{*}}$" in text
        assert text.count("\\textbf") == 2  # one a row
        assert "bet\\_ter \\& 100 \\%" in text
        assert "$\\pm$ 1.4" in text
        body = [line for line in text.splitlines() if line.endswith("\\\\")]
        assert {line.count(" & ") for line in body} == {4}
        for rule in ("\\toprule", "\\midrule", "\\bottomrule", "\\begin{tabular}{llrrr}", "\\end{tabular}"):
            assert rule in text
        assert latex_escape("a\\b~c^d{e}\n#$") == (
            "a\\textbackslash{}b\\textasciitilde{}c\\textasciicircum{}d\\{e\\} \\#\\$"
        )

    def test_ties_are_both_best(self):
        both = compare_variants([Variant("a", [run("a", HARD)]), Variant("b", [run("b", HARD)])])
        assert latex_text(both).count("\\textbf") == 2
        assert "*" not in csv_text(both)

    def test_pages_are_escaped_and_whole(self, comparison, tmp_path):
        paths = write_comparison(tmp_path / "new", comparison, comparison)
        assert {path.name for path in (tmp_path / "new").iterdir()} == {
            f"compare.{ending}" for ending in ("csv", "tex", "json", "md", "html")
        }
        page = paths["html"].read_text(encoding="utf-8")
        assert "&lt;b&gt;other" in page
        assert "<b>" not in page
        lines = [line for line in paths["md"].read_text(encoding="utf-8").splitlines() if line.startswith("| avs")]
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10}
        record = json.loads(paths["json"].read_text(encoding="utf-8"))
        assert record["rows"][0]["cells"][1]["difference"]["clips"] == CLIPS
        assert "full: " not in str(record["notes"])
        assert any("one seed, so the tests tell these trained models apart" in note for note in record["notes"])
        assert any("differs from full in model.gate: False, not True" in note for note in record["notes"])

    @pytest.mark.parametrize("narrow", [True, False])
    def test_tables_of_the_terminal(self, comparison, narrow):
        from rich.console import Console

        console = Console(file=io.StringIO(), width=80 if narrow else 300, color_system=None)
        for table in compare_tables(comparison, narrow=narrow):
            console.print(table)
        text = console.file.getvalue()
        assert "+9.0*" in text
        assert "\N{PLUS-MINUS SIGN} 1.4" in text
        assert "640" in text
        assert not set(text) & set("\N{BOX DRAWINGS LIGHT VERTICAL}\N{BOX DRAWINGS HEAVY HORIZONTAL}")
        assert max(len(line) for line in text.splitlines()) <= (80 if narrow else 300)


class TestCommand:
    """`avkit compare` on run folders."""

    def folder(self, path, value=0.5, seed=0, gate=True, tasks=("avs",), gain=0.0, size=64, clips="64 abc"):
        path.mkdir(parents=True)
        facts = {"format": FORMAT, "tasks": list(tasks), "dataset": "scenes", "seed": seed, "image_size": size}
        (path / "run.json").write_text(json.dumps(facts))
        row = {"dataset": "scenes", "split": "test", "metric": "mIoU", "value": value, "unit": "fraction"}
        row |= {"n": 640, "counted": "frames", "low": value - 0.1, "high": value + 0.1, "clips": 64}
        rows = [row | {"task": task} for task in tasks] + [row | {"task": tasks[0], "metric": "S", "value": None}]
        (path / "report.json").write_text(json.dumps({"rows": rows}))
        (path / "config.yaml").write_text(
            f"seed_everything: {seed}\nname: {path.name}\nmodel:\n  gate: {str(gate).lower()}\ndata:\n  seed: {seed}\n"
        )
        arrays = {f"{task}/mIoU": draws_of(HARD + gain) for task in tasks}
        arrays |= {f"clips/{task}": np.frombuffer(clips.encode(), np.uint8) for task in tasks}
        np.savez(path / "resamples.npz", **arrays)
        return str(path)

    def test_seeds_are_found_tested_and_written(self, tmp_path, capsys):
        runs = [self.folder(tmp_path / f"full-{seed}", 0.5 + seed / 100, seed) for seed in range(2)]
        runs += [self.folder(tmp_path / "no_gate", 0.6, gate=False, gain=0.1)]
        out = tmp_path / "out"
        assert main(["compare", *runs, "--out", str(out)]) == 0
        text = capsys.readouterr().out
        assert "50.5 \N{PLUS-MINUS SIGN} 0.7" in text
        assert "+9.5*" in text
        assert "no_gate differs from full in model.gate: False, not True." in text
        assert "avs: data scenes test, samples 64, picture size 64" in text
        assert "\\textbf{60.0}" in (out / "compare.tex").read_text()

    def test_labels(self, tmp_path, capsys):
        a, b = (self.folder(tmp_path / name, seed=seed) for seed, name in enumerate("ab"))
        assert main(["compare", f"one={a}", f"two={b}", "--out", str(tmp_path / "out")]) == 0
        assert "two" in capsys.readouterr().out
        assert main(["compare", f"one={a}", b]) == 2
        assert "has no label and one is one. Give a label to every run, or to none." in capsys.readouterr().err
        assert main(["compare", "one=", b]) == 2
        assert "'one=' names no run. Give LABEL=RUN" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"size": 224}, "picture size 64 and 224"),
            ({"clips": "64 other"}, "not tested alike on avs: the clips"),
        ],
    )
    def test_other_tests_are_refused(self, tmp_path, capsys, changes, text):
        runs = [self.folder(tmp_path / "a"), self.folder(tmp_path / "b", gate=False, **changes)]
        assert main(["compare", *runs, "--out", str(tmp_path / "out")]) == 2
        assert text in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        assert main(["compare", *runs, "--out", str(tmp_path / "out"), "--allow_different"]) == 0
        assert "not tested: tested differently" in capsys.readouterr().out

    @pytest.mark.parametrize("content", ["{", "[]", '{"rows": 3}', '{"rows": [{"value": "x"}]}', "[" * 100_000])
    def test_a_damaged_report_is_one_error(self, tmp_path, capsys, content):
        good = self.folder(tmp_path / "a")
        bad = self.folder(tmp_path / "b", gate=False)
        (tmp_path / "b" / "report.json").write_text(content)
        assert main(["compare", good, bad]) == 2
        err = capsys.readouterr().err
        assert f"Test again: avkit test {bad}" in err
        assert "Traceback" not in err

    def test_a_damaged_file_of_draws_is_named(self, tmp_path, capsys):
        good = self.folder(tmp_path / "a")
        bad = self.folder(tmp_path / "b", gate=False)
        (tmp_path / "b" / "resamples.npz").write_bytes(b"PK no")
        assert main(["compare", good, bad]) == 2
        assert "resamples.npz" in capsys.readouterr().err

    def test_report_sends_runs_of_the_same_tasks_here(self, tmp_path, capsys):
        runs = [self.folder(tmp_path / name, gate=name == "a") for name in "ab"]
        assert main(["report", *runs]) == 2
        assert f"Compare them with: avkit compare {' '.join(runs)}" in capsys.readouterr().err
