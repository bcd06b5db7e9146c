# SPDX-License-Identifier: Apache-2.0
"""Networks of papers: ours beside the authors', same weights and input, time, memory and difference.

    python benchmarks/systems.py ccnet han targets --official DIR --threads 2

DIR holds checkouts of the authors' repositories under their own names (CCNet-AAAI2025, UnAV, AVVP-ECCV20, MM_Pyramid,
AVE-ECCV18, PSP_CVPR_2021, TSPM, PSTP-Net, MUSIC-AVQA, AVSBench, AVSegFormer, EZ-VSL, and LVS's
Localizing-Visual-Sounds-the-Hard-Way). Without it only ours is timed. Sizes are the published ones. Time is the least
of several runs taken in turns; memory is the peak of a process that does nothing else. `targets` times the assignment
of events. `--count` tells parameters and multiply-adds too; `--thop` also as that tool, which the papers used, counts
them: called layers alone, so that it does not see multi-head attention.
"""

import argparse
import contextlib
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from official_spatial import ADAPTERS, MODULES
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from avkit.nn.event_criterion import RANGES, assign_events
from avkit.nn.masked_conv import ScaledDropPath
from avkit.nn.recompute import recompute_activations
from avkit.systems import find_network

REPOSITORIES = {
    "ccnet": "CCNet-AAAI2025",
    "unav": "UnAV",
    "han": "AVVP-ECCV20",
    "mm_pyramid": "MM_Pyramid",
    "avel": "AVE-ECCV18",
    "psp": "PSP_CVPR_2021",
} | {name: adapter.repository for name, adapter in ADAPTERS.items()}
BATCH = {"ccnet": 16, "unav": 16, "han": 16, "mm_pyramid": 16, "avel": 64, "psp": 128}
BATCH |= {name: adapter.batch for name, adapter in ADAPTERS.items()}
LENGTH = {"ccnet": 256, "unav": 224}


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
                if name.split(".")[0] in ("libs", "nets", "models", "fully_model", "main_network", *MODULES):
                    del sys.modules[name]


def official(name: str, folder: Path) -> nn.Module:
    """The authors' network at its published size, with random weights."""
    torch.manual_seed(0)
    if name in ADAPTERS:
        return still(ADAPTERS[name].make(folder))
    if name in LENGTH:
        config = importlib.import_module("libs.core.config").load_default_config()
        config["model"] |= {
            "input_dim_V": 2048,
            "input_dim_A": 128,
            "num_classes": 100,
            "max_seq_len": LENGTH[name],
            "class_aware": True,
            "train_cfg": config["train_cfg"],
            "test_cfg": config["test_cfg"],
        }
        if name == "unav":
            config["model"] |= {"use_abs_pe": True, "use_dependency": True}
        modeling = importlib.import_module("libs.modeling")
        if name == "ccnet":
            made = modeling.make_CCNet_meta_arch(config["model_name"], **config["model"])
        else:
            made = modeling.make_multimodal_meta_arch(config["model_name"], **config["model"])
    elif name == "han":
        made = importlib.import_module("nets.net_audiovisual").MMIL_Net()
    elif name == "mm_pyramid":
        made = importlib.import_module("main_network").AVVPNet(8, 512, 512, [512] * 4)
    elif name == "avel":
        made = importlib.import_module("models").att_Net(128, 128, 512, 29)
    else:
        made = importlib.import_module("fully_model").psp_net(128, 512, 128, 29)
    network: nn.Module = made
    return still(network)


def still(network: nn.Module) -> nn.Module:
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


def inputs(name: str, batch: int, ragged: bool) -> list[Tensor]:
    """Features of a batch: of videos, with which steps are valid, or of clips."""
    torch.manual_seed(1)
    if name in ADAPTERS:
        return ADAPTERS[name].inputs(batch)
    if name in LENGTH:
        length = LENGTH[name]
        lengths = torch.randint(length // 4, length + 1, (batch,)) if ragged else torch.full((batch,), length)
        valid = torch.arange(length) < lengths[:, None]
        visual, audio = (torch.randn(batch, length, width) * valid[..., None] for width in (2048, 128))
        return [visual, audio, valid]
    if name in ("han", "mm_pyramid"):
        return [torch.randn(batch, 10, 128), torch.randn(batch, 80, 2048), torch.randn(batch, 10, 512)]
    return [torch.randn(batch, 10, 128), torch.randn(batch, 10, 7, 7, 512).relu()]


def run_official(name: str, network: Any, given: list[Tensor]) -> list[Tensor]:
    """What the authors' network answers."""
    if name in ADAPTERS:
        return ADAPTERS[name].theirs(network, given)
    if name in LENGTH:
        visual, audio, valid = given
        seen, heard, masks = network.backbone(visual.mT, audio.mT, valid[:, None])
        both = [torch.cat(pair, 1) for pair in zip(seen, heard, strict=True)]
        both, _ = (network.MTGC_block if name == "ccnet" else network.dependency_block)(both, masks)
        return [*network.cls_head(both, masks), *network.reg_head(both, masks)]
    if name in ("han", "mm_pyramid"):
        return list(network(*given))
    if name == "avel":
        return [network(*given)]
    return list(network(*given, 0.099)[1:])


def run_ours(name: str, network: Any, given: list[Tensor]) -> list[Tensor]:
    """The same of ours, in the authors' shapes."""
    if name in ADAPTERS:
        return ADAPTERS[name].ours(network, given)
    if name in LENGTH:
        levels = network(*given)
        return [*(x.logits.mT for x in levels), *(x.offsets.flatten(2).mT for x in levels)]
    if name in ("han", "mm_pyramid"):
        found = network(given[0], given[1].unflatten(1, (10, 8)), given[2])
        return [found.clip, found.heard, found.seen, found.steps]
    audio, video = given[0], given[1].flatten(2, 3)
    if name == "avel":
        return [network(audio, video).softmax(-1)]
    found = network(audio, video)
    return [found.logits, found.alike]


def seconds(run: Callable[[], Any], device: torch.device) -> float:
    """Time of one run."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def training(run: Callable[[], list[Tensor]], network: nn.Module) -> Callable[[], None]:
    """One step without optimiser: outputs and gradients."""

    def step() -> None:
        network.zero_grad(set_to_none=True)
        sum(x.float().square().mean() for x in run()).backward()  # type: ignore[union-attr]

    return step


def measure(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Times of both, and how far they are apart."""
    device = torch.device(options.device)
    given = [x.to(device) for x in inputs(name, options.batch or BATCH[name], options.ragged)]
    theirs = None
    with contextlib.ExitStack() as stack:
        if options.official:
            folder = Path(options.official) / REPOSITORIES[name]
            stack.enter_context(checkout(folder, device))
            theirs = official(name, folder).to(device)
        ours: Any = theirs  # where theirs alone is measured
        if "ours" in options.sides and theirs is not None:
            ours = find_network(name).from_official(theirs.state_dict())
        elif theirs is None:
            ours = find_network(name).build(
                **({"visual": 2048, "audio": 128, "classes": 100} if name in LENGTH else {})
            )
        ours = still(ours).to(device)
        if options.recompute and "ours" in options.sides:
            recompute_activations(ours)
        faster = torch.compile(ours) if options.compile else ours

        def run_one(side: str) -> list[Tensor]:
            with torch.autocast(device.type, torch.bfloat16, enabled=options.bf16 and side == "ours"):
                return run_ours(name, faster, given) if side == "ours" else run_official(name, theirs, given)

        if options.curve and theirs is not None:
            return curve(name, {"ours": ours, "official": theirs}, given, options.curve)
        sides = [
            side for side in ("ours", "official") if side in options.sides and (side == "ours" or theirs is not None)
        ]
        out: dict[str, Any] = {"batch": len(given[0]), "at rest GB": peak()}
        if options.count or options.thop:
            one = [x.to(device) for x in inputs(name, 1, False)]
            for side, network in (("ours", ours), ("official", theirs)):
                if network is not None:
                    answer = run_ours if side == "ours" else run_official
                    found = counts(name, network.eval(), lambda a=answer, n=network: a(name, n, one), options.thop)
                    out |= {f"{side} {key}": value for key, value in found.items()}
        for mode in options.modes:
            for network in (ours, theirs):
                if network is not None:
                    network.train(mode == "train")
            steps: dict[str, Callable[[], Any]] = {}
            for side in sides:
                network = ours if side == "ours" else theirs
                plain = torch.inference_mode()(lambda side=side: run_one(side))
                steps[side] = plain if mode == "eval" else training(lambda side=side: run_one(side), network)
            if mode == "eval" and len(sides) == 2:
                a, b = steps["ours"](), steps["official"]()
                out["difference"] = max(float((x.float() - y.float()).abs().max()) for x, y in zip(a, b, strict=True))
                out["largest"] = max(float(y.abs().max()) for y in b)
            for step in steps.values():  # the first run allocates
                step()
            turns = [{side: seconds(step, device) for side, step in steps.items()} for _ in range(options.repeat)]
            found = {side: min(turn[side] for turn in turns) for side in steps}
            out |= {f"{mode} {side} s": round(value, 4) for side, value in found.items()}
            if len(found) == 2:
                out[f"{mode} ratio"] = round(found["official"] / found["ours"], 2)
    return out


def counts(name: str, network: nn.Module, run: Callable[[], Any], thop: bool) -> dict[str, str]:
    """Parameters and multiply-adds of one sample's answer."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    told = {"parameters": f"{sum(p.numel() for p in network.parameters()):,}"}
    told["GMAC"] = f"{counter.get_total_flops() / 2e9:.2f}"
    if thop:
        seen: dict[nn.Module, int] = {}

        def hook(module: nn.Module, given: Any, out: Tensor) -> None:
            weight: Tensor = module.weight  # type: ignore[assignment]
            seen[module] = seen.get(module, 0) + out.numel() * weight[0].numel()

        layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
        hooks = [m.register_forward_hook(hook) for m in layers]
        with torch.no_grad():
            network.train()  # in evaluation some layers are fused, and not called
            run()
            network.eval()
        for handle in hooks:
            handle.remove()
        told["parameters, thop"] = f"{sum(p.numel() for m in seen for p in m.parameters()):,}"
        told["GMAC, thop"] = f"{sum(seen.values()) / 1e9:.2f}"
    return told


def curve(name: str, networks: dict[str, nn.Module], given: list[Tensor], steps: int) -> dict[str, Any]:
    """Losses of both over some steps of Adam at 1e-4, same weights and samples, nothing drawn at random."""
    wanted = torch.randint(42, (len(given[0]),), device=given[0].device)
    losses: dict[str, list[float]] = {}
    for side, network in networks.items():
        network.train()
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
        run, told = run_ours if side == "ours" else run_official, losses.setdefault(side, [])
        for _ in range(steps):
            out = run(name, network, given)[0]
            if out.ndim == 4:  # maps of pictures by sounds, whose best place counts
                best = out.flatten(2).amax(2)
                own = torch.arange(len(best), device=best.device)
                loss = F.cross_entropy(best, own) + F.cross_entropy(best.T, own)
            else:
                loss = F.cross_entropy(out, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            told.append(float(loss))
    apart = [abs(a - b) / abs(b) for a, b in zip(losses["ours"], losses["official"], strict=True)]
    shown = {side: [round(x, 5) for x in told] for side, told in losses.items()}
    return {"steps": steps, "largest relative difference": f"{max(apart):.2g}", **shown}


def targets(options: argparse.Namespace) -> dict[str, Any]:
    """Time of assigning 30 events of a video to the points of all levels, and whether both do the same."""
    torch.manual_seed(1)
    lengths = [LENGTH["unav"] >> i for i in range(6)]
    starts = torch.rand(30) * 200
    segments, labels = torch.stack([starts, starts + 1 + torch.rand(30) ** 3 * 150], 1), torch.randint(100, (30,))
    device = torch.device("cpu")

    def ours() -> Any:
        return assign_events(segments, labels, 100, lengths)

    out: dict[str, Any] = {"ours s": round(min(seconds(ours, device) for _ in range(20)), 5)}
    if options.official:
        with checkout(Path(options.official) / REPOSITORIES["unav"], device):
            loader = importlib.import_module("libs.datasets.unav100").UnAV100Dataset
        point = torch.cat([torch.arange(n) * 2.0**i for i, n in enumerate(lengths)])
        facts = torch.tensor([[*RANGES[i], 2.0**i] for i, n in enumerate(lengths) for _ in range(n)])
        points, given = torch.cat([point[:, None], facts], 1), SimpleNamespace(num_classes=100, class_aware=True)

        def theirs() -> Any:
            return loader.label_points_single_video(given, points, segments, labels)

        found = ours()
        out["same"] = all(torch.equal(a, b) for a, b in zip((found.classes, found.offsets), theirs(), strict=True))
        out["official s"] = round(min(seconds(theirs, device) for _ in range(20)), 5)
        out["ratio"] = round(out["official s"] / out["ours s"], 1)
    return out


def peak() -> float:
    """Most memory that this process has held, GB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


def peaks(name: str, options: argparse.Namespace) -> dict[str, float]:
    """Memory in GB of processes that run one side in one mode: at most, and when the network has only been made."""
    out: dict[str, float] = {}
    for mode in options.modes:
        for side in ("ours", "official") if options.official else ("ours",):
            words = [sys.executable, __file__, name, "--only", side, "--modes", mode, "--repeat", "1"]
            words += ["--threads", str(options.threads), "--batch", str(options.batch or 0)]
            words += ["--official", options.official] if side == "official" else []
            words += ["--ragged"] if options.ragged else []
            words += ["--recompute"] if options.recompute and side == "ours" else []
            found = json.loads(
                subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
            )
            out |= {f"{mode} {side} GB": found["peak GB"], f"{mode} {side} at rest GB": found["at rest GB"]}
    return out


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
            out: dict[str, Any] = peaks(name, options)
        else:
            out = targets(options) if name == "targets" else measure(name, options)
        if options.only:
            out["peak GB"] = peak()
        print(json.dumps({"system": name, **out}), flush=True)


if __name__ == "__main__":
    main()
