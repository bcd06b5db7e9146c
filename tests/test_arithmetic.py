# SPDX-License-Identifier: Apache-2.0
"""What published figures say about themselves: contradictions, releases, disputes, from the figures alone."""

import csv

import pytest
from conftest import SHARED

from avkit.leaderboard.arithmetic import audit, audit_published
from avkit.leaderboard.published import PublishedValue, Source, read_published, read_sources
from avkit.leaderboard.question_counts import TYPES, release_label, releases_of

DISAGREEMENTS = SHARED / "leaderboard" / "disagreements.csv"
SOURCE = Source("paper", "A Paper", "arXiv", "2026", "paper", "", "", "", "")
OTHER = Source("other", "Another Paper", "arXiv", "2026", "paper", "", "", "", "")
NAMES = [name for names in TYPES.values() for name in names]


def values(row, printed, *, task="avqa", dataset="music-avqa", method="A", source="paper", **further):
    terms = {
        "release": "",
        "split": "test",
        "setting": "",
        "scale": "percent",
        "year": "2026",
        "features": "",
        "kind": "comparison",
        "table": "Table 1",
        "reported_by": "authors",
        "confidence": "a",
        "note": "",
    } | further
    return [
        PublishedValue(
            row=row, task=task, dataset=dataset, method=method, source=source, metric=metric, printed=text, **terms
        )
        for metric, text in printed.items()
    ]


def findings(*groups, kinds=()):
    result = audit([value for group in groups for value in group], {"paper": SOURCE, "other": OTHER})
    return {row: [(f.kind, f.text) for f in result.of(row, *kinds)] for row in result.findings}


def music_row(release, wrong=(), decimals=2):
    """Figures of a method that is right on every third question and a few more."""
    counts = next(r for r in releases_of("music-avqa", release) if r.split == "test").counts
    right = {name: n // 3 + 7 * place for place, (name, n) in enumerate(counts.items())}
    printed = {name: f"{100 * right[name] / counts[name]:.{decimals}f}" for name in NAMES}
    for modality, names in TYPES.items():
        share = 100 * sum(right[name] for name in names) / sum(counts[name] for name in names)
        printed[f"{modality} Avg"] = f"{share:.{decimals}f}"
    printed["Overall"] = f"{100 * sum(right.values()) / sum(counts.values()):.{decimals}f}"
    return printed | dict(wrong)


@pytest.mark.parametrize("release", ["update", "original", "real", "by-video"])
def test_nine_types_betray_their_release(release):
    result = audit(values("r", music_row(release)), {"paper": SOURCE})
    assert result.releases == {"r": release}
    assert result.word("r") is None


def test_one_decimal_betrays_nothing_and_contradicts_nothing():
    assert findings(values("r", music_row("update", decimals=1))).get("r", []) == [
        ("release unknown", "its types are printed with too few digits to tell their release")
    ]


def test_a_type_that_is_no_share_is_a_misprint():
    row = music_row("update")
    row["Audio Comparative"] = "34.55"
    [(kind, text)] = findings(values("r", row), kinds=("misprint",))["r"]
    assert kind == "misprint"
    assert text.startswith("Audio Comparative 34.55 is no share of 594 questions: 205 give 34.51 and 206 give 34.68")


def test_exchanged_types_are_named():
    row = music_row("update")
    first, second = "Audio-Visual Counting", "Audio-Visual Location"
    row[first], row[second] = row[second], row[first]
    [(_, text)] = findings(values("r", row), kinds=("misprint",))["r"]
    assert "are exchanged" in text


def test_an_average_that_does_not_pool_is_a_misprint_on_a_known_release_and_else_impossible():
    row = music_row("update")
    row["Overall"] = "50.00"
    kinds = [kind for kind, _ in findings(values("r", row))["r"]]
    assert kinds == ["misprint", "release"]
    averages = {"Audio Avg": "70.00", "Visual Avg": "80.00", "Audio-Visual Avg": "60.00", "Overall": "75.00"}
    [(kind, text)] = findings(values("r", averages))["r"]
    assert kind == "impossible"
    assert "1,611, 2,422 and 5,096 questions pool 70.00, 80.00 and 60.00 to 67.07, not 75.00" in text


def test_a_stated_release_is_held_against_the_figures():
    row = {name: text for name, text in music_row("update").items() if name not in NAMES}
    [(kind, text)] = findings(values("r", row, release="by-video"))["r"]
    assert kind == "impossible"
    assert "states by-video (9,125), and its figures are those of update (9,129)" in text
    assert findings(values("r", row, release="biased", dataset="music-avqa-v2")) == {}


def test_labels_name_the_number_of_questions():
    assert release_label("music-avqa", "update", "test") == "update (9,129)"
    assert release_label("music-avqa", "update", "val") == "update, val (4,568)"
    assert release_label("llp", "official", "test") == "official"
    assert release_label("music-avqa", "", "test") == ""


def test_type_is_the_mean_of_three_within_rounding():
    printed = {
        "segment/Audio": "60.1",
        "segment/Visual": "52.9",
        "segment/Audio-Visual": "48.9",
        "segment/Type": "54.0",
    }
    assert findings(values("r", printed, task="avvp", dataset="llp")) == {}
    printed["segment/Type"] = "54.2"
    [(kind, text)] = findings(values("r", printed, task="avvp", dataset="llp"))["r"]
    assert kind == "impossible"
    assert text.endswith("(60.1 + 52.9 + 48.9) / 3 = 53.97")


@pytest.mark.parametrize(
    ("change", "words"),
    [({"mAP@0.6": "60.0"}, "exceeds mAP@0.5 51.9"), ({"Avg": "30.0"}, "give 45.03 to 66.41"), ({}, "")],
)
def test_detection_falls_with_the_threshold_and_bounds_its_average(change, words):
    printed = {"mAP@0.5": "51.9", "mAP@0.6": "47.2", "mAP@0.7": "41.5", "mAP@0.8": "34.1", "mAP@0.9": "23.0"}
    printed = {**printed, "Avg": "49.2", **change}
    texts = [text for _, text in findings(values("r", printed, task="davel", dataset="unav100")).get("r", [])]
    assert (any(words in text for text in texts)) == bool(words)


def test_the_area_of_a_falling_curve_has_bounds():
    printed = {"CIoU": "38.85", "AUC": "39.54"}
    assert findings(values("r", printed, task="ssl", dataset="vggss")) == {}
    printed["AUC"] = "72.00"
    [(kind, _)] = findings(values("r", printed, task="ssl", dataset="vggss"))["r"]
    assert kind == "impossible"


def test_bounds_sources_and_doubled_values():
    high = values("high", {"mIoU": "101.0"}, task="avs", dataset="avsbench-s4", method="High")
    fraction = values("fraction", {"mIoU": "55.2"}, task="avs", dataset="avsbench-s4", method="F", scale="fraction")
    lost = values("lost", {"mIoU": "50.0"}, task="avs", dataset="avsbench-s4", source="nowhere", method="Lost")
    twice = values("twice", {"mIoU": "40.0"}, task="avs", dataset="avsbench-s4", method="Twice") * 2
    result = findings(high, fraction, lost, twice)
    assert [kind for kind, _ in result["high"]] == ["impossible"]
    assert "outside 0 to 1" in result["fraction"][0][1]
    assert "source 'nowhere' is not known" in result["lost"][0][1]
    assert "stands twice" in result["twice"][0][1]


def test_other_values_for_one_method_are_disputed_unless_terms_differ():
    terms = {"task": "avs", "dataset": "avsbench-s4"}
    first = values("first", {"mIoU": "82.1"}, method="Net (ours)", **terms)
    second = values("second", {"mIoU": "83.06"}, method="Net", source="other", **terms)
    result = findings(first, second)
    assert result["first"] == [("disputed", "mIoU 82.1, and 83.06 in other, Table 1")]
    rounded = values("second", {"mIoU": "82.06"}, method="Net", source="other", **terms)
    assert findings(first, rounded) == {}
    other_features = [
        values("first", {"mIoU": "82.1"}, features="ResNet-50", **terms),
        values("second", {"mIoU": "83.06"}, features="PVT-v2", source="other", **terms),
    ]
    assert [kind for kind, _ in findings(*other_features)["first"]] == ["elsewhere"]
    trained = values("second", {"mIoU": "83.06"}, method="Net", source="other", setting="trained alone", **terms)
    assert findings(first, trained) == {}


def test_the_same_figures_for_two_methods_of_two_papers_are_flagged():
    printed = {"mAP@0.5": "51.9", "mAP@0.6": "47.2", "mAP@0.7": "41.5"}
    first = values("first", printed, task="davel", dataset="unav100", method="One")
    second = values("second", printed, task="davel", dataset="unav100", method="Two", source="other")
    assert [kind for kind, _ in findings(first, second)["first"]] == ["identical"]
    same_source = values("second", printed, task="davel", dataset="unav100", method="Two")
    assert findings(first, same_source) == {}


def test_averages_of_two_sets_are_held_against_their_parts():
    terms = {"task": "ra_ssu", "scale": "fraction"}
    parts = [
        values("m", {"BLEU": "0.4049"}, dataset="f-music", method="Net", table="Table 2", **terms),
        values("l", {"BLEU": "0.5290"}, dataset="f-lifescene", method="Net", table="Table 3", **terms),
    ]
    right = values("r", {"BLEU": "0.4670"}, dataset="f-music+f-lifescene", method="Net", **terms)
    assert findings(*parts, right) == {}
    wrong = values("r", {"BLEU": "0.4676"}, dataset="f-music+f-lifescene", method="Net, whole", **terms)
    [(kind, text)] = findings(*parts, wrong)["r"]
    assert (kind, text) == (
        "impossible",
        "BLEU 0.4676 is not the average of Net in Table 2 and Table 3: (0.4049 + 0.5290) / 2 = 0.46695",
    )
    cited = values("r", {"BLEU": "0.4676"}, dataset="f-music+f-lifescene", method="Else", reported_by="cited", **terms)
    assert findings(*parts, cited) == {}


PUBLISHED = [
    ("av-unified/table-iv/music-avqa/av-unified-ours", "impossible", "72.23 and 78.26 to 74.45, not 72.60"),
    ("av-unified/table-iv/music-avqa/av-unified-ours", "impossible", "pool to 75.94, not 76.42"),
    ("av-unified/table-i/llp/mm-pyramid", "impossible", "/ 3 = 59.07"),
    ("av-unified/table-i/llp/mm-pyramid", "impossible", "/ 3 = 53.30"),
    ("tspm/table-1/music-avqa/pstp-net", "release unknown", "k / n of no known release"),
    ("tspm/table-1/music-avqa/tspm-ours", "release", "9 of 9 accuracies are k / n of update (9,129)"),
    ("tspm/table-1/music-avqa/lavish", "release", "9 of 9 accuracies are k / n of original (9,185)"),
    ("tspm/table-1/music-avqa/lavish", "mixed", "original (9,185), in a table of which 12 rows are of update (9,129)"),
    ("av-unified/table-v/avsbench-avss/av-unified-ours", "disputed", "mIoU 37.4, and 43.10 in av-unified, Table VI"),
    ("ra-ssu/table-iv/f-music+f-lifescene/ssuformer", "impossible", "/ 2 = 0.46695"),
    ("av-unified/table-vii/music-avqa/av-unified-w-o-ms-stpm", "identical", "those of TSPM w/o. all in tspm, Table 3"),
    ("tspm/table-1/music-avqa/coca", "misprint", "are exchanged"),
]


@pytest.mark.parametrize(("row", "kind", "text"), PUBLISHED, ids=[f"{row}-{kind}" for row, kind, _ in PUBLISHED])
def test_published_rows_are_flagged(row, kind, text):
    assert any(text in finding.text for finding in audit_published().of(row, kind))


def test_sound_published_rows_are_not_flagged():
    for row in (
        "tspm/table-1/music-avqa/tspm-ours",
        "ccnet/table-1/unav100/uniav",
        "av-unified/table-i/llp/han",
        "ra-ssu/table-iv/f-music+f-lifescene/pg-video-llava",
    ):
        assert audit_published().word(row) is None, row


def test_findings_are_of_rows_that_exist():
    rows = {value.row for value in read_published()}
    assert set(audit_published().findings) <= rows
    assert set(audit_published().releases) <= rows
    assert read_sources()


@pytest.mark.skipif(not DISAGREEMENTS.exists(), reason="the shared table of disagreements is absent")
def test_all_disagreements_of_the_shared_table_are_found():
    with DISAGREEMENTS.open(encoding="utf-8", newline="") as file:
        expected = {
            (line["task"], line["dataset"], line["metric"], line["method"].lower()) for line in csv.DictReader(file)
        }
    by_row = {}
    for value in read_published():
        by_row.setdefault((value.row, value.metric), value)
    found = set()
    for row in audit_published().findings:
        for finding in audit_published().of(row, "disputed", "elsewhere"):
            value = by_row[row, finding.metric]
            found.add((value.task, value.dataset, value.metric, value.method.lower()))
    assert expected - found == set()
