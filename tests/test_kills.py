# SPDX-License-Identifier: Apache-2.0
"""What kills, signals and full disks leave behind, and how training goes on after them."""

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import forked
import pytest
import torch
from safetensors.torch import load_file

import avkit.files
from avkit.cli import main
from avkit.encoders.weight_files import UnreadableWeights, read_weight_file
from avkit.errors import FileError, RunError, Stopped
from avkit.files import WriteError, atomic, remove_leftovers
from avkit.reading.tensors import read_tensors
from avkit.training.callbacks import AtomicCheckpointIO
from avkit.training.history import read_history
from avkit.training.last_checkpoint import LastCheckpoint
from avkit.training.run_folder import RunFolder, new_run
from avkit.training.run_lock import locked
from avkit.training.stop_signals import STOP_SIGNALS

ROOT = Path(__file__).parents[1]
TINY = [
    *("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--trainer.max_epochs", "1"),
    *("--data.steps_per_epoch", "3", "--data.batch_size.trimmed", "2", "--data.scenes.val_size", "2"),
    *("--data.scenes.test_size", "2", "--data.scenes.train_size", "8", "--data.image_size", "32"),
    *("--data.loader.workers", "0", "--model.system.width", "32", "--report", "false"),
]

SHORT = [
    *("--trainer.max_epochs", "1", "--data.steps_per_epoch", "2"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "2"),
]


def fit(out, name, *extra):
    return main(["fit", "--tasks", "avs", "--out", str(out), "--name", name, *TINY, *extra])


def checkpoint(value):
    return {"avkit": {"tasks": ["avs"]}, "state_dict": {"w": torch.full((4,), float(value))}, "global_step": value}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of one epoch."""
    out = tmp_path_factory.mktemp("runs")
    assert fit(out, "run") == 0
    return RunFolder(out / "run")


def environment():
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}


@pytest.fixture
def kills(monkeypatch):
    """The module `benchmarks/kills.py`."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("kills")


def test_a_run_killed_at_three_points_equals_the_one_that_was_not(kills, tmp_path):
    """In forks of this process; each point in a run of its own is slow."""
    scenario = kills.Scenario("three points", (*kills.ALONE, *SHORT))
    driver, tally = kills.Driver(tmp_path, 0), kills.Tally()
    assert main(driver.words(scenario, "through", resume=False)) == 0  # here, so that forks have all that it imports
    points = [("in validation", 1), ("between checkpoint and safetensors", 1), ("in the report", 1)]
    driver.chain(scenario, "killed", points, tally)
    assert tally.faults == []
    assert (tally.kills, tally.finished, tally.same) == (3, 1, 1)
    assert set(tally.places) == {name for name, _ in points}


@pytest.mark.slow
def test_runs_killed_at_each_point_equal_the_one_that_was_not(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "kills.py"), "--short", "--out", str(tmp_path)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert "| all | 9 | 7 | 7 | |" in result.stdout


@pytest.mark.slow
def test_commands_that_are_stopped_go_on(tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks" / "stops.py"), "--stops", "2", "--out", str(tmp_path)]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=1800, check=False)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGTERM, 143, "stopped by SIGTERM."),
        pytest.param(signal.SIGINT, 130, "stopped by Ctrl-C.", marks=pytest.mark.slow),
    ],
)
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, number, code, said):
    run = RunFolder(tmp_path / "run")
    words = ["fit", "--tasks", "avs", "--out", str(tmp_path), "--name", "run", *TINY, "--data.steps_per_epoch", "2000"]
    log = tmp_path / "log"
    pid = forked.start(words, log)
    limit = time.monotonic() + 240
    while not run.history.exists() and forked.ended(pid) is None and time.monotonic() < limit:
        time.sleep(0.02)
    os.kill(pid, number)
    ended = forked.wait(pid, 120)
    text = log.read_text()
    assert ended == code, text
    assert said in text
    assert f"--ckpt_path {run.last}" in text
    steps = torch.load(run.last, weights_only=True)["global_step"]
    assert [row["step"] for row in read_history(run.history)] == list(range(1, steps + 1))
    assert not (run.path / "lock.json").exists()


def test_a_signal_after_the_last_save_stops_before_the_test(tmp_path, monkeypatch, capsys):
    save = LastCheckpoint.on_train_epoch_end

    def save_then_signal(self, trainer, *args):
        save(self, trainer, *args)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(LastCheckpoint, "on_train_epoch_end", save_then_signal)
    assert fit(tmp_path, "run") == 143
    run = RunFolder(tmp_path / "run")
    assert f"--ckpt_path {run.last}" in capsys.readouterr().err
    monkeypatch.undo()
    assert fit(tmp_path, "run", "--ckpt_path", "last") == 0
    assert [row["step"] for row in read_history(run.history) if "task" in row] == [1, 2, 3]


def test_a_command_that_is_stopped_says_so(capsys, monkeypatch):
    import avkit.cli.info

    monkeypatch.setattr(avkit.cli.info, "run", lambda args: os.kill(os.getpid(), signal.SIGTERM) or time.sleep(5))
    assert main(["info", "--x"]) == 143
    assert "avkit info: stopped by SIGTERM. Files that it has finished are whole. Start it again: avkit info --x" in (
        capsys.readouterr().err
    )


def test_signals_wait_for_a_training_step():
    with STOP_SIGNALS.handled():
        STOP_SIGNALS.training = True
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # senders repeat themselves
        assert STOP_SIGNALS.received == signal.SIGTERM
        STOP_SIGNALS.training = False
        with pytest.raises(Stopped) as stopped:
            os.kill(os.getpid(), signal.SIGINT)
        assert stopped.value.exit_code == 130


def test_one_run_folder_has_one_training(tmp_path):
    code = "import sys,time; from pathlib import Path; from avkit.training.run_lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], env=environment(), stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(RunError, match=rf"is being trained by process {holder.pid} on .* since .*--name NAME"):
        locked(tmp_path).__enter__()
    holder.kill()
    holder.wait()
    with locked(tmp_path):  # a dead process holds nothing
        assert json.loads((tmp_path / "lock.json").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "lock.json").exists()


def claim(out):
    return str(new_run(Path(out), "run").path)


def test_starts_at_the_same_time_get_folders_of_their_own(tmp_path):
    with ProcessPoolExecutor(4, get_context("fork")) as pool:
        folders = list(pool.map(claim, [str(tmp_path)] * 20))
    assert len(set(folders)) == 20


def test_temporary_files_of_dead_processes_are_removed(tmp_path):
    with pytest.raises(KeyboardInterrupt), atomic(tmp_path / "a.json"):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    host = avkit.files._host()
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = tmp_path / "sub" / f".last-{host}-{dead.pid}-abcd1234.ckpt"
    left.parent.mkdir()
    left.touch()
    written = tmp_path / f".last-{host}-{os.getpid()}-abcd1234.ckpt"
    own = tmp_path / ".my-settings.yaml"
    earlier = tmp_path / ".best-abcd1234.safetensors"
    inner = tmp_path / ".tmpSL3Q0p"  # of safetensors, within the writing of weights
    for path in (written, own, earlier, inner):
        path.touch()
    assert remove_leftovers(tmp_path) == [left]
    assert set(remove_leftovers(tmp_path, alone=True)) == {written, earlier, inner}
    assert list(tmp_path.iterdir()) == [left.parent, own] or set(tmp_path.iterdir()) == {left.parent, own}


def test_weights_of_another_checkpoint_are_not_taken(tmp_path, capsys):
    run = RunFolder(tmp_path)
    run.create()
    saver = AtomicCheckpointIO()
    saver.save_checkpoint(checkpoint(1), run.best)
    stale = run.best.with_suffix(".safetensors").read_bytes()
    saver.save_checkpoint(checkpoint(2), run.best)
    run.best.with_suffix(".safetensors").write_bytes(stale)  # as if the process had been killed between both files
    with pytest.raises(FileError, match=r"is of an earlier checkpoint than best\.ckpt .* avkit test"):
        read_tensors(run.best.with_suffix(".safetensors"))  # as where it is named by itself
    with pytest.raises(UnreadableWeights, match="is of an earlier checkpoint"):
        read_weight_file(run.best.with_suffix(".safetensors"))
    assert main(["convert", "han", str(run.best.with_suffix(".safetensors"))]) == 2
    assert f"Write it again: avkit test {run.path}\n" in capsys.readouterr().err
    assert load_file(run.weights)["w"].tolist() == [2.0] * 4
    read_tensors(run.weights)
    run.weights.unlink()
    assert load_file(run.weights)["w"].tolist() == [2.0] * 4
    run.best.unlink()  # weights that are handed on alone
    assert load_file(run.weights)["w"].tolist() == [2.0] * 4


def test_a_cut_checkpoint_is_replaced_by_the_newest_whole_one(tmp_path):
    run = RunFolder(tmp_path)
    run.create()
    AtomicCheckpointIO().save_checkpoint(checkpoint(3), run.last)
    assert run.whole_checkpoint(run.last) == (run.last, "")
    content = run.last.read_bytes()
    run.last.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match="has no other whole checkpoint to resume from"):
        run.whole_checkpoint(run.last)
    AtomicCheckpointIO().save_checkpoint(checkpoint(2), run.best)
    path, problem = run.whole_checkpoint(run.last)
    assert path == run.best
    assert str(run.last) in problem
    flipped = bytearray(content)
    flipped[len(flipped) // 2] ^= 1
    run.last.write_bytes(flipped)
    assert run.whole_checkpoint(run.last)[0] == run.best


def test_damaged_lines_of_a_history_do_not_block_resuming(trained, capsys):
    lines = trained.history.read_bytes().splitlines(keepends=True)
    damaged = [lines[0].replace(b'"task"', b'"t\xff\xfek"'), *lines[1:]]
    trained.history.write_bytes(b"".join(damaged))
    assert len(read_history(trained.history)) == len(lines) - 1
    words = ("--trainer.max_epochs", "2", "--ckpt_path", str(trained.last))
    assert fit(trained.path.parent, "run", *words) == 0
    assert "1 damaged lines were dropped (line 1)" in capsys.readouterr().err
    rows = read_history(trained.history)
    assert [row["step"] for row in rows if "task" in row] == [2, 3, 4, 5, 6]
    assert [row["step"] for row in rows if "val/score" in row] == [3, 6]


def limited(path):
    """Save more than a file may have."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
    big = checkpoint(1) | {"state_dict": {"w": torch.zeros(1_000_000)}}
    try:
        AtomicCheckpointIO().save_checkpoint(big, path)
    except WriteError as e:
        return str(e)
    return ""


def test_a_disk_that_takes_no_more_is_named_and_the_older_checkpoint_kept(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint(checkpoint(7), path)
    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        error = pool.submit(limited, path).result()
    assert f"{path} was not written" in error
    assert "its old content is unchanged" in error
    assert torch.load(path, weights_only=True)["global_step"] == 7
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.ckpt", "last.safetensors"]
