# SPDX-License-Identifier: Apache-2.0
"""The sound's attention with and without the prompt's gate (AV-Unified, Fig. 4): values, answer, files and examples."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avkit.answers import Choice, PromptHeat, Scope, StepGrid
from avkit.cli.examples import examples
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.report.records import Result
from avkit.report.result import save_result
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.training.module import AVModel

SCENES = Scenes("train", size=4, image_size=32)


def model(**options):
    torch.manual_seed(0)
    return AVModel("avqa,ave", SCENES.vocabulary, AVUnifiedConfig(width=32, **options)).eval()


def batch(task="avqa", text=None):
    fields = {"avqa": ("answer", "question_type"), "ave": ("audio_segments", "visual_segments")}[task]
    given = collate([SCENES.item(0, frozenset(fields))] * 2, task)
    return given if text is None else replace(given, text=text)


@pytest.mark.parametrize("form", ["default", "paper"])
def test_the_question_changes_the_prompted_map_alone(form):
    net = model(form=form)
    with torch.no_grad():
        values = net(batch(text=["how many things are heard ?", "where is the first sound ?"])).values
    plain, prompted = values["heat_plain"], values["heat_prompted"]
    torch.testing.assert_close(plain[0], plain[1])
    assert (prompted[0] - prompted[1]).abs().max() > 1e-5
    for maps in (plain, prompted):
        torch.testing.assert_close(maps.sum((-1, -2)), torch.ones(maps.shape[:2]))
    torch.testing.assert_close(values["heat_step_scores"].sum(-1), torch.ones(2))


def test_even_weights_leave_the_map_as_it_is():
    net = model()
    for layer in (net.system.gate.query_space, net.system.gate.query_time):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        values = net(batch()).values
    torch.testing.assert_close(values["heat_plain"], values["heat_prompted"])
    assert values["heat_plain"].std() > 0


@pytest.mark.parametrize("options", [{"gate": False}, {"spatial": False}])
def test_there_is_no_map_without_gate_or_spatial_module(options):
    with torch.no_grad():
        assert "heat_plain" not in model(**options)(batch()).values


def test_other_tasks_and_training_make_no_map():
    net = model()
    with torch.no_grad():
        assert "heat_plain" not in net(batch("ave")).values
        assert "heat_plain" not in net.train()(batch()).values


def heat(steps=3, question="what?"):
    rng = np.random.default_rng(steps)
    return PromptHeat(
        "avqa", question, rng.random((steps, 4, 4)), rng.random((steps, 4, 4)), [round(1 / steps, 4)] * steps
    )


def test_an_answer_is_stored_and_joined():
    one, other = heat(2), heat(3)
    assert PromptHeat.from_json(json.loads(json.dumps(one.to_json()))) == one
    joined = PromptHeat.join([one, other])
    assert joined.steps == 5
    np.testing.assert_array_equal(joined.prompted, np.concatenate([one.prompted, other.prompted]))
    assert sum(joined.step_weights) == pytest.approx(1, abs=1e-3)
    assert PromptHeat.join([one]) == one


def result(answers, steps=3):
    frames = np.zeros((steps, 3, 16, 24), np.uint8)
    return Result(Path("a.mp4"), float(steps), 1.0, ["avqa"], list(answers), frames=frames)


def test_files_and_record_hold_both_maps_of_each_question(tmp_path):
    first, second = heat(), heat(question="where?")
    paths = save_result(tmp_path, result([first, second]))
    record = json.loads(paths["result"].read_text())["prompt_heat"]
    assert [entry["question"] for entry in record] == ["what?", "where?"]
    step = record[1]["steps"][2]
    row, column = np.unravel_index(second.prompted[2].argmax(), (4, 4))
    assert step["prompted"] == [(column + 0.5) / 4, (row + 0.5) / 4]
    assert (tmp_path / step["plain_file"]).is_file()
    assert (tmp_path / step["prompted_file"]).is_file()
    assert len(list((tmp_path / "prompt_heat").rglob("*.png"))) == 12
    save_result(tmp_path, result([heat(2)], steps=2))
    assert len(list((tmp_path / "prompt_heat").rglob("*.png"))) == 4
    save_result(tmp_path, result([]))
    assert not (tmp_path / "prompt_heat").exists()


def test_a_test_sample_shows_both_maps(tmp_path):
    net = model()
    (example, *_) = examples(net, {"avqa": [batch()]})
    assert list(example.strips) == ["the sound's attention to the picture", "the same weighed by the question"]
    assert all(len(maps) == len(example.images) for maps in example.strips.values())
    scope = Scope("avqa", StepGrid(1.0, 3, 3.0), question="what?")
    with torch.no_grad():
        values = net(batch())
    assert PromptHeat.read(values, 0, scope).steps == 3
    assert Choice.read(values, 0, replace(scope, answers=SCENES.vocabulary.answers)) is not None
