# SPDX-License-Identifier: Apache-2.0
"""Joint training of AV-Unified at the published size, by batch: steps per second, memory, share of the machine's peak.

    python benchmarks/av_unified.py --device cuda --precision bf16-mixed --batches 8 16 32 64 [--compile]
    python benchmarks/av_unified.py --small --batches 2 4          # a small network, to see on a CPU that it runs

The system is that of the recipe `av_unified/joint` with random weights: CLIP ViT-L/14 and VGGish, frozen, run in every
step; clips are built-in scenes of ten seconds at 224 pixels, so that loading costs nothing. A step is forward, backward
and AdamW, the fastest of some; the tasks are drawn equally often, so steps per second are those of the mean step and
memory is that of the hungriest task. Operations are counted on two clips and grow with the batch. The peak is that of
one large product of matrices in the same precision. `--compile` compiles each part of the system by itself.
"""

import argparse
import contextlib
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from avkit.batch import Batch
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.systems import make_config
from avkit.tasks import find_task, split_names
from avkit.training.dry_run import PeakMemory
from avkit.training.module import AVModel
from avkit.training.schedule import groups

RECIPE = Path(__file__).parents[1] / "avkit" / "configs" / "av_unified" / "joint.yaml"
#: What is small instead of published.
SMALL = {"visual": "small", "audio": "small", "text": "small", "width": 64, "heads": 4}
#: Different scenes of a batch; larger batches repeat them.
SCENES = 4
#: Clips on which operations are counted.
COUNTED = 2
#: Side of the matrices whose product shows what the machine can do, by kind of device.
SIDE = {"cpu": 1024, "cuda": 8192}


def build(tasks: str, small: bool) -> AVModel:
    """The system of the recipe with random weights."""
    given = yaml.safe_load(RECIPE.read_text())["model"]["system"]
    given = {name: None if name.endswith("_weights") else value for name, value in given.items()}
    return AVModel(tasks, Scenes("train", 1).vocabulary, make_config(given | (SMALL if small else {})))


def make_batch(task: str, clips: int, image_size: int) -> Batch:
    """A batch of training scenes."""
    scenes = Scenes("train", SCENES, image_size=image_size)
    kind = find_task(task)
    fields = frozenset((*kind.targets, *kind.optional)) & scenes.provides
    items = [scenes.item(number, fields) for number in range(min(clips, SCENES))]
    return collate([items[number % len(items)] for number in range(clips)], task)


class Steps:
    """Training steps of the system.

    Args:
        model: The model, on its device.
        options: Of the command.
    """

    def __init__(self, model: AVModel, options: argparse.Namespace) -> None:
        self.system = model.system
        self.device = torch.device(options.device)
        self.repeat = options.repeat
        self.mixed = options.precision == "bf16-mixed"
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(groups(model.parameters(), 0.01), lr=1e-6)
        self.trained = sum(parameter.numel() for parameter in trained)

    def precision(self) -> contextlib.AbstractContextManager[None]:
        """The context of a forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.mixed)

    def step(self, batch: Batch) -> None:
        """Forward, backward and update."""
        self.optimizer.zero_grad()
        with self.precision():
            loss = self.system.loss(self.system(batch), batch)["loss"]
        loss.backward()
        self.optimizer.step()

    def operations(self, batch: Batch) -> int:
        """Floating-point operations of a step, multiplications and additions each by itself."""
        with FlopCounterMode(display=False) as counted:
            self.step(batch)
        return int(counted.get_total_flops())

    def seconds(self, run: Callable[[], object]) -> float:
        """Least time of some runs, after one that allocates."""
        run()
        return min(self._once(run) for _ in range(self.repeat))

    def _once(self, run: Callable[[], object]) -> float:
        self._wait()
        start = time.perf_counter()
        run()
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def peak(self) -> float:
        """Operations per second of one large product of matrices."""
        side = SIDE[self.device.type]
        square = torch.randn(side, side, device=self.device)
        square = square.bfloat16() if self.mixed else square
        return 2 * side**3 / self.seconds(lambda: square @ square)


def measure(steps: Steps, tasks: Sequence[str], clips: int, image_size: int) -> tuple[float, float]:
    """Seconds of the mean step, and bytes at the peak of the hungriest task."""
    taken = []
    memory = []
    for task in tasks:
        batch = make_batch(task, clips, image_size).to(steps.device)
        steps.step(batch)
        peak = PeakMemory(steps.device)
        peak.start()
        taken.append(steps.seconds(partial(steps.step, batch)))
        memory.append(peak.read())
    return sum(taken) / len(taken), max(memory)


def main() -> None:
    """Print a row per batch."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tasks", default="ave,avvp,ssl,avs,avqa")
    p.add_argument("--batches", type=int, nargs="+", default=[8, 16, 32, 64])
    p.add_argument("--image_size", type=int, help="pixels; 224 by default, 64 of the small network")
    p.add_argument("--device", default="cpu")
    p.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    p.add_argument("--compile", action="store_true", help="compile each part of the system")
    p.add_argument("--small", action="store_true", help="a small network instead of the published size")
    p.add_argument("--repeat", type=int, default=5)
    options = p.parse_args()
    torch.manual_seed(0)
    tasks = split_names(options.tasks)
    image_size = options.image_size or (64 if options.small else 224)
    model = build(options.tasks, options.small).to(options.device).train()
    steps = Steps(model, options)
    everything = sum(parameter.numel() for parameter in model.parameters())
    print(f"{everything / 1e6:.1f} million parameters, {steps.trained / 1e6:.1f} million of them trained")
    counted = [steps.operations(make_batch(task, COUNTED, image_size).to(steps.device)) for task in tasks]
    per_clip = sum(counted) / len(counted) / COUNTED
    peak = steps.peak()
    print(f"{per_clip / 1e9:.1f} GFLOP a clip; one product of matrices: {peak / 1e12:.2f} TFLOP/s")
    if options.compile:
        for part in model.system.children():
            part.compile()
    print("| clips | steps/s | clips/s | memory GB | TFLOP/s | of the peak |\n|--:|--:|--:|--:|--:|--:|", flush=True)
    for clips in options.batches:
        try:
            taken, memory = measure(steps, tasks, clips, image_size)
        except torch.OutOfMemoryError:
            print(f"| {clips} | out of memory |")
            return
        rate = per_clip * clips / taken
        cells = f"{1 / taken:.2f} | {clips / taken:.1f} | {memory / 1e9:.2f} | {rate / 1e12:.3f} | {rate / peak:.0%}"
        print(f"| {clips} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
