# SPDX-License-Identifier: Apache-2.0
"""Where the time of a training step goes: `python benchmarks/step.py [--tasks ra_ssu,avs,avqa] [--image_size 64]`.

For each task, on one thread, in seconds of this process (so that other processes count little): a step of the given
batch; a step of one clip of one step and the smallest pictures, which takes as many operations and hardly any
arithmetic, so what it takes is overhead; the arithmetic of the step, and the time that this machine needs for as much
in one large product of matrices; operations that are dispatched, forward, backward and in the optimizer.
"""

import argparse
import time
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from avkit.batch import Batch
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.tasks import find_task, split_names
from avkit.training.module import AVModel
from avkit.training.schedule import groups

#: Side of the smallest pictures of scenes, in pixels.
TINY = 24
#: Side of the matrices whose product shows what the machine can do.
SIDE = 1024


class Count(TorchDispatchMode):
    """Counts operations."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.operations += 1
        return func(*args, **(kwargs or {}))


def median(run: Callable[[], object], times: int) -> float:
    """Median of the seconds that this process spends in a function."""
    run()
    seconds = []
    for _ in range(times):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return sorted(seconds)[times // 2]


def make_batch(task: str, clips: int, image_size: int, steps: int) -> Batch:
    """A batch of training scenes."""
    scenes = Scenes("train", clips, image_size=image_size)
    kind = find_task(task)
    fields = frozenset((*kind.targets, *kind.optional)) & scenes.provides
    items = [crop(scenes.item(number, fields), 0, steps) for number in range(clips)]
    return collate(items, task).with_rows()


def operations(run: Callable[[], object]) -> int:
    """Number of operations of a function."""
    with Count() as count:
        run()
    return count.operations


def main() -> None:
    """Print a row per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="ra_ssu,avs,avqa")
    parser.add_argument("--image_size", type=int, default=64)
    parser.add_argument("--clips", type=int, default=6)
    parser.add_argument("--times", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AVModel(args.tasks, Scenes("train", 1).vocabulary).train()
    optimizer = torch.optim.AdamW(groups(model.parameters(), 0.01), lr=1e-3, fused=True)
    square = torch.randn(SIDE, SIDE)
    peak = 2 * SIDE**3 / median(lambda: square @ square, 9)
    print(f"one product of matrices: {peak / 1e9:.0f} GFLOP/s")
    print("| task | step s | overhead s | GFLOP | at the peak s | forward | backward | optimizer |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    for task in split_names(args.tasks):

        def loss(batch: Batch) -> torch.Tensor:
            return model.system.loss(model.system(batch), batch)["loss"]

        def step(batch: Batch) -> None:
            optimizer.zero_grad()
            loss(batch).backward()
            optimizer.step()

        whole = make_batch(task, args.clips, args.image_size, 10)
        tiny = make_batch(task, 1, TINY, 1)
        seconds = median(lambda: step(whole), args.times)  # noqa: B023, it is called here
        overhead = median(lambda: step(tiny), args.times)  # noqa: B023
        with FlopCounterMode(display=False) as flops:
            loss(whole).backward()
        forward = operations(lambda: loss(whole))  # noqa: B023
        kept = loss(whole)
        backward = operations(kept.backward)
        update = operations(optimizer.step)
        total = flops.get_total_flops()
        print(
            f"| {task} | {seconds:.3f} | {overhead:.3f} | {total / 1e9:.1f} | {total / peak:.3f} "
            f"| {forward} | {backward} | {update} |"
        )


if __name__ == "__main__":
    main()
