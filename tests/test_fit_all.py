# SPDX-License-Identifier: Apache-2.0
"""All seven tasks in one tiny run, with a head each and as sequences; then all answers about one clip."""

import json
from dataclasses import replace

import pytest
import torch
from test_fit import TINY, losses, write_clip

import avkit
from avkit.answers import Caption, Choice, Heat, Mask, ModalityLabels, StepLabels, TimedAnswer
from avkit.cli import main
from avkit.systems.base import join_encoded
from avkit.tasks import split_names
from avkit.training.run_folder import RunFolder

ALL = split_names("all")


@pytest.fixture(scope="module", params=["heads", pytest.param("sequence", marks=pytest.mark.slow)])
def whole(request, tmp_path_factory):
    """A run of all tasks with its report."""
    out = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", "all", "--out", str(out), "--name", "all", *TINY, "--data.mix", "uniform"]
    words += ["--data.batch_size.untrimmed", "2", "--data.steps_per_epoch", "12", "--trainer.max_epochs", "1"]
    words += ["--data.scenes.test_size", "2"]
    assert main([*words, "--model.interface", request.param]) == 0
    return RunFolder(out / "all")


@pytest.fixture(scope="module")
def predictor(whole):
    return avkit.load(whole.path, device="cpu")


def test_every_task_is_trained_and_reported(whole):
    assert {row["task"] for row in losses(whole)} <= set(ALL)
    assert len({row["task"] for row in losses(whole)}) > 4
    rows = json.loads((whole.path / "report.json").read_text())["rows"]
    assert {row["task"] for row in rows} == set(ALL)
    for row in rows:
        if row["metric"] in ("accuracy", "segment/Type", "cIoU@0.5", "mIoU", "Overall", "Avg"):
            assert row["baseline"] is not None
            assert row["silence"] is not None
            assert row["swapped"] is not None


def test_all_tasks_answer_about_one_clip(whole, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", seconds=3)
    words = ["predict", str(whole.path), str(clip), "--tasks", "all", "--question", "how many things are seen"]
    assert main([*words, "--out", str(tmp_path / "out"), "--device", "cpu"]) == 0
    result = json.loads((tmp_path / "out" / "clip" / "result.json").read_text())
    assert result["tasks"] == ALL
    assert len(result["answers"]) == 1
    assert "report:" in capsys.readouterr().out


def test_encoders_run_once_for_all_tasks(predictor, tmp_path):
    clip, calls = write_clip(tmp_path / "clip.mp4", seconds=3), []
    system = predictor.model.system
    hooks = [
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
        for name, part in (("visual", system.visual), ("audio", system.audio))
    ]
    result = predictor.predict(clip, question=["how many things are seen", "how many different sounds are heard"])
    for hook in hooks:
        hook.remove()
    assert sorted(calls) == ["audio", "visual"]
    assert result.tasks == ALL
    assert len(result.of(Choice)) == 2


def test_a_task_answers_the_same_alone_and_among_all(predictor, tmp_path):
    clip, question = write_clip(tmp_path / "clip.mp4", seconds=3), "how many things are seen"
    together = predictor.predict(clip, question=question)
    kinds = {"avqa": Choice, "ra_ssu": Caption, "avs": Mask, "ssl": Heat}
    for task, kind in kinds.items():
        alone = predictor.predict(clip, [task], question if task == "avqa" else None)
        assert alone.of(kind) == together.of(kind)
        assert len(alone.of(kind)) == 1
    for task in ("ave", "avvp", "davel"):
        alone = predictor.predict(clip, [task])
        assert alone.answers == [answer for answer in together.answers if answer.task == task]


def test_a_clip_longer_than_a_window(predictor, tmp_path, monkeypatch):
    monkeypatch.setattr("avkit.systems.base.WINDOW", 2)
    result = predictor.predict(write_clip(tmp_path / "clip.mp4", seconds=5), question="how many things are seen")
    assert [result.first(kind).steps for kind in (Caption, Mask, Heat, StepLabels, ModalityLabels)] == [5] * 5
    events = [event for answer in result.of(TimedAnswer) for event in answer.events()]
    assert all(0 <= event.start < event.end <= 5 for event in events)


def test_features_of_windows_are_the_windows_of_features(predictor):
    from avkit.batch import Item
    from avkit.collate import collate

    torch.manual_seed(0)
    item = Item("a", 5.0, 1.0, torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8), torch.randn(80_000) * 0.1)
    first = replace(item, frames=item.frames[:3], waveform=item.waveform[:48_000])
    second = replace(item, frames=item.frames[3:], waveform=item.waveform[48_000:])
    with torch.no_grad():
        whole, *parts = (predictor.model.system.encode(collate([x], "avs")) for x in (item, first, second))
    joined = join_encoded(parts)
    torch.testing.assert_close(joined.audio, whole.audio)
    torch.testing.assert_close(joined.visual.patches, whole.visual.patches)
    torch.testing.assert_close(joined.steps(slice(3, 5)).visual.pyramid[0], whole.visual.pyramid[0][:, 3:])
