# SPDX-License-Identifier: Apache-2.0
"""Boards: rows apart by terms, the best of comparable rows, measurements with seeds beside claims."""

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace

import pytest
from conftest import ROOT

from avkit.cli import main
from avkit.errors import FileError
from avkit.leaderboard import Claim, Figure, Printed, Record, write_records
from avkit.leaderboard.aims import aims_of, is_implemented, read_reasons
from avkit.leaderboard.board_names import find_board
from avkit.leaderboard.boards import make_boards
from avkit.leaderboard.experiments import read_experiments
from avkit.leaderboard.measured import find_records, group_seeds, measured_rows, read_run_records
from avkit.leaderboard.published import group_rows, read_published

RECORD = Record(
    task="avqa",
    dataset="music-avqa",
    release="update",
    split="test",
    setting="",
    n=9129,
    official_n=9129,
    figures={"Overall": Figure(0.7679, n=9129, counted="questions", low=0.76, high=0.775)},
    method="TSPM",
    system="tspm",
    experiment="tspm_music_avqa",
    by="weights",
    seeds=[0],
    hashes={"weights": "ab" * 32},
    date="2026-11-28 20:00 +0000",
    command="avkit test runs/tspm",
)


def claim(experiment, task):
    return Claim(experiment.row, experiment.paper, task, "music-avqa", {"Overall": Printed("76.79")}, release="update")


def board_with(*records, mine=False):
    rows = measured_rows(group_seeds(records, mine=mine), claim)
    return make_boards(rows)["music-avqa"]


def measured_row(board):
    [(setting, row)] = [(setting, row) for setting in board.settings for row in setting.rows if row.records]
    return setting, row


def test_every_claim_stands_on_a_board():
    boards = make_boards()
    rows = [row for board in boards.values() for setting in board.settings for row in setting.rows]
    printed = {origin.row for row in rows for origin in row.origins}
    assert printed == {value.row for value in read_published()}


def test_releases_and_features_are_apart_and_rows_ranked():
    settings = make_boards()["music-avqa"].settings
    by_title = {setting.title: setting for setting in settings}
    update = by_title["test, update (9,129), features not stated"]
    assert [row.method for row in update.rows][:2] == ["AV-Master", "TASS"]
    assert "LAVISH" in [row.method for row in by_title["test, original (9,185), Swin-V2"].rows]
    assert len({setting.terms for setting in settings}) == len(settings)
    assert [setting.terms.split for setting in settings].index("") == len(settings) - 1  # costs


def test_one_row_that_two_sources_print_alike_stands_once():
    update = make_boards()["music-avqa"].settings[0]
    [row] = [row for row in update.rows if row.method == "ST-AVQA"]
    assert [origin.source for origin in row.origins] == ["av-unified", "tspm"]
    assert row.place == "av-unified, Table IV +1"


def test_the_best_is_of_comparable_rows_that_can_be_right():
    settings = {setting.title: setting for setting in make_boards()["music-avqa"].settings}
    not_stated = settings["test, release not stated, features not stated"]
    assert not_stated.rows[0].method == "Amuse"
    assert not_stated.rows[0].word == "impossible"
    assert not_stated.best["Overall"] == pytest.approx(0.809)
    alone = settings["test, update (9,129), CLIP ViT-L/14 + VGGish + AST"]
    assert alone.best == {}


def test_less_is_better_of_costs():
    cost = next(s for s in make_boards()["f-music+f-lifescene"].settings if s.protocol == "cost")
    assert cost.best["Params"] == pytest.approx(100.14e6)


def test_a_measurement_stands_among_the_rows_that_it_compares_with():
    setting, row = measured_row(board_with(RECORD))
    assert setting.title == "test, update (9,129), CLIP ViT-L/14 + ToMe + VGGish"
    assert (row.word, row.method, row.place) == ("reproduced", "TSPM", "measured, weights")
    assert row.cells["Overall"].text == "76.79"
    assert row.experiments == ("tspm_music_avqa",)


def test_a_measurement_that_is_not_comparable_stands_apart():
    setting, row = measured_row(board_with(replace(RECORD, n=9128)))
    assert row.word == "not comparable"
    assert "9,128 of 9,129 official samples" in row.reasons
    assert setting.title == "test, update (9,129), not comparable, pictures and sound"
    _, row = measured_row(board_with(replace(RECORD, n=9128, experiment=None)))
    assert row.word == "not comparable"


def test_a_measurement_has_no_part_in_the_faults_of_its_published_row():
    record = replace(RECORD, experiment="av_unified_joint_music_avqa", protocol={})
    rows = measured_rows(group_seeds([record]), claim)
    _, row = measured_row(make_boards(rows)["music-avqa"])
    assert row.word == "measured"
    assert row.reasons[0].startswith("its published row is impossible: its averages follow from none of 10")


def test_scenes_have_a_board_of_their_own_and_lead_no_other():
    smoke = replace(RECORD, by="scenes", figures={"Overall": Figure(0.99)})
    own = replace(RECORD, by="scenes", dataset="scenes", experiment=None, figures={"Overall": Figure(0.5)})
    boards = make_boards(measured_rows(group_seeds([smoke, own]), claim))
    assert [setting for setting in boards["music-avqa"].settings if setting.of("measured")] == []
    words = {row.word: setting.title for setting in boards["scenes"].settings for row in setting.rows}
    assert set(words) == {"smoke", "measured"}
    assert "smoke" in words["smoke"]


def test_seeds_are_one_row_with_mean_and_deviation():
    seeds = [replace(RECORD, seeds=[seed], by="training", figures=figures(seed)) for seed in range(3)]
    _, row = measured_row(board_with(*seeds))
    assert (row.cells["Overall"].text, row.cells["Overall"].spread) == ("76.00", "1.00")
    assert row.place == "measured, training, 3 seeds"
    other = replace(seeds[0], protocol={"prompts": "others"})
    assert len(group_seeds([*seeds, other])) == 2
    assert len(group_seeds([RECORD, replace(RECORD, hashes={"weights": "cd" * 32})])) == 2


def figures(seed):
    return {"Overall": Figure(0.75 + seed / 100)}


def test_a_measurement_without_experiment_is_only_measured():
    _, row = measured_row(board_with(replace(RECORD, experiment=None)))
    assert row.word == "measured"


def test_measured_shares_are_shown_as_claims_are_printed():
    record = replace(
        RECORD, task="ra_ssu", dataset="f-music", release="", figures={"mIoU": Figure(0.61234)}, experiment=None
    )
    board = make_boards(measured_rows(group_seeds([record]), claim))["f-music"]
    texts = [row.cells["mIoU"].text for setting in board.settings for row in setting.rows if row.records]
    assert texts == ["0.6123"]


@pytest.mark.parametrize(
    ("name", "boards"),
    [
        ("MUSIC_AVQA", ["music-avqa"]),
        ("s4", ["avsbench-s4"]),
        ("unav-100", ["unav100"]),
        ("VGG-SS", ["vggss"]),
        ("avs", ["avsbench-s4"]),
    ],
)
def test_names_and_aliases_of_boards(name, boards):
    known = ["music-avqa", "avsbench-s4", "unav100", "vggss"]
    assert find_board(name, known, {"avs": ["avsbench-s4"]}) == boards


def test_a_board_without_rows_says_how_it_gets_some():
    with pytest.raises(ValueError, match="'scenes' has no rows yet"):
        find_board("scenes", ["music-avqa"], {})


def test_experiments_aim_at_the_rows_that_they_name():
    rows = group_rows(read_published())
    experiments = {experiment.id: experiment for experiment in read_experiments()}
    for name, row in (
        ("tspm_music_avqa", "tspm/table-1/music-avqa/tspm-ours"),
        ("ccnet_unav100_i3d", "ccnet/table-1/unav100/ccnet-ours/i3d-rgb+flow-raft-+-vggish"),
        ("psp_ave", "av-unified/table-ii/ave/psp/ave/fully-supervised"),
        ("av_unified_joint_llp", "av-unified/table-i/llp/av-unified-ours"),
    ):
        assert [aim.first.row for aim in aims_of(experiments[name], rows)] == [row]
    changed = replace(experiments["tspm_music_avqa"], published={"Overall": 76.78})
    assert aims_of(changed, rows) == []


def test_every_row_of_a_method_that_is_implemented_has_an_experiment_or_a_reason():
    rows = group_rows(read_published())
    aimed = {aim.first.row for experiment in read_experiments() for aim in aims_of(experiment, rows)}
    ours = {row.first.row for row in rows if is_implemented(row)}
    assert ours - aimed - read_reasons().keys() == set()
    assert read_reasons().keys() - (ours - aimed) == set(), "these have an experiment, so they need no reason"
    assert len(ours) > 100


def test_records_are_read_from_runs_files_and_results(tmp_path):
    run = tmp_path / "run"
    write_records(run / "records.json", [RECORD])
    write_records(tmp_path / "results" / "music-avqa" / "tspm" / "record.json", [RECORD])
    records = [*read_run_records(run), *read_run_records(run / "records.json"), *find_records([tmp_path])]
    assert [record.figures for record in records] == [RECORD.figures] * 3
    with pytest.raises(FileError, match="has no records"):
        read_run_records(tmp_path)


# --- the command ------------------------------------------------------------------------------------------------------


def shown(capsys, *words):
    code = main(["leaderboard", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_overview_lists_each_task_and_board(capsys):
    code, out, _ = shown(capsys)
    assert code == 0
    lines = out.splitlines()
    assert any(line.split()[:4] == ["davel", "unav100", "Avg", "54.1"] for line in lines)
    assert any(line.split()[:4] == ["avqa", "music-avqa", "Overall", "82.3"] for line in lines)
    assert "contradict each other" in out


def test_a_task_lists_its_boards(capsys):
    _, out, _ = shown(capsys, "avs")
    assert {line.split()[1] for line in out.splitlines() if line.startswith("avs ")} == {
        "avsbench-s4",
        "avsbench-ms3",
        "avsbench-avss",
        "scenes",
    }


def test_a_board_shows_claims_verdicts_and_what_is_left_out(capsys):
    _, out, _ = shown(capsys, "llp")
    row = next(line for line in out.splitlines() if line.startswith("MM-Pyramid "))
    assert "impossible" in row
    assert "impossible: MM-Pyramid, av-unified, Table I: segment/Type 59.7 is not the mean of its three" in out
    assert "2 rows of ablations and costs are left out" in out
    _, out, _ = shown(capsys, "llp", "--ablations")
    assert "AV-Unified w/o. jt" in out


def test_settings_and_metrics_narrow_a_board(capsys):
    _, out, _ = shown(capsys, "unav100", "--setting", "one-peace", "--metric", "map@0.9")
    header = next(line for line in out.splitlines() if line.startswith("method"))
    assert header.split()[:3] == ["method", "year", "mAP@0.9"]
    assert "25.6*" in out
    assert "ActionFormer" not in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("musik-avqa",), "Unknown board 'musik-avqa'. Did you mean 'music-avqa'?"),
        (("llp", "--metric", "segment/Typ"), "Did you mean 'segment/Type'?"),
        (("llp", "--setting", "strongly"), "No setting has the words 'strongly'. There are: test, weakly supervised"),
        (("llp", "--mine", "nowhere"), "nowhere does not exist. Name the folder of a tested run"),
    ],
)
def test_bad_words_are_one_line(capsys, words, message):
    code, _, err = shown(capsys, *words)
    assert code == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_csv_has_a_line_per_figure(capsys):
    _, out, _ = shown(capsys, "ave", "--csv")
    lines = list(csv.DictReader(io.StringIO(out)))
    assert len(lines) == sum(1 for value in read_published() if value.dataset == "ave")
    [line] = [line for line in lines if line["method"] == "PSP" and line["task"] == "ave"]
    assert (line["printed"], float(line["value"]), line["source"], line["confidence"]) == (
        "77.8",
        pytest.approx(0.778),
        "av-unified",
        "a",
    )


def test_json_has_reasons_sources_and_experiments(capsys):
    _, out, _ = shown(capsys, "unav100", "--json")
    [board] = json.loads(out)
    rows = [row for setting in board["settings"] for row in setting["rows"]]
    [row] = [row for row in rows if row["method"] == "UniAV"]
    assert row["origins"][0]["title"].startswith("Dense Audio-Visual Event Localization")
    [ccnet] = [row for row in rows if "ccnet_unav100_i3d" in row["experiments"]]
    assert ccnet["figures"]["Avg"]["text"] == "49.2"


def test_latex_has_the_best_in_bold_and_escapes_names(capsys):
    _, out, _ = shown(capsys, "unav100", "--latex", "--setting", "i3d")
    assert r"\toprule" in out
    assert r"CCNet (ours) & \textbf{49.2}" in out
    _, out, _ = shown(capsys, "f-music", "--latex")
    assert out.count(r"\begin{tabular}") == out.count(r"\end{tabular}") == 2


def test_mine_stands_among_the_rows(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = replace(RECORD, experiment=None, method="My run")
    write_records(tmp_path / "run" / "records.json", [record])
    _, out, _ = shown(capsys, "music-avqa", "--mine", "run")
    line = next(line for line in out.splitlines() if line.startswith("My run"))
    assert "76.79" in line
    assert "measured, weights" in line


def test_runs_that_were_not_tested_are_passed_over_where_others_were(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "untested").mkdir()
    write_records(tmp_path / "run" / "records.json", [replace(RECORD, experiment=None, method="My run")])
    code, out, err = shown(capsys, "music-avqa", "--mine", "run", "untested")
    assert code == 0
    assert "My run" in out
    assert err == "avkit leaderboard: untested has no records and is passed over\n"
    assert shown(capsys, "music-avqa", "--mine", "untested")[0] == 2


def test_an_edited_record_is_refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write_records(tmp_path / "run" / "records.json", [RECORD])
    path.write_text(path.read_text().replace("0.7679", "0.8679"))
    code, _, err = shown(capsys, "music-avqa", "--mine", "run")
    assert code == 2
    assert "was edited" in err


def test_the_command_needs_no_torch():
    script = (
        "import sys; from avkit.cli import main; main(['leaderboard']); main(['leaderboard', 'music-avqa']); "
        "print([name for name in ('torch', 'numpy', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "[]"
