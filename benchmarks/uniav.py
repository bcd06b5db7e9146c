# SPDX-License-Identifier: Apache-2.0
"""UniAV beside its authors' network: outputs, losses and gradients of every expert, with the same weights and videos.

    python benchmarks/uniav.py --official DIR [--size small]
    python benchmarks/uniav.py --official DIR --record tests/uniav_official.json

DIR holds `UniAV`, a checkout of ttgeng233/UniAV at commit dadff1bb3a85. Weights and features are random, and nothing is
drawn at random in training. Networks are in float64; losses are in float32, in the authors' code too. Their evaluation
of sounds (SED) squeezes the positions of 256 steps into 64, their training does not; ours does not either, so outputs
of SED are compared as in training, and the difference of the evaluation is told. `--record` writes what their network
gives with small weights that a rule makes; `tests/test_uniav.py` holds ours against it where there is no checkout.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from official_uniav import (
    official_config,
    official_network,
    official_outputs,
    our_outputs,
    text_features,
    weights_by_rule,
)
from papers import checkout, without_chance
from torch import Tensor

from avkit.batch import Batch
from avkit.nn.event_criterion import EventCriterion
from avkit.nn.event_options import EventLossOptions
from avkit.systems.uniav.experts import EXPERTS
from avkit.systems.uniav.network import UniAV

#: Largest difference that is called none.
SAME = 1e-5
#: Of so many numbers one is recorded.
STRIDE = 499


@dataclass
class Videos:
    """Videos of one task, as both networks read them.

    Attributes:
        visual: (B, T, visual width), 0 where padded.
        audio: (B, T, audio width).
        lengths: Steps of each video.
        segments: Starts and ends in steps by video, each (N, 2).
        labels: Classes by video, each (N,).
        prompts: Text features of the classes, (K, width).
    """

    visual: Tensor
    audio: Tensor
    lengths: list[int]
    segments: list[Tensor]
    labels: list[Tensor]
    prompts: Tensor

    @property
    def inputs(self) -> list[Tensor]:
        """What both networks read; which steps are valid is bool (B, T)."""
        valid = torch.arange(self.visual.shape[1]) < torch.tensor(self.lengths)[:, None]
        return [self.visual, self.audio, valid, self.prompts]


def make_videos(config: dict[str, Any], section: dict[str, Any]) -> Videos:
    """Three videos of different lengths with events of all durations."""
    random = np.random.default_rng(7)
    most = section["dataset"]["max_seq_len"]
    lengths = [most, most // 2 + 3, most // 4 + 1]
    shapes = [(len(lengths), most, config["model"][name]) for name in ("input_dim_V", "input_dim_A")]
    visual, audio = (torch.from_numpy(random.standard_normal(shape)) for shape in shapes)
    segments = []
    labels = []
    for length in lengths:
        starts = torch.from_numpy(random.random(6) * length * 0.7).float()
        sizes = torch.from_numpy(random.random(6) ** 2).float() * (length - starts) + 1.0
        segments.append(torch.stack([starts, (starts + sizes).clamp(max=length)], 1))
        labels.append(torch.from_numpy(random.integers(0, section["dataset"]["num_classes"], 6)))
    keep = (torch.arange(most) < torch.tensor(lengths)[:, None])[..., None]
    return Videos(
        visual * keep,
        audio * keep,
        lengths,
        segments,
        labels,
        text_features(section["dataset"]["num_classes"]).double(),
    )


def official_losses(network: Any, name: str, videos: Videos, section: dict[str, Any]) -> dict[str, Tensor]:
    """The authors' losses, with their own targets."""
    label_points = importlib.import_module("libs.datasets.data_utils").label_points
    generator = importlib.import_module("libs.datasets.loc_generators").PointGenerator
    data = section["dataset"]
    points = generator(data["max_seq_len"], 1, len(network.reg_range), 2, network.reg_range, network.max_div_factor)
    items = []
    for row, length in enumerate(videos.lengths):
        feats = {"visual": videos.visual[row, :length].T, "audio": videos.audio[row, :length].T}
        places = points(network.fpn_strides, feats["visual"], True)
        targets = (videos.segments[row], videos.labels[row], data["num_classes"], data["class_aware"])
        classes, offsets = label_points(places, *targets)
        item = {"feats": feats, "segments": videos.segments[row], "labels": videos.labels[row]}
        items.append({**item, "gt_cls_labels": classes, "gt_offsets": offsets})
    losses: dict[str, Tensor] = network(items, EXPERTS[name].section, name)
    return losses


def our_losses(network: UniAV, videos: Videos, section: dict[str, Any]) -> dict[str, Tensor]:
    """Our losses, with our targets; events are given in seconds."""
    training = section["train_cfg"]
    options = EventLossOptions(smoothing=training["label_smoothing"], normaliser=float(training["init_loss_norm"]))
    hop = section["dataset"]["feat_stride"] / section["dataset"]["default_fps"]
    events = []
    for segments, labels in zip(videos.segments, videos.labels, strict=True):
        events.append(torch.cat([(segments + 0.5) * hop, labels[:, None].float()], 1))
    lengths = torch.tensor(videos.lengths)
    names = [f"video {row}" for row in range(len(lengths))]
    batch = Batch("davel", names, lengths * hop, hop, videos.inputs[2], targets={"events": events})
    losses: dict[str, Tensor] = EventCriterion(options)(network(*videos.inputs), batch)
    return losses


def largest(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Largest difference of pairs of tensors."""
    return max(float((one.double() - two.double()).abs().max()) for one, two in pairs)


def compare(name: str, theirs: Any, config: dict[str, Any]) -> dict[str, float]:
    """Largest differences of one expert."""
    section = config["model"]["task_cfg"][EXPERTS[name].section]
    videos = make_videos(config, section)
    options = {"heads": config["model"]["n_head"], "length": section["dataset"]["max_seq_len"]}
    state = theirs.state_dict()
    ours = UniAV.from_official(state, expert=name, **options)
    check_keys(UniAV.build(**ours.built_with), state)
    back = ours.to_official()
    differences = {"weights": largest((back[key], state[key].float()) for key in state)}
    ours = without_chance(ours).double()
    with torch.no_grad():
        for mode in ("training", "evaluation"):
            ours.train(mode == "training")
            theirs.train(mode == "training")
            outputs = (our_outputs(ours, videos.inputs), official_outputs(theirs, name, videos.inputs))
            differences[f"outputs in {mode}"] = largest(zip(*outputs, strict=True))
    return differences | compare_training(name, ours.train(), theirs.train(), videos, section)


def check_keys(network: UniAV, state: dict[str, Tensor]) -> None:
    """Refuse a network that was not loaded from a checkpoint and whose weights the authors' network would refuse."""
    ours = {key: tensor.shape for key, tensor in network.to_official().items()}
    theirs = {key: tensor.shape for key, tensor in state.items()}
    if ours != theirs:
        differing = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
        raise SystemExit(f"{network.expert}: {len(differing)} keys or shapes differ, such as {differing[:3]}")


def compare_training(name: str, ours: UniAV, theirs: Any, videos: Videos, section: dict[str, Any]) -> dict[str, float]:
    """Differences of losses, and of gradients as shares of the largest gradient."""
    differences = {}
    theirs.zero_grad(set_to_none=True)
    wanted = official_losses(theirs, name, videos, section)
    losses = our_losses(ours, videos, section)
    for our_name, their_name in (("classes", "cls_loss"), ("segments", "reg_loss"), ("loss", "final_loss")):
        pair = (losses[our_name].detach(), wanted[their_name].detach())
        differences[f"loss {our_name}"] = largest([pair])
    wanted["final_loss"].backward()
    losses["loss"].backward()
    official = {key: parameter.grad for key, parameter in theirs.named_parameters()}
    pairs = []
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        pairs.append((ours.to_official_tensor(key, parameter.grad), official.pop(ours.official_name(key))))
    scale = max(float(gradient.abs().max()) for _, gradient in pairs)
    differences["gradients"] = largest(pairs) / scale
    differences["layers of other experts with a gradient"] = float(sum(x is not None for x in official.values()))
    return differences


def samples(outputs: Iterable[Tensor]) -> list[list[float]]:
    """Some numbers of each output."""
    return [output.detach().double().flatten()[::STRIDE].round(decimals=8).tolist() for output in outputs]


def record(theirs: Any, config: dict[str, Any], path: Path) -> None:
    """Write what the authors' network gives, and the facts that are needed to ask ours the same."""
    shapes = {key: list(tensor.shape) for key, tensor in theirs.state_dict().items()}
    theirs.load_state_dict(weights_by_rule(shapes))
    cases = {}
    for name, expert in EXPERTS.items():
        section = config["model"]["task_cfg"][expert.section]
        videos = make_videos(config, section)
        losses = official_losses(theirs.train(), name, videos, section)
        cases[name] = {
            "section": {part: section[part] for part in ("dataset", "train_cfg")},
            "losses": {key: float(value.detach()) for key, value in losses.items()},
            "outputs": samples(official_outputs(theirs, name, videos.inputs)),
        }
    model = {key: config["model"][key] for key in ("n_head", "input_dim_V", "input_dim_A")}
    facts = {"source": UniAV.source, "model": model, "shapes": shapes, "cases": cases}
    path.write_text(json.dumps(facts) + "\n")


def main() -> None:
    """Print the differences; exit with 1 where one is larger than `SAME`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, required=True, help="folder that holds UniAV")
    parser.add_argument("--size", choices=["small", "official"], default="official")
    parser.add_argument("--record", type=Path, help="file to write; the size is small")
    options = parser.parse_args()
    size = "small" if options.record else options.size
    folder = (options.official / "UniAV").resolve()
    is_wrong = False
    with checkout(folder, torch.device("cpu")):
        config = official_config(folder, size)
        theirs = without_chance(official_network(config)).double()
        if options.record:
            record(theirs, config, options.record)
            return
        for name in EXPERTS:
            differences = compare(name, theirs, config)
            squeezed = differences.pop("outputs in evaluation") if name == "SED" else None
            is_wrong = is_wrong or max(differences.values()) > SAME
            print(f"{name}: " + ", ".join(f"{key} {value:.2g}" for key, value in differences.items()))
            if squeezed is not None:
                print(f"{name}: outputs in evaluation {squeezed:.2g}, where the authors squeeze positions")
    sys.exit(int(is_wrong))


if __name__ == "__main__":
    main()
