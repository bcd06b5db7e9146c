# SPDX-License-Identifier: Apache-2.0
"""Whether a change of the code changes a training.

`python benchmarks/paired.py write FILE` with one code, then `python benchmarks/paired.py compare FILE` with the other.

The losses of fifty small steps of AV-Unified, all parts of them, one task after the other, on clips of different
length, of which some steps have no annotated mask. In double precision: in single precision two orders of a sum differ
in the last digit, and every step of training makes more of it. `compare` prints the largest difference, relative to the
loss or to 1, whichever is larger, and fails above 1e-5.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from avkit.batch import Batch
from avkit.collate import collate, crop
from avkit.datasets.scenes import Scenes
from avkit.tasks import TASKS, find_task, split_names
from avkit.training.module import AVModel
from avkit.training.schedule import groups

#: Largest difference of two losses that count as the same.
TOLERANCE = 1e-5


def make_batch(task: str, clips: int, image_size: int, first: int) -> Batch:
    """Training scenes, cut to six steps, every other one to four; the first step of each has no mask."""
    scenes = Scenes("train", first + clips, image_size=image_size)
    kind = find_task(task)
    names = frozenset((*kind.targets, *kind.optional)) & scenes.provides
    items = [scenes.item(first + number, names) for number in range(clips)]
    batch = collate([crop(item, 0, 4 if number % 2 else 6) for number, item in enumerate(items)], task)
    if "mask_known" in batch.targets:
        batch.targets["mask_known"][:, 0] = False
    return batch.with_rows() if hasattr(batch, "with_rows") else batch  # code that is compared may not have it


def losses_of(tasks: str, steps: int, clips: int, image_size: int) -> list[dict[str, float]]:
    """Losses of each step of a training, by task and name."""
    torch.manual_seed(0)
    model = AVModel(tasks, Scenes("train", 1).vocabulary).double().train()
    optimizer = torch.optim.AdamW(groups(model.parameters(), 0.01), lr=1e-3, fused=True)
    names = split_names(tasks)
    rows = []
    for step in range(steps):
        task = names[step % len(names)]
        batch = make_batch(task, clips, image_size, clips * (step // len(names)))
        assert batch.waveform is not None
        batch.waveform = batch.waveform.double()
        torch.manual_seed(step)
        model.system.on_step_start(step)
        losses = model.system.loss(model.system(batch), batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        rows.append({f"{task}/{name}": value.item() for name, value in losses.items()})
    return rows


def difference(losses: list[dict[str, float]], others: list[dict[str, float]]) -> float:
    """Largest difference of two trainings' losses, relative to the loss or to 1.

    Raises:
        ValueError: If they have other steps or other losses.
    """
    if [list(row) for row in losses] != [list(row) for row in others]:
        raise ValueError("The two trainings have other losses or another number of steps.")
    worst = 0.0
    for row, other in zip(losses, others, strict=True):
        for name, value in row.items():
            worst = max(worst, abs(value - other[name]) / max(1.0, abs(value)))
    return worst


def main() -> None:
    """Write losses, or compare them with written ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("write", "compare"))
    parser.add_argument("file", type=Path)
    parser.add_argument("--tasks", default=",".join(name for name in TASKS if name != "ave_weak"))
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--clips", type=int, default=3)
    parser.add_argument("--image_size", type=int, default=32)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]
    losses = losses_of(args.tasks, args.steps, args.clips, args.image_size)
    if args.what == "write":
        args.file.write_text(json.dumps(losses), encoding="utf-8")
        return
    found = difference(losses, json.loads(args.file.read_text(encoding="utf-8")))
    print(f"{args.steps} steps: the losses differ by {found:.1e} at most")
    if not found <= TOLERANCE:
        sys.exit(f"That is more than {TOLERANCE:g}: the change is not the same training.")


if __name__ == "__main__":
    main()
