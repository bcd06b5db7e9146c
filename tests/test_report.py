# SPDX-License-Identifier: Apache-2.0
"""Reports: numbers, escaping, strict JSON, whole files, and pixels of overlays."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image, ImageFont
from rich.console import Console

from avkit.answers import Caption, Choice, ClassMask, Event, Events, Heat, Mask, StepGrid
from avkit.files import WriteError, write_file
from avkit.report import (
    Example,
    Result,
    Row,
    RunReport,
    open_console,
    overlay_frames,
    print_scores,
    save_result,
    write_gallery,
    write_report,
)
from avkit.report import run as run_module
from avkit.report.event_lanes import event_lanes
from avkit.report.files import markdown, strict_json
from avkit.report.images import Layer, fit_labels, outline, palette, picture, png, strip, tint, truth_outline, warm
from avkit.report.overlay import wrap
from avkit.report.rows import row_cells
from avkit.report.run import loss_curve, smooth
from avkit.report.timeline import sound_levels, timeline

EVIL = '<script>alert("1")</script> [link](https://example.org) | $\\frac{'


def row(**changes):
    values = {"task": "avs", "dataset": "ms3", "split": "test", "metric": "mIoU", "value": 0.75, "baseline": 0.5}
    return Row(**(values | {"clips": 3, "of": 4} | changes))


def report(**changes):
    image = np.full((40, 60, 3), 128, dtype=np.uint8)
    mask = np.zeros((2, 40, 60), dtype=bool)
    mask[:, 10:20, 10:30] = True
    segmented = Example(
        "avs", EVIL, [image] * 2, masks=mask, truth_masks=~mask, captions=[EVIL, ""], truth_captions=["a", "b"]
    )
    answered = Example("avqa", "2", question=EVIL, answer=" Two", truth_answer="two", note=EVIL)
    values = {
        "title": EVIL,
        "rows": [row(), row(metric="F", value=float("nan"), note=EVIL, silence=0.7)],
        "examples": [segmented, answered],
        "curves": {EVIL: {"step": [1, 2, 3], "loss": [2.0, float("nan"), 1.0]}},
        "facts": {EVIL: {EVIL: EVIL}},
        "notes": [EVIL],
    }
    return RunReport(**({"name": EVIL} | values | changes))


def grid(steps):
    return StepGrid(1.0, steps, 2.5)


def choice(question=EVIL):
    return Choice("avqa", question, "two", {"two": 0.9, "one": 0.1})


def mask(steps=3):
    maps = np.zeros((steps, 4, 6), dtype=np.float32)
    maps[0, :, :3] = 1
    return Mask("avs", maps)


def caption(*texts):
    return Caption("ra_ssu", list(texts), grid(len(texts)))


def all_answers(steps=3):
    return [mask(steps), caption(*[EVIL, EVIL, ""][:steps]), choice()]


def result(tmp_path, steps=3, answers=None, **changes):
    frames = np.full((steps, 3, 40, 60), 100, dtype=np.uint8)
    values = {"frames": frames, "size": (80, 120), "notes": [EVIL], "provenance": {"seed": "0"}}
    values["answers"] = all_answers(steps) if answers is None else answers
    return Result(tmp_path / "<b>clip.mp4", 2.5, 1.0, ["avs"], **(values | changes))


class Tags(HTMLParser):
    """Tags, attributes and text of a page, as a browser would see them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.text = set(), [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.text += data


def opened(content):
    """A picture from its bytes, or from the file that holds them."""
    return Image.open(io.BytesIO(content if isinstance(content, bytes) else content.read_bytes()))


def load(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def check_page(path):
    page = path.read_text(encoding="utf-8")
    tags = Tags(page)
    assert tags.tags.isdisjoint({"script", "link", "iframe", "b>clip.mp4"})
    assert all(re.match(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=]+$", a) for a in tags.addresses)
    assert not re.search(r"url\(|@import", page)
    assert '<script>alert("1")</script>' in tags.text
    assert "prefers-color-scheme: dark" in page
    return tags


# --- scores


@pytest.mark.parametrize(
    ("changes", "removed", "shown"),
    [
        ({}, 0.5, "50.0 %"),
        ({"value": 0.4, "baseline": 0.5}, -0.2, "\N{MINUS SIGN}20.0 %"),
        ({"value": 0.1, "baseline": 0.4, "better": "lower"}, 0.75, "75.0 %"),
        ({"baseline": 1.0}, None, "\N{EN DASH}"),
        ({"baseline": None}, None, "\N{EN DASH}"),
        ({"value": 1.2, "baseline": 0.5, "unit": "number"}, None, "\N{EN DASH}"),
    ],
)
def test_error_removed(changes, removed, shown):
    assert row(**changes).error_removed == (removed if removed is None else pytest.approx(removed))
    assert row_cells(row(**changes))["error_removed"] == shown


def test_numbers_are_rounded_and_signed():
    cells = row_cells(row(value=0.71349, baseline=0.0, silence=0.60004, published=0.8, source="Table 2"))
    assert (cells["value"], cells["baseline"], cells["published"]) == ("71.3", "0.0", "80.0")
    assert cells["silence"] == "60.0"
    assert row_cells(row(value=0.87149, unit="number"))["value"] == "0.871"
    assert cells["clips"] == "3 of 4"


@pytest.mark.parametrize("value", [None, float("nan"), float("inf"), np.float32("nan")])
def test_missing_score_is_not_run(value):
    missing = row(value=value, silence=value)
    cells = row_cells(missing)
    assert missing.value is None
    assert cells["value"] == "not run"
    assert cells["silence"] == cells["error_removed"] == "\N{EN DASH}"


def test_row_refuses_percent_and_too_many_clips():
    with pytest.raises(
        ValueError, match=r"avs/ms3/test mIoU: value is 75; .* Divide percent by 100, or pass unit='number'"
    ):
        row(value=75)
    with pytest.raises(ValueError, match="clips=5 exceeds of=4"):
        row(clips=5)


#: A score with all that is said about it.
SURE = {"n": 1234, "counted": "questions", "low": 0.7, "high": 0.8, "baseline_low": 0.4, "baseline_high": 0.6}


def printed(rows, **console):
    """What `print_scores` prints."""
    console = Console(file=io.StringIO(), color_system=None, **console)
    print_scores(console, rows)
    return console.file.getvalue()


def test_intervals_are_cut_where_a_score_is_missing_and_refused_where_it_lies_outside():
    assert (row(value=None, low=0.1, high=0.9).low, row(low=float("nan"), high=0.9).high) == (None, None)
    with pytest.raises(ValueError, match=r"value is 0\.75, outside of its interval from 0\.1 to 0\.2"):
        row(low=0.1, high=0.2)
    with pytest.raises(ValueError, match=r"baseline is 0\.5, outside of its interval"):
        row(baseline_low=0.6, baseline_high=0.7)
    cells = row_cells(row(**SURE))
    assert (cells["value_interval"], cells["n"], cells["counted"]) == ("70.0\N{EN DASH}80.0", "1,234", "questions")
    assert row_cells(row(value=1.0, low=0.9, high=1.0))["value_interval"] == "90.0\N{EN DASH}100"
    number = row(value=0.8, low=0.714, high=0.9, unit="number")
    assert row_cells(number)["value_interval"] == "0.71\N{EN DASH}0.90"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "good"),
        ({"value": 0.2, "low": 0.1, "high": 0.3}, "bad"),
        ({"value": 0.2, "low": 0.1, "high": 0.3, "better": "lower"}, "good"),
        ({"baseline_high": 0.71}, ""),
        ({"value": 0.5, "low": 0.5, "high": 0.5}, ""),
        ({"baseline_high": None}, ""),
    ],
)
def test_a_baseline_is_beaten_only_where_intervals_are_apart(changes, verdict):
    assert row(**SURE | changes).verdict == verdict


def test_a_published_score_needs_a_source_and_is_placed_by_the_interval():
    with pytest.raises(ValueError, match=r"published is 0\.8 without a source\. Pass source="):
        row(published=0.8)
    whole = SURE | {"clips": 4, "source": "Table 2"}
    places = [row_cells(row(**whole, published=p))["published_place"] for p in (0.6, 0.8, 0.9)]
    assert places == ["below the interval", "inside the interval", "above the interval"]
    part = row_cells(row(published=0.8, source="Table 2"))["published_place"]
    assert part == "not comparable: 3 of 4 samples were scored"


def test_scores_in_a_terminal_of_80_columns_break_no_word():
    names = ["AVSS mIoU_noBg", "Audio-Visual Comparative", "segment/Event", "cIoU_adaptive"]
    wide = SURE | {"value": 1.0, "low": 0.987, "high": 1.0, "silence": 0.75, "silence_low": 0.7, "silence_high": 0.8}
    rows = [row(task=task, metric=name, **wide) for task in ("avss", "avqa") for name in names]
    text = printed(rows, width=80, force_terminal=True)
    assert max(len(line) for line in text.splitlines()) <= 80
    for word in " ".join([*names, "questions", "1,234", "98.7\N{EN DASH}100", "100.0", "100.0 %"]).split():
        assert word in text.split()
    assert set(text) <= set("\n\N{EN DASH}\N{MINUS SIGN}") | {chr(c) for c in range(32, 127)}  # no box art


def test_scores_in_a_pipe_have_a_line_each_with_all_columns():
    text = printed([row(**SURE), row(metric="Audio-Visual Comparative", value=None)], width=500)
    head, first, second = text.splitlines()
    assert head.split()[:6] == ["task", "data", "split", "metric", "n", "counted"]
    assert first.split()[3:10] == [
        "mIoU",
        "1,234",
        "questions",
        "75.0",
        "70.0\N{EN DASH}80.0",
        "50.0",
        "40.0\N{EN DASH}60.0",
    ]
    assert "Audio-Visual Comparative" in second
    assert "not run" in second
    assert "\x1b" not in text


def test_a_pipe_is_never_cut_at_80_columns(capsys):
    open_console().print("x" * 300)
    assert "x" * 300 in capsys.readouterr().out


def test_terminal_shows_names_literally():
    for console in ({"width": 160}, {"width": 160, "force_terminal": True}):
        text = printed([row(task="[red]avs[/red]"), row(value=None)], **console)
        assert "[red]avs[/red]" in text
        assert "75.0" in text
        assert "not run" in text


# --- run report


def test_run_report_is_self_contained_and_escaped(tmp_path):
    path = write_report(tmp_path / "new", report())
    assert path == tmp_path / "new" / "report.html"
    tags = check_page(path)
    assert "not run" in tags.text
    assert "\N{CHECK MARK} right" in tags.text
    assert len(tags.addresses) == 4  # two frames, and the curve twice
    assert sorted(p.name for p in path.parent.iterdir()) == ["report.html", "report.json", "report.md"]


def test_run_report_json(tmp_path):
    write_report(tmp_path, report())
    record = load(tmp_path / "report.json")
    assert [r["value"] for r in record["rows"]] == [0.75, None]
    assert [r["error_removed"] for r in record["rows"]] == [0.5, None]
    assert record["curves"][EVIL]["loss"] == [2.0, None, 1.0]
    assert [e["right"] for e in record["examples"]] == [None, True]
    assert record["name"] == EVIL


def test_run_report_markdown_table(tmp_path):
    write_report(tmp_path, report())
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| avs")]
    assert len(lines) == 2
    # unescaped bars: one more than there are columns, whatever the note holds
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {11}
    assert "| 75.0 | \N{EN DASH} | 50.0 | 50.0 % |" in lines[0]
    assert "| not run |" in lines[1]
    assert "<script" not in text
    assert "[link](" not in text


def test_empty_run_report(tmp_path):
    page = write_report(tmp_path, RunReport("empty")).read_text(encoding="utf-8")
    assert "<h1>empty</h1>" in page
    assert "<table" not in page


def test_published_column_only_where_there_is_one(tmp_path):
    page = write_report(tmp_path, RunReport("a", rows=[row()])).read_text(encoding="utf-8")
    assert "Published" not in page
    page = write_report(tmp_path, RunReport("a", rows=[row(published=0.8, source="Table 2")])).read_text(
        encoding="utf-8"
    )
    assert "80.0 <small>Table 2</small> <small>not comparable: 3 of 4 samples were scored</small>" in page
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "80.0 Table 2; not comparable: 3 of 4 samples were scored" in text


def test_every_score_of_a_report_stands_beside_its_interval(tmp_path):
    of_silence = {"silence": 0.72, "silence_low": 0.71, "silence_high": 0.73}
    rows = [row(**SURE | of_silence)]
    page = write_report(tmp_path, RunReport("a", rows=rows)).read_text(encoding="utf-8")
    markdown_text = (tmp_path / "report.md").read_text(encoding="utf-8")
    for text in ("70.0\N{EN DASH}80.0", "40.0\N{EN DASH}60.0", "71.0\N{EN DASH}73.0", "1,234", "questions"):
        assert text in page
        assert text in markdown_text
    record = load(tmp_path / "report.json")["rows"][0]
    assert (record["n"], record["low"], record["high"], record["silence_low"]) == (1234, 0.7, 0.8, 0.71)


def test_example_refuses_lists_of_other_length():
    with pytest.raises(ValueError, match=r"Example 'a': captions has 1 entries for 2 images. Give one per image"):
        Example("avcap", "a", [np.zeros((4, 4, 3), np.uint8)] * 2, captions=["one"])


def test_found_events_stand_against_true_ones_over_time(tmp_path):
    found = [Event("davel", "both", "dog", 5, 12, 0.5), Event("davel", "heard", EVIL, 0, 1)]
    true = [Event("davel", "both", "dog", 2.5, 5)]
    example = Example("davel", "a", events=found, truth_events=true, duration=10.0)
    dog, other = event_lanes(example)
    assert (dog.name, other.name) == ("dog", f"{EVIL}, heard")
    assert [(s.left, s.width) for s in (*dog.true, *dog.found, *other.found)] == [(25, 25), (50, 50), (0, 10)]
    assert dog.found[0].opacity < dog.true[0].opacity == 1
    assert event_lanes(Example("davel", "a", events=found)) == []  # of no known length
    page = write_report(tmp_path, RunReport("a", examples=[example]))
    tags = check_page(page)
    assert "10 s" in tags.text
    assert 'title="found: dog, 5 to 12 s, 50 %"' in page.read_text(encoding="utf-8")
    record = load(tmp_path / "report.json")["examples"][0]
    assert record["truth_events"][0]["start"] == 2.5
    nothing = RunReport("a", examples=[Example("davel", "a", truth_events=[], duration=10.0)])
    assert "No event was found, and there is none." in write_report(tmp_path, nothing).read_text(encoding="utf-8")


def test_example_answer_is_wrong_or_unknown():
    assert Example("avqa", "a", question="?", answer="one", truth_answer="two").right is False
    assert Example("avqa", "a", question="?", answer="one").right is None


def test_smooth_is_the_mean_of_valid_neighbours():
    loss = np.arange(60.0) ** 2
    loss[7] = np.nan
    expected = [np.nanmean(loss[max(0, k - 1) : k + 2]) for k in range(60)]
    np.testing.assert_allclose(smooth(loss), expected)
    assert np.isnan(smooth(np.array([np.nan]))).all()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_loss_curve_is_drawn(theme):
    image = np.asarray(opened(loss_curve({"step": [0, 50, 99], "loss": [3.0, 2.0, 1.0]}, theme)))
    paper = {"light": (255, 255, 255), "dark": (0x16, 0x1B, 0x20)}[theme]
    accent = {"light": (0x0A, 0x7E, 0xA4), "dark": (0x3C, 0xC8, 0xF0)}[theme]
    assert tuple(image[0, 0, :3]) == paper
    assert (np.abs(image[..., :3].astype(int) - accent).max(axis=2) < 8).sum() > 300


# --- files


def test_failed_report_leaves_the_old_one(tmp_path, monkeypatch):
    write_report(tmp_path, report(name="old"))
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr(run_module, "_curves", lambda curves: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path, report(name="new"))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = write_file(tmp_path / "a.txt", "old")

    def fail(self, data):
        with self.open("wb") as file:
            file.write(data[:1])
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(WriteError, match="disk full"):
        write_file(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


def test_strict_json_of_numpy_and_paths(tmp_path):
    value = {"a": np.float32("nan"), "b": np.arange(2), "c": (1, float("-inf")), "d": tmp_path, "e": True, 3: "\udc80"}
    expected = {"a": None, "b": [0, 1], "c": [1, None], "d": str(tmp_path), "e": True}
    path = write_file(tmp_path / "x.json", strict_json(value))
    assert load(path) == expected | {"3": "?"}


def test_markdown_is_literal():
    assert markdown("a|b\n<i> *c*") == "a\\|b &lt;i> \\*c\\*"


# --- pixels


def test_outline_by_hand():
    labels = np.zeros((6, 7), dtype=np.uint8)
    labels[1:5, 2:7] = 1
    expected = labels.astype(bool)
    expected[2:4, 3:7] = False  # the inside, open to the right where the picture ends
    np.testing.assert_array_equal(outline(labels), expected)
    labels[1:5, 5:] = 2  # regions that touch are parted on both sides
    assert outline(labels)[2, 4]
    assert outline(labels)[2, 5]
    assert not outline(np.ones((3, 3), np.uint8)).any()


def test_outline_width_stays_inside():
    labels = np.zeros((12, 12), dtype=np.uint8)
    labels[2:10, 2:10] = 1
    inner = np.zeros_like(labels, dtype=bool)
    inner[4:8, 4:8] = True
    np.testing.assert_array_equal(outline(labels, 2), (labels > 0) & ~inner)


def test_tint_and_truth_outline_cover_exactly_the_mask():
    labels = np.zeros((20, 20), dtype=np.uint8)
    labels[5:15, 5:15] = 1
    rgba = tint(labels, alpha=0.4)
    np.testing.assert_array_equal(rgba[..., 3] > 0, labels > 0)
    assert rgba[10, 10, 3] == 102
    assert rgba[5, 5, 3] == 255
    halo = truth_outline(labels)
    assert tuple(halo[5, 10]) == (255, 255, 255, 255)
    assert tuple(halo[4, 10, :3]) == (0, 0, 0)
    assert not halo[10, 10].any()


def test_layer_mixes_like_the_definition():
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (9, 11, 4), dtype=np.uint8)
    rgba[0, :, 3], rgba[1, :, 3] = 0, 255
    image = rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)
    alpha = rgba[..., 3:] / 255
    mixed = Layer.of(rgba).over(image)
    assert np.abs(mixed - (image * (1 - alpha) + rgba[..., :3] * alpha)).max() < 2
    np.testing.assert_array_equal(mixed[0], image[0])
    np.testing.assert_array_equal(mixed[1], rgba[1, :, :3])


def test_fit_labels_bilinear_for_probabilities_nearest_for_labels():
    # centres of the two pixels lie at 1 and 3 of 4: in between 0 -> 1 linearly, so 0, 0.25, 0.75, 1
    np.testing.assert_array_equal(fit_labels(np.array([[0.0, 1.0]]), (1, 4)), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(fit_labels(np.array([[0.0, 0.6]]), (1, 4)), [[0, 0, 0, 1]])
    np.testing.assert_array_equal(fit_labels(np.array([[0, 7]]), (2, 4)), [[0, 0, 7, 7]] * 2)
    np.testing.assert_array_equal(fit_labels(np.array([[True, False]]), (1, 2)), [[1, 0]])
    with pytest.raises(ValueError, match=r"shape \(h, w\); received \(1, 2, 2\)"):
        fit_labels(np.zeros((1, 2, 2)), (2, 2))
    with pytest.raises(ValueError, match=r"0\.\.255; received 0\.\.300"):
        fit_labels(np.array([[0, 300]]), (2, 2))


def test_palette_has_distinct_colours():
    assert len(np.unique(palette()[1:71], axis=0)) == 70  # the classes of AVSBench-semantic
    assert not palette()[0].any()


def test_picture_and_strip_sizes():
    image = np.zeros((100, 200, 3), dtype=np.uint8)
    small = picture(image, 50, np.ones((3, 3), dtype=bool))
    assert small.shape == (25, 50, 3)
    assert small.any()
    assert picture(image, 500).shape == image.shape
    joined = strip([image, image], gap=3, color=(1, 2, 3))
    assert joined.shape == (100, 403, 3)
    assert tuple(joined[0, 201]) == (1, 2, 3)


# --- overlay


def frames(times, height=90, width=160):
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return [(time, image) for time in times]


def test_overlay_tints_the_mask_of_the_step_only(tmp_path):
    masks = np.zeros((3, 9, 16), dtype=np.float32)
    masks[1, 3:6, 4:12] = 1
    plain = result(tmp_path, answers=[Mask("avs", masks)])
    given = frames([0.5, 0.99, 1.0, 1.5, 2.2, 99.0])
    drawn = list(overlay_frames(given, plain))
    changed = [(a != b).any(axis=2) for a, (_, b) in zip(drawn, given, strict=True)]
    region = fit_labels(masks[1], (90, 160)) > 0
    assert [c.any() for c in changed] == [False, False, True, True, False, False]
    assert not changed[2][~region].any()
    assert changed[2][region].mean() > 0.97  # a pixel of the colour of the tint stays as it is
    assert (drawn[2][outline(region.astype(np.uint8))] == palette()[1]).all()
    assert drawn[2].dtype == np.uint8


def test_overlay_step_of_a_time_is_exact(tmp_path):
    masks = np.zeros((10, 4, 4), dtype=np.float32)
    masks[3] = 1
    fine = Result(tmp_path / "a", 1.0, 0.1, [], [Mask("avs", masks)])
    given = frames([0.3, 0.4])
    drawn = list(overlay_frames(given, fine))
    assert (drawn[0] != given[0][1]).any()
    np.testing.assert_array_equal(drawn[1], given[1][1])


def test_overlay_text_stays_at_the_ends(tmp_path):
    long = result(tmp_path, answers=[caption(*["many words " * 60] * 3), Choice("avqa", "why " * 99, "so")])
    (_, image), *_ = given = frames([0.0], 200, 160)
    (drawn,) = overlay_frames(given, long)
    rows = (drawn != image).any(axis=(1, 2))
    assert rows[0]
    assert rows[-1]
    assert not rows[80:120].any()


@pytest.mark.parametrize("height", [6, 64, 90, 120, 180, 224, 360, 1080])
def test_overlay_text_covers_a_third_of_a_picture_at_most(tmp_path, height):
    answers = [caption(*["many words " * 60] * 3), *[Choice("avqa", "why " * 99, "so")] * 9]
    (_, image), *_ = given = frames([0.0], height, 2 * height)
    (drawn,) = overlay_frames(given, result(tmp_path, answers=answers))
    covered = (drawn != image).any(axis=(1, 2)).mean()
    assert covered <= 0.35
    assert (covered > 0) == (height >= 90)


def test_overlay_of_a_tiny_frame_and_of_no_text(tmp_path):
    (drawn,) = overlay_frames(frames([0.0], 6, 8), result(tmp_path))
    assert drawn.shape == (6, 8, 3)
    bare = result(tmp_path, answers=[caption("", "", "")])
    (_, image), *_ = given = frames([0.0])
    np.testing.assert_array_equal(next(overlay_frames(given, bare)), image)


def test_overlay_names_classes(tmp_path):
    classes = np.zeros((3, 9, 16), dtype=np.int64)
    classes[0, 2:4, 2:4], classes[0, 2:4, 8:12] = 1, 2
    named = result(tmp_path, answers=[mask(), ClassMask("avs", classes, ["dog", "cat"])])
    (drawn,) = overlay_frames(given := frames([0.0], 180, 320), named)
    assert tuple(drawn[40, 40]) == tuple(palette()[1])
    assert tuple(drawn[40, 160]) == tuple(palette()[2])
    assert (drawn[-12:] != given[0][1][-12:]).any()


@pytest.mark.parametrize("text", ["", "   ", "one", "a few short words that need lines", "x" * 300, "ab " + "y" * 90])
def test_wrap_fits_and_keeps_every_letter(text):
    font = ImageFont.load_default(14)
    lines = wrap(text, font, 100, 99)
    assert all(font.getlength(line) <= 100 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert bool(lines) == bool(text.strip())


def test_wrap_cuts_with_an_ellipsis():
    font = ImageFont.load_default(14)
    lines = wrap("word " * 100, font, 100, 2)
    assert len(lines) == 2
    assert lines[1].endswith("...")
    assert font.getlength(lines[1]) <= 100


# --- result


def test_pictures_have_the_shape_of_the_source(tmp_path):
    wide = result(tmp_path, size=(90, 160), pictures={1: np.zeros((9, 16, 3), np.uint8)})
    assert wide.picture(1) is wide.pictures[1]
    assert wide.picture(0).shape == (40, 71, 3)  # frames of 40 x 60, shown as 16 : 9
    assert result(tmp_path, frames=None).picture(0) is None
    page = save_result(tmp_path / "out", wide)["report"].read_text(encoding="utf-8")
    sizes = [opened(base64.b64decode(uri)).size for uri in re.findall(r"base64,([^\"]+)\" loading", page)]
    assert sizes == [(71, 40), (16, 9), (71, 40)]
    assert opened(tmp_path / "out" / "thumbnail.jpg").size == (16, 9)


def test_the_page_holds_the_timeline_once(tmp_path):
    paths = save_result(tmp_path / "out", result(tmp_path))
    page = paths["report"].read_text(encoding="utf-8")
    assert page.count("data:image/") == 4  # the timeline, and three frames
    assert "srcset" not in page
    assert len(page) < paths["timeline"].stat().st_size * 2 + 60_000


class TestGallery:
    """One page for many results."""

    def save(self, folder, tmp_path, *answers, **changes):
        save_result(folder, result(tmp_path, answers=list(answers), **changes))

    def text_of(self, page):
        return Tags(page.read_text(encoding="utf-8"))

    def test_the_least_certain_video_comes_first(self, tmp_path):
        out = tmp_path / "out"
        self.save(out / "a sure", tmp_path, Choice("avqa", "who", "two", {"two": 0.9}))
        self.save(out / "sub" / "unsure", tmp_path, Events("davel", [Event("davel", "both", "dog", 0, 1, 0.3)]))
        self.save(out / "z none", tmp_path, caption("a dog", "a dog", "a cat"), notes=["own note", EVIL])
        tags = self.text_of(write_gallery(out, ["bad & <b>.mp4 has no picture"]))
        order = [tags.text.index(name) for name in ("bad & <b>.mp4", "sub/unsure", "a sure", "z none")]
        assert order == sorted(order)
        for text in ("dog", "who two", "90 %", "a cat", "own note", "4 videos"):
            assert text in tags.text
        assert tags.text.count(EVIL) == 1  # a note of all results
        assert "a%20sure/report.html" in tags.addresses
        assert "sub/unsure/thumbnail.jpg" in tags.addresses
        assert tags.tags.isdisjoint({"script", "b"})
        assert all((out / unquote(address)).exists() for address in tags.addresses)

    @pytest.mark.parametrize("content", ["{", "[]", "null", '{"captions": 3}', "[" * 100_000])
    def test_a_file_that_is_no_result_is_named(self, tmp_path, content):
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "result.json").write_text(content)
        assert "result.json is not readable" in self.text_of(write_gallery(tmp_path)).text

    def test_a_page_of_many_videos_stays_small(self, tmp_path):
        self.save(tmp_path / "out" / "0", tmp_path, *all_answers())
        for number in range(1, 17):
            shutil.copytree(tmp_path / "out" / "0", tmp_path / "out" / str(number))
        assert write_gallery(tmp_path / "out").stat().st_size < 40_000


def test_events_and_heat_are_written(tmp_path):
    heat = np.zeros((3, 4, 4), dtype=np.float32)
    heat[1, 3, 0] = 2
    avvp = Events("avvp", [Event("avvp", "heard", EVIL, 0, 1)])
    davel = Events("davel", [Event("davel", "both", "dog", 0.5, 2.5, 0.75)])
    answers = [*all_answers(), Heat("ssl", heat), avvp, davel]
    paths = save_result(tmp_path / "out", result(tmp_path, answers=answers))
    record = json.loads(paths["result"].read_text())
    assert record["events"][1] == {
        "task": "davel", "modality": "both", "name": "dog", "start": 0.5, "end": 2.5, "score": 0.75
    }  # fmt: skip
    assert record["steps"][1]["source"] == [0.125, 0.875]
    hot = np.asarray(Image.open(tmp_path / "out" / record["steps"][1]["heat_file"]))
    assert hot.shape == (80, 120)
    assert hot[-1, 0] == 255
    assert hot[0, -1] == 0
    text = check_page(paths["report"]).text
    assert "Events heard and seen (davel)" in text
    assert "75.0 %" in text
    shorter = save_result(tmp_path / "out", result(tmp_path, steps=2, answers=[Heat("ssl", heat[:2])]))
    assert sorted(p.name for p in shorter["heat"].iterdir()) == ["00000.png", "00001.png"]


def test_heat_glows_at_its_peak_alone():
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    assert (warm(image, np.zeros((2, 2))) == image).all()
    glowing = warm(image, np.array([[1.0, 0.0], [0.0, 0.0]]))
    assert glowing[0, 0, 0] > 200
    assert (glowing[-1, -1] == 100).all()


def test_result_files(tmp_path):
    waveform = np.sin(np.arange(40000) / 5).astype(np.float32)
    paths = save_result(tmp_path / "out", result(tmp_path, waveform=waveform))
    assert {name: path.name for name, path in paths.items()} == {
        "masks": "masks",
        "timeline": "timeline.png",
        "report": "report.html",
        "result": "result.json",
    }
    assert not [p for p in (tmp_path / "out").rglob("*") if p.suffix == ".tmp"]
    assert sorted(p.name for p in paths["masks"].iterdir()) == ["00000.png", "00001.png", "00002.png"]
    mask = opened(paths["masks"] / "00000.png")
    assert (mask.mode, mask.size) == ("L", (120, 80))
    expected = np.zeros((80, 120), dtype=np.uint8)
    expected[:, :60] = 255
    np.testing.assert_array_equal(np.asarray(mask), expected)
    check_page(paths["report"])
    assert opened(paths["timeline"]).size[0] == 1800


def test_result_json(tmp_path):
    record = load(save_result(tmp_path, result(tmp_path))["result"])
    assert (record["format"], record["version"], record["size"]) == ("avkit result", 1, [80, 120])
    assert [(s["start"], s["end"]) for s in record["steps"]] == [(0, 1), (1, 2), (2, 2.5)]
    assert record["steps"][0]["mask"] == {"file": "masks/00000.png", "area": 0.5, "box": [0, 0, 0.5, 1]}
    assert record["steps"][1]["mask"] == {"file": "masks/00001.png", "area": 0, "box": None}
    assert record["sounding"] == [[0, 1]]
    assert record["captions"] == [{"start": 0, "end": 2, "text": EVIL}]
    scores = {"two": 0.9, "one": 0.1}
    assert record["answers"] == [{"question": EVIL, "answer": "two", "scores": scores, "chosen": []}]


def test_result_classes(tmp_path):
    classes = np.zeros((3, 40, 60), dtype=np.int64)
    classes[1:, :20] = 2
    answers = [ClassMask("avs", classes, ["dog", EVIL]), *all_answers()[1:]]
    paths = save_result(tmp_path, result(tmp_path, answers=answers))
    record = load(paths["result"])
    assert record["steps"][0]["classes"] == []
    assert record["steps"][1]["classes"] == [{"name": EVIL, "area": 0.5, "box": [0, 0, 1, 0.5]}]
    assert record["steps"][1]["mask"] is None
    assert record["sounding"] == [[1, 2.5]]
    assert np.unique(np.asarray(opened(paths["class_masks"] / "00001.png"))).tolist() == [0, 2]
    check_page(paths["report"])


def test_shorter_result_removes_old_masks_only(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "avkit.report.result.timeline", lambda *args: png(np.zeros((1, 1, 3), np.uint8))
    )  # drawing takes a second
    save_result(tmp_path, result(tmp_path))
    (tmp_path / "masks" / "mine.png").write_bytes(b"")
    save_result(tmp_path, result(tmp_path, steps=1))
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["00000.png", "mine.png"]
    paths = save_result(tmp_path, result(tmp_path, answers=all_answers()[1:]))
    assert "masks" not in paths
    assert [p.name for p in (tmp_path / "masks").iterdir()] == ["mine.png"]


def test_result_with_nothing(tmp_path):
    paths = save_result(tmp_path, Result(tmp_path / "a.mp4", 2.5, 1.0, ["avs"]))
    record = load(paths["result"])
    assert len(record["steps"]) == 3
    assert record["size"] is record["sounding"] is None
    assert "a.mp4" in paths["report"].read_text(encoding="utf-8")


def test_result_takes_tensors(tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr("avkit.report.result.timeline", lambda *args: png(np.zeros((1, 1, 3), np.uint8)))

    given = result(tmp_path, answers=[Mask("avs", torch.ones(3, 4, 4))], waveform=torch.zeros(16000))
    assert isinstance(given.first(Mask).maps, np.ndarray)
    assert isinstance(given.waveform, np.ndarray)
    assert load(save_result(tmp_path, given)["result"])["steps"][2]["mask"]["area"] == 1


def test_result_refuses_parts_that_disagree(tmp_path):
    counts = "{'frames': 3, 'mask of avs': 3, 'caption of ra_ssu': 1}"
    with pytest.raises(ValueError, match=f"different numbers of steps: {counts}. Cut"):
        result(tmp_path, answers=[mask(), caption("a")])
    with pytest.raises(ValueError, match="hop=0 must be positive"):
        Result(tmp_path, 1.0, 0, [])
    with pytest.raises(ValueError, match="maps hold class 2, but names has 1"):
        ClassMask("avs", np.full((3, 2, 2), 2), ["dog"])


def test_long_clip_lists_captions_and_limits_frames(tmp_path):
    steps = 80
    texts = [f"caption {k}" for k in range(steps)]
    answers = [Caption("ra_ssu", texts, StepGrid(1.0, steps, 80.0)), choice()]
    long = result(tmp_path, answers=answers, frames=np.zeros((steps, 3, 8, 8), np.uint8))
    long.duration = 80.0
    page = Tags(save_result(tmp_path, long)["report"].read_text(encoding="utf-8"))
    assert len(page.addresses) == 40 + 1
    assert "40 of 80" not in page.text  # stands beside the masks, of which there are none
    assert opened(tmp_path / "timeline.png").size[1] > 600  # the list of captions under the axis


def test_timeline_thumbnails_carry_the_tint(tmp_path):
    def cyan(masks):
        given = result(tmp_path, answers=[Mask("avs", masks)])
        image = np.asarray(opened(timeline(given)).convert("RGB"))
        return (np.abs(image.astype(int) - palette()[1]).max(axis=2) < 20).sum()

    masks = np.zeros((3, 4, 6), dtype=np.float32)
    assert cyan(masks) == 0
    masks[:, 1:3, 1:4] = 1
    assert cyan(masks) > 200


def test_sound_levels_finds_the_tone_and_shows_silence_as_silent():
    seconds = np.arange(16000) / 16000
    level = sound_levels(np.sin(2 * np.pi * 2000 * seconds))
    assert level.shape == (257, 100)
    assert set(level[:, 10:90].argmax(axis=0)) == {2000 * 512 // 16000}
    assert level.max() == pytest.approx(0, abs=1e-4)
    assert (sound_levels(np.zeros(16000)) == -80).all()
    assert sound_levels(np.zeros(16000 * 600)).shape[1] <= 1200


def test_pictures_in_the_page_decode(tmp_path):
    tags = Tags(save_result(tmp_path, result(tmp_path))["report"].read_text(encoding="utf-8"))
    sizes = [opened(base64.b64decode(a.split(",")[1])).size for a in tags.addresses]
    assert sizes[1:] == [(60, 40)] * 3
