# SPDX-License-Identifier: Apache-2.0
"""Published figures of the package: as printed, with their sources, and named as our reports name them."""

import csv
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from conftest import ROOT, SHARED

from avkit.errors import FileError
from avkit.leaderboard import published
from avkit.leaderboard.metric_names import RANKED_BY, board_of, our_metric
from avkit.leaderboard.published import KINDS, SCALES, group_rows, read_published, read_sources
from avkit.tasks import TASKS

TABLE = SHARED / "leaderboard" / "published.csv"


def test_every_value_has_one_id_a_source_and_known_terms():
    counts = Counter(value.id for value in read_published())
    assert [name for name, count in counts.items() if count > 1] == []
    for value in read_published():
        assert value.source in read_sources(), value.id
        assert value.kind in KINDS, value.id
        assert value.scale in SCALES, value.id
        assert value.confidence in ("a", "b"), value.id
        assert value.reported_by in ("authors", "cited"), value.id


def test_values_of_a_row_share_all_but_the_metric():
    for row in group_rows(read_published()):
        for value in row.values:
            same = replace(value, metric="", printed="", scale="", note="")
            assert same == replace(row.first, metric="", printed="", scale="", note=""), value.id


def test_every_source_prints_something():
    assert {value.source for value in read_published()} == set(read_sources())


def test_digits_stay_as_they_are_printed():
    value = next(value for value in read_published() if value.id == "ra-ssu/table-ii/f-music/avc:ROUGE-L")
    assert value.printed == "0.3650"
    assert value.decimals == 4
    assert value.fraction == 0.365
    assert value.rounding == pytest.approx(0.00005)
    per_cent = next(v for v in read_published() if v.id == "tspm/table-1/music-avqa/tspm-ours:Overall")
    assert per_cent.fraction == pytest.approx(0.7679)
    assert per_cent.rounding == pytest.approx(0.00005)
    cost = next(v for v in read_published() if v.printed == "2.65T")
    assert cost.value == pytest.approx(2.65e12)
    words = [value for value in read_published() if value.value is None]
    assert {value.scale for value in words} == {"text"}


def test_terms_of_one_method_are_not_said_of_the_others_in_its_table():
    rows = group_rows(value for value in read_published() if value.row.startswith("av-unified/table-iv/"))
    settings = {row.first.method: row.first.setting for row in rows}
    assert settings["TASS"] == ""
    assert settings["AV-Unified (Ours)"] == "jointly trained"


@pytest.mark.parametrize(
    ("name", "dataset", "metric", "ours"),
    [
        ("avvp", "llp", "segment/Audio-Visual", "segment/AV"),
        ("avvp", "llp", "event/Type", "event/Type"),
        ("ssl", "vggss", "CIoU", "cIoU@0.5"),
        ("avs", "avsbench-s4", "F-score", "F"),
        ("avs", "avsbench-avss", "mIoU", "AVSS mIoU"),
        ("avqa", "music-avqa", "Audio Avg", "Audio Avg"),
        ("ra_ssu", "f-music", "BLEU", "BLEU-4"),
        ("avqa", "music-avqa", "Training params (M)", None),
    ],
)
def test_metrics_have_our_names(name, dataset, metric, ours):
    assert our_metric(name, dataset, metric) == ours


def test_every_published_metric_is_one_of_our_reports_or_a_cost():
    names = {}
    for value in read_published():
        names.setdefault(value.task, set()).add(our_metric(value.task, value.dataset, value.metric))
    assert names.keys() - {"ref_avs"} <= TASKS.keys()
    assert names["avs"] == {"mIoU", "F", "AVSS mIoU", "AVSS F"}
    assert names["davel"] == {"Avg", *(f"mAP@0.{tenth}" for tenth in range(5, 10))}
    kinds = ("A", "V", "AV", "Type", "Event")
    assert names["avvp"] == {f"{level}/{kind}" for level in ("segment", "event") for kind in kinds}
    costs = {value.kind for value in read_published() if our_metric(value.task, value.dataset, value.metric) is None}
    assert costs == {"efficiency", "comparison"}  # J&F of Ref-AVS is compared


def test_every_task_with_figures_is_ranked_by_one_of_them():
    for value in read_published():
        assert value.task in RANKED_BY, value.id


def test_a_release_may_have_a_board_of_its_own():
    assert board_of("music-avqa", "update") == "music-avqa"
    assert board_of("music-avqa", "v2") == "music-avqa-v2"


def test_other_columns_are_refused(tmp_path, monkeypatch):
    (tmp_path / "sources.csv").write_text("id,title\nx,y\n")
    monkeypatch.setattr(published, "DATA", tmp_path)
    with pytest.raises(FileError, match="Expected: id, title, venue"):
        published.read_sources.__wrapped__()


def test_reading_needs_no_torch():
    script = (
        "import sys; from avkit.leaderboard.published import read_published; read_published(); "
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not TABLE.exists(), reason="the shared table of published values is absent")
def test_the_package_has_every_value_of_the_shared_table():
    with TABLE.open(encoding="utf-8", newline="") as file:
        shared = Counter(
            (line["task"], line["dataset"], line["metric"], line["method"], line["value"], line["confidence"])
            for line in csv.DictReader(file)
        )
    ours = Counter((v.task, v.dataset, v.metric, v.method, v.printed, v.confidence) for v in read_published())
    assert ours == shared
    script = [sys.executable, "scripts/write_published.py", str(TABLE), "--check"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
