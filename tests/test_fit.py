# SPDX-License-Identifier: Apache-2.0
"""Whole runs on tiny scenes: train, be killed, resume, test, predict; and what goes wrong on the way."""

import errno
import json
import os
import signal
import sys
import time

import forked
import numpy as np
import pytest
import torch
from clips import tone
from clips import write_clip as write_media
from safetensors.torch import load_file

import avkit
from avkit.answers import Caption, Choice, Mask
from avkit.cli import main
from avkit.metrics import MaskIoU
from avkit.training.callbacks import read_history
from avkit.training.run_folder import RunFolder

TINY = [
    *("--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.steps_per_epoch", "5", "--data.batch_size.trimmed", "2", "--data.batch_size.whole", "2"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "4", "--data.scenes.train_size", "24"),
    *("--data.image_size", "32", "--data.loader.workers", "0", "--model.system.dropout", "0.1"),
]


def fit(out, name, *extra, tasks="ra_ssu,avs,avqa"):
    return main(["fit", "--tasks", tasks, "--out", str(out), "--name", name, *TINY, *extra])


def write_clip(path, seconds, audio=True, video=True):
    times = [k / 5 for k in range(5 * seconds)] if video else None
    return write_media(path, times, fps=5, sound=tone(seconds, 16_000) if audio else None)


def losses(run):
    return [row for row in read_history(run.history) if "task" in row]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """One uninterrupted run with its report, shared by the tests below."""
    out = tmp_path_factory.mktemp("runs")
    assert fit(out, "whole") == 0
    return RunFolder(out / "whole")


def test_fit_leaves_a_complete_run(whole):
    for path in (whole.config, whole.facts, whole.history, whole.last, whole.best, whole.weights):
        assert path.stat().st_size > 0, path
    assert [row["step"] for row in losses(whole)] == list(range(1, 11))
    assert {row["task"] for row in losses(whole)} <= {"ra_ssu", "avs", "avqa"}
    assert not [p.name for p in whole.path.rglob(".*")]


def test_two_processes_equal_one_with_the_whole_batch(tmp_path):
    same = ("--model.system.dropout", "0", "--report", "false", "--trainer.max_epochs", "1")
    plain = ("--optimizer", "torch.optim.SGD", "--optimizer.lr")  # which does not enlarge tiny gradients
    for name, lr, devices in (("start", "0", "1"), ("one", "0.05", "1"), ("two", "0.05", "2")):
        assert fit(tmp_path, name, *same, *plain, lr, "--trainer.devices", devices, tasks="avs,avqa") == 0
    runs = [RunFolder(tmp_path / name) for name in ("start", "one", "two")]
    start, one, two = (
        torch.cat([x.flatten() for x in load_file(run.last.with_suffix(".safetensors")).values()]) for run in runs
    )
    assert (two - one).norm() < 0.01 * (one - start).norm()  # after five steps; 1e-5 after one
    scores = [next(row["val/score"] for row in read_history(run.history) if "val/score" in row) for run in runs]
    assert scores[2] == pytest.approx(scores[1], abs=1e-3)


def test_report_has_every_headline_with_baseline_and_listening(whole):
    report = json.loads((whole.path / "report.json").read_text())
    rows = {(r["task"], r["metric"]): r for r in report["rows"]}
    for key in [("avs", "mIoU"), ("ra_ssu", "mIoU"), ("ra_ssu", "BLEU-4"), ("avqa", "Overall")]:
        row = rows[key]
        assert None not in (row["value"], row["baseline"], row["silence"], row["swapped"]), key
        assert row["clips"] == row["of"] == 4
        assert (row["n"], row["counted"]) == (4, "questions" if key[0] == "avqa" else "clips")
        for column in ("", "baseline_", "silence_", "swapped_"):
            value = row[column.rstrip("_") or "value"]
            assert row[f"{column}low"] <= value <= row[f"{column}high"], (key, column)
    with np.load(whole.path / "resamples.npz", allow_pickle=False) as draws:
        assert draws["avs/mIoU"].shape == (1000,)
        assert draws["clips/avs"].tobytes().startswith(b"4 ")
    assert report["facts"]["provenance"]["seed"] == "0"
    assert (whole.path / "report.html").read_text().startswith("<!doctype html>")


def test_report_shows_the_worst_samples_first(whole):
    report = json.loads((whole.path / "report.json").read_text())
    by_task = {}
    for example in report["examples"]:
        by_task.setdefault(example["task"], []).append(float(example["score"].rpartition(" ")[2]))
    assert set(by_task) == {"ra_ssu", "avs", "avqa"}
    for scores in by_task.values():
        assert len(scores) == 4
        assert scores == sorted(scores)


def test_every_score_that_can_have_an_interval_has_one(whole):
    for row in json.loads((whole.path / "report.json").read_text())["rows"]:
        if row["value"] is None or row["n"] <= 1:
            continue
        if row["metric"] == "CIDEr" and row["low"] is None:  # has no largest value, and here all draws are equal
            assert row["high"] is None
            continue
        assert row["low"] <= row["value"] <= row["high"], row


def kill_and_resume(folder, kill_at, *extra, tasks="ra_ssu,avs,avqa"):
    """The losses of a run that is killed once `kill_at` steps are on disk, and resumed."""
    run = RunFolder(folder / "killed")
    words = ["fit", "--tasks", tasks, "--out", str(folder), "--name", "killed", *TINY, *extra]
    process = forked.start([*words, "--save_steps", "1", "--report", "false"], os.devnull)
    limit = time.monotonic() + 120
    while len(losses(run)) < kill_at and time.monotonic() < limit:
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    forked.wait(process, 60)
    assert kill_at <= len(losses(run)) < 10, "the run was not killed in the middle"
    assert fit(folder, "killed", *extra, "--ckpt_path", "last", "--report", "false", tasks=tasks) == 0
    return losses(run)


@pytest.mark.parametrize(
    "kill_at", [pytest.param(2, marks=pytest.mark.slow), 6, pytest.param(8, marks=pytest.mark.slow)]
)
def test_killed_run_resumes_bit_for_bit(whole, tmp_path, kill_at):
    assert kill_and_resume(tmp_path, kill_at) == losses(whole)


@pytest.mark.slow
def test_two_processes_resume_where_they_were_killed(tmp_path):
    two = ("--trainer.devices", "2")
    assert fit(tmp_path, "through", *two, "--report", "false", tasks="ra_ssu,avs") == 0
    assert kill_and_resume(tmp_path, 4, *two, tasks="ra_ssu,avs") == losses(RunFolder(tmp_path / "through"))


@pytest.mark.slow
def test_balanced_tasks_resume_where_they_were_killed(tmp_path):
    balanced = ("--model.surgery", "true", "--model.balance", "uncertainty")
    assert fit(tmp_path, "through", *balanced, "--report", "false", tasks="avs,avqa") == 0
    through = RunFolder(tmp_path / "through")
    assert kill_and_resume(tmp_path, 6, *balanced, tasks="avs,avqa") == losses(through)
    state = torch.load(through.last, weights_only=True)
    assert set(state["surgery"]) == {"avs", "avqa"}
    assert state["state_dict"]["balance.log_variance"].abs().sum() > 0
    assert avkit.load(through.path, device="cpu").tasks == ["avs", "avqa"]


def test_test_and_validate_of_a_run(whole, capsys):
    assert main(["validate", str(whole.path), "--trainer.enable_progress_bar", "false"]) == 0
    assert "mIoU" in capsys.readouterr().out
    before = json.loads((whole.path / "report.json").read_text())["rows"]
    assert main(["test", str(whole.path), "--trainer.enable_progress_bar", "false"]) == 0
    after = json.loads((whole.path / "report.json").read_text())["rows"]
    assert [r["value"] for r in after] == pytest.approx([r["value"] for r in before], nan_ok=True, abs=1e-6)


def test_predict_writes_everything(whole, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", seconds=3)
    question = "how many things are seen"
    words = ["predict", str(whole.path), str(clip), "--question", question, "--out", str(tmp_path / "out")]
    assert main([*words, "--device", "cpu"]) == 0
    out = tmp_path / "out" / "clip"
    for name in ("result.json", "timeline.png", "report.html", "overlay.mp4"):
        assert (out / name).stat().st_size > 0
    result = json.loads((out / "result.json").read_text())
    assert result["answers"][0]["question"] == question
    assert question in capsys.readouterr().out
    from avkit.media.decode import probe

    assert probe(out / "overlay.mp4").has_audio


def test_load_answers_from_python(whole, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", seconds=2)
    predictor = avkit.load(whole.path, device="cpu")
    result = predictor.predict(clip, tasks=["avs"])
    assert result.masks is result.first(Mask).maps
    metric = MaskIoU(form="probabilities")
    metric.update(result.masks, result.masks > 0.5)
    assert metric.compute().item() == pytest.approx(1)
    with pytest.raises(ValueError, match="the masks of a prediction are probabilities"):
        MaskIoU().update(result.masks, result.masks > 0.5)
    assert result.first(Caption) is None
    assert not result.of(Choice)
    everything = predictor.predict(clip)
    assert everything.tasks == ["ra_ssu", "avs"]
    assert "avqa was left out" in everything.notes[0]


def test_predict_goes_on_after_a_broken_clip(whole, tmp_path, capsys):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    clip = write_clip(tmp_path / "clip.mp4", seconds=1)
    words = ["predict", str(whole.path), str(broken), str(clip), "--tasks", "avs", "--out", str(tmp_path / "out")]
    assert main([*words, "--no_video"]) == 1
    assert (tmp_path / "out" / "clip" / "result.json").exists()
    assert "broken.mp4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--tasks", "avz"], "Did you mean 'avs'"),
        (["--tasks", "avqa"], "needs a question"),
        (["--question", "?!"], "has no words"),
        (["--tasks", "avs", "--question", "who sings"], "'avqa' is not among"),
    ],
)
def test_predict_refuses(whole, tmp_path, capsys, words, message):
    clip = write_clip(tmp_path / "clip.mp4", seconds=1)
    assert main(["predict", str(whole.path), str(clip), "--out", str(tmp_path / "out"), *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"audio": False}, "has no audio track"),
        ({"video": False}, "has no video track"),
    ],
)
def test_predict_names_the_missing_track(whole, tmp_path, capsys, made, message):
    clip = write_clip(tmp_path / "clip.mp4", seconds=1, **made)
    assert main(["predict", str(whole.path), str(clip), "--tasks", "avs", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("content", "message"), [(b"", "is empty"), (b"words", "not a media file")])
def test_predict_names_what_is_no_video(whole, tmp_path, capsys, content, message):
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(content)
    assert main(["predict", str(whole.path), str(clip), "--tasks", "avs", "--out", str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


def test_predict_refuses_a_truncated_video(whole, tmp_path, capsys):
    clip = write_clip(tmp_path / "clip.mp4", seconds=2)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert main(["predict", str(whole.path), str(clip), "--tasks", "avs", "--out", str(tmp_path / "out")]) == 2
    assert "clip.mp4" in capsys.readouterr().err


def test_checkpoint_of_other_tasks_is_refused(whole, tmp_path, capsys):
    assert fit(tmp_path, "other", "--ckpt_path", str(whole.last), tasks="avs") == 2
    error = capsys.readouterr().err
    assert "has heads for ra_ssu,avs,avqa, this run is for avs" in error
    assert "--tasks ra_ssu,avs,avqa" in error


def test_checkpoint_of_another_vocabulary_is_refused(whole, tmp_path, capsys, monkeypatch):
    from avkit.batch import Vocabulary
    from avkit.datasets.scenes import Scenes

    full = Scenes("train").vocabulary
    other = Vocabulary(full.classes, [*full.answers[:-1], "perhaps"], full.words)
    monkeypatch.setattr(Scenes, "vocabulary", other)
    assert fit(tmp_path, "other", "--ckpt_path", str(whole.last)) == 2
    assert "trained with other answers: 23 there, 23 here, such as 'perhaps'" in capsys.readouterr().err


def test_foreign_checkpoint_is_refused(tmp_path, capsys):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {}, "code": print}, path)
    assert fit(tmp_path, "other", "--ckpt_path", str(path), tasks="avs") == 2
    assert "cannot be read as a checkpoint" in capsys.readouterr().err


def test_nothing_to_resume(tmp_path, capsys):
    assert fit(tmp_path, "never", "--ckpt_path", "last", tasks="avs") == 2
    assert "No run called 'never'" in capsys.readouterr().err


def test_full_disk_leaves_the_last_checkpoint_whole(whole, tmp_path, capsys, monkeypatch):
    saved = []
    real = torch.save

    def save(checkpoint, path):
        if saved:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(path)
        real(checkpoint, path)

    monkeypatch.setattr(torch, "save", save)
    assert fit(tmp_path, "full", "--save_steps", "1", tasks="avs") == 2
    error = capsys.readouterr().err
    assert "The disk is full" in error
    run = RunFolder(tmp_path / "full")
    assert torch.load(run.last, weights_only=True)["global_step"] == 1
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["last.ckpt", "last.safetensors"]


def test_unwritable_run_folder(tmp_path, capsys):
    place = tmp_path / "file"
    place.write_text("not a folder")
    assert fit(place, "x", tasks="avs") == 2
    error = capsys.readouterr().err
    assert "is not writable" in error
    assert "--out" in error


def test_nan_loss_stops_at_once(tmp_path, capsys, monkeypatch):
    from avkit.heads.mask import MaskHead

    plain = MaskHead.loss
    monkeypatch.setattr(MaskHead, "loss", lambda *a: {k: v * float("nan") for k, v in plain(*a).items()})
    assert fit(tmp_path, "nan", tasks="avs") == 2
    error = capsys.readouterr().err
    assert "The loss of task 'avs' is not a finite number at step 0" in error
    assert "--model.lr" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_gpu_asked_for_where_there_is_none(tmp_path, capsys):
    assert fit(tmp_path, "gpu", "--trainer.accelerator", "gpu", tasks="avs") == 2
    assert "asks for a GPU and there is none" in capsys.readouterr().err
    assert main(["predict", "runs/x", "clip.mp4", "--device", "cuda:0"]) == 2
    assert "--device cuda:0 asks for a GPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tasks", "message"),
    [("avz", "Did you mean 'avs'"), ("", "No task is named"), (",", "No task is named"), ("avs,avs", "named twice")],
)
def test_task_names_are_checked(tmp_path, capsys, tasks, message):
    with pytest.raises(SystemExit):
        sys.exit(fit(tmp_path, "x", tasks=tasks))
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_not_a_run(tmp_path, capsys):
    assert main(["test", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert main(["predict", str(tmp_path), "x.mp4"]) == 2
    assert "is not a run folder" in capsys.readouterr().err
