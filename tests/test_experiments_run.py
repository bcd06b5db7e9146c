# SPDX-License-Identifier: Apache-2.0
"""Every recipe trains three steps and is tested on scenes in official layouts, with random weights."""

import json
import math
import shutil
from importlib.util import find_spec

import pytest

from avkit.cli import main
from avkit.cli.reproduction_scenes import make_data, small_words
from avkit.leaderboard import read_experiments
from avkit.systems.encoder_weights import random_encoders

#: Recipes that every run of the tests tries; the others are slow.
QUICK = ("psp_ave.yaml", "han_llp.yaml")
FAST = [
    *("--trainer.max_epochs", "1", "--data.steps_per_epoch", "3"),
    *("--trainer.accelerator", "cpu", "--trainer.devices", "1"),
]


def recipes():
    """The files of each experiment, once, with one of its experiments."""
    chosen = {}
    for experiment in read_experiments():
        if experiment.recipe:
            chosen.setdefault(tuple(experiment.recipe), experiment)
    return list(chosen.values())


def parameters():
    for experiment in recipes():
        quick = experiment.recipe[-1] in QUICK
        yield pytest.param(experiment, id=experiment.id, marks=[] if quick else [pytest.mark.slow])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Folder of the datasets, each of which is written when it is first asked for."""
    return tmp_path_factory.mktemp("official")


@pytest.fixture
def out(tmp_path):
    """A folder that is deleted after the test: checkpoints of published sizes fill a disk."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.fixture(autouse=True)
def two_layers_of_clip(monkeypatch):
    """CLIP's towers have two layers instead of 12 or 24: they are not trained, and all shapes stay as they are."""
    if find_spec("open_clip") is None or find_spec("torchvision") is None:
        return
    from open_clip import factory

    for config in factory._MODEL_CONFIGS.values():
        for part in ("vision_cfg", "text_cfg"):
            if isinstance(config.get(part, {}).get("layers"), int):
                monkeypatch.setitem(config[part], "layers", 2)


@pytest.mark.parametrize("experiment", parameters())
def test_a_recipe_trains_and_is_tested(experiment, scenes, out):
    root = make_data(experiment, scenes)
    words = ["fit", *experiment.words(), *small_words(experiment, out), *FAST]
    words += ["--data.root", str(root), "--out", str(out), "--name", "run"]
    with random_encoders(allowed=True):
        assert main(words) == 0
    history = [json.loads(line) for line in (out / "run" / "history.jsonl").read_text().splitlines()]
    losses = [value for line in history for key, value in line.items() if key.endswith("/loss")]
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
    rows = json.loads((out / "run" / "report.json").read_text())["rows"]
    assert any(row["value"] is not None for row in rows)
