# SPDX-License-Identifier: Apache-2.0
"""What the page answers with, without Gradio: checks of videos, the silent answer, files, and what is deleted."""

import json
import os
import re
import shutil
import socket
import sys

import numpy as np
import pytest
from clips import cut, tone, write_clip
from demo_models import random_run
from PIL import Image

from avkit.answers import Caption, Choice, ClassMask, Event, Events, Heat, Mask, StepGrid
from avkit.cli import main
from avkit.demo.answering import Answered, Answerer, Inquiry, Progress
from avkit.demo.clip_check import Limits, check_clip, shown_name
from avkit.demo.page_parts import error_html, head_html, read_inquiry
from avkit.demo.silence import describe_changes
from avkit.demo.work_folder import WorkFolder, remove_abandoned
from avkit.errors import AvkitError, MediaError
from avkit.report import Result, overlay_frames
from avkit.report.player import PlayerFiles, player_html, step_lines

HOSTILE = "\"><img src=x onerror=alert(1)> {{ 7 * 7 }}'.mp4"


def clip(path, seconds=2):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_clip(path, [k / 5 for k in range(5 * seconds)], fps=5, sound=tone(seconds, 16_000)[None])


@pytest.fixture
def work(tmp_path):
    folder = WorkFolder(tmp_path)
    yield folder
    folder.close()
    assert not folder.root.exists()


@pytest.fixture(scope="module")
def run():
    return random_run()


def upload(work, name="horn.mp4", make=clip, **options):
    path = work.uploads / "aa" / name
    path.parent.mkdir(exist_ok=True)
    make(path, **options)
    return path


# --- what a video may be ----------------------------------------------------------------------------------------------


class TestChecks:
    def refuse(self, path, match, **limits):
        with pytest.raises(MediaError, match=match) as caught:
            check_clip(path, "horn.mp4", Limits(**limits), silent_ok=False)
        assert str(path.parent) not in str(caught.value), "no path of this machine is shown"
        return str(caught.value)

    def test_a_good_one_is_opened(self, tmp_path):
        assert check_clip(clip(tmp_path / "a.mp4"), "a", Limits(), silent_ok=False).info.has_audio

    def test_a_text_file(self, tmp_path):
        (tmp_path / "a.mp4").write_text("no video at all, but words\n" * 50)
        assert "horn.mp4" in self.refuse(tmp_path / "a.mp4", "not a media file|cannot be read|damaged")

    def test_an_empty_and_a_broken_one(self, tmp_path):
        (tmp_path / "a.mp4").touch()
        self.refuse(tmp_path / "a.mp4", "horn.mp4")
        cut(clip(tmp_path / "b.mp4"), 0.4)
        self.refuse(tmp_path / "b.mp4", "horn.mp4")

    def test_without_sound(self, tmp_path):
        path = write_clip(tmp_path / "a.mp4", [0, 0.2, 0.4], fps=5)
        self.refuse(path, "has no sound.*tick 'a video may lack sound'")
        assert check_clip(path, "a", Limits(), silent_ok=True)

    def test_without_picture(self, tmp_path):
        self.refuse(write_clip(tmp_path / "a.m4a", sound=tone(1, 16_000)[None]), "has sound and no picture")
        Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
        self.refuse(tmp_path / "a.png", "still picture")

    def test_too_long_too_large_or_gone(self, tmp_path):
        path = clip(tmp_path / "a.mp4")
        self.refuse(path, "lasts 2 s, and this page takes 1 s.*--max_seconds", seconds=1)
        self.refuse(path, "this page takes 0.001 MB.*--max_megabytes", megabytes=0.001)
        self.refuse(tmp_path / "b.mp4", "not here any more")

    @pytest.mark.parametrize("limits", [{"seconds": 0}, {"megabytes": -1}, {"seconds": float("nan")}])
    def test_limits_are_above_zero(self, limits):
        with pytest.raises(ValueError, match="give a number above 0"):
            Limits(**limits)

    def test_names_are_one_short_line(self):
        assert shown_name("C:\\a\\b\nc.mp4") == "b?c.mp4"
        assert shown_name("../../etc/passwd") == "passwd"
        assert shown_name("") == "the file"
        assert len(shown_name("x" * 500)) < 90


# --- where files are --------------------------------------------------------------------------------------------------


class TestWorkFolder:
    def test_an_upload_is_taken_once(self, work):
        path = upload(work, HOSTILE.replace("/", ""))
        folder = work.new_answer("tab")
        taken = work.take_upload(str(path), "x", folder)
        assert taken == folder / "clip.mp4"
        assert not path.parent.exists()
        with pytest.raises(MediaError, match="Drop it again"):
            work.take_upload(str(path), "x", folder)

    @pytest.mark.parametrize("path", ["/etc/hostname", "{root}/../secret", "{uploads}/../../secret", "x.mp4", "a\x00b"])
    def test_other_files_are_no_uploads(self, work, tmp_path, path):
        (tmp_path / "secret").write_text("secret")
        with pytest.raises(MediaError, match="not here any more"):
            work.take_upload(path.format(root=work.root, uploads=work.uploads), "x", work.new_answer("tab"))
        assert (tmp_path / "secret").exists()

    def test_links_are_no_uploads(self, work, tmp_path):
        (tmp_path / "secret").write_text("secret")
        (work.uploads / "link.mp4").symlink_to(tmp_path / "secret")
        with pytest.raises(MediaError):
            work.take_upload(str(work.uploads / "link.mp4"), "x", work.new_answer("tab"))

    def test_answers_are_served_by_exact_names(self, work, tmp_path):
        folder = work.new_answer("tab")
        (folder / "result.json").write_text("{}")
        (work.root / "secret.json").write_text("{}")
        assert work.answer_file(folder.name, "result.json") == folder / "result.json"
        for token, name in ((folder.name, "../secret.json"), ("..", "secret.json"), (folder.name, ".json"), ("", "x")):
            assert work.answer_file(token, name) is None

    def test_a_tab_has_one_answer(self, work):
        first = work.new_answer("tab")
        other = work.new_answer("other")
        second = work.new_answer("tab")
        assert not first.exists()
        assert second.exists()
        work.end_session("tab")
        assert not second.exists()
        assert other.exists()

    def test_what_lies_long_is_swept(self, work):
        path = upload(work)
        folder = work.new_answer("tab")
        work.sweep()
        assert path.exists()
        for entry in (path.parent, folder):
            os.utime(entry, (1, 1))
        work.sweep()
        assert not path.exists()
        assert not folder.exists()

    def test_folders_of_killed_pages_are_removed(self, tmp_path, work):
        left = tmp_path / "avkit-demo-4194304-abcd"  # above the highest number of a process
        left.mkdir()
        (tmp_path / "avkit-demo-x").mkdir()
        remove_abandoned(tmp_path)
        assert not left.exists()
        assert (tmp_path / "avkit-demo-x").exists()
        assert work.root.exists()

    def test_nobody_else_may_read_it(self, work):
        assert work.root.stat().st_mode & 0o077 == 0


# --- answers ----------------------------------------------------------------------------------------------------------


def answer(answerer, path, **options):
    inquiry = Inquiry(str(path), options.pop("name", "horn.mp4"), options.pop("tasks", answerer.tasks), **options)
    return list(answerer.answer(inquiry, "tab"))


def test_an_answer_has_players_a_time_line_files_and_silence(run, work):
    path = upload(work)
    stages = answer(Answerer(run, work, Limits()), path, questions=["how many things make a sound"], name=HOSTILE)
    assert [type(stage) for stage in stages] == [Progress] * 3 + [Answered]
    assert any("avqa" in line or "how many" in line for line in stages[2].lines), "the answer in words, before drawing"
    html = stages[-1].html
    assert "<img src=x" not in html
    [folder] = list(work.answers.iterdir())
    names = {entry.name for entry in folder.iterdir()}
    assert {"overlay.mp4", "silence.mp4", "result.json", "report.html", "timeline.png"} <= names
    assert not [name for name in names if name.startswith("clip") or name == "silence.wav"], "the upload is deleted"
    assert not list(work.uploads.iterdir())
    for file in ("overlay.mp4", "silence.mp4", "timeline.png", "result.json", "report.html"):
        assert f"avkit/answers/{folder.name}/{file}" in html
    assert "only drawn shapes" in html
    assert "avkit predict zero_shot" in html, "what to use instead"
    assert "Does it listen?" in html
    record = json.loads((folder / "result.json").read_text())
    assert record["beside"]["run"] == "in silence"
    assert record["source"] == HOSTILE
    assert str(work.root) not in (folder / "result.json").read_text() + (folder / "report.html").read_text() + html


def test_a_dark_page_gets_a_dark_time_line_and_silence_may_be_left_out(run, work):
    [*_, last] = answer(Answerer(run, work, Limits()), upload(work), tasks=["avs"], dark=True, in_silence=False)
    [folder] = list(work.answers.iterdir())
    assert "timeline-dark.png" in last.html
    assert Image.open(folder / "timeline-dark.png").convert("L").getpixel((2, 2)) < 60
    assert not (folder / "silence.mp4").exists()
    assert "Does it listen?" not in last.html


def test_a_video_without_sound_is_answered_where_that_is_wanted(run, work):
    def silent(path):
        write_clip(path, [0, 0.2, 0.4], fps=5)

    [*_, last] = answer(Answerer(run, work, Limits()), upload(work, make=silent), tasks=["avs"], silent_ok=True)
    assert "In silence" not in last.html


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": []}, "No task is ticked"),
        ({"tasks": ["avz"]}, "Did you mean 'avs'"),
        ({"tasks": ["avqa"]}, "answers questions: write one"),
        ({"tasks": ["avs"], "questions": ["what sounds"]}, "Tick avqa"),
        ({"questions": ["what"] * 11}, "at most 10 questions"),
        ({"questions": ["w" * 301]}, "at most 10 questions of 300 letters"),
        ({"questions": ["?!"]}, "has no words"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(run, work, options, message):
    with pytest.raises(ValueError, match=message):
        answer(Answerer(run, work, Limits()), upload(work), **options)
    assert not list(work.answers.iterdir())


def test_a_refused_video_is_deleted_and_no_path_is_told(run, work):
    def text(path):
        path.write_text("words\n" * 100)

    with pytest.raises(AvkitError) as caught:
        answer(Answerer(run, work, Limits()), upload(work, make=text), name="notes.mp4")
    assert "notes.mp4" in str(caught.value)
    assert str(work.root) not in str(caught.value)
    assert not list(work.uploads.iterdir())
    assert not list(work.answers.iterdir())


def test_a_task_that_answers_questions_is_left_out_without_one(run, work):
    [*_, last] = answer(Answerer(run, work, Limits(), tasks=["avs", "avqa"]), upload(work))
    assert "avqa was left out: no question was asked." in last.html


@pytest.mark.parametrize(
    "video", [None, 5, "x.mp4", {}, {"path": ""}, {"path": ["/etc/passwd"]}, {"video": None}], ids=repr
)
def test_whatever_a_browser_sends_is_read(video):
    with pytest.raises(ValueError, match="There is no video yet"):
        read_inquiry(video, "avs", None, 1, "x", {})


def test_a_request_is_read():
    inquiry = read_inquiry({"path": "/x/a.mp4", "orig_name": "b.mp4"}, ["avs", 5], " one \n\ntwo", True, False, True)
    assert inquiry == Inquiry("/x/a.mp4", "b.mp4", ["avs"], ["one", "two"], True, False, True)


# --- silence and drawing ----------------------------------------------------------------------------------------------

GRID = StepGrid(1.0, 2, 2.0)


def masks(value):
    return Mask("avs", np.full((2, 4, 4), value))


@pytest.mark.parametrize(
    ("own", "silent", "sentence"),
    [
        (masks(0.9), masks(0.9), "avs: masks with sound and in silence overlap by 100 %."),
        (masks(0.9), masks(0.1), "avs: masks with sound and in silence overlap by 0 %."),
        (masks(0.1), masks(0.1), "avs: no masks, with sound and in silence."),
        (masks(0.9), None, "avs: no mask in silence."),
        (
            ClassMask("avs", np.array([[[1, 2]]]), ["a", "b"]),
            ClassMask("avs", np.array([[[1, 1]]]), ["a", "b"]),
            "avs: masks with sound and in silence overlap by 50 %.",
        ),
        (
            Choice("avqa", "how many", "two"),
            Choice("avqa", "how many", "two"),
            "avqa: \"how many\" is answered by 'two' in silence too.",
        ),
        (
            Choice("avqa", "how many", "two"),
            Choice("avqa", "how many", "one"),
            "avqa: \"how many\" is answered by 'one' in silence, not by 'two'.",
        ),
        (
            Caption("ra_ssu", ["a", "b"], GRID),
            Caption("ra_ssu", ["a", "c"], GRID),
            "ra_ssu: 1 of 2 captions stay the same in silence.",
        ),
        (
            Heat("ssl", np.eye(3)[None]),
            Heat("ssl", 2 * np.eye(3)[None]),
            "ssl: the heat in silence is nearly the same (correlation 1.00).",
        ),
        (
            Events("davel", [Event("davel", "both", "dog", 0.0, 2.0, 0.9)]),
            Events("davel", [Event("davel", "both", "dog", 1.0, 2.0, 0.9), Event("davel", "both", "cat", 0.0, 1.0)]),
            "davel: 50 % of the time of its events is left in silence; cat only in silence.",
        ),
    ],
)
def test_what_silence_changes_is_said(own, silent, sentence):
    assert describe_changes([own], [] if silent is None else [silent]) == [sentence]


def test_heat_glows_in_the_overlay_where_it_is_hottest(tmp_path):
    heat = np.zeros((1, 8, 8))
    heat[0, :2, :2] = 1.0
    result = Result(tmp_path / "a.mp4", 1.0, 1.0, ["ssl"], answers=[Heat("ssl", heat)])
    image = np.full((64, 64, 3), 50, np.uint8)
    [drawn] = overlay_frames([(0.0, image)], result)
    assert drawn[4, 4, 0] > 150
    assert drawn[4, 4, 0] > drawn[4, 4, 2] + 80
    assert (drawn[40:, 40:] == image[40:, 40:]).all()


def test_steps_and_rows_carry_their_times(tmp_path):
    answers = [Caption("ra_ssu", ["a <b> bell", "a horn"], GRID), masks(0.9)]
    result = Result(tmp_path / "a.mp4", 2.0, 1.0, ["ra_ssu"], answers=answers)
    assert step_lines(result) == [(0.0, 1.0, "a <b> bell"), (1.0, 2.0, "a horn")]
    html = player_html(result, "a", PlayerFiles("o.mp4", "t.png", "r.html"))
    assert '<tr data-start="1.0" data-end="2.0">' in html
    steps = re.search(r'data-steps="([^"]*)"', html)[1]
    assert json.loads(steps.replace("&#34;", '"')) == [[0.0, 1.0, "a <b> bell"], [1.0, 2.0, "a horn"]]
    assert "<b>" not in html


def test_the_page_names_nothing_of_other_places():
    assert not re.findall(r"https?://|//cdn", head_html())
    assert "<b>" not in error_html("<b>")


# --- the command ------------------------------------------------------------------------------------------------------


def test_help_is_short_and_says_which_demo_it_is(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--help"])
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert "127.0.0.1" in text
    assert "make demo" in text
    assert "200 by default" in text
    assert len(text.splitlines()) < 60


def refused(capsys, *words):
    assert main(["demo", *map(str, words)]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    return line


def test_wrong_words_are_refused_in_a_line(capsys, monkeypatch):
    monkeypatch.setattr("avkit.cli.demo._require_gradio", lambda: None)
    assert "--max_seconds is 0" in refused(capsys, "zero_shot", "--max_seconds", 0)
    assert "--max_waiting is 0" in refused(capsys, "zero_shot", "--max_waiting", 0)
    assert "--hop is -1" in refused(capsys, "zero_shot", "--hop", -1)
    assert "--port is 70000" in refused(capsys, "zero_shot", "--port", 70000)
    assert "Did you mean 'avqa'?" in refused(capsys, "zero_shot", "--port", 0, "--tasks", "avs,avqq", "--offline")


def test_a_port_in_use_is_said_before_anything_is_loaded(capsys, monkeypatch):
    monkeypatch.setattr("avkit.cli.demo._require_gradio", lambda: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refused(capsys, "runs/none", "--port", port)
    assert f"127.0.0.1:{port} cannot be listened at" in line
    assert "--port" in line


def test_without_gradio_the_way_to_it_is_told(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setattr("avkit.cli.demo.find_spec", lambda name: None)
    assert refused(capsys, "zero_shot") == 'avkit demo: The page needs gradio: pip install "avkit[demo]".'


@pytest.mark.slow
def test_a_real_dog_is_not_heard_in_silence(real, work):
    from avkit.inference.loading import load

    run = load("zero_shot", weights=f"sound={real / 'weights' / 'yamnet.safetensors'}", offline=True)
    path = work.uploads / "aa" / "dog.mp4"
    path.parent.mkdir()
    shutil.copy(real / "clips" / "llp" / "video" / "BjCEufrlXm4.mp4", path)
    [*_, last] = answer(Answerer(run, work, Limits()), path, tasks=["davel"])
    assert "dog" in last.html
    assert "davel: 0 % of the time of its events is left in silence." in last.html
