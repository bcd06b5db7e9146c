# SPDX-License-Identifier: Apache-2.0
"""Scenes in the place of an experiment's data: a layout, stand-ins for stored features, random weights, small sizes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from inspect import signature
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.files import leftovers, temporary_folder, write_file
from avkit.leaderboard import Experiment
from avkit.leaderboard.recipes import Option
from avkit.reading.text import read_json

if TYPE_CHECKING:
    from torch import Tensor

    from avkit.systems.checkpoints import OfficialNetwork

#: Layout of each dataset that is exported under another name.
_LAYOUTS = {"f-music": "ra-ssu", "f-lifescene": "ra-ssu"}
#: Clips of each split, their picture size in pixels, and pictures per second.
_CLIPS = {"train": 2, "val": 2, "test": 2}
_IMAGE_SIZE = 32
_FPS = 2.0


def make_data(experiment: Experiment, out: Path) -> Path:
    """Write scenes in the layouts of an experiment's datasets, each once; returns the root to name.

    Args:
        experiment: The experiment.
        out: Folder of the data.
    """
    from avkit.cli.reproduction_features import write_features

    for name in experiment.datasets:
        if not (out / name).exists():
            _write_scenes(name, out / name)
        write_features(experiment, name, out / name)
    return out / experiment.datasets[0] if len(experiment.datasets) == 1 else out


def _write_scenes(dataset: str, folder: Path) -> None:
    """Export a few scenes in the layout of a dataset."""
    from avkit.export import export

    for left in leftovers(folder):
        shutil.rmtree(left, ignore_errors=True)
    part = temporary_folder(folder)
    export(_LAYOUTS.get(dataset, dataset), part, _CLIPS, _IMAGE_SIZE, fps=_FPS)
    if dataset in _LAYOUTS:  # one layout, of which a file says which dataset it is
        facts = part / "dataset.json"
        write_file(facts, json.dumps({**read_json(facts), "name": dataset}))
    part.rename(folder)


def small_words(experiment: Experiment, folder: Path) -> list[str]:
    """Words of `avkit fit` that make a run small, and name no weights that are elsewhere.

    Args:
        experiment: The experiment.
        folder: Where a vocabulary of word pieces is written, if the recipe names one.
    """
    words = ["--data.loader.workers", "0", "--trainer.enable_progress_bar", "false"]
    for size in ("trimmed", "untrimmed", "whole"):
        words += [f"--data.batch_size.{size}", "2"]
    if experiment.dataset != "vggss":  # whose networks crop pictures to a size of their own
        words += ["--data.image_size", "64"]
    return words + without_weights(experiment, folder)


def without_weights(experiment: Experiment, folder: Path) -> list[str]:
    """Words of `avkit fit` that name no weights that are elsewhere; `folder` as of `small_words`."""
    words: list[str] = []
    for option, value in _system(experiment).items():
        if (option.endswith("weights") or option == "prior") and value is not None:
            words += [f"--model.system.{option}", "null"]
        if option == "pieces" and value:
            words += ["--model.system.pieces", str(_word_pieces(folder / "vocab.txt"))]
    return words


def write_random_weights(words: Sequence[str], path: Path) -> bool:
    """Write random weights of a recipe's network in the authors' form, and beside them sizes that they do not show.

    Args:
        words: Words of `avkit fit`.
        path: File to write.

    Returns:
        Whether the system has a network with official weights.
    """
    import torch

    from avkit.cli.reproduction_weights import sizes_file
    from avkit.cli.trainer import make_cli
    from avkit.systems.checkpoints import OfficialNetwork
    from avkit.systems.encoder_weights import random_encoders

    with random_encoders(allowed=True):
        system = make_cli(words).model.system
    networks = [module for module in system.modules() if isinstance(module, OfficialNetwork)]
    if not networks:
        return False
    state = networks[0].to_official()
    unshown = _unshown_sizes(networks[0], state)
    if unshown:
        write_file(sizes_file(path), json.dumps(unshown))
    content = BytesIO()  # torch would write the name of a file into it
    torch.save(state, content)
    write_file(path, content.getvalue())
    return True


def _unshown_sizes(network: "OfficialNetwork", state: Mapping[str, "Tensor"]) -> dict[str, object]:
    """Sizes of a network that are not its defaults and that its official weights do not show."""
    shown = network.recognise(state) or {}
    sizes = {}
    for name, parameter in signature(type(network).__init__).parameters.items():
        value = network.built_with.get(name, parameter.default)
        if name in network.sizes() and name not in shown and value != parameter.default:
            sizes[name] = value
    return sizes


def _word_pieces(path: Path) -> Path:
    from avkit.text.wordpiece import make_wordpieces

    if not path.exists():
        write_file(path, "\n".join(make_wordpieces(["a", "dog", "barks"])))
    return path


def _system(experiment: Experiment) -> Mapping[str, Option]:
    model = experiment.all_options().get("model")
    system = model.get("system") if isinstance(model, dict) else None
    return system if isinstance(system, dict) else {}
