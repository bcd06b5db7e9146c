# SPDX-License-Identifier: Apache-2.0
"""UniAV's network of its authors, from a checkout of ttgeng233/UniAV, for `systems.py` and `uniav.py`.

Nothing is repaired but imports: packages of its training script that are absent are stubs. Weights and text features
of classes are random.
"""

import importlib
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from official_spatial import Adapter
from torch import Tensor

from avkit.systems.uniav.experts import EXPERTS

#: Packages that only scripts of training and evaluation use, and what is imported from them.
STUBS = {
    "nms_1d_cpu": (),
    "torch._six": ("inf",),
    "tensorboardX": ("SummaryWriter",),
    "joblib": ("Parallel", "delayed"),
    "pandas": (),
}
#: What is smaller where the size is `small`.
SMALL = {"embd_dim": 32, "head_dim": 24, "input_dim_V": 20, "input_dim_A": 12}
#: Sizes of the task of UnAV-100.
PUBLISHED = {"visual": 1536, "audio": 1536, "classes": 100, "text": 1536}
LENGTH = 256


def stub_packages() -> None:
    """Put empty modules in the place of packages that are not there."""
    for name, members in STUBS.items():
        try:
            importlib.import_module(name)
        except ImportError:
            stub = ModuleType(name)
            stub.__dict__.update(dict.fromkeys(members))
            sys.modules[name] = stub


def official_config(folder: Path, size: str = "official") -> dict[str, Any]:
    """The authors' configuration, with random text features of the classes."""
    stub_packages()
    load = importlib.import_module("libs.core.config").load_config
    config, tasks = load(str(folder / "configs" / "multi_task_anet_unav_dcase.yaml"))
    if size == "small":
        config["model"] |= SMALL
    for section in tasks.values():
        section["clip_class_feature"] = text_features(section["dataset"]["num_classes"])
    return dict(config)


def text_features(classes: int) -> Tensor:
    """Random text features of length 1, (classes, 1536)."""
    rows = np.random.default_rng(5).standard_normal((classes, PUBLISHED["text"]))
    return torch.from_numpy(rows / np.linalg.norm(rows, axis=1, keepdims=True)).float()


def weights_by_rule(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Weights that depend on their keys and shapes alone; gains of norms are around 1."""
    weights = {}
    for key, shape in shapes.items():
        values = 0.1 * np.random.default_rng(zlib.crc32(key.encode())).standard_normal(shape)
        is_gain = "norm" in key or ".ln" in key
        weights[key] = torch.from_numpy(np.asarray(values + (is_gain and key.endswith("weight")))).float()
    return weights


def official_network(config: dict[str, Any]) -> Any:
    """The authors' network with random weights."""
    torch.manual_seed(0)
    modeling = importlib.import_module("libs.modeling")
    return modeling.make_multimodal_meta_arch(config["model_name"], **config["model"])


def official_outputs(network: Any, name: str, inputs: list[Tensor]) -> list[Tensor]:
    """Class logits (B, T, K) and offsets (B, T, outputs) of one expert of the authors' network, level by level."""
    section = EXPERTS[name].section
    visual, audio, valid, prompts = inputs
    visual_levels, audio_levels, masks = network.backbone(visual.mT, audio.mT, valid[:, None], section, name)
    levels = [torch.cat(pair, 1) for pair in zip(visual_levels, audio_levels, strict=True)]
    logits = network.cls_head(levels, masks, {section: prompts}, section)
    offsets = network.reg_head(levels, masks, section)
    return [*logits, *(level.mT for level in offsets)]


def our_outputs(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    """The same of ours."""
    levels = network(*inputs)
    return [*(level.logits for level in levels), *(level.offsets.flatten(2) for level in levels)]


def _inputs(batch: int) -> list[Tensor]:
    valid = torch.ones(batch, LENGTH, dtype=torch.bool)
    features = [torch.randn(batch, LENGTH, PUBLISHED[name]) for name in ("visual", "audio")]
    return [*features, valid, text_features(PUBLISHED["classes"])]


ADAPTER = Adapter(
    repository="UniAV",
    batch=16,
    make=lambda folder: official_network(official_config(folder)),
    inputs=_inputs,
    theirs=lambda network, inputs: official_outputs(network, "AVEL", inputs),
    ours=our_outputs,
)
