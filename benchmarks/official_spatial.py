# SPDX-License-Identifier: Apache-2.0
"""The authors' networks of questions, masks and sources, from checkouts of their repositories, for `systems.py`.

What does not run as published is repaired on the way: misspelt names in TSPM, imports of absent files in PSTP-Net, and
the compiled operation of AVSegFormer, whose own fallback runs instead. Nothing is downloaded: weights are random.
"""

import importlib
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from avkit.systems.lvs.network import tri_map

#: Top modules that a checkout brings along.
MODULES = ("nets", "configs", "model", "models", "ops", "net_avst", "visual_net", "config")


@dataclass
class Adapter:
    """How to make, feed and run one network.

    Attributes:
        repository: Folder of the checkout.
        batch: Clips or questions, the published number where a CPU can hold it.
        make: The authors' network, imported from the checkout, which is the working folder of imports.
        inputs: Tensors for a batch.
        theirs: What their network answers.
        ours: The same of ours.
    """

    repository: str
    batch: int
    make: Callable[[Path], nn.Module]
    inputs: Callable[[int], list[Tensor]]
    theirs: Callable[[Any, list[Tensor]], list[Tensor]]
    ours: Callable[[Any, list[Tensor]], list[Tensor]]


def _repaired(path: Path, name: str, *repairs: tuple[str, str]) -> ModuleType:
    text = path.read_text(encoding="utf-8")
    for wrong, right in repairs:
        text = re.sub(wrong, right, text)
    module = ModuleType(name)
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


def _stub(name: str, **members: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def _stub_timm() -> None:
    """Old places of timm's parts, with models not registered under names that timm has itself."""
    layers = importlib.import_module("timm.layers")
    _stub("timm.models.layers", **{k: getattr(layers, k) for k in ("DropPath", "to_2tuple", "trunc_normal_")})
    _stub("timm.models.registry", register_model=lambda f: f)


def _tspm(folder: Path) -> nn.Module:
    module = _repaired(
        folder / "nets" / "net.py",
        "tspm_net",
        ("TemporalPerceptionModule", "TemporalPerception"),
        ("avisual_", "visual_"),
    )
    flags = dict.fromkeys(("AV_Attn_Module", "Temp_Selection", "Spatio_Perception", "Temp_QTGM"), True)
    made: nn.Module = module.TSPM(SimpleNamespace(top_k=10, **flags))
    return made


def _pstp(folder: Path) -> nn.Module:
    module = _repaired(
        folder / "nets" / "PSTP_Net_Ours.py",
        "pstp_net",
        (r"from nets\.visual_net import resnet18\n", ""),
        (r"from configs\.\w+ import parser\n", ""),
        (r"int\(top_k_index_sort\[batch_idx, :, k_idx\]\)", "int(top_k_index_sort[batch_idx, 0, k_idx])"),
    )
    names = ("use_word", "temp_select", "spat_select", "a_guided_attn", "global_local")
    args = {"num_layers": 1, "question_encoder": "CLIP", "segs": 12, "top_k": 2, "top_m": 25}
    made: nn.Module = module.PSTP_Net(SimpleNamespace(**args, **dict.fromkeys(names, True)))
    return made


def _avst(folder: Path) -> nn.Module:
    sys.path.insert(0, str(folder / "net_grd_avst"))
    try:
        module = importlib.import_module("net_avst")
    finally:
        sys.path.remove(str(folder / "net_grd_avst"))
    bare = importlib.import_module("visual_net").resnet18
    with patch.object(module, "resnet18", lambda pretrained=False: bare(pretrained=False)):
        made: nn.Module = module.AVQA_Fusion_Net()
    return made


def _ez_vsl(folder: Path) -> nn.Module:
    from torchvision import models  # checkouts of EZ-VSL need it, ours does not

    bare = models.resnet18
    with patch.object(models, "resnet18", lambda pretrained=False: bare(weights=None)):
        made: nn.Module = importlib.import_module("model").EZVSL(0.03, 512)
    return made


def _lvs(folder: Path) -> nn.Module:
    _stub("models.audio_convnet")
    _stub("models.image_convnet")
    args = {"epsilon": 0.65, "epsilon2": 0.4, "tri_map": True, "Neg": True, "random_threshold": 0.03}
    made: nn.Module = importlib.import_module("model").AVENet(SimpleNamespace(**args))
    return made


def _tpavi(folder: Path) -> nn.Module:
    _stub_timm()
    place = str(folder / "avs_scripts" / "avs_s4")
    sys.path.insert(0, place)
    try:
        module = importlib.import_module("model.PVT_AVSModel")
    finally:
        sys.path.remove(place)
    with patch.object(module.Pred_endecoder, "initialize_pvt_weights", lambda self: None):
        made: nn.Module = module.Pred_endecoder(channel=256, tpavi_stages=[0, 1, 2, 3], tpavi_va_flag=True)
    for block in (made.tpavi_b1, made.tpavi_b2, made.tpavi_b3, made.tpavi_b4):
        nn.init.constant_(block.W_z[1].weight, 0.5)  # begins at 0, and would hide all before it
    return made


def _avsegformer(folder: Path) -> nn.Module:
    _stub_timm()
    _stub("MultiScaleDeformableAttention")
    _stub("resampy")
    _stub("soundfile")
    config: dict[str, Any] = {}
    exec((folder / "config" / "s4" / "AVSegFormer_pvt2_s4.py").read_text(encoding="utf-8"), config)
    settings = dict(config["model"])
    settings["vggish"] = settings["vggish"] | {"freeze_audio_extractor": False}
    trunk = importlib.import_module("model.backbone.pvt").PyramidVisionTransformerV2
    with patch.object(trunk, "initialize_weights", lambda self, path: None):
        made: nn.Module = importlib.import_module("model").build_model(**settings)
    made.freeze_backbone(False)  # type: ignore[operator]
    return made


def _clips(count: int) -> list[Tensor]:
    return [torch.randn(count, 60, 128), torch.randn(count, 60, 768), torch.randn(count, 60, 14, 1024)]


def _normalised(pictures: Tensor) -> Tensor:
    """Pictures with values in [0, 1] by ImageNet's mean and deviation, as our encoders do themselves."""
    mean = pictures.new_tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = pictures.new_tensor([0.229, 0.224, 0.225])[:, None, None]
    return (pictures - mean) / deviation


def _run_tpavi(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    pictures, audio = inputs
    maps = [level.unflatten(0, (-1, 5)) for level in network.levels(network.visual(pictures))]
    output = network(maps, audio.unflatten(0, (-1, 5)))
    return [output.logits.flatten(0, 1), *output.maps]


def _their_tpavi(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    pictures, audio = inputs
    masks, maps, _ = network(_normalised(pictures), audio)
    return [masks, *maps]


def _run_avsegformer(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    log_mel, pictures = inputs
    with torch.no_grad():
        audio = network.audio.network(log_mel)
    output = network(network.levels(network.visual(pictures)), audio)
    return [output.logits, output.features]


def _their_avsegformer(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    log_mel, pictures = inputs
    return list(network(log_mel, _normalised(pictures)))


def _run_ez_vsl(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    pictures, sounds = inputs
    similarity = torch.einsum("nchw,mc->nmhw", network.embed_pictures(pictures), network.embed_sounds(sounds))
    return [similarity / 0.03]


def _their_ez_vsl(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    pictures, sounds = inputs
    maps = network.imgnet(pictures).unflatten(1, (512, 7, 7))
    image = torch.nn.functional.normalize(network.img_proj(maps), dim=1)
    sound = torch.nn.functional.normalize(network.aud_proj(network.audnet(sounds)), dim=1)
    return [network.max_xmil_loss(image, sound)[1]]


def _run_lvs(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    pictures, sounds = inputs
    positions = network.embed_pictures(pictures).permute(0, 2, 3, 1)
    return [tri_map(network.embed_sounds(sounds), positions).logits]


def _their_lvs(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    return [network(*inputs, None)[1]]


def _run_avst(network: Any, inputs: list[Tensor]) -> list[Tensor]:
    audio, own, other, question = inputs
    own = own.flatten(3).transpose(2, 3)
    other = other.flatten(3).transpose(2, 3)
    output = network(audio, own, question, other)
    return [output.logits, output.match, output.mismatch]


ADAPTERS = {
    "tspm": Adapter(
        "TSPM",
        64,
        _tspm,
        lambda n: [*_clips(n), torch.randn(n, 1, 768), torch.randn(n, 1, 768)],
        lambda net, x: [net(x[0], x[1], None, x[2], x[3], x[4])],
        lambda net, x: [net(x[0], x[1], x[2], x[3][:, 0], x[4][:, 0]).logits],
    ),
    "pstp": Adapter(
        "PSTP-Net",
        64,
        _pstp,
        lambda n: [
            *(torch.randn(n, *shape) for shape in ((60, 128), (60, 512), (60, 49, 512), (1, 512), (1, 77, 512)))
        ],
        lambda net, x: [net(*x)],
        lambda net, x: [net(x[0], x[1], x[4][:, 0], x[3][:, 0]).logits],
    ),
    "avst": Adapter(
        "MUSIC-AVQA",
        32,
        _avst,
        lambda n: [
            torch.randn(n, 10, 128),
            *(torch.randn(n, 10, 512, 14, 14).relu() for _ in range(2)),
            torch.randint(93, (n, 14)),
        ],
        lambda net, x: list(net(*x)),
        _run_avst,
    ),
    "ez_vsl": Adapter(
        "EZ-VSL",
        32,
        _ez_vsl,
        lambda n: [torch.randn(n, 3, 224, 224), torch.randn(n, 1, 257, 200)],
        _their_ez_vsl,
        _run_ez_vsl,
    ),
    "lvs": Adapter(
        "Localizing-Visual-Sounds-the-Hard-Way",
        8,
        _lvs,
        lambda n: [torch.randn(n, 3, 224, 224), torch.randn(n, 1, 257, 671)],
        _their_lvs,
        _run_lvs,
    ),
    "tpavi": Adapter(
        "AVSBench",
        1,
        _tpavi,
        lambda n: [torch.rand(5 * n, 3, 224, 224), torch.randn(5 * n, 128).abs()],
        _their_tpavi,
        _run_tpavi,
    ),
    "avsegformer": Adapter(
        "AVSegFormer",
        2,
        _avsegformer,
        lambda n: [torch.randn(5 * n, 1, 96, 64), torch.rand(5 * n, 3, 224, 224)],
        _their_avsegformer,
        _run_avsegformer,
    ),
}
