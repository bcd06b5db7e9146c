# SPDX-License-Identifier: Apache-2.0
"""Every recipe trains three steps and is tested on scenes in official layouts, with random weights."""

import json
import math
import shutil
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from recipes import CONFIGS, width

from avkit.cli import main
from avkit.datasets import find_dataset
from avkit.datasets.ave import NOISY
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.leaderboard import read_experiments
from avkit.text.wordpiece import make_wordpieces

#: Layout of each dataset that is exported under another name.
LAYOUTS = {"f-music": "ra-ssu", "f-lifescene": "ra-ssu"}
#: Seconds of the clips of datasets whose stores a recipe names by path; of others 10.
SECONDS = {"music-avqa": 60}
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
                if name in LAYOUTS:  # one layout, of which a file says which dataset it is
                    facts = out / name / "dataset.json"
                    facts.write_text(json.dumps({**json.loads(facts.read_text()), "name": name}))
        return out / datasets[0] if len(datasets) == 1 else out

    return folder


def with_random_weights(experiment, folder):
    """Words that name no weights, and a file of word pieces where the recipe names one on the hub."""
    words = ["--model.system.prior", "null"] if "model.system.prior" in experiment.options else []
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
    """Write the features that a recipe names and scenes are not exported with: stores by path, and released files."""
    features = experiment.all_options()["data"].get("features") or {}
    for name in "+".join(filter(None, features.values())).split("+"):
        if name.endswith(".h5"):
            write_store_of(experiment, folder, name)
        elif name.startswith("one_peace"):
            write_one_peace(folder, find_dataset(experiment.dataset).released[name])
    if experiment.all_options()["data"].get("release") == "weak":
        write_background(folder)


def write_store_of(experiment, folder, name):
    """A store with a row per second of each clip."""
    stem = Path(name).stem
    tokens = (14,) if stem.startswith("tome") else ()
    seconds = find_dataset(experiment.dataset).fixed_steps or SECONDS.get(experiment.dataset, 10)
    draw = np.random.default_rng(0)
    shape = (seconds, *tokens, width(experiment.dataset, name))
    videos = sorted(folder.rglob("*.mp4"))
    names = [path.parent.name if path.stem == "video" else path.stem for path in videos]
    clips = [(clip, draw.standard_normal(shape, np.float32)) for clip in names]
    (folder / name).parent.mkdir(exist_ok=True)
    write_store(folder / name, clips, FeatureFacts(stem, hop=1.0))


def write_one_peace(folder, released):
    """ONE-PEACE's features of each video, four rows a second."""
    videos = json.loads((folder / "annotations" / "unav100_annotations.json").read_text())["database"]
    draw = np.random.default_rng(0)
    for name, video in videos.items():
        rows = draw.standard_normal((int(4 * video["duration"]), 1536), np.float32)
        np.save(folder / released.pattern.format(media=name), rows)


def write_background(folder):
    """AVE's features of 178 clips of background: zeros, which a file holds without space."""
    for name in ("visual_feature", "audio_feature"):
        with h5py.File(folder / f"{name}.h5") as usual, h5py.File(folder / f"{name}_noisy.h5", "w") as noisy:
            noisy.create_dataset("avadataset", (NOISY, *usual["avadataset"].shape[1:]), np.float32, compression="gzip")


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
