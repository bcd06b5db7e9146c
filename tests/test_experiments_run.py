# SPDX-License-Identifier: Apache-2.0
"""Every recipe trains three steps and is tested on scenes in official layouts, with random weights."""

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import yaml
from recipes import CONFIGS, width

from avkit.cli import main
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.leaderboard import read_experiments
from avkit.text.wordpiece import make_wordpieces

#: Layout of each dataset that is exported under another name.
LAYOUTS = {"f-music": "ra-ssu", "f-lifescene": "ra-ssu"}
#: Recipes that every run of the tests tries; the others are slow.
QUICK = ("psp_ave.yaml", "han_llp.yaml", "mm_pyramid_llp.yaml")
FAST = [
    *("--trainer.max_epochs", "1", "--data.steps_per_epoch", "3", "--trainer.accelerator", "cpu"),
    *("--trainer.enable_progress_bar", "false", "--data.loader.workers", "0", "--trainer.devices", "1"),
    *("--data.batch_size.trimmed", "2", "--data.batch_size.untrimmed", "2", "--data.batch_size.whole", "2"),
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
def root(tmp_path_factory):
    """Gives the folder of some datasets, written when it is first asked for: of one its own, of several theirs."""
    out = tmp_path_factory.mktemp("official")

    def folder(datasets):
        for name in datasets:
            if not (out / name).exists():
                export(LAYOUTS.get(name, name), out / name, {"train": 2, "val": 2, "test": 2}, 32, fps=2)
        return out / datasets[0] if len(datasets) == 1 else out

    return folder


def with_random_weights(experiment, folder):
    """Words that name no weights, and a file of word pieces where the recipe names one on the hub."""
    words = []
    for name in experiment.recipe:
        system = yaml.safe_load((CONFIGS / name).read_text()).get("model", {}).get("system") or {}
        for option, value in system.items():
            if option.endswith("weights") and value is not None:
                words += [f"--model.system.{option}", "null"]
            if option == "pieces" and value:
                path = folder / "vocab.txt"
                path.write_text("\n".join(make_wordpieces(["a", "dog", "barks"])))
                words += ["--model.system.pieces", str(path)]
    return words


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


def write_stores(experiment, folder):
    """Write the feature stores that a recipe names by path, with 60 steps of each clip."""
    features = experiment.all_options()["data"].get("features") or {}
    for name in "+".join(filter(None, features.values())).split("+"):
        if name.endswith(".h5"):
            stem = Path(name).stem
            tokens = (14,) if stem.startswith("tome") else ()
            draw = np.random.default_rng(0)
            shape = (60, *tokens, width(experiment.dataset, name))
            clips = [(path.stem, draw.standard_normal(shape, np.float32)) for path in sorted(folder.rglob("*.mp4"))]
            (folder / name).parent.mkdir(exist_ok=True)
            write_store(folder / name, clips, FeatureFacts(stem, hop=1.0))


@pytest.mark.parametrize("experiment", parameters())
def test_a_recipe_trains_and_is_tested(experiment, root, out, monkeypatch):
    monkeypatch.setattr("avkit.training.module.check_encoder_weights", lambda system: None)
    monkeypatch.setattr("avkit.cli.fit.check_encoder_weights", lambda system: None)
    folder = root(experiment.dataset.split("+"))
    write_stores(experiment, folder)
    words = ["fit", *experiment.words(), *with_random_weights(experiment, out), *FAST]
    words += small_pictures(experiment)
    words += ["--data.root", str(folder), "--out", str(out), "--name", "run"]
    assert main(words) == 0
    history = [json.loads(line) for line in (out / "run" / "history.jsonl").read_text().splitlines()]
    losses = [value for line in history for key, value in line.items() if key.endswith("/loss")]
    assert len(losses) == 3
    assert all(map(math.isfinite, losses))
    rows = json.loads((out / "run" / "report.json").read_text())["rows"]
    assert any(row["value"] is not None for row in rows)


def small_pictures(experiment):
    """Words that shrink pictures where the network takes any size; sound localisation crops to a size of its own."""
    return [] if experiment.dataset == "vggss" else ["--data.image_size", "64"]
