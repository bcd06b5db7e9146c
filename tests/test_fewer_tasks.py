"""A joint recipe that is started with fewer of its tasks."""

import json

import pytest
from test_fit import TINY

from avkit.cli import main
from avkit.cli.fewer_tasks import leave_out_other_tasks
from avkit.cli.run_config import with_recipe_files
from avkit.training.run_folder import RunFolder

RECIPE = """
tasks: ave,avvp,avs
data:
  dataset: ave=ave,avvp=llp,avs=avsbench-s4+avsbench-ms3
  release: llp=official
  hop: {hop}
  mix: {mix}
  dataset_mix: avsbench-s4=1,avsbench-ms3=2
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "joint.yaml"
    path.write_text(RECIPE.format(hop="ave=1,llp=1", mix="ave=1,avvp=2,avs=3"))
    return path


def options(words, recipe):
    changed, notes = leave_out_other_tasks(["--config", str(recipe), *words])
    added = changed[2 + len(words) :]
    assert len(added) == len(notes)
    return dict(word.removeprefix("--").split("=", 1) for word in added)


def test_parts_of_other_tasks_are_left_out(recipe):
    assert options(["--tasks", "ave,avvp"], recipe) == {
        "data.mix": "ave=1,avvp=2",
        "data.dataset": "ave=ave,avvp=llp",
        "data.dataset_mix": "proportional",
    }


def test_an_option_without_a_part_left_has_its_usual_value(recipe):
    left = options(["--tasks", "avs"], recipe)
    assert left["data.release"] == "null"
    assert left["data.hop"] == "null"
    assert "data.dataset_mix" not in left


def test_all_tasks_of_the_recipe_change_nothing(recipe):
    assert options([], recipe) == {}
    assert options(["--tasks", "avs,avvp,ave"], recipe) == {}


def test_what_names_no_task_is_kept(recipe):
    recipe.write_text(RECIPE.format(hop="1", mix="temperature=3"))
    left = options(["--tasks", "ave"], recipe)
    assert "data.hop" not in left
    assert "data.mix" not in left


def test_the_command_line_is_kept_as_typed(recipe):
    left = options(["--tasks", "ave", "--data.dataset", "avs=avsbench-s4", "--data.mix", "avs=1"], recipe)
    assert "data.dataset" not in left
    assert "data.mix" not in left


def test_a_part_of_the_published_joint_recipe():
    words = with_recipe_files(["--config", "av_unified/joint", "--tasks", "ssl"])
    changed, notes = leave_out_other_tasks(words)
    assert "--data.dataset=ssl=vggss" in changed
    assert "--data.hop=null" in changed
    assert not any(word.startswith("--data.release") for word in changed)
    assert any("joint.yaml" in note for note in notes)


def test_a_run_of_fewer_tasks_says_what_it_left_out(tmp_path, capsys):
    recipe = tmp_path / "two.yaml"
    recipe.write_text("tasks: ave,avs\ndata: {dataset: 'ave=scenes,avs=scenes', mix: 'ave=1,avs=2'}\n")
    words = ["fit", "--config", str(recipe), "--tasks", "avs", "--out", str(tmp_path), "--name", "one", *TINY]
    assert main([*words, "--trainer.max_epochs", "1", "--data.steps_per_epoch", "1", "--report", "false"]) == 0
    assert "data.mix is avs=2 and not ave=1,avs=2: not all tasks of two.yaml are trained." in capsys.readouterr().err
    run = RunFolder(tmp_path / "one")
    assert "mix: avs=2" in run.config.read_text()
    assert json.loads(run.facts.read_text())["tasks"] == ["avs"]
