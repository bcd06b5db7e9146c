# SPDX-License-Identifier: Apache-2.0
"""What the operations of a training step are: `python benchmarks/step_kinds.py [--tasks ra_ssu,avs,avqa] [--top 12]`.

A row per kind of operation with its number and its share of the time, forward, backward and update together, from
`torch.profiler` on one thread; `--top` names the operations that take longest, with the sizes of their inputs. Views
move no values. Gradients are added where a tensor is used twice; the profiler calls that and an addition alike, so
additions of the backward pass are a row of their own.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from step import make_batch
from torch.profiler import ProfilerActivity, profile, record_function

from avkit.batch import Batch
from avkit.datasets.scenes import Scenes
from avkit.tasks import split_names
from avkit.training.module import AVModel
from avkit.training.schedule import groups

#: Kinds by parts of names of operations; the first that fits.
KINDS = {
    "products of matrices": ("mm", "matmul", "linear", "einsum"),
    "convolutions": ("conv",),
    "recurrent layers": ("gru", "lstm", "mkldnn_rnn"),
    "norms": ("norm",),
    "softmax": ("softmax",),
    "copies": ("copy_", "clone", "contiguous", "_to_copy", "cat", "stack", "repeat", "pad"),
    "picking rows and pixels": ("index", "gather", "scatter", "grid_sampl", "upsample", "embedding", "masked", "where"),
    "pooling": ("pool",),
    "sums, means and maxima": ("sum", "mean", "amax", "max", "prod", "var", "logsumexp"),
    "new tensors": ("empty", "zeros", "ones", "full", "arange", "fill_", "zero_", "new_", "rand", "resize_"),
    "views": (
        "view",
        "reshape",
        "expand",
        "permute",
        "transpose",
        "unsqueeze",
        "squeeze",
        "slice",
        "select",
        "as_strided",
        "alias",
        "detach",
        "unflatten",
        "flatten",
        "t",
        "narrow",
        "split",
        "unbind",
        "chunk",
    ),
}
VIEWS = "views"
COPIES = "copies"
#: Name of the backward pass in the profiler.
BACKWARD = "backward"


@dataclass
class Kind:
    """Operations of one kind.

    Attributes:
        count: How many there are, without those that they call.
        microseconds: What they take, with those that they call.
    """

    count: int = 0
    microseconds: float = 0.0


def kind_of(name: str, backward: bool) -> str:
    """The kind of an operation."""
    short = name.removeprefix("aten::").strip("_")
    if "fused_adam" in short:
        return "update of the weights"
    if short == "add":
        return "additions backward, most of them into gradients" if backward else "other arithmetic"
    for kind, parts in KINDS.items():
        if any(short == part.strip("_") if len(part) == 1 else part.strip("_") in short for part in parts):
            return kind
    return "other arithmetic"


def trace(step: Callable[[], object], times: int) -> Any:
    """The profiler of some steps."""
    step()
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        for _ in range(times):
            step()
    return profiler


def kinds_of(profiler: Any, times: int) -> dict[str, Kind]:
    """Operations of a step by kind."""
    kinds: dict[str, Kind] = defaultdict(Kind)
    for event in profiler.events():
        if not _is_operation(event) or any(_is_operation(caller) for caller in _callers(event)):
            continue
        name = kind_of(event.name, any(caller.name == BACKWARD for caller in _callers(event)))
        if name == VIEWS and _copies(event):
            name = COPIES
        kinds[name].count += 1
        kinds[name].microseconds += event.cpu_time_total
    for kind in kinds.values():
        kind.count = round(kind.count / times)
        kind.microseconds /= times
    return kinds


def _is_operation(event: Any) -> bool:
    return bool(event.name.startswith("aten::"))


def _callers(event: Any) -> Iterator[Any]:
    """The events in which an event happens, innermost first."""
    while (event := event.cpu_parent) is not None:
        yield event


def _copies(event: Any) -> bool:
    """Whether what may be a view copies."""
    return any(child.name == "aten::copy_" or _copies(child) for child in event.cpu_children)


def main() -> None:
    """Print a table per task."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--tasks", default="ra_ssu,avs,avqa")
    p.add_argument("--image_size", type=int, default=64)
    p.add_argument("--clips", type=int, default=6)
    p.add_argument("--times", type=int, default=3)
    p.add_argument("--top", type=int, default=0, help="operations to name")
    args = p.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = AVModel(args.tasks, Scenes("train", 1).vocabulary).train()
    optimizer = torch.optim.AdamW(groups(model.parameters(), 0.01), lr=1e-3, fused=True)

    def step(batch: Batch) -> None:
        optimizer.zero_grad()
        loss = model.system.loss(model.system(batch), batch)["loss"]
        with record_function(BACKWARD):
            loss.backward()
        optimizer.step()

    for task in split_names(args.tasks):
        batch = make_batch(task, args.clips, args.image_size, 10)
        profiler = trace(lambda: step(batch), args.times)  # noqa: B023, it is called here
        kinds = kinds_of(profiler, args.times)
        whole = sum(kind.microseconds for kind in kinds.values())
        count = sum(kind.count for name, kind in kinds.items() if name != VIEWS)
        print(f"\n{task}: {whole / 1e6:.3f} s in {count} operations and {kinds[VIEWS].count} views")
        print("| kind | number | of the time |\n|---|--:|--:|")
        for name, kind in sorted(kinds.items(), key=lambda pair: -pair[1].microseconds):
            print(f"| {name} | {kind.count} | {kind.microseconds / whole:.0%} |")
        if args.top:
            table = profiler.key_averages(group_by_input_shape=True)
            print(table.table(sort_by="self_cpu_time_total", row_limit=args.top, max_name_column_width=40))


if __name__ == "__main__":
    main()
