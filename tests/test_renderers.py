# SPDX-License-Identifier: Apache-2.0
"""Answers of kinds that avkit does not know reach the terminal, result.json, the page, the timeline and the report."""

import io
import json

import numpy as np
import pytest
from outside_parts import Cover
from PIL import Image
from test_fit import TINY, write_clip

import avkit
from avkit.answers import Caption, ClassMask, Event, Events, Heat, Mask, Number, StepGrid, StepLabels, Text, Values
from avkit.cli import main
from avkit.report import JSONRenderer, Renderer, Result, StreamWriter, register, save_result, terminal_lines
from avkit.report.renderers import all_renderers, find_renderer, group_answers
from avkit.report.renderers.table import RENDERERS
from avkit.report.timeline import timeline
from avkit.training.run_folder import RunFolder

COVER = "outside_parts:CoverTask"
OPEN = "outside_parts:OpenTask"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two tasks from outside, one with a kind of its own, one that declares none."""
    out = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", f"{COVER},{OPEN}", "--out", str(out), "--name", "run", *TINY]
    assert main([*words, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "2"]) == 0
    return RunFolder(out / "run")


@pytest.fixture
def renderers(monkeypatch):
    """The table of renderers, as it was after the test."""
    before = dict(RENDERERS)
    yield
    RENDERERS.clear()
    RENDERERS.update(before)


def result(tmp_path, *answers):
    return Result(tmp_path / "clip.mp4", 3.0, 1.0, ["a"], list(answers))


def height(picture):
    return Image.open(io.BytesIO(picture)).size[1]


def test_a_run_with_outside_kinds_is_shown_everywhere(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("avkit.systems.base.WINDOW", 2)
    clip = write_clip(tmp_path / "clip.mp4", seconds=3)
    assert main(["predict", str(run.path), str(clip), "--out", str(tmp_path / "out"), "--no_video", "--trust"]) == 0
    record = json.loads((tmp_path / "out" / "clip" / "result.json").read_text())
    cover, values = record["other_answers"]
    assert (cover["kind"], cover["task"]) == ("cover", COVER)
    assert 0 <= cover["share"] <= 1
    assert (values["kind"], len(values["windows"])) == ("values", 2)
    assert values["windows"][0]["mask"] == "float32 (2, 32, 32)"
    text = capsys.readouterr().out
    assert f'{{"share": {cover["share"]}}}  ({COVER})' in text
    page = (tmp_path / "out" / "clip" / "report.html").read_text()
    assert f"cover ({COVER})" in page
    assert f"{cover['share']}" in page


def test_the_report_of_a_run_shows_outside_kinds_beside_the_truth(run):
    examples = json.loads((run.path / "report.json").read_text())["examples"]
    notes = {example["task"]: example["note"] for example in examples}
    assert notes[COVER].startswith('Predicted: {"share": ')
    assert ' True: {"share": ' in notes[COVER]
    assert notes[OPEN].startswith('Predicted: {"windows": ')


def test_outside_kinds_are_answered_from_python(run, tmp_path):
    predictor = avkit.load(run.path, device="cpu", trust=True)
    answers = predictor.predict(write_clip(tmp_path / "clip.mp4", seconds=2)).answers
    assert [type(answer) for answer in answers] == [Cover, Values]
    assert predictor.tasks_with(Cover) == [COVER]
    assert predictor.tasks_with(Mask) == []
    with pytest.raises(ValueError, match="has no task that answers questions"):
        predictor.predict(tmp_path / "clip.mp4", question="who sings?")


def test_the_timeline_has_a_line_for_an_unknown_kind(tmp_path):
    steps = StepLabels("ave", ["", "dog", ""], StepGrid(1.0, 3, 3.0))
    plain = timeline(result(tmp_path, steps))
    with_line = timeline(result(tmp_path, steps, Cover("a", 0.25)))
    assert height(with_line) > height(plain)


def test_a_stream_holds_unknown_kinds_once_per_window(tmp_path):
    with StreamWriter(tmp_path) as writer:
        writer.write(0.0, result(tmp_path, Cover("a", 0.25)))
        writer.write(3.0, result(tmp_path, Cover("a", 0.5)))
    lines = [json.loads(line) for line in writer.path.read_text().splitlines()]
    shares = [[answer["share"] for answer in line.get("other_answers", [])] for line in lines]
    assert shares == [[0.25], [], [], [0.5], [], []]


def test_texts_and_numbers_are_shown(tmp_path):
    given = result(tmp_path, Text("story", "Once <b>upon</b> a time."), Number("count", 3.0))
    assert terminal_lines(given) == ["Once <b>upon</b> a time.  (story)", "3  (count)"]
    paths = save_result(tmp_path / "out", given)
    record = json.loads(paths["result"].read_text())
    assert [answer["kind"] for answer in record["other_answers"]] == ["text", "number"]
    assert "Once &lt;b&gt;upon&lt;/b&gt; a time." in paths["report"].read_text()


def test_known_kinds_leave_no_trace_of_others(tmp_path):
    given = result(tmp_path, Caption("ra_ssu", ["a", "b", "c"], StepGrid(1.0, 3, 3.0)))
    assert "other_answers" not in json.loads(save_result(tmp_path, given)["result"].read_text())


class CoverRenderer(JSONRenderer[Cover]):
    """Shows the share in percent, and on frames."""

    rank = -1

    def terminal_lines(self, answers):
        return [f"{100 * answer.share:.0f} % sound" for answer in answers]

    def page_block(self, answers, result):
        return f"<h2>{100 * answers[0].share:.0f} % sound</h2>"

    def subtitle(self, answer, step):
        return f"{100 * answer.share:.0f} %"

    def record(self, answers):
        return {"cover": answers[0].share}

    def step_record(self, answer, step, size):
        return {"cover_so_far": answer.share * (step + 1)}


def test_an_outside_package_registers_a_renderer(tmp_path, renderers):
    register(Cover, CoverRenderer())
    frames = np.zeros((3, 3, 8, 8), np.uint8)
    given = Result(tmp_path / "clip.mp4", 3.0, 1.0, ["a"], [Text("b", "text"), Cover("a", 0.25)], frames=frames)
    paths = save_result(tmp_path / "out", given)
    record = json.loads(paths["result"].read_text())
    assert record["cover"] == 0.25
    assert [step["cover_so_far"] for step in record["steps"]] == [0.25, 0.5, 0.75]
    assert [answer["kind"] for answer in record["other_answers"]] == ["text"]
    page = paths["report"].read_text()
    assert "<h2>25 % sound</h2>" in page
    assert "<div>25 %</div>" in page
    assert terminal_lines(given) == ["text  (b)", "25 % sound"]
    assert isinstance(group_answers(given.answers)[0][0], CoverRenderer)


def test_a_kind_derived_from_a_known_one_is_drawn_like_it(renderers):
    class OwnMask(Mask):
        kind = "own_mask"

    class OwnEvents(Events):
        kind = "own_events"

    assert find_renderer(OwnMask) is find_renderer(Mask)
    assert find_renderer(OwnEvents) is find_renderer(StepLabels)
    assert isinstance(find_renderer(Cover), JSONRenderer)
    register(OwnMask, Renderer())
    assert find_renderer(OwnMask) is not find_renderer(Mask)


def test_every_renderer_is_listed_once():
    renderers = all_renderers()
    assert len({id(renderer) for renderer in renderers}) == len(renderers)
    assert [renderer.rank for renderer in renderers] == sorted(renderer.rank for renderer in renderers)


def test_events_of_several_tasks_stay_in_the_order_of_tasks(tmp_path):
    grid = StepGrid(1.0, 3, 3.0)
    later = Events("davel", [Event("davel", "both", "cat", 0.0, 1.0)])
    given = result(tmp_path, later, StepLabels("ave", ["dog", "", ""], grid))
    record = json.loads(save_result(tmp_path, given)["result"].read_text())
    assert [event["task"] for event in record["events"]] == ["davel", "ave"]


def test_classes_are_tinted_before_masks_and_the_mask_says_what_sounds(tmp_path):
    mask = Mask("avs", np.zeros((3, 4, 4), np.float32))
    mask.maps[0] = 1
    classes = ClassMask("avs", np.full((3, 4, 4), 2), ["cat", "dog"])
    frames = np.zeros((3, 3, 8, 8), np.uint8)
    heat = Heat("ssl", np.random.default_rng(0).random((3, 2, 2)))
    given = Result(tmp_path / "a", 3.0, 1.0, ["avs"], [classes, mask, heat], frames=frames)
    record = json.loads(save_result(tmp_path, given)["result"].read_text())
    assert record["sounding"] == [[0, 1]]
    page = (tmp_path / "report.html").read_text()
    assert page.count("<strong>dog</strong>") == 3
    assert page.index("Glowing:") < page.index("Tinted:")
    assert page.count("Tinted:") == 1
