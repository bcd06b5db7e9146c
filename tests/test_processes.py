# SPDX-License-Identifier: Apache-2.0
"""Several processes train and test one run, whoever starts them, and give what one gives, bit for bit."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from launching import Launcher, free_port, machines, slurm, torchrun
from safetensors.torch import load_file
from test_fit import TINY

from avkit.cli import main
from avkit.cli.launched import Started, set_processes, started_processes
from avkit.errors import RunError
from avkit.reading.text import read_json
from avkit.training.accumulation import gradients_of
from avkit.training.callbacks import read_history
from avkit.training.processes import _places, check_versions
from avkit.training.run_folder import RunFolder
from avkit.training.shared_evaluation import ResultsInOrder

ROOT = Path(__file__).parents[1]
SMALL = [*TINY, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "3", "--data.scenes.val_size", "3"]
SMALL += ["--data.scenes.test_size", "3", "--model.system.width", "32"]


@pytest.fixture(scope="module")
def launcher():
    helper = Launcher()
    yield helper
    helper.end()


def words(out, name, *extra, tasks="avs,avqa"):
    return ["fit", "--tasks", tasks, "--out", str(out), "--name", name, *SMALL, *extra]


@pytest.fixture(scope="module")
def pair(launcher, tmp_path_factory):
    """A run of two processes that torchrun would have started on one machine, with its report."""
    out = tmp_path_factory.mktemp("pair")
    codes, logs = launcher.run(torchrun(1, 2), words(out, "run"), out)
    assert codes == [0, 0], logs
    return RunFolder(out / "run"), logs


def weights(run):
    return load_file(run.last.with_suffix(".safetensors"))


def equal_weights(one, other):
    return all(torch.equal(x, weights(other)[name]) for name, x in weights(one).items())


def reported(folder):
    """What a report says of the figures and examples, and the files beside it."""
    report = read_json(folder / "report.json")
    kept = {name: report[name] for name in ("rows", "examples")}
    return kept, (folder / "predictions.jsonl").read_text(), (folder / "resamples.npz").read_bytes()


def test_the_first_process_alone_writes_and_prints(pair):
    run, (first, second) = pair
    assert [path.name for path in run.path.parent.iterdir() if path.is_dir()] == ["run"]
    assert "cpu in 2 processes" in first
    assert second == ""
    assert [row["step"] for row in read_history(run.history) if "task" in row] == [1, 2, 3]
    assert read_json(run.facts)["command"][0] == "avkit"


def test_one_process_tests_to_the_same_figures_bit_for_bit(pair, tmp_path):
    run, _ = pair
    alone = tmp_path / "run"
    shutil.copytree(run.path, alone)
    assert main(["test", str(alone), "--trainer.enable_progress_bar", "false"]) == 0
    assert reported(alone) == reported(run.path)


def test_two_processes_test_and_validate_as_one_does(pair, launcher, tmp_path, capsys):
    run, _ = pair
    several = tmp_path / "run"
    shutil.copytree(run.path, several)
    bar = ("--trainer.enable_progress_bar", "false")
    (several / "report.json").unlink()
    codes, logs = launcher.run(torchrun(1, 2), ["test", str(several), *bar], tmp_path)
    assert codes == [0, 0], logs
    assert reported(several) == reported(run.path)
    codes, logs = launcher.run(torchrun(2, 1), ["validate", str(several), *bar], tmp_path)
    assert codes == [0, 0], logs
    capsys.readouterr()
    assert main(["validate", str(run.path), *bar]) == 0
    assert logs == [capsys.readouterr().out, ""]


@pytest.mark.parametrize("kind", ["slurm", pytest.param("machines", marks=pytest.mark.slow)])
def test_other_launchers_give_the_same_weights(pair, launcher, tmp_path, kind):
    run, _ = pair
    extra = ("--trainer.num_nodes", "2") if kind == "machines" else ()
    environments = machines(2) if kind == "machines" else slurm(2)
    codes, logs = launcher.run(environments, words(tmp_path, "run", *extra, "--report", "false"), tmp_path)
    assert codes == [0, 0], logs
    assert equal_weights(run, RunFolder(tmp_path / "run"))
    assert len(list(tmp_path.glob("*/run.json"))) == 1


@pytest.mark.parametrize("goes_on", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_fsdp2_trains_as_copies_of_the_model_do(pair, launcher, tmp_path, goes_on):
    """Each process keeps half of the weights; files are whole, and are gone on from and tested as others are."""
    run, _ = pair
    spread = ("--trainer.strategy", "fsdp2", "--report", "false")
    codes, logs = launcher.run(torchrun(1, 2), words(tmp_path, "run", *spread), tmp_path)
    assert codes == [0, 0], logs
    own = RunFolder(tmp_path / "run")
    assert weights(own).keys() == weights(run).keys()
    for name, tensor in weights(own).items():
        torch.testing.assert_close(tensor, weights(run)[name], atol=1e-4, rtol=1e-4)
    if not goes_on:
        return
    more = ("--trainer.max_epochs", "2", "--ckpt_path", "last")
    codes, logs = launcher.run(torchrun(1, 2), words(tmp_path, "run", *spread, *more), tmp_path)
    assert codes == [0, 0], logs
    assert [row["step"] for row in read_history(own.history) if "task" in row] == [1, 2, 3, 4, 5, 6]
    assert main(["test", str(own.path), "--trainer.enable_progress_bar", "false"]) == 0


def test_a_run_goes_on_with_other_numbers_of_processes(pair, launcher, tmp_path):
    run, _ = pair
    more = ("--trainer.max_epochs", "2", "--model.system.dropout", "0", "--report", "false", "--ckpt_path", "last")
    samples = {}
    for count, environments in ((1, torchrun(1, 1)), (4, torchrun(2, 2))):  # two machines with two processes each
        shutil.copytree(run.path, tmp_path / str(count))
        noted = tmp_path / f"ids-{count}"
        ids = ("--trainer.callbacks", "outside_parts.SampleIds", "--trainer.callbacks.folder", str(noted))
        sizes = ("--data.batch_size.trimmed", "4", "--data.batch_size.whole", "4")
        codes, logs = launcher.run(environments, words(tmp_path, str(count), *more, *sizes, *ids), tmp_path)
        assert codes == [0] * count, logs
        rows = read_history(RunFolder(tmp_path / str(count)).history)
        assert [row["step"] for row in rows if "task" in row] == [1, 2, 3, 4, 5, 6]
        samples[count] = samples_of(noted)
    assert [(step, len(set(ids)) > 1) for step, _, ids in samples[1]] == [(3, True), (4, True), (5, True)]
    assert samples[1] == samples[4]


def samples_of(folder):
    """Of each step its number, its task, and the samples that all processes took together."""
    steps = {}
    for file in folder.iterdir():
        for line in file.read_text().splitlines():
            step, task, ids = json.loads(line)
            steps.setdefault((step, task), []).extend(ids)
    return [(step, task, sorted(ids)) for (step, task), ids in sorted(steps.items())]


def test_one_of_several_processes_prints_what_a_training_needs(launcher, tmp_path):
    codes, logs = launcher.run(torchrun(1, 2), words(tmp_path, "run", "--dry_run", tasks="avs"), tmp_path)
    assert codes == [0, 0], logs
    assert "parameters" in logs[0]
    assert logs[1] == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.fast_dev_run", "true"], "trainer.fast_dev_run is True, which avkit does not take"),
        (["--trainer.plugins", "MixedPrecision"], "trainer.plugins"),
        (["--trainer.strategy", "deepspeed"], "each process of a test holds the whole model. Leave it out"),
        (["--trainer.strategy", "ddp_spawn"], "each process of a test holds the whole model. Leave it out"),
        (["--trainer.precision", "bf16-true"], "trainer.precision is 'bf16-true'; avkit takes"),
    ],
)
def test_what_a_test_cannot_give_its_meaning_is_refused(pair, capsys, options, message):
    before = (pair[0].path / "report.json").read_bytes()
    assert main(["test", str(pair[0].path), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (pair[0].path / "report.json").read_bytes() == before


def test_options_that_contradict_the_launcher_are_one_line(launcher, tmp_path):
    codes, logs = launcher.run(torchrun(1, 2), words(tmp_path, "run", "--trainer.devices", "3"), tmp_path)
    assert codes == [2, 2]
    assert logs[0].startswith("avkit fit: trainer.devices is 3, and torchrun has started 2 processes on each machine.")
    assert [log.count("\n") for log in logs] == [1, 1]
    assert logs[1].startswith("avkit fit: rank 1: ")
    assert not (tmp_path / "run").exists()


def test_a_strategy_that_needs_every_gradient_says_so(launcher, tmp_path):
    strategy = ("--trainer.strategy", "ddp", "--report", "false")
    codes, logs = launcher.run(torchrun(1, 2), words(tmp_path, "run", *strategy), tmp_path)
    assert codes == [2, 2]
    assert "avkit fit: This --trainer.strategy needs a gradient of every parameter in each step" in logs[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.devices", "many"], "trainer.devices is 'many'; without a GPU it is a number of processes"),
        (["--trainer.devices", "-1"], "trainer.devices is '-1'; without a GPU"),
        (["--trainer.devices", "[0,1]"], "trainer.devices is [0, 1]; without a GPU"),
        (["--trainer.devices", "3"], "data.batch_size.trimmed is 2, and 3 processes cannot share so few clips. Use 2"),
        (["--trainer.num_nodes", "2"], "NODE_RANK, MASTER_ADDR, MASTER_PORT are not in the environment"),
        (["--trainer.strategy", "fsdp"], "trainer.strategy is 'fsdp', which needs a GPU"),
        (["--trainer.strategy", "deepspeed_stage_2"], "Use --trainer.strategy fsdp2, which spreads weights"),
        (["--trainer.strategy", "fsdp2", "--model.surgery", "true"], "--model.surgery true reads whole ones"),
        (["--trainer.strategy", "fsdp2", "--model.balance", "uncertainty"], "balance uncertainty reads whole ones"),
        (["--trainer.strategy", "ddp_spawn"], "use --trainer.strategy ddp"),
        (["--trainer.strategy", "ddpp"], "invalid strategy name"),
    ],
)
def test_what_cannot_be_is_refused_before_the_folder_is_made(tmp_path, capsys, options, message):
    assert main(words(tmp_path, "x", *options, "--report", "false", tasks="avs")) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_spread_over_devices_is_tested_by_a_command_of_its_own(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("avkit.cli.trainer_options.has_gpu", lambda accelerator: True)
    strategy = ("--trainer.strategy", "fsdp", "--report", "true")
    clipping = {(): "gradient_clip_val null", ("--trainer.gradient_clip_val", "null"): "avkit test RUN"}
    for words_of_clipping, message in clipping.items():
        assert main(words(tmp_path, "x", *strategy, *words_of_clipping, tasks="avs")) == 2
        assert message in capsys.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("strategy", ["fsdp", "fsdp2"])
def test_lightnings_strategies_train_and_are_tested_later(tmp_path, strategy):
    options = ["--trainer.accelerator", "gpu", "--trainer.strategy", strategy, "--report", "false"]
    options += ["--trainer.gradient_clip_val", "null"]
    assert main(words(tmp_path, "x", *options, tasks="avs")) == 0
    assert main(["test", str(tmp_path / "x"), "--trainer.enable_progress_bar", "false"]) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "options", [["--trainer.precision", "bf16-mixed", "--trainer.devices", "1"], ["--trainer.devices", "-1"]]
)
def test_a_gpu_trains_and_its_run_is_tested_on_the_cpu(tmp_path, options):
    assert main(words(tmp_path, "x", "--trainer.accelerator", "gpu", *options, tasks="avs")) == 0
    assert all(torch.isfinite(x).all() for x in weights(RunFolder(tmp_path / "x")).values() if x.is_floating_point())
    assert main(["test", str(tmp_path / "x"), "--trainer.accelerator", "cpu"]) == 0


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_two_gpus_by_nccl_train_as_one_does(tmp_path):
    options = ["--trainer.accelerator", "gpu", "--report", "false", "--model.system.dropout", "0"]
    options += ["--data.batch_size.trimmed", "4", "--data.batch_size.whole", "4"]
    for name, devices in (("one", "1"), ("two", "[0,1]")):
        assert main(words(tmp_path, name, *options, "--trainer.devices", devices, tasks="avs")) == 0
    one, two = (weights(RunFolder(tmp_path / name)) for name in ("one", "two"))
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-3, rtol=1e-2)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_dry_run_measures_the_gpu(tmp_path, capsys):
    assert main(words(tmp_path, "x", "--trainer.accelerator", "gpu", "--dry_run", tasks="avs")) == 0
    assert "parameters" in capsys.readouterr().out
    assert not (tmp_path / "x").exists()


def test_auto_is_one_process_without_a_gpu(tmp_path, capsys):
    assert main(words(tmp_path, "x", "--trainer.devices", "auto", "--report", "false", tasks="avs")) == 0
    assert "cpu, into" in capsys.readouterr().out


class Options(dict):
    """Parsed options."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(
    ("environment", "started"),
    [
        (torchrun(2, 3)[4], Started("torchrun", 3, 2)),
        (slurm(4)[1], Started("SLURM", 4, 1)),
        (slurm(4)[1] | {"SLURM_NNODES": "2"}, Started("SLURM", 2, 2)),
        (slurm(4)[1] | {"SLURM_JOB_NAME": "bash"}, None),
        ({}, None),
    ],
)
def test_the_launcher_says_how_many_processes_there_are(monkeypatch, capsys, environment, started):
    monkeypatch.setattr(os, "environ", dict(os.environ) | environment)
    assert started_processes() == started
    if started is not None:
        options = Options(devices=1, num_nodes=1, accelerator="cpu")
        set_processes(options, ["--tasks", "avs"])
        assert (options["devices"], options["num_nodes"]) == started[1:]
        with pytest.raises(ValueError, match=r"trainer.devices is 7, and .* has started"):
            set_processes(Options(devices=7, num_nodes=1), ["--trainer.devices", "7"])


def test_tasks_that_are_spread_unevenly_are_refused(monkeypatch):
    monkeypatch.setattr(os, "environ", dict(os.environ) | slurm(3)[0] | {"SLURM_NNODES": "2"})
    with pytest.raises(ValueError, match="3 tasks on 2 machines"):
        started_processes()


def test_different_versions_are_refused_with_both():
    check_versions([("a", "avkit 1, torch 2"), ("b", "avkit 1, torch 2")])
    with pytest.raises(RunError, match="rank 0 on a avkit 1, torch 2, rank 1 on b avkit 1, torch 3"):
        check_versions([("a", "avkit 1, torch 2"), ("b", "avkit 1, torch 3")])


def test_waiting_gradients_keep_their_mean_with_other_processes():
    saved = [{"a": torch.tensor([1.0, 2.0])}, {"a": torch.tensor([3.0, 6.0]), "b": torch.tensor([4.0])}]
    assert gradients_of(saved, 1, 2) is saved[1]
    for rank in range(3):
        means = gradients_of(saved, rank, 3)
        assert torch.equal(means["a"], torch.tensor([2.0, 4.0]))
        assert torch.equal(means["b"], torch.tensor([2.0]))


def test_results_are_taken_once_and_in_order():
    taken = []
    results = ResultsInOrder(taken.append)
    for number in (0, 1, 0, 2):  # a process without a batch of its own repeats the first
        results.put(number, f"batch {number}")
    results.flush()
    assert taken == ["batch 0", "batch 1", "batch 2"]


def processes_with(name):
    """Ids of processes of a run, without zombies."""
    living = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            state = (path / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if name.encode() in command and state != "Z":
            living.append(int(path.name))
    return living


def start_pair(log, name):
    """Start a long training of two processes; returns when it is at its third step."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    long = ("--data.steps_per_epoch", "3000", "--save_steps", "1", "--report", "false", "--trainer.devices", "2")
    command = [sys.executable, "-m", "avkit", *words(log.parent, name, *long)]
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, start_new_session=True)
    history = log.parent / name / "history.jsonl"
    until = time.monotonic() + 90
    while not (history.exists() and history.read_text().count("\n") > 2) and time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("end", ["a worker dies", "a worker is stopped", "all are stopped", "the command dies"])
def test_all_processes_end_when_one_does(tmp_path, end):
    name = f"run-{os.getpid()}-{end.replace(' ', '-')}"
    log = tmp_path / "log"
    process = start_pair(log, name)
    worker = next(pid for pid in processes_with(name) if pid != process.pid)
    begun = time.monotonic()
    if end == "all are stopped":
        os.killpg(process.pid, signal.SIGINT)
    else:
        number = signal.SIGTERM if end == "a worker is stopped" else signal.SIGKILL
        os.kill(process.pid if end == "the command dies" else worker, number)
    code = process.wait(60)
    while processes_with(name) and time.monotonic() < begun + 60:
        time.sleep(0.1)
    text = log.read_text()
    assert not processes_with(name)
    assert code == {"a worker dies": 2, "a worker is stopped": 143, "all are stopped": 130, "the command dies": -9}[end]
    assert "Traceback" not in text
    if end == "a worker dies":
        assert "Process 2 of 2 on this machine was ended by SIGKILL" in text
    assert torch.load(RunFolder(tmp_path / name).last, weights_only=True)["global_step"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["torchrun", "machines"])
@pytest.mark.parametrize(("victim", "number"), [(1, "SIGKILL"), (1, "SIGSTOP"), (0, "SIGSTOP")])
def test_a_process_of_another_machine_that_is_lost_ends_all(tmp_path, kind, victim, number):
    """Killed or stopped, the others end within about a minute; one that is stopped ends when it is woken."""
    name = f"run-{os.getpid()}-{kind}-{victim}-{number}"
    long = ("--data.steps_per_epoch", "3000", "--save_steps", "1", "--report", "false")
    nodes = ("--trainer.num_nodes", "2") if kind == "machines" else ()
    command = [sys.executable, "-m", "avkit", *words(tmp_path, name, *long, *nodes)]
    started = []
    for rank, own in enumerate(machines(2) if kind == "machines" else torchrun(2, 1)):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | own
        with (tmp_path / f"{rank}.log").open("w") as log:
            started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
    history = tmp_path / name / "history.jsonl"
    other = started[1 - victim]
    try:
        until = time.monotonic() + 240
        while not (history.exists() and history.read_text().count("\n") > 2):
            assert time.monotonic() < until
            time.sleep(0.05)
        begun = time.monotonic()
        started[victim].send_signal(signal.Signals[number])
        assert other.wait(75) == 2
        print(f"{kind}, {number} of process {victim}: {time.monotonic() - begun:.0f} s")
        text = (tmp_path / f"{1 - victim}.log").read_text()
        assert "Traceback" not in text
        if number == "SIGSTOP":
            assert f"rank {victim} on " in text
            assert "has given no sign of life for 30 s" in text
            started[victim].send_signal(signal.SIGCONT)
        started[victim].wait(75)
        assert not processes_with(name), time.monotonic() - begun
    finally:
        for process in started:
            process.kill()


@pytest.mark.slow
def test_lightning_starts_the_processes_of_two_machines(pair, tmp_path):
    """Two machines with two processes each train and test as one torchrun of four does."""
    extra = ("--data.batch_size.trimmed", "4", "--data.batch_size.whole", "4")
    nodes = ("--trainer.num_nodes", "2", "--trainer.devices", "2")
    runs = {"lightning": (machines(2), nodes), "torchrun": (torchrun(2, 2), ())}
    for name, (environments, more) in runs.items():
        command = [sys.executable, "-m", "avkit", *words(tmp_path, name, *extra, *more)]
        started = []
        for environment in environments:
            every = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | environment
            started.append(subprocess.Popen(command, env=every))
        assert [process.wait(150) for process in started] == [0] * len(started)
    one, other = (RunFolder(tmp_path / name) for name in runs)
    assert equal_weights(one, other)
    assert reported(one.path) == reported(other.path)


@pytest.mark.slow
@pytest.mark.parametrize(("nodes", "each"), [(1, 2), (2, 1)])
def test_torchrun_itself_gives_the_same_weights(pair, tmp_path, nodes, each):
    run, _ = pair
    port = free_port()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    started = []
    for node in range(nodes):
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", str(nodes), "--node-rank", str(node)]
        command += ["--nproc-per-node", str(each), "--master-addr", "127.0.0.1", "--master-port", port]
        started.append(subprocess.Popen([*command, "-m", "avkit", *words(tmp_path, "run")], env=environment))
    assert [process.wait(120) for process in started] == [0] * nodes
    assert equal_weights(run, RunFolder(tmp_path / "run"))
    assert reported(tmp_path / "run") == reported(run.path)


@pytest.mark.slow
def test_machines_with_different_versions_are_refused(tmp_path):
    shutil.copytree(ROOT / "avkit", tmp_path / "other" / "avkit", ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "other" / "avkit" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "', '__version__ = "9.'))
    started = []
    for number, environment in enumerate(machines(2)):
        path = str(ROOT if not number else tmp_path / "other")
        command = [sys.executable, "-m", "avkit", *words(tmp_path, "run", "--trainer.num_nodes", "2")]
        log = (tmp_path / f"{number}.log").open("w")
        started.append(
            subprocess.Popen(command, env=os.environ | environment | {"PYTHONPATH": path}, cwd=tmp_path, stderr=log)
        )
    assert [process.wait(60) for process in started] == [2, 2]
    assert "The processes have different versions: rank 0 on" in (tmp_path / "0.log").read_text()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_several_seeds_in_several_processes(launcher, tmp_path):
    def weights_of(name):
        return [RunFolder(tmp_path / name / f"seed-{seed}") for seed in (0, 1)]

    codes, logs = launcher.run(torchrun(1, 2), words(tmp_path, "all", "--seeds", "2", tasks="avs"), tmp_path)
    assert codes == [0, 0], logs
    assert main(words(tmp_path, "lightning", "--seeds", "2", "--trainer.devices", "2", tasks="avs")) == 0
    for one, other in zip(weights_of("all"), weights_of("lightning"), strict=True):
        assert equal_weights(one, other)
    assert sorted(path.name for path in (tmp_path / "all").glob("seed-*")) == ["seed-0", "seed-1"]


@pytest.mark.slow
def test_ray_train_ends_with_the_weights_of_fit(launcher, tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from ray_train import WORDS, digest

    steps = ("--data.steps_per_epoch", "2")
    codes, logs = launcher.run(torchrun(1, 2), ["fit", *WORDS, *steps, "--out", str(tmp_path), "--name", "x"], tmp_path)
    assert codes == [0, 0], logs
    own = digest(SimpleNamespace(state_dict=lambda: weights(RunFolder(tmp_path / "x"))))
    script = str(ROOT / "benchmarks" / "ray_train.py")
    command = [sys.executable, script, "--steps", "2", "--out", str(tmp_path / "ray")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, check=True)
    digests = re.findall(r"rank (\d): 2 steps, .*weights (\w+)", done.stdout + done.stderr)  # Ray may repeat lines
    assert set(digests) == {("0", own), ("1", own)}


def test_processes_at_one_place_are_told_together():
    positions = {0: "training, epoch 1, batch 8", 1: "training, epoch 1, batch 7"}
    positions |= dict.fromkeys(range(2, 8), "training, epoch 1, batch 8")
    assert _places(positions, [*"aabbccdd"]) == (
        "rank 0 on a, rank 2 on b, rank 3 on b and 4 more: training, epoch 1, batch 8; "
        "rank 1 on a: training, epoch 1, batch 7"
    )
