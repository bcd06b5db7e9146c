# SPDX-License-Identifier: Apache-2.0
"""Networks of papers: ours beside the authors', same weights and input, time, memory and difference.

    python benchmarks/systems.py ccnet han targets --official DIR --threads 2

DIR holds checkouts of the authors' repositories under their own names (CCNet-AAAI2025, UnAV, UniAV, AVVP-ECCV20,
MM_Pyramid, AVE-ECCV18, PSP_CVPR_2021, TSPM, PSTP-Net, MUSIC-AVQA, AVSBench, AVSegFormer, EZ-VSL, and LVS's
Localizing-Visual-Sounds-the-Hard-Way). Without it only ours is timed. Sizes are the published ones. Time is the least
of several runs taken in turns; memory is the peak of a process that does nothing else, on a GPU of its tensors.
`targets` times the assignment of events. `--count` counts parameters and multiply-adds too; `--thop` also as that
tool, which the papers used, counts them: called layers alone, so that it does not see multi-head attention.
"""

import argparse
import contextlib
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from operations import counts
from papers import (
    BATCH,
    LENGTH,
    REPOSITORIES,
    checkout,
    make_inputs,
    official_network,
    our_network,
    run_official,
    run_ours,
    without_chance,
)
from torch import Tensor, nn

from avkit.nn.event_criterion import RANGES, assign_events
from avkit.nn.recompute import recompute_activations
from avkit.systems import find_network

RUN = {"ours": run_ours, "official": run_official}
Run = Callable[[], list[Tensor]]


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Time of one run."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def training(run: Run, network: nn.Module) -> Callable[[], None]:
    """One step without optimiser: outputs and gradients."""

    def step() -> None:
        network.zero_grad(set_to_none=True)
        sum(x.float().square().mean() for x in run()).backward()  # type: ignore[union-attr]

    return step


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Times of both, and how far they are apart."""
    device = torch.device(options.device)
    inputs = [x.to(device) for x in make_inputs(name, options.batch or BATCH[name], options.ragged)]
    with contextlib.ExitStack() as stack:
        networks = make_networks(name, options, device, stack)
        if options.curve and len(networks) == 2:
            return curve(name, networks, inputs, options.curve)
        result: dict[str, Any] = {"batch": len(inputs[0]), "at rest GB": peak(options.device)}
        if options.count or options.thop:
            sample = [x.to(device) for x in make_inputs(name, 1, False)]
            for side, network in networks.items():
                network.eval()
                counted = counts(network, lambda s=side, n=network: RUN[s](name, n, sample), options.thop)
                result |= {f"{side} {key}": value for key, value in counted.items()}
        answers = {side: answer_of(name, side, networks[side], inputs, options) for side in networks}
        for mode in options.modes:
            result |= time_mode(mode, networks, answers, options.repeat, device)
    return result


def make_networks(
    name: str, options: argparse.Namespace, device: torch.device, stack: contextlib.ExitStack
) -> dict[str, nn.Module]:
    """The networks of the sides that are measured; with a checkout both have the same weights."""
    networks: dict[str, nn.Module] = {}
    theirs = None
    if options.official:
        folder = Path(options.official) / REPOSITORIES[name]
        stack.enter_context(checkout(folder, device))
        theirs = official_network(name, folder).to(device)
    if "ours" in options.sides:
        if theirs is None:
            ours = our_network(name)
        else:
            ours = without_chance(find_network(name).from_official(theirs.state_dict()))
        networks["ours"] = ours.to(device)
        if options.recompute:
            recompute_activations(ours)
    if "official" in options.sides and theirs is not None:
        networks["official"] = theirs
    return networks


def answer_of(name: str, side: str, network: nn.Module, inputs: list[Tensor], options: argparse.Namespace) -> Run:
    """What runs one side; options of speed are for ours alone."""
    ours = side == "ours"
    called: Any = torch.compile(network) if ours and options.compile else network

    def answer() -> list[Tensor]:
        with torch.autocast(options.device.split(":")[0], torch.bfloat16, enabled=options.bf16 and ours):
            return RUN[side](name, called, inputs)

    return answer


def time_mode(
    mode: str, networks: dict[str, nn.Module], answers: dict[str, Run], repeat: int, device: torch.device
) -> dict[str, Any]:
    """Least time of each side, taken in turns; in evaluation also the largest difference of their answers."""
    result: dict[str, Any] = {}
    steps: dict[str, Callable[[], Any]] = {}
    for side, network in networks.items():
        network.train(mode == "train")
        if mode == "train":
            steps[side] = training(answers[side], network)
        else:
            steps[side] = torch.inference_mode()(answers[side])
    if mode == "eval" and len(steps) == 2:
        ours = steps["ours"]()
        theirs = steps["official"]()
        pairs = zip(ours, theirs, strict=True)
        result["difference"] = max(float((x.float() - y.float()).abs().max()) for x, y in pairs)
        result["largest"] = max(float(y.abs().max()) for y in theirs)
    for step in steps.values():  # the first run allocates
        step()
    turns = [{side: seconds(step, device) for side, step in steps.items()} for _ in range(repeat)]
    least = {side: min(turn[side] for turn in turns) for side in steps}
    result |= {f"{mode} {side} s": round(value, 4) for side, value in least.items()}
    if len(least) == 2:
        result[f"{mode} ratio"] = round(least["official"] / least["ours"], 2)
    return result


def curve(name: str, networks: dict[str, nn.Module], inputs: list[Tensor], steps: int) -> dict[str, Any]:
    """Losses of both over some steps of Adam at 1e-4, same weights and samples, nothing drawn at random."""
    labels = torch.randint(42, (len(inputs[0]),), device=inputs[0].device)
    losses: dict[str, list[float]] = {side: [] for side in networks}
    for side, network in networks.items():
        network.train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        for _ in range(steps):
            loss = loss_of(RUN[side](name, network, inputs)[0], labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[side].append(float(loss))
    differences = [abs(a - b) / abs(b) for a, b in zip(losses["ours"], losses["official"], strict=True)]
    shown = {side: [round(x, 5) for x in values] for side, values in losses.items()}
    return {"steps": steps, "largest relative difference": f"{max(differences):.2g}", **shown}


def loss_of(output: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of answers, or of maps of pictures by sounds, whose best place counts."""
    if output.ndim != 4:
        return F.cross_entropy(output, labels)
    best = output.flatten(2).amax(2)
    own = torch.arange(len(best), device=best.device)
    return F.cross_entropy(best, own) + F.cross_entropy(best.T, own)


def targets(options: argparse.Namespace) -> dict[str, Any]:
    """Time of assigning 30 events of a video to the points of all levels, and whether both do the same."""
    torch.manual_seed(1)
    lengths = [LENGTH["unav"] >> i for i in range(6)]
    starts = torch.rand(30) * 200
    segments = torch.stack([starts, starts + 1 + torch.rand(30) ** 3 * 150], 1)
    labels = torch.randint(100, (30,))
    device = torch.device("cpu")

    def ours() -> Any:
        return assign_events(segments, labels, 100, lengths)

    result: dict[str, Any] = {"ours s": round(min(seconds(ours, device) for _ in range(20)), 5)}
    if not options.official:
        return result
    with checkout(Path(options.official) / REPOSITORIES["unav"], device):
        loader = importlib.import_module("libs.datasets.unav100").UnAV100Dataset
    positions = torch.cat([torch.arange(n) * 2.0**i for i, n in enumerate(lengths)])
    facts = torch.tensor([[*RANGES[i], 2.0**i] for i, n in enumerate(lengths) for _ in range(n)])
    points = torch.cat([positions[:, None], facts], 1)
    dataset = SimpleNamespace(num_classes=100, class_aware=True)

    def theirs() -> Any:
        return loader.label_points_single_video(dataset, points, segments, labels)

    assigned = ours()
    pairs = zip((assigned.classes, assigned.offsets), theirs(), strict=True)
    result["same"] = all(torch.equal(a, b) for a, b in pairs)
    result["official s"] = round(min(seconds(theirs, device) for _ in range(20)), 5)
    result["ratio"] = round(result["official s"] / result["ours s"], 1)
    return result


def peak(device: str) -> float:
    """Most memory that this process has held, GB: of a GPU's tensors, or of the whole process on a CPU."""
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**30, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def peaks(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Memory in GB of processes that run one side in one mode: at most, and when the network has only been made."""
    result: dict[str, float] = {}
    for mode in options.modes:
        for side in ("ours", "official") if options.official else ("ours",):
            words = [sys.executable, __file__, name, "--only", side, "--modes", mode, "--repeat", "1"]
            words += ["--threads", str(options.threads), "--batch", str(options.batch or 0), "--device", options.device]
            words += ["--official", options.official] if side == "official" else []
            for option in ("ragged", "bf16", "compile"):
                words += [f"--{option}"] if vars(options)[option] else []
            words += ["--recompute"] if options.recompute and side == "ours" else []
            printed = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
            line = json.loads(printed.splitlines()[-1])
            result |= {f"{mode} {side} GB": line["peak GB"], f"{mode} {side} at rest GB": line["at rest GB"]}
    return result


def main() -> None:
    """Measure and print a line of JSON per system."""
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("names", nargs="*", default=list(REPOSITORIES), metavar="NAME")
    p.add_argument("--official", help="folder with checkouts")
    p.add_argument("--modes", nargs="+", default=["eval", "train"], choices=["eval", "train"])
    p.add_argument("--batch", type=int, help="clips or videos; the published number by default")
    p.add_argument("--ragged", action="store_true", help="videos of different lengths")
    p.add_argument("--repeat", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--device", default="cpu")
    p.add_argument("--bf16", action="store_true", help="ours in bfloat16")
    p.add_argument("--compile", action="store_true", help="ours compiled")
    p.add_argument("--recompute", action="store_true", help="ours keeps little for the backward pass, of masks alone")
    p.add_argument(
        "--curve", type=int, help="compare losses over so many steps of training instead: tspm, pstp, ez_vsl"
    )
    p.add_argument("--count", action="store_true", help="count parameters and operations of one sample")
    p.add_argument("--thop", action="store_true", help="count them as thop does, too")
    p.add_argument("--memory", action="store_true", help="measure memory instead, each side in a process of its own")
    p.add_argument("--only", choices=["ours", "official"], help="run this side alone and print the process's peak")
    options = p.parse_args()
    torch.set_num_threads(options.threads)
    options.sides = [options.only] if options.only else ["ours", "official"]
    for name in options.names or REPOSITORIES:
        if options.memory:
            result: dict[str, Any] = peaks(name, options)
        elif name == "targets":
            result = targets(options)
        else:
            result = measure(name, options)
        if options.only:
            result["peak GB"] = peak(options.device)
        print(json.dumps({"system": name, **result}), flush=True)


if __name__ == "__main__":
    main()
