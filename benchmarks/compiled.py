# SPDX-License-Identifier: Apache-2.0
"""Training steps compiled as one graph: `python benchmarks/compiled.py [--tasks all] [--device cuda] [--run]`.

A row per task of the default system: graphs that `torch.compile` makes of the losses of a step, and places where a
graph breaks. `--run` also compiles them and times both ways one after the other in the same run, forward and backward;
`--cudagraphs` lets a GPU replay the whole step (mode `reduce-overhead`).
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from paired import make_batch
from torch import Tensor

from avkit.batch import Batch
from avkit.datasets.scenes import Scenes
from avkit.tasks import TASKS, split_names
from avkit.training.module import AVModel
from avkit.training.step_losses import StepLosses, compile_step


def breaks_of(losses: StepLosses, batch: Batch) -> list[tuple[str, str]]:
    """Where the graph of a step breaks, as file with line, and why."""
    compile_step(losses.after_texts)  # its settings
    torch._dynamo.reset()
    explain: Any = torch._dynamo.explain
    found = explain(losses.after_texts)(batch, losses.system.read_texts(batch))
    rows = []
    for reason in found.break_reasons:
        frame = reason.user_stack[-1]
        rows.append((f"{frame.filename.rpartition('/avkit/')[2]}:{frame.lineno}", reason.reason.splitlines()[0]))
    return rows


def step_of(losses: StepLosses, batch: Batch, run: Callable[[Batch, Any], dict[str, Tensor]]) -> Callable[[], None]:
    """Forward and backward of a step."""

    def step() -> None:
        losses.system.zero_grad()
        run(batch, losses.system.read_texts(batch))["loss"].backward()

    return step


def seconds_of(step: Callable[[], None], device: str) -> float:
    """Seconds of a step."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    step()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Print a row per task."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tasks", default="all")
    p.add_argument("--device", default="cpu")
    p.add_argument("--clips", type=int, default=6)
    p.add_argument("--image_size", type=int, default=64)
    p.add_argument("--repeat", type=int, default=9)
    p.add_argument("--run", action="store_true", help="compile and time them too")
    p.add_argument("--cudagraphs", action="store_true", help="compile with mode reduce-overhead")
    options = p.parse_args()
    tasks = ",".join(TASKS) if options.tasks == "all" else options.tasks
    torch.manual_seed(0)
    model = AVModel(tasks, Scenes("train", 1).vocabulary).to(options.device).train()
    losses = StepLosses(model.system, compiled=False)
    print("| task | breaks | first step s | as it is s | compiled s | ratio |\n|---|--:|--:|--:|--:|--:|", flush=True)
    for task in split_names(tasks):
        batch = make_batch(task, options.clips, options.image_size, 0).to(options.device)
        breaks = breaks_of(losses, batch)
        cells = ["", "", "", ""]
        if options.run:
            torch._dynamo.reset()
            mode = "reduce-overhead" if options.cudagraphs else "default"
            compiled = step_of(losses, batch, compile_step(losses.after_texts, mode=mode))
            plain = step_of(losses, batch, losses.after_texts)
            first = seconds_of(compiled, options.device)
            pairs = [
                (seconds_of(plain, options.device), seconds_of(compiled, options.device)) for _ in range(options.repeat)
            ]
            middle = [sorted(times)[options.repeat // 2] for times in zip(*pairs, strict=True)]
            cells = [f"{first:.0f}", f"{middle[0]:.3f}", f"{middle[1]:.3f}", f"{middle[0] / middle[1]:.2f}"]
        print(f"| {task} | {len(breaks)} | {' | '.join(cells)} |", flush=True)
        for line, reason in breaks:
            print(f"  {line} {reason}")


if __name__ == "__main__":
    main()
