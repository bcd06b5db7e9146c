# SPDX-License-Identifier: Apache-2.0
"""Networks of papers for `systems.py`: how to make, feed and run ours and the authors', at the published sizes."""

import contextlib
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from official_spatial import ADAPTERS as SPATIAL
from official_spatial import MODULES
from official_uniav import ADAPTER as UNIAV
from official_uniav import PUBLISHED as UNIAV_SIZES
from torch import Tensor, nn

from avkit.nn.masked_conv import ScaledDropPath
from avkit.systems import find_network

#: Networks that say themselves how they are made, fed and run.
ADAPTERS = {**SPATIAL, "uniav": UNIAV}
#: Folder of each checkout.
REPOSITORIES = {
    "ccnet": "CCNet-AAAI2025",
    "unav": "UnAV",
    "han": "AVVP-ECCV20",
    "mm_pyramid": "MM_Pyramid",
    "avel": "AVE-ECCV18",
    "psp": "PSP_CVPR_2021",
} | {name: adapter.repository for name, adapter in ADAPTERS.items()}
#: Published sizes of batches.
BATCH = {"ccnet": 16, "unav": 16, "han": 16, "mm_pyramid": 16, "avel": 64, "psp": 128}
BATCH |= {name: adapter.batch for name, adapter in ADAPTERS.items()}
#: Steps of the videos of networks for dense events.
LENGTH = {"ccnet": 256, "unav": 224}
_DENSE = {"visual": 2048, "audio": 128, "classes": 100}
#: Published arguments of ours that are neither defaults nor in `published`.
PUBLISHED_SIZES: dict[str, dict[str, Any]] = {
    "ccnet": _DENSE,
    "unav": _DENSE,
    "uniav": UNIAV_SIZES,
    "tpavi": {"visual": "pvt_v2_b5", "width": 256, "audio_features": 128},
    "avsegformer": {
        "visual": "pvt_v2_b5",
        "width": 256,
        "queries": 300,
        "layers": 6,
        "audio_layers": 6,
        "inner": 2048,
        "audio_inner": 1024,
    },
}
_OFFICIAL_MODULES = ("libs", "nets", "models", "fully_model", "main_network", *MODULES)


@contextlib.contextmanager
def checkout(folder: Path, device: torch.device) -> Iterator[None]:
    """Import from a checkout, with `.cuda()` doing nothing on a CPU and compiled suppression left out."""
    before = set(sys.modules)
    for name in ("nms_1d_cpu", "pdb"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.path.insert(0, str(folder))
    with contextlib.ExitStack() as stack:
        if device.type == "cpu":
            for owner in (Tensor, nn.Module):
                stack.enter_context(patch.object(owner, "cuda", lambda self, *a, **k: self))
        try:
            yield
        finally:
            sys.path.remove(str(folder))
            for name in set(sys.modules) - before:
                if name.split(".")[0] in _OFFICIAL_MODULES:
                    del sys.modules[name]


def official_network(name: str, folder: Path) -> nn.Module:
    """The authors' network at its published size, with random weights."""
    torch.manual_seed(0)
    network: nn.Module
    if name in ADAPTERS:
        network = ADAPTERS[name].make(folder)
    elif name in LENGTH:
        network = _official_dense_network(name)
    elif name == "han":
        network = importlib.import_module("nets.net_audiovisual").MMIL_Net()
    elif name == "mm_pyramid":
        network = importlib.import_module("main_network").AVVPNet(8, 512, 512, [512] * 4)
    elif name == "avel":
        network = importlib.import_module("models").att_Net(128, 128, 512, 29)
    else:
        network = importlib.import_module("fully_model").psp_net(128, 512, 128, 29)
    return without_chance(network)


def _official_dense_network(name: str) -> nn.Module:
    config = importlib.import_module("libs.core.config").load_default_config()
    config["model"] |= {
        "input_dim_V": _DENSE["visual"],
        "input_dim_A": _DENSE["audio"],
        "num_classes": _DENSE["classes"],
        "max_seq_len": LENGTH[name],
        "class_aware": True,
        "train_cfg": config["train_cfg"],
        "test_cfg": config["test_cfg"],
    }
    modeling = importlib.import_module("libs.modeling")
    network: nn.Module
    if name == "ccnet":
        network = modeling.make_CCNet_meta_arch(config["model_name"], **config["model"])
    else:
        config["model"] |= {"use_abs_pe": True, "use_dependency": True}
        network = modeling.make_multimodal_meta_arch(config["model_name"], **config["model"])
    return network


def our_network(name: str, **sizes: Any) -> nn.Module:
    """Ours at its published size, except for the arguments given, with random weights."""
    network = find_network(name)
    arguments = {**network.published, **PUBLISHED_SIZES.get(name, {}), **sizes}
    return without_chance(network.build(**arguments))


def without_chance(network: nn.Module) -> nn.Module:
    """Without what is drawn at random in training, and with gains of ordinary size, so that all parts count."""
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0
        if type(module).__name__ == "DropPath":
            module.drop_prob = 0.0
        if type(module).__name__ == "AffineDropPath":
            module.drop_prob = 0.0
            nn.init.constant_(module.scale, 0.5)
        if isinstance(module, ScaledDropPath):
            module.drop = 0.0
        if hasattr(module, "dropout") and isinstance(module.dropout, float):
            module.dropout = 0.0
    return network


def make_inputs(name: str, batch: int, ragged: bool) -> list[Tensor]:
    """Features of a batch: of videos, with which steps are valid, or of clips."""
    torch.manual_seed(1)
    if name in ADAPTERS:
        return ADAPTERS[name].inputs(batch)
    if name in LENGTH:
        length = LENGTH[name]
        lengths = torch.full((batch,), length)
        if ragged:
            lengths = torch.randint(length // 4, length + 1, (batch,))
        valid = torch.arange(length) < lengths[:, None]
        visual, audio = (torch.randn(batch, length, width) * valid[..., None] for width in (2048, 128))
        return [visual, audio, valid]
    if name in ("han", "mm_pyramid"):
        return [torch.randn(batch, 10, 128), torch.randn(batch, 80, 2048), torch.randn(batch, 10, 512)]
    return [torch.randn(batch, 10, 128), torch.randn(batch, 10, 7, 7, 512).relu()]


def run_official(name: str, network: Any, inputs: list[Tensor]) -> list[Tensor]:
    """What the authors' network answers."""
    if name in ADAPTERS:
        return ADAPTERS[name].theirs(network, inputs)
    if name in LENGTH:
        visual, audio, valid = inputs
        visual_levels, audio_levels, masks = network.backbone(visual.mT, audio.mT, valid[:, None])
        levels = [torch.cat(pair, 1) for pair in zip(visual_levels, audio_levels, strict=True)]
        neck = network.MTGC_block if name == "ccnet" else network.dependency_block
        levels, _ = neck(levels, masks)
        return [*network.cls_head(levels, masks), *network.reg_head(levels, masks)]
    if name in ("han", "mm_pyramid"):
        return list(network(*inputs))
    if name == "avel":
        return [network(*inputs)]
    return list(network(*inputs, 0.099)[1:])


def run_ours(name: str, network: Any, inputs: list[Tensor]) -> list[Tensor]:
    """The same of ours, in the authors' shapes."""
    if name in ADAPTERS:
        return ADAPTERS[name].ours(network, inputs)
    if name in LENGTH:
        levels = network(*inputs)
        return [*(level.logits.mT for level in levels), *(level.offsets.flatten(2).mT for level in levels)]
    if name in ("han", "mm_pyramid"):
        output = network(inputs[0], inputs[1].unflatten(1, (10, 8)), inputs[2])
        return [output.clip, output.audio, output.visual, output.steps]
    audio, pictures = inputs
    pictures = pictures.flatten(2, 3)
    if name == "avel":
        return [network(audio, pictures).softmax(-1)]
    output = network(audio, pictures)
    return [output.logits, output.similarity]
