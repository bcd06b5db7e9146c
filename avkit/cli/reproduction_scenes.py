# SPDX-License-Identifier: Apache-2.0
"""Scenes in the place of an experiment's data: a layout, stand-ins for stored features, random weights, small sizes."""

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

from avkit.files import temporary_folder, write_file
from avkit.leaderboard import Experiment
from avkit.leaderboard.recipes import Option

#: Layout of each dataset that is exported under another name.
_LAYOUTS = {"f-music": "ra-ssu", "f-lifescene": "ra-ssu"}
#: Clips of each split, their picture size in pixels, and pictures per second.
_CLIPS = {"train": 2, "val": 2, "test": 2}
_IMAGE_SIZE = 32
_FPS = 2.0
#: Widths of stored features that are no released features of a dataset, by name of the store.
WIDTHS = {
    "vit_large": 1024,
    "tome27": 1024,
    "tome8": 1024,
    "clip_frame": 768,
    "clip_patches": 1024,
    "llava": 4096,
    "video_llava": 4096,
}
#: Steps of each clip in a stand-in for stored features.
_STEPS = 60


def make_data(experiment: Experiment, out: Path) -> Path:
    """Write scenes in the layouts of an experiment's datasets, once; returns the root to name.

    Args:
        experiment: The experiment.
        out: Folder of the data.
    """
    from avkit.export import export

    for name in experiment.datasets:
        folder = out / name
        if folder.exists():
            continue
        part = temporary_folder(folder)
        export(_LAYOUTS.get(name, name), part, _CLIPS, _IMAGE_SIZE, fps=_FPS)
        _write_stores(experiment, name, part)
        part.rename(folder)
    return out / experiment.datasets[0] if len(experiment.datasets) == 1 else out


def small_words(experiment: Experiment, folder: Path) -> list[str]:
    """Words of `avkit fit` that make a run small, and name no weights that are elsewhere.

    Args:
        experiment: The experiment.
        folder: Where a vocabulary of word pieces is written, if the recipe names one.
    """
    words = ["--data.loader.workers", "0", "--trainer.enable_progress_bar", "false"]
    for size in ("trimmed", "untrimmed", "whole"):
        words += [f"--data.batch_size.{size}", "2"]
    if "vggss" not in experiment.datasets:  # whose networks crop pictures to a size of their own
        words += ["--data.image_size", "64"]
    for option, value in _system(experiment).items():
        if option.endswith("weights") and value is not None:
            words += [f"--model.system.{option}", "null"]
        if option == "pieces" and value:
            words += ["--model.system.pieces", str(_word_pieces(folder / "vocab.txt"))]
    return words


def write_random_weights(words: Sequence[str], path: Path) -> bool:
    """Write random weights of a recipe's network in the authors' form.

    Args:
        words: Words of `avkit fit`.
        path: File to write.

    Returns:
        Whether the system has a network with official weights.
    """
    import torch

    from avkit.cli.trainer import make_cli
    from avkit.systems.checkpoints import OfficialNetwork
    from avkit.systems.encoder_weights import random_encoders

    with random_encoders(allowed=True):
        system = make_cli(words).model.system
    networks = [module for module in system.modules() if isinstance(module, OfficialNetwork)]
    if not networks:
        return False
    content = BytesIO()  # torch would write the name of a file into it
    torch.save(networks[0].to_official(), content)
    write_file(path, content.getvalue())
    return True


def _word_pieces(path: Path) -> Path:
    from avkit.text.wordpiece import make_wordpieces

    if not path.exists():
        write_file(path, "\n".join(make_wordpieces(["a", "dog", "barks"])))
    return path


def _system(experiment: Experiment) -> Mapping[str, Option]:
    model = experiment.all_options().get("model")
    system = model.get("system") if isinstance(model, dict) else None
    return system if isinstance(system, dict) else {}


def _write_stores(experiment: Experiment, dataset: str, folder: Path) -> None:
    """Write random features for the stores that a recipe names by path."""
    import numpy as np

    from avkit.features.base import FeatureFacts
    from avkit.features.store import write_store

    data = experiment.all_options().get("data")
    features = data.get("features") if isinstance(data, dict) else None
    names = features.values() if isinstance(features, dict) else ()
    clips = sorted(path.stem for path in folder.rglob("*.mp4"))
    for text in names:
        for name in str(text or "").split("+"):
            if not name.endswith(".h5"):
                continue
            stem = Path(name).stem
            tokens = (14,) if stem.startswith("tome") else ()
            shape = (_STEPS, *tokens, _width(dataset, name))
            draw = np.random.default_rng(0)
            (folder / name).parent.mkdir(exist_ok=True)
            content = [(clip, draw.standard_normal(shape, np.float32)) for clip in clips]
            write_store(folder / name, content, FeatureFacts(stem, hop=1.0))


def _width(dataset: str, name: str) -> int:
    """Width of stored features: of released ones, or of a store by the name of its file."""
    from avkit.datasets import DATASETS, find_dataset

    stem = Path(name).stem
    for other in (dataset, *DATASETS):
        released = getattr(find_dataset(other), "released", {})
        if stem in released:
            return max(length for length in released[stem].shape[1:] if length is not None)
    return WIDTHS[stem]
