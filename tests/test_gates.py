# SPDX-License-Identifier: Apache-2.0
"""CCNet's figure 4: gates, truth, a baseline's events and ours on one time line, in report and prediction."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_fit import write_clip
from test_fit_systems import TINY

from avkit.answers import Event, Events, Gates, Scope, StepGrid
from avkit.batch import Batch, Prediction
from avkit.cli import main
from avkit.inference.beside import load_beside
from avkit.report import Example, Result, RunReport, save_result, terminal_lines, write_report
from avkit.report.event_lanes import curve_lanes, event_lanes
from avkit.report.timeline import timeline
from avkit.systems.ccnet.network import CCNet, CCNetOptions
from avkit.systems.dense_events import EventSystem

GRID = StepGrid(hop=1.0, steps=4, end=4.0)
SMALL = {"width": 8, "length": 16, "levels": 3, "inner": 4, "channels": 8, "blocks": 1}


def gates():
    return Gates("davel", np.array([0, 0.5, 1, 0.25], np.float32), np.full(4, 0.5, np.float32), GRID)


def found(name="dog", start=1.0, end=3.0):
    return Event("davel", "both", name, start, end, 0.5)


def test_gates_are_read_joined_and_written():
    values = {"audio_gate": torch.arange(12).reshape(2, 6) / 12, "visual_gate": torch.ones(2, 6)}
    prediction = Prediction("davel", ["a", "b"], values)
    answer = Gates.read(prediction, 1, Scope("davel", GRID))
    assert answer.audio.tolist() == pytest.approx([6 / 12, 7 / 12, 8 / 12, 9 / 12])
    assert answer.times() == [0.5, 1.5, 2.5, 3.5]
    later = Gates("davel", answer.audio, answer.visual, StepGrid(1.0, 4, 8.0, first=4))
    assert Gates.join([answer, later]).times()[-1] == 7.5
    assert Gates.from_json(json.loads(json.dumps(answer.to_json()))) == answer
    assert Gates.read(Prediction("davel", ["a"], {"event_list": []}), 0, Scope("davel", GRID)) is None


@torch.no_grad()
def test_gates_of_a_prediction_are_those_of_the_finest_level():
    torch.manual_seed(0)
    network = CCNet(CCNetOptions(**SMALL), visual=5, audio=3, classes=2).eval()
    inputs = (torch.randn(1, 10, 5), torch.randn(1, 10, 3), torch.ones(1, 10, dtype=torch.bool))
    levels = network(*inputs)
    finest = network.pyramid(*network.pad(*inputs))[0]
    batch = Batch("davel", ["a"], torch.tensor([10.0]), 1.0, inputs[2])
    prediction = EventSystem.predict(None, levels, batch)
    torch.testing.assert_close(prediction["audio_gate"], finest.audio_gate[:, :10, 0])
    torch.testing.assert_close(prediction["visual_gate"], finest.visual_gate[:, :10, 0])
    without = CCNet(CCNetOptions(**SMALL, tcg=False), visual=5, audio=3, classes=2).eval()
    assert list(EventSystem.predict(None, without(*inputs), batch).values) == ["event_list"]


def test_a_report_shows_gates_and_a_baseline_over_the_time_of_the_truth(tmp_path):
    example = Example("davel", "a", events=[found()], truth_events=[found(end=4.0)], duration=4.0, beside="DAVEL <b>")
    example.beside_events = [found("cat", 0.0, 1.0)]
    example.curves = {"g_A (sound)": [(1.0, 0.0), (3.0, 1.0)]}
    dog, cat = event_lanes(example)
    assert [(span.left, span.width) for span in (*dog.true, *dog.found, *cat.beside)] == [(25, 75), (25, 50), (0, 25)]
    assert [lane.points for lane in curve_lanes(example)] == ["25.00,10.00 75.00,0.00"]
    page = write_report(tmp_path, RunReport("run", examples=[example])).read_text()
    assert 'points="25.00,10.00 75.00,0.00"' in page
    assert 'title="found by DAVEL &lt;b&gt;: cat, 0 to 1 s, 50 %"' in page
    assert "Lowest: found by DAVEL &lt;b&gt;." in page
    silent = Example("davel", "b", truth_events=[], duration=4.0, curves={"g_A (sound)": [(1.0, 0.5)]})
    assert (
        "No event was found, and there is none."
        in write_report(tmp_path / "b", RunReport("b", examples=[silent])).read_text()
    )
    record = json.loads((tmp_path / "report.json").read_text())["examples"][0]
    assert record["curves"]["g_A (sound)"] == [[1.0, 0.0], [3.0, 1.0]]
    assert record["beside_events"][0]["name"] == "cat"


def test_a_result_shows_gates_and_another_run_on_one_time_line(tmp_path):
    own = [Events("davel", [found()]), gates()]
    alone = Result(tmp_path / "clip.mp4", 4.0, 1.0, ["davel"], own)
    both = Result(tmp_path / "clip.mp4", 4.0, 1.0, ["davel"], own, beside=[Events("davel", [found("cat")])])
    both.beside_name = "unav"
    assert timeline(both) != timeline(alone)
    assert terminal_lines(both)[1:] == [
        "gates: g_A (sound) 0.00 to 1.00, g_V (pictures) 0.50 to 0.50  (davel)",
        "unav: 1.0 -   3.0 s  both: cat  (davel)",
    ]
    paths = save_result(tmp_path / "out", both)
    record = json.loads(paths["result"].read_text())
    assert record["gates"] == [{"task": "davel", "audio": [0, 0.5, 1, 0.25], "visual": [0.5] * 4}]
    assert (record["beside"]["run"], record["beside"]["events"][0]["name"]) == ("unav", "cat")
    assert [event["name"] for event in record["events"]] == ["dog"]
    assert "Beside it: unav" in paths["report"].read_text()
    assert "beside" not in json.loads(save_result(tmp_path / "alone", alone)["result"].read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run of CCNet, one of UnAV, and one of another task, each after one step."""
    out = tmp_path_factory.mktemp("runs")
    sizes = {"width": 8, "channels": 8, "inner": 4, "length": 64, "levels": 3}
    for task, system, options in (("davel", "ccnet", sizes), ("davel", "unav", sizes), ("ave", "psp", {})):
        words = ["fit", "--tasks", task, "--model.system.name", system, "--name", system, "--out", str(out), *TINY]
        words += [f"--model.system.{name}={value}" for name, value in options.items()]
        words += ["--trainer.max_steps", "1", "--data.batch_size.untrimmed", "2", "--report", "false"]
        assert main(words) == 0
    return out


def test_a_test_and_a_prediction_show_another_run(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(Events, "min_score", 0.0)  # after one step nothing is likely
    words = ["test", str(runs / "ccnet"), "--beside", str(runs / "unav")]
    assert main(words) == 0
    examples = json.loads((runs / "ccnet" / "report.json").read_text())["examples"]
    assert all(example["beside"] == "unav" and example["beside_events"] for example in examples)
    assert all(list(example["curves"]) == ["g_A (sound)", "g_V (pictures)"] for example in examples)
    clip = write_clip(tmp_path / "clip.mp4", seconds=3)
    words = ["predict", str(runs / "ccnet"), str(clip), "--beside", str(runs / "unav"), "--out", str(tmp_path / "out")]
    assert main([*words, "--no_video", "--device", "cpu"]) == 0
    record = json.loads((tmp_path / "out" / "clip" / "result.json").read_text())
    assert len(record["gates"][0]["audio"]) == 3
    assert record["beside"]["events"]
    assert "gates" not in record["beside"]
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--beside"], "--beside names no run. Give one, such as --beside runs/BASELINE."),
        (["--beside", "{runs}/psp"], "has none of the tasks davel; it has ave. Name a run of the same task"),
        (["--beside", "{runs}/none"], "none"),
        (["--beside={runs}/unav", "--data.image_size", "32"], "reads pictures of"),
    ],
)
def test_a_run_that_cannot_stand_beside(runs, words, message, capsys):
    assert main(["test", str(runs / "ccnet"), *(word.format(runs=runs) for word in words)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_prediction_refuses_a_run_of_another_task(runs, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", seconds=3)
    words = ["predict", str(runs / "ccnet"), str(clip), "--beside", str(runs / "psp"), "--out", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 2
    assert "has none of the tasks davel" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main([*words, "--stream"]) == 2
    assert "Leave out --stream or --beside" in capsys.readouterr().err


@pytest.mark.parametrize(("stored", "features"), [({}, None), ({"davel": "inputs"}, "i3d_raft")])
def test_a_run_beside_makes_features_by_the_same_recipes(stored, features, monkeypatch):
    given = {}

    def record(run, device, **options):
        given.update(options, run=run, device=device)
        return SimpleNamespace(any_answer=False)

    monkeypatch.setattr("avkit.inference.beside.load", record)
    own = SimpleNamespace(stored=stored, device="cpu", any_answer=True)
    other = load_beside("runs/unav", own, trust=True, features="i3d_raft", weights="none", names="names.txt")
    assert other.any_answer
    assert given == {
        "run": "runs/unav",
        "device": "cpu",
        "trust": True,
        "features": features,
        "weights": "none" if features else None,
        "names": None,  # of converted checkpoints alone
    }
