# SPDX-License-Identifier: Apache-2.0
"""The page of a board: everything escaped and inside, and in a browser sorted, filtered and opened."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from avkit.cli import main
from avkit.leaderboard import Figure, Record
from avkit.leaderboard.boards import make_boards
from avkit.leaderboard.claims import claim_of
from avkit.leaderboard.experiments import read_experiments
from avkit.leaderboard.measured import group_seeds, measured_rows
from avkit.leaderboard.page import board_page, safe_link
from avkit.leaderboard.plot import draw
from avkit.leaderboard.published import read_published

HOSTILE = "</script><img src=x onerror=alert(1)>'\"&{{ 7 * 7 }}"


def record(**changes):
    values = {
        "task": "avqa",
        "dataset": "music-avqa",
        "release": "update",
        "split": "test",
        "setting": "",
        "n": 9129,
        "official_n": 9129,
        "figures": {"Overall": Figure(0.7679, n=9129)},
        "method": HOSTILE,
        "system": "tspm",
        "experiment": "tspm_music_avqa",
        "by": "weights",
        "seeds": [0],
        "protocol": {"prompts": "of a file"},
        "hashes": {"weights": "ab" * 32},
        "device": HOSTILE,
        "date": "2026-11-28 20:00 +0000",
        "command": f"avkit test {HOSTILE}",
    }
    return Record(**(values | changes))


@pytest.fixture(scope="module")
def page():
    boards = make_boards(
        measured_rows(group_seeds([record()]), claim_of), {"tspm/table-1/music-avqa/tspm-ours": ["tspm_music_avqa"]}
    )
    experiments = {experiment.id: experiment for experiment in read_experiments()}
    return board_page(boards["music-avqa"], experiments)


class Outline(HTMLParser):
    """Names of tags, addresses, and whether all tags are closed."""

    VOID = ("meta", "input")

    def __init__(self):
        super().__init__()
        self.open = []
        self.names = set()
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "action", "data")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_page_loads_nothing_and_closes_its_tags(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert not outline.names & {"img", "link", "iframe", "object"}
    assert all(address.startswith("https://") for address in outline.addresses)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", page)


def test_hostile_names_are_only_text(page):
    assert HOSTILE not in page
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in page
    assert page.count("<script>") == 1
    assert "49" not in page.split("onerror=alert(1)")[1][:40]


def test_a_row_tells_source_reasons_hashes_and_the_command(page):
    assert "avkit reproduce tspm_music_avqa" in page
    assert "ab" * 32 in page
    assert "9,129 of 9,129 official" in page
    assert "72.23 and 78.26 to 74.45, not 72.60" in page
    assert 'href="https://doi.org/10.1145/3664647.3680803"' in page


def test_only_addresses_of_the_web_become_links():
    assert safe_link("https://arxiv.org/abs/1") == "https://arxiv.org/abs/1"
    assert safe_link("javascript:alert(1)") == ""


def test_scores_over_years_stay_inside_the_drawing():
    drawn = 0
    for board in make_boards().values():
        plot = draw(board)
        if plot is None:
            continue
        drawn += 1
        for point in plot.points:
            assert 0 < point.x < 100
            assert 0 < point.y < 100
        heights = [step.y2 for step in plot.steps]
        assert heights == sorted(heights, reverse=True)
    assert drawn > 10


def test_impossible_rows_do_not_lead_the_years():
    plot = draw(make_boards()["music-avqa"])
    doubtful = [point for point in plot.points if point.kind == "doubtful"]
    assert min(point.y for point in plot.points) in [point.y for point in doubtful]
    assert not any(point.label for point in doubtful)


def test_words_in_place_of_figures_are_not_drawn():
    values = [replace(value, printed="better", scale="text") for value in read_published() if value.dataset == "ave"]
    board = make_boards(values=values)["ave"]
    assert draw(board) is None
    assert "better" in board_page(board, {})


def test_pages_go_where_they_are_told(capsys, tmp_path):
    out = tmp_path / "page.html"
    assert main(["leaderboard", "ref-avs", "--html", str(out)]) == 0
    assert "<h1>Ref-AVS</h1>" in out.read_text()
    assert main(["leaderboard", "ref-avs", "--html", str(out)]) == 0
    out.write_text("mine")
    assert main(["leaderboard", "ref-avs", "--html", str(out)]) == 2
    assert out.read_text() == "mine"
    assert main(["leaderboard", "avs", "--html", str(tmp_path / "many.html")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "is no page of a leaderboard" in errors[0]
    assert "names one file for 4 boards" in errors[1]
    assert main(["leaderboard", "avs", "--html", str(tmp_path / "pages")]) == 0
    names = {path.name for path in (tmp_path / "pages").iterdir()}
    assert names == {"avsbench-s4.html", "avsbench-ms3.html", "avsbench-avss.html", "scenes.html", "index.html"}


# --- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture
def opened(browser, page, tmp_path, request):
    """The page at a width and colour scheme, with what the browser complained of."""
    width, scheme = request.param
    path = tmp_path / "board.html"
    path.write_text(page)
    tab = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    complaints = []
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("dialog", lambda dialog: complaints.append("a dialog"))
    tab.on("request", lambda sent: complaints.append(sent.url) if not sent.url.startswith("file:") else None)
    tab.goto(path.as_uri())
    yield tab
    assert complaints == []
    tab.close()


SIZES = [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")]


@pytest.mark.browser
@pytest.mark.parametrize("opened", SIZES, indirect=True, ids=lambda size: f"{size[0]}-{size[1]}")
def test_the_page_fits_and_its_colours_differ_from_the_paper(opened):
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    paper, ink = opened.evaluate(
        "(() => { const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]; })()"
    )
    lightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (paper, ink)]
    assert abs(lightness[0] - lightness[1]) > 450
    assert opened.locator("tr.more:visible").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("opened", [(390, "light"), (1280, "dark")], indirect=True, ids=lambda size: str(size[0]))
def test_rows_open_sort_and_are_filtered(opened):
    table = opened.locator("article").first
    names = table.locator("tr.row td.name button")
    assert names.first.inner_text() == "AV-Master"
    names.first.click()
    assert "README of" in opened.locator("tr.more:visible").first.inner_text()
    table.locator("th button").first.click()
    assert names.first.inner_text() == "AV-Master"
    table.locator("th button").first.click()
    assert names.first.inner_text() == "TASS"
    overall = table.locator("th button", has_text="Overall")
    overall.click()
    assert names.first.inner_text() == "AV-Master"
    overall.click()
    assert names.first.inner_text() == "BiLSTM"
    opened.fill("#search", "tspm table 3")
    assert opened.locator("tr.row:visible").count() > 1
    assert opened.locator("article:visible").count() == 1
    opened.fill("#search", "")
    opened.select_option("#verdict", "within, with differences")
    [row] = opened.locator("tr.row:visible").all()
    assert "onerror" in row.inner_text()
    row.locator("button").click()
    assert "ab" * 32 in opened.locator("tr.more:visible").inner_text()
    opened.fill("#search", "nothing at all")
    assert opened.locator("#empty").is_visible()
