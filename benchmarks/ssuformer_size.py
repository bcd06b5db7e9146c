# SPDX-License-Identifier: Apache-2.0
"""SSUFormer at the paper's size: parameters of each part, operations, and the memory of a training step.

The step is one in bf16 at batch 4 x 10 frames x 224 pixels with Adam. With a GPU it is run and measured. Without one it
is estimated: what autograd keeps for the backward pass is counted in small batches of two sizes, where each storage
counts once, and grows linearly with the frames; weights, gradients and Adam's two moments are added. Workspaces of
kernels and gaps between allocations are not in it. With a GPU the seconds of a step are printed too, the median of
--repeats, and with --compile the same of steps that are compiled as `--model.compile true` does.
"""

import argparse
import statistics
import time
from pathlib import Path

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from avkit.batch import Batch, Vocabulary
from avkit.systems import make_config
from avkit.training.module import AVModel
from avkit.training.step_losses import StepLosses

CONFIGS = Path(__file__).parents[1] / "avkit" / "configs" / "ssuformer"
PAPER = {"parameters": 319.62e6, "operations of ten frames": 1.596e12}
PIECES, EXPERT, WORDS = 30_522, 4096, 20


def build() -> AVModel:
    """The published size with all modules, random weights."""
    given = {}
    for name in ("published", "ssu"):
        given |= yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]["system"]
    given = {k: None if k.endswith("_weights") else x for k, x in given.items() if k != "pieces"}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{i}" for i in range(PIECES - 4))]
    return AVModel("ra_ssu", Vocabulary(words=["a"], pieces=pieces), make_config(given), expert=EXPERT)


def batch(clips: int, steps: int, side: int, device: str) -> Batch:
    """Pictures, sound, masks, captions and expert's features of some clips."""
    shape = (clips, steps)
    return Batch(
        "ra_ssu",
        [f"clip{i}" for i in range(clips)],
        torch.full((clips,), float(steps)),
        1.0,
        torch.ones(shape, dtype=torch.bool),
        frames=torch.zeros((*shape, 3, side, side), dtype=torch.uint8),
        waveform=torch.zeros(clips, steps * 16_000),
        targets={
            "mask": torch.zeros((*shape, side, side), dtype=torch.uint8),
            "mask_known": torch.ones(shape, dtype=torch.bool),
            "caption": [[" ".join(["w1"] * WORDS)] * steps for _ in range(clips)],
        },
        expert=torch.zeros(*shape, EXPERT),
        expert_known=torch.ones(shape, dtype=torch.bool),
    ).to(device)


def count(model: AVModel) -> None:
    """Print the parameters of each part."""
    system = model.system
    description = system.decoders.description
    parts = {
        "PVT-v2-B5": system.visual,
        "VGGish": system.audio,
        "integration": system.integration,
        "mask decoder": system.decoders.segmentation,
        "text decoder": description.decoder,
        "CLIP ViT-B/32, pictures": description.regions,
        "router of experts": description.router,
        "CLIP ViT-B/32, predicted captions, for training alone": description.captions,
    }
    total = sum(p.numel() for part in system.modules_of("ra_ssu") for p in part.parameters())
    for name, part in parts.items():
        print(f"{name:54} {sum(p.numel() for p in part.parameters()) / 1e6:8.2f} M")
    ratio = total / PAPER["parameters"]
    print(f"{'all of an answer':54} {total / 1e6:8.2f} M, {ratio:.4f} of the paper's {PAPER['parameters'] / 1e6:.2f} M")


def step(losses: StepLosses, given: Batch, optimizer: torch.optim.Optimizer, device: str) -> None:
    """One training step in bf16."""
    with torch.autocast(device, torch.bfloat16):
        loss = losses(given)["loss"]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def measured(clips: int, steps: int, side: int, repeats: int, *, compiled: bool) -> None:
    """Run steps on the GPU."""
    model = build().cuda().train()
    losses = StepLosses(model.system, compiled=compiled)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-5)
    given = batch(clips, steps, side, "cuda")
    for _ in range(3):  # the first ones compile and choose kernels
        step(losses, given, optimizer, "cuda")
    torch.cuda.reset_peak_memory_stats()
    seconds = []
    for _ in range(repeats):
        torch.cuda.synchronize()
        start = time.perf_counter()
        step(losses, given, optimizer, "cuda")
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    way = "compiled" if compiled else "not compiled"
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"{torch.cuda.get_device_name()}, {way}: peak {peak:.2f} GiB, {statistics.median(seconds):.3f} s a step")


def kept(model: AVModel, clips: int, steps: int, side: int) -> int:
    """Bytes that autograd keeps of a batch for its backward pass, weights left out."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def note(x: torch.Tensor) -> torch.Tensor:
        place = x.untyped_storage().data_ptr()
        if place not in weights:
            sizes[place] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x), torch.autocast("cpu", torch.bfloat16):
        losses = StepLosses(model.system, compiled=False)
        loss = losses(batch(clips, steps, side, "cpu"))["loss"]  # keeps all storages alive until it goes
    assert loss.requires_grad
    return sum(sizes.values())


def estimated(clips: int, steps: int, side: int) -> None:
    """Count small batches and reckon."""
    model = build().train()
    one, two = kept(model, 1, 2, side), kept(model, 1, 4, side)
    activations = one + (two - one) / 2 * (clips * steps - 2)
    weights = sum(p.numel() for p in model.parameters()) * 4
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * 4
    parts = {"weights": weights, "gradients": trained, "Adam's moments": 2 * trained, "activations": activations}
    for name, size in {**parts, "all": sum(parts.values())}.items():
        print(f"{name:26} {size / 2**30:8.2f} GiB")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=10, help="steps that are timed, on a GPU")
    parser.add_argument("--compile", action="store_true", help="steps by torch.compile, on a GPU")
    args = parser.parse_args()
    if args.compile and not torch.cuda.is_available():
        parser.error("--compile needs a GPU: on a CPU a step is estimated and not run. Leave it out.")
    with torch.device("meta"):
        model = build().eval()
        count(model)
    with FlopCounterMode(display=False) as flops, torch.no_grad():
        model = build().train()  # in training captions are taught and not generated
        model.system(batch(1, args.steps, args.side, "cpu"))
    print(f"operations of {args.steps} frames, captions taught: {flops.get_total_flops() / 1e12:.3f} T (paper 1.596 T)")
    print(f"a step of {args.clips} x {args.steps} x {args.side}, bf16, Adam:")
    if torch.cuda.is_available():
        measured(args.clips, args.steps, args.side, args.repeats, compiled=args.compile)
    else:
        estimated(args.clips, args.steps, args.side)


if __name__ == "__main__":
    main()
