# SPDX-License-Identifier: Apache-2.0
"""A run folder from somebody else runs no code: what its config may build is a short list, outside parts need trust."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import forked
import pytest
import torch
import yaml
from conftest import SHARED
from test_fit import fit, write_clip

import avkit
from avkit.cli import main
from avkit.outside import UntrustedError
from avkit.training.run_folder import RunFolder

HOUSE = Path(__file__).parents[1]
#: A module that leaves a mark where it is imported.
EVIL = "from pathlib import Path\nPath('{mark}').write_text('imported')\n\nclass Task:\n    pass\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small run with average weights and early stopping, which a config may name."""
    out = tmp_path_factory.mktemp("runs")
    words = ["--trainer.max_epochs", "1", "--data.steps_per_epoch", "2", "--data.scenes.val_size", "2"]
    words += ["--data.scenes.test_size", "2", "--report", "false"]
    words += ["--trainer.callbacks", "EMAWeightAveraging", "--trainer.callbacks+", "EarlyStopping"]
    words += ["--trainer.callbacks.monitor", "val/score", "--trainer.callbacks+", "StochasticWeightAveraging"]
    words += ["--trainer.callbacks.swa_lrs", "0.01", "--optimizer", "AdamW", "--lr_scheduler", "StepLR"]
    assert fit(out, "shared", *words, "--lr_scheduler.step_size", "9", tasks="avs") == 0
    return RunFolder(out / "shared")


@pytest.fixture
def shared(trained, tmp_path, monkeypatch):
    """A copy of the run in a folder of its own, in which the command is started."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained.path, tmp_path / "shared")
    return RunFolder(tmp_path / "shared")


def change(run, place, value):
    """Set an entry of a run's config."""
    config = yaml.safe_load(run.config.read_text())
    section = config
    *path, last = place.split("/")
    for name in path:
        section = section[name]
    section[last] = value
    run.config.write_text(yaml.safe_dump(config))


def test_a_run_of_allowed_parts_is_tested_and_continued(shared, capsys):
    assert main(["test", str(shared.path)]) == 0
    words = ["fit", "--config", str(shared.config), "--ckpt_path", "last", "--trainer.max_epochs", "2"]
    assert main([*words, "--report", "false"]) == 0
    assert f"into {shared.path.resolve()}" in capsys.readouterr().out
    assert [path.name for path in Path.cwd().iterdir()] == ["shared"]


CLASS = {"class_path": "os.system", "init_args": {"command": "touch mark"}}
ATTACKS = {
    "a callback": ("trainer/callbacks", [CLASS]),
    "a callback of Lightning that calls": (
        "trainer/callbacks",
        [{"class_path": "lightning.pytorch.callbacks.LambdaCallback", "init_args": {"on_test_start": "os.abort"}}],
    ),
    "a function to call": (
        "trainer/callbacks",
        [
            {
                "class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging",
                "init_args": {"swa_lrs": 0.1, "avg_fn": "os.system"},
            }
        ],
    ),
    "further arguments": (
        "trainer/callbacks",
        [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "dict_kwargs": {"monitor": "x"}}],
    ),
    "one callback for a list": ("trainer/callbacks", CLASS),
    "a file for a list": ("trainer/callbacks", "evil.yaml"),
    "a checkpoint elsewhere": (
        "trainer/callbacks",
        [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"dirpath": "/tmp/elsewhere"}}],
    ),
    "a name that leads out": (
        "trainer/callbacks",
        [{"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": {"filename": "../../x"}}],
    ),
    "a profiler": (
        "trainer/profiler",
        {"class_path": "lightning.pytorch.profilers.SimpleProfiler", "init_args": {"dirpath": "/tmp"}},
    ),
    "a profiler by name": ("trainer/profiler", "pytorch"),
    "plugins": ("trainer/plugins", [CLASS]),
    "a strategy": ("trainer/strategy", CLASS),
    "an accelerator": ("trainer/accelerator", CLASS),
    "a logger": ("trainer/logger", {"class_path": "lightning.pytorch.loggers.WandbLogger"}),
    "a logger elsewhere": (
        "trainer/logger",
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "/tmp"}},
    ),
    "a folder elsewhere": ("trainer/default_root_dir", "/tmp"),
    "appended callbacks": ("trainer/callbacks+", [CLASS]),
    "a dotted option": ("trainer/callbacks.x", CLASS),
    "a dotted section": ("trainer.callbacks", [CLASS]),
    "the trainer in a file": ("trainer", "evil.yaml"),
    "an optimizer": ("optimizer", CLASS),
    "an optimizer by name": ("optimizer", "os.system"),
    "a schedule that calls": (
        "lr_scheduler",
        {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "os.system"}},
    ),
    "a function of a schedule": (
        "lr_scheduler",
        {
            "class_path": "torch.optim.lr_scheduler.CyclicLR",
            "init_args": {"base_lr": 0.1, "max_lr": 1.0, "scale_fn": "os.system"},
        },
    ),
    "a class among options of a head": ("model/heads", {"avs": {"name": "masks", "layers": CLASS}}),
    "a class in place of the system": ("model/system", CLASS),
    "the system in a file": ("model/system", "evil.yaml"),
    "a class in place of sizes": ("data/scenes", CLASS),
    "a further config": ("config", "evil.yaml"),
    "the model as a class": ("model", CLASS),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_config_that_builds_other_things_is_refused(shared, attack, capsys):
    change(shared, *ATTACKS[attack])
    Path("evil.yaml").write_text(yaml.safe_dump(CLASS))
    before = sorted(shared.path.rglob("*"))
    for command in (["test", str(shared.path)], ["fit", "--config", str(shared.config), "--report", "false"]):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert str(shared.config) in error
        assert len(error.strip().splitlines()) == 1
    assert "add --trust; or delete the entry" in error
    assert sorted(shared.path.rglob("*")) == before
    assert not Path("mark").exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['touch mark']", "!!python/name:os.system", "!x y"])
def test_yaml_tags_build_nothing(shared, tag, capsys):
    shared.config.write_text(f"{shared.config.read_text()}\nlast: {tag}\n")
    assert main(["test", str(shared.path)]) == 2
    assert "config.yaml" in capsys.readouterr().err
    with pytest.raises(avkit.errors.AvkitError):
        avkit.load(shared.path)
    assert not Path("mark").exists()


def test_a_checkpoint_with_objects_is_refused(shared, capsys):
    class Evil:
        def __reduce__(self):
            return (os.system, ("touch mark",))

    checkpoint = torch.load(shared.best, weights_only=True)
    torch.save(checkpoint | {"hyper_parameters": Evil()}, shared.best)
    assert main(["test", str(shared.path)]) == 2
    assert "cannot be read as a checkpoint" in capsys.readouterr().err
    assert not Path("mark").exists()


@pytest.mark.parametrize("name", ["../../victim.ckpt", "victim.txt", "../checkpoints"])
def test_a_checkpoint_has_nothing_else_deleted(shared, name):
    from avkit.errors import RunError
    from avkit.training.callbacks import AtomicCheckpointIO

    for place in (Path("victim.ckpt"), shared.checkpoints / "victim.txt"):
        place.write_text("dear")
    with pytest.raises(RunError, match="which is no checkpoint"):
        AtomicCheckpointIO().remove_checkpoint(shared.checkpoints / name)
    assert Path("victim.ckpt").exists()
    assert (shared.checkpoints / "victim.txt").exists()
    AtomicCheckpointIO().remove_checkpoint(shared.best)
    assert not shared.best.exists()
    assert not shared.best.with_suffix(".safetensors").exists()


def outside_place(run, kind):
    """Have a run name a part of the module `evil` as task, dataset, system, head or encoder."""
    name = "evil:Task"
    if kind == "task":
        run.facts.write_text(json.dumps(run.read_facts() | {"tasks": [name]}))
        change(run, "tasks", name)
    places = {"dataset": "data/dataset", "system": "model/system/name", "encoder": "model/system/audio"}
    if kind in places:
        change(run, places[kind], name)
    if kind == "head":
        change(run, "model/heads", {"avs": name})


def start(words, **environment):
    """A command in a process of its own, started in the current folder as `python -m avkit`."""
    paths = os.pathsep.join([str(HOUSE), *([environment.pop("path")] if "path" in environment else [])])
    variables = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "avkit", *words], capture_output=True, text=True, env=variables)


@pytest.mark.parametrize("kind", ["task", "dataset", "system", "head", "encoder"])
def test_outside_parts_of_a_run_need_trust(shared, kind, capsys, monkeypatch):
    outside_place(shared, kind)
    Path("evil.py").write_text(EVIL.format(mark="mark"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path.cwd()), str(shared.path)])
    shutil.copy("evil.py", shared.path)
    for command in ("test", "validate"):
        assert main([command, str(shared.path)]) == 2
        error = capsys.readouterr().err
        assert "'evil:Task', which is code from outside avkit" in error
        assert "--trust imports it" in error
    assert not Path("mark").exists()


@pytest.mark.parametrize("kind", ["task", "system", "head", "encoder"])
def test_a_prediction_of_a_run_with_outside_parts_needs_trust(shared, kind, capsys, monkeypatch):
    outside_place(shared, kind)
    Path("evil.py").write_text(EVIL.format(mark="mark"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path.cwd()), str(shared.path)])
    clip = write_clip(Path("clip.mp4"), seconds=1)
    for command in (["predict", str(shared.path), str(clip)], ["index", str(shared.path), str(clip)]):
        assert main(command) == 2
        assert "'evil:Task'" in capsys.readouterr().err
    with pytest.raises(UntrustedError, match="evil:Task"):
        avkit.load(shared.path)
    assert not Path("mark").exists()


@pytest.mark.slow
def test_trust_imports_installed_packages_and_says_so(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed")
    (folder / "good.py").write_text(
        "from avkit.datasets.scenes import Scenes\n\nclass Own(Scenes):\n    name = 'own'\n"
    )
    change(shared, "data/dataset", "good:Own")
    words = ["validate", str(shared.path)]
    refused = start(words, path=str(folder))
    assert refused.returncode == 2
    assert "'good:Own'" in refused.stderr
    trusted = start([*words, "--trust"], path=str(folder))
    assert trusted.returncode == 0, trusted.stderr
    assert f"avkit imports good:Own from {folder / 'good.py'}" in trusted.stderr


@pytest.mark.parametrize("place", ["current", "run"])
def test_trust_imports_nothing_from_the_run_or_the_current_folder(shared, tmp_path, place):
    outside_place(shared, "dataset")
    folder = Path.cwd() if place == "current" else shared.path
    (folder / "evil.py").write_text(EVIL.format(mark=Path("mark").resolve()))
    named = [shared.path] if place == "run" else []
    code, said = forked.run_module(["test", str(shared.path), "--trust"], tmp_path / "log", named)
    assert code == 2, said
    assert "no installed package has it" in said
    assert "PYTHONPATH" in said
    assert not Path("mark").exists()


def test_no_module_of_the_current_folder_is_imported_by_accident(shared):
    for name in ("av", "torchvision", "evil", "tensorboard"):
        (shared.path / f"{name}.py").write_text(EVIL.format(mark=Path("mark").resolve()))
    os.chdir(shared.path)
    done = start(["validate", "."])
    assert done.returncode == 0, done.stderr
    assert not Path("../mark").exists()


def test_what_is_typed_is_free(shared, capsys, monkeypatch):
    Path("typed.py").write_text(
        "from lightning.pytorch.callbacks import Callback\nfrom avkit.datasets.scenes import Scenes\n\n"
        "class Own(Scenes):\n    name = 'own'\n\nclass Greeting(Callback):\n"
        "    def on_validation_start(self, *args):\n        print('hello')\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path.cwd())])
    words = ["--trainer.callbacks", "typed.Greeting", "--data.dataset", "typed:Own"]
    assert main(["validate", str(shared.path), *words]) == 0
    assert "hello" in capsys.readouterr().out


CASE = SHARED / "cases" / "run_folder_code" / "trainer_callbacks.yaml"


@pytest.mark.skipif(
    not CASE.exists(), reason="the small inputs on which earlier versions failed are not on this machine"
)
def test_the_script_of_the_case_is_not_executed(shared, capsys):
    change(shared, "trainer/callbacks", yaml.safe_load(CASE.read_text())["callbacks"])
    script = shared.path / "notes.sh"
    script.write_text("#!/bin/sh\ntouch mark\n")
    script.chmod(0o755)
    assert main(["test", str(shared.path)]) == 2
    assert "trainer.callbacks asks for" in capsys.readouterr().err
    assert not Path("mark").exists()
