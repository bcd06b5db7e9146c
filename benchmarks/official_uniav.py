# SPDX-License-Identifier: Apache-2.0
"""UniAV beside its authors' network: outputs, losses and gradients of every expert, with the same weights and videos.

    python benchmarks/official_uniav.py --official DIR [--size small]

DIR holds `UniAV`, a checkout of ttgeng233/UniAV at commit dadff1bb3a85. Weights and features are random. Nothing is
repaired but imports: absent packages that its training script needs are stubs. Nothing is drawn at random in training
(stochastic depth is off). The authors' evaluation of sounds (SED) squeezes the positions of 256 steps into 64, their
training does not; ours does not either, so outputs of SED are compared as in training, and the difference of the
evaluation is told.
"""

import argparse
import contextlib
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from papers import without_chance
from torch import Tensor, nn

from avkit.batch import Batch
from avkit.nn.event_criterion import EventCriterion
from avkit.nn.event_options import EventLossOptions
from avkit.systems.uniav.experts import EXPERTS
from avkit.systems.uniav.network import UniAV

#: Largest difference that is called none.
SAME = 1e-5
#: Packages that only their training and evaluation scripts use, and what is imported from them.
STUBS = {
    "nms_1d_cpu": (),
    "torch._six": ("inf",),
    "tensorboardX": ("SummaryWriter",),
    "joblib": ("Parallel", "delayed"),
    "pandas": (),
}
#: What is smaller where the size is `small`.
SMALL = {"embd_dim": 32, "head_dim": 24, "input_dim_V": 20, "input_dim_A": 12}


@dataclass
class Videos:
    """Videos of one task, as both networks read them.

    Attributes:
        visual: (B, T, visual width), 0 where padded.
        audio: (B, T, audio width).
        lengths: Steps of each video.
        segments: Starts and ends in steps by video, each (N, 2).
        labels: Classes by video, each (N,).
    """

    visual: Tensor
    audio: Tensor
    lengths: list[int]
    segments: list[Tensor]
    labels: list[Tensor]

    @property
    def valid(self) -> Tensor:
        """Steps of the videos, bool (B, T)."""
        return torch.arange(self.visual.shape[1]) < torch.tensor(self.lengths)[:, None]


@contextlib.contextmanager
def checkout(folder: Path) -> Iterator[None]:
    """Import from a checkout, with stubs for packages that are not there."""
    for name, members in STUBS.items():
        try:
            importlib.import_module(name)
        except ImportError:
            stub = ModuleType(name)
            stub.__dict__.update(dict.fromkeys(members))
            sys.modules[name] = stub
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def official_config(folder: Path, size: str) -> dict[str, Any]:
    """The authors' configuration, with random text features of the classes."""
    load = importlib.import_module("libs.core.config").load_config
    config, tasks = load(str(folder / "configs" / "multi_task_anet_unav_dcase.yaml"))
    if size == "small":
        config["model"] |= SMALL
    generator = torch.Generator().manual_seed(5)
    for section in tasks.values():
        rows = torch.randn(section["dataset"]["num_classes"], 1536, generator=generator, dtype=torch.float64)
        section["clip_class_feature"] = nn.functional.normalize(rows, dim=1)
    return dict(config)


def official_network(config: dict[str, Any]) -> Any:
    """The authors' network in float64, with random weights and nothing drawn at random in training."""
    torch.manual_seed(0)
    modeling = importlib.import_module("libs.modeling")
    network = modeling.make_multimodal_meta_arch(config["model_name"], **config["model"])
    return without_chance(network).double()


def make_videos(config: dict[str, Any], section: dict[str, Any], count: int = 3) -> Videos:
    """Videos of several lengths with events of all durations."""
    generator = torch.Generator().manual_seed(7)
    most = section["dataset"]["max_seq_len"]
    lengths = [most, most // 2 + 3, most // 4 + 1][:count]
    shapes = [(len(lengths), most, config["model"][name]) for name in ("input_dim_V", "input_dim_A")]
    visual, audio = (torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes)
    segments = []
    labels = []
    for length in lengths:
        starts = torch.rand(6, generator=generator) * length * 0.7
        sizes = torch.rand(6, generator=generator) ** 2 * (length - starts) + 1.0
        segments.append(torch.stack([starts, (starts + sizes).clamp(max=length)], 1))
        labels.append(torch.randint(section["dataset"]["num_classes"], (6,), generator=generator))
    keep = torch.arange(most) < torch.tensor(lengths)[:, None]
    return Videos(visual * keep[..., None], audio * keep[..., None], lengths, segments, labels)


def official_losses(network: Any, name: str, videos: Videos, section: dict[str, Any]) -> dict[str, Tensor]:
    """The authors' losses, with their own targets."""
    loader = importlib.import_module("libs.datasets.data_utils")
    generator = importlib.import_module("libs.datasets.loc_generators").PointGenerator
    data = section["dataset"]
    points = generator(data["max_seq_len"], 1.0, len(network.reg_range), 2, network.reg_range, network.max_div_factor)
    points.max_seq_len = int(points.max_seq_len)
    items = []
    for row, length in enumerate(videos.lengths):
        feats = {"visual": videos.visual[row, :length].T, "audio": videos.audio[row, :length].T}
        places = points(network.fpn_strides, feats["visual"], True)
        targets = (videos.segments[row], videos.labels[row], data["num_classes"], data["class_aware"])
        classes, offsets = loader.label_points(places, *targets)
        item = {"feats": feats, "segments": videos.segments[row], "labels": videos.labels[row]}
        items.append({**item, "gt_cls_labels": classes, "gt_offsets": offsets})
    losses: dict[str, Tensor] = network(items, EXPERTS[name].section, name)
    return losses


def official_outputs(network: Any, name: str, videos: Videos) -> list[Tensor]:
    """Class logits and offsets of the authors' network, level by level."""
    section = EXPERTS[name].section
    inputs = (videos.visual.mT, videos.audio.mT, videos.valid[:, None])
    visual, audio, masks = network.backbone(*inputs, section, name)
    levels = [torch.cat(pair, 1) for pair in zip(visual, audio, strict=True)]
    logits = network.cls_head(levels, masks, network.clip_class_feature, section)
    offsets = network.reg_head(levels, masks, section)
    return [*logits, *(level.mT for level in offsets)]


def our_outputs(network: UniAV, videos: Videos, prompts: Tensor) -> list[Tensor]:
    """The same of ours."""
    levels = network(videos.visual, videos.audio, videos.valid, prompts)
    return [*(level.logits for level in levels), *(level.offsets.flatten(2) for level in levels)]


def our_losses(network: UniAV, videos: Videos, prompts: Tensor, section: dict[str, Any]) -> dict[str, Tensor]:
    """Our losses, with our targets; events are given in seconds."""
    training = section["train_cfg"]
    options = EventLossOptions(smoothing=training["label_smoothing"], normaliser=float(training["init_loss_norm"]))
    hop = section["dataset"]["feat_stride"] / section["dataset"]["default_fps"]
    events = []
    for segments, labels in zip(videos.segments, videos.labels, strict=True):
        events.append(torch.cat([(segments + 0.5) * hop, labels[:, None].float()], 1))
    lengths = torch.tensor(videos.lengths)
    names = [f"video {row}" for row in range(len(lengths))]
    batch = Batch("davel", names, lengths * hop, hop, videos.valid, targets={"events": events})
    levels = network(videos.visual, videos.audio, videos.valid, prompts)
    losses: dict[str, Tensor] = EventCriterion(options)(levels, batch)
    return losses


def largest(pairs: Iterator[tuple[Tensor, Tensor]]) -> float:
    """Largest difference of pairs of tensors."""
    return max(float((one.double() - two.double()).abs().max()) for one, two in pairs)


def compare(name: str, theirs: Any, config: dict[str, Any]) -> dict[str, float]:
    """Largest differences of one expert."""
    section = config["model"]["task_cfg"][EXPERTS[name].section]
    prompts = section["clip_class_feature"]
    videos = make_videos(config, section)
    options = {"heads": config["model"]["n_head"], "length": section["dataset"]["max_seq_len"]}
    state = theirs.state_dict()
    ours = UniAV.from_official(state, expert=name, **options)
    back = ours.to_official()
    if back.keys() != state.keys():
        raise SystemExit(f"{name}: keys differ: {sorted(back.keys() ^ state.keys())[:5]}")
    ours = without_chance(ours).double()
    found = {"weights": largest((back[key], state[key].float()) for key in state)}
    with torch.no_grad():
        for mode in ("training", "evaluation"):
            for network in (ours, theirs):
                network.train(mode == "training")
            pairs = zip(our_outputs(ours, videos, prompts), official_outputs(theirs, name, videos), strict=True)
            found[f"outputs in {mode}"] = largest(iter(list(pairs)))
    for network in (ours, theirs):
        network.train()
        network.zero_grad(set_to_none=True)
    wanted = official_losses(theirs, name, videos, section)
    losses = our_losses(ours, videos, prompts, section)
    for our_name, their_name in (("classes", "cls_loss"), ("segments", "reg_loss"), ("loss", "final_loss")):
        found[f"loss {our_name}"] = abs(float(losses[our_name].detach()) - float(wanted[their_name].detach()))
    wanted["final_loss"].backward()
    losses["loss"].backward()
    official = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    pairs = []
    for key, parameter in ours.named_parameters():
        theirs_of_key = official.pop(ours.official_name(key))
        pairs.append((ours.to_official_tensor(key, parameter.grad), theirs_of_key))
    scale = max(float(gradient.abs().max()) for _, gradient in pairs)
    found["gradients, of the largest,"] = largest(iter(pairs)) / scale
    found["layers of other experts with a gradient"] = float(sum(grad is not None for grad in official.values()))
    return found


def main() -> None:
    """Print the differences; exit with 1 where one is larger than `SAME`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="folder that holds UniAV")
    parser.add_argument("--size", choices=["small", "official"], default="official")
    options = parser.parse_args()
    folder = (options.official / "UniAV").resolve()
    wrong = False
    with checkout(folder):
        config = official_config(folder, options.size)
        theirs = official_network(config)
        for name in EXPERTS:
            found = compare(name, theirs, config)
            squeezed = found.pop("outputs in evaluation") if name == "SED" else None
            wrong = wrong or max(found.values()) > SAME
            print(f"{name}: " + ", ".join(f"{key} {value:.2g}" for key, value in found.items()))
            if squeezed is not None:
                print(f"{name}: outputs in evaluation {squeezed:.2g}, where the authors squeeze positions")
    sys.exit(int(wrong))


if __name__ == "__main__":
    main()
