# SPDX-License-Identifier: Apache-2.0
"""Another run whose answers are shown beside those of a tested run, such as a baseline."""

from dataclasses import dataclass
from pathlib import Path

import torch

from avkit.answers import Scope
from avkit.batch import Batch, Prediction
from avkit.cli.trainer import AVCLI
from avkit.errors import RunError
from avkit.inference.run_model import load_model
from avkit.outside import Policy, restricted
from avkit.training.module import AVModel
from avkit.training.run_copies import local_run
from avkit.training.run_folder import RunFolder


@dataclass
class Beside:
    """Another run.

    Attributes:
        name: Its name.
        model: Its model, with its weights.
    """

    name: str
    model: AVModel

    def predict(self, batch: Batch) -> Prediction | None:
        """What it answers about a batch; None if it has not the batch's task."""
        if batch.task not in self.model.tasks:
            return None
        self.model.eval()
        with torch.inference_mode():
            prediction: Prediction = self.model(batch)
        return prediction

    def scope(self, scope: Scope) -> Scope:
        """What its answer to a sample is about, with the names that it was trained with."""
        vocabulary = self.model.vocabulary.of(scope.task)
        return Scope(scope.task, scope.grid, vocabulary.classes, vocabulary.answers, scope.question)


def open_beside(path: str, cli: AVCLI, *, trust: bool) -> Beside:
    """Another run, to answer about the samples of a run that is tested.

    Args:
        path: Its folder, or the URL of one.
        cli: Model and data of the run that is tested.
        trust: Whether it may import parts from outside avkit.

    Raises:
        RunError: If it is no run, has no task in common with the other, or reads other features or sizes of pictures.
    """
    folder = RunFolder(local_run(path, ".safetensors"))
    with restricted(Policy(trust=trust, folders=(folder.path,), source=f"run {path}")):
        model, facts = load_model(folder)
    shared = [task for task in cli.model.tasks if task in model.tasks]
    if not shared:
        raise RunError(
            f"{path} has none of the tasks {', '.join(cli.model.tasks)}; it has {', '.join(model.tasks)}. Name a run "
            "of the same task with --beside."
        )
    for task in shared:
        own = _inputs(cli.model.features, task)
        others = _inputs(model.features, task)
        if own != others:
            raise RunError(
                f"{path} reads {others} for {task}, and this run {own}, so it cannot answer about the same samples. "
                "Name a run on the same features with --beside."
            )
    size = cli.datamodule.sources.image_size
    if facts["image_size"] != size:
        raise RunError(
            f"{path} reads pictures of {facts['image_size']} pixels, and this run of {size}. Name a run of the same "
            "size with --beside."
        )
    return Beside(Path(path).name, model.to(cli.model.device))


def _inputs(features: "dict[str, list[int]] | None", task: str) -> str:
    """What a task reads, in words."""
    widths = (features or {}).get(task)
    if not widths or not any(widths):
        return "pictures and sound"
    return f"features of widths {' and '.join(str(width) for width in widths)}"
