# SPDX-License-Identifier: Apache-2.0
"""A run that can be asked at once, without training: random weights on drawn scenes."""

import torch

from avkit.datasets.scenes import Scenes
from avkit.inference.predictor import Predictor
from avkit.systems.av_unified.system import AVUnifiedConfig
from avkit.training.domain import SCENES
from avkit.training.module import AVModel


def random_run(tasks="ra_ssu,avs,ssl,davel,avqa"):
    """A predictor of a run on scenes that has learnt nothing."""
    torch.manual_seed(0)
    vocabulary = Scenes("test", size=1, image_size=32).vocabulary
    predictor = Predictor(AVModel(tasks, vocabulary, AVUnifiedConfig(width=32)), "runs/drawn", 32, "cpu")
    predictor.domains = dict.fromkeys(predictor.tasks, SCENES)
    predictor.provenance = {"run": "runs/drawn"}
    return predictor
