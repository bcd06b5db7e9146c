# SPDX-License-Identifier: Apache-2.0
"""Boards, experiments and plans are shown where nothing but avkit's wheel, rich and PyYAML is installed."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from avkit.datasets import DATASETS, find_dataset
from avkit.datasets.official import Official
from avkit.leaderboard import read_experiments
from avkit.leaderboard.where import dataset_sources

ROOT = Path(__file__).parents[1]
#: Packages beside avkit that its boards need.
FEW = ("rich", "pygments", "markdown_it", "mdurl", "yaml", "_yaml", "jinja2", "markupsafe", "typing_extensions")
#: Runs a command with no installed packages but these; the others cannot be imported.
ISOLATED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names or top in {few} or top.startswith(("avkit", "_sysconfigdata")):
            return None
        raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from avkit.cli import main
sys.exit(main(sys.argv[1:]))
"""


def isolated(*words):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", ISOLATED.format(few=FEW), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def check_listing(run):
    """Boards, experiments and plans by a function that runs `avkit` with words."""
    boards = run("leaderboard")
    assert boards.returncode == 0, boards.stderr
    assert "unav100" in boards.stdout
    one = run("leaderboard", "music-avqa", "--json")
    assert json.loads(one.stdout)[0]["board"] == "music-avqa"
    listed = run("reproduce", "--list")
    assert listed.returncode == 0, listed.stderr
    plan = run("reproduce", "--plan")
    assert plan.returncode == 0, plan.stderr
    for experiment in read_experiments():
        assert experiment.id in listed.stdout
        assert f"{experiment.id}: " in plan.stdout
    assert plan.stdout.count("  run ") + plan.stdout.count("  no recipe") == len(read_experiments())
    assert dataset_sources()["ave"] in plan.stdout


def test_boards_and_plans_without_torch():
    check_listing(isolated)
    refused = isolated("reproduce", "psp_ave", "--scenes")
    assert refused.returncode == 2
    words = "torch is not installed, which this command needs. Install it: pip install avkit"
    assert refused.stderr == f"avkit reproduce: {words}\n"


def test_sources_of_datasets_are_those_of_their_classes():
    classes = {name: find_dataset(name) for name in DATASETS}
    assert dataset_sources() == {name: cls.source for name, cls in classes.items() if issubclass(cls, Official)}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout."""
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(out)!r}))"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return out / made.stdout.strip().splitlines()[-1]


def test_the_wheel_has_all_data_of_the_package(wheel):
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("avkit/")}
    files = subprocess.run(["git", "ls-files", "avkit"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(files.splitlines()) <= packed
    results = subprocess.run(
        ["git", "ls-files", "results"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert results
    assert {f"avkit/{name}" for name in results.splitlines()} <= packed


#: A training of three steps.
SMALL = [
    *("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.steps_per_epoch", "3", "--data.batch_size.trimmed", "2", "--data.image_size", "32"),
    *("--data.scenes.val_size", "4", "--data.scenes.test_size", "4", "--data.loader.workers", "0"),
]


@pytest.mark.slow
@pytest.mark.network
def test_the_wheel_in_an_empty_environment(wheel, tmp_path):
    """Installed without its dependencies but for those that boards need; then with all that is here, torch too."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv/bin/python"
    for words in (["--no-deps", str(wheel)], ["rich", "pyyaml", "jinja2"]):
        subprocess.run([python, "-m", "pip", "install", "-q", *words], check=True, timeout=600)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*words):
        command = [tmp_path / "venv/bin/avkit", *words]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )

    check_listing(run)
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    check_listing(run)
    reproduced = run("reproduce", "psp_ave", "--scenes", "--trainer.accelerator", "cpu")
    assert reproduced.returncode == 0, reproduced.stderr
    assert "verdict:  smoke" in reproduced.stdout
    assert "Apache-2.0" in run("info", "--licences").stdout
    recipe = run("fit", "--config", "ccnet_unav100", "--data.root", str(tmp_path))
    assert "unav100" in recipe.stderr
    assert "There is no config file" not in recipe.stderr
    fitted = run("fit", "--tasks", "avs", *SMALL)
    assert fitted.returncode == 0, fitted.stderr
    assert (tmp_path / "runs/avs-scenes/report.html").exists()
