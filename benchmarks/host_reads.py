# SPDX-License-Identifier: Apache-2.0
"""How often a training step asks the device for a value: `python benchmarks/host_reads.py [--tasks all] [--where]`.

On a GPU such a question waits until all work before it is done: `.item()`, `bool(tensor)`, `tolist`, indexing by a bool
tensor, `nonzero`. They are counted without a GPU: what is made of weights and of the batch alone counts as being there,
what is made on the CPU, such as numbers of words, as being on the CPU. Transfers to the device are not counted.
"""

import argparse
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from step import make_batch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from avkit.batch import Batch
from avkit.datasets.scenes import Scenes
from avkit.tasks import TASKS, split_names
from avkit.training.module import AVModel

#: Operations whose result the CPU must know before it can go on.
ASKING = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal")
#: Operations that ask where one of their indices is a bool tensor.
INDEXING = ("index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put")
#: Operations of which only the first result is on the device of the input.
FIRST_THERE = ("_pack_padded_sequence",)
#: Methods of tensors that read values without an operation.
READING = ("tolist", "numpy", "__array__", "cpu")


class HostReads(TorchDispatchMode):
    """Counts questions to a device while it is active.

    Args:
        on_device: Tensors that are on the device at the start.

    Attributes:
        reads: Number of questions by operation and line of avkit.
    """

    def __init__(self, on_device: Iterable[Tensor]) -> None:
        super().__init__()
        self.reads: Counter[tuple[str, str]] = Counter()
        self._kept = list(on_device)  # ids are of living tensors alone
        self._ids = {id(tensor) for tensor in self._kept}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(self._is_there(tensor) for tensor in tensors):
            name = func.overloadpacket.__name__
            if name in ASKING or (name in INDEXING and _has_flags(args[1])):
                self.reads[name, _line()] += 1
            for leaf in tree_leaves(result[:1] if name in FIRST_THERE else result):
                if isinstance(leaf, Tensor):
                    self._kept.append(leaf)
                    self._ids.add(id(leaf))
        return result

    def __enter__(self) -> "HostReads":
        """Count."""
        self._methods = {name: getattr(Tensor, name) for name in READING}
        for name, method in self._methods.items():
            setattr(Tensor, name, self._counted(name, method))
        super().__enter__()
        return self

    def __exit__(self, *args: object) -> None:
        """Stop counting."""
        super().__exit__(*args)
        for name, method in self._methods.items():
            setattr(Tensor, name, method)

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
            if self._is_there(tensor):
                self.reads[name, _line()] += 1
            return method(tensor, *args, **kwargs)

        return counted

    def _is_there(self, tensor: Tensor) -> bool:
        return id(tensor) in self._ids


def _has_flags(indices: Iterable[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def _line() -> str:
    """The line of avkit that asks, `backward` where none is on the stack."""
    lines = [frame for frame in traceback.extract_stack() if "/avkit/" in frame.filename]
    if not lines:
        return "backward"
    return f"{Path(lines[-1].filename).as_posix().rpartition('/avkit/')[2]}:{lines[-1].lineno}"


def tensors_of(batch: Batch) -> list[Tensor]:
    """All tensors of a batch."""
    leaves = tree_leaves([getattr(batch, field.name) for field in fields(batch)])
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def count_step(model: AVModel, batch: Batch) -> HostReads:
    """Questions of the loss of a batch and of its gradient."""
    with HostReads([*model.parameters(), *model.buffers(), *tensors_of(batch)]) as reads:
        model.system.loss(model.system(batch), batch)["loss"].backward()
    return reads


def main() -> None:
    """Print a row per task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", default="all")
    parser.add_argument("--where", action="store_true", help="print the lines that ask")
    args = parser.parse_args()
    tasks = ",".join(TASKS) if args.tasks == "all" else args.tasks
    torch.manual_seed(0)
    model = AVModel(tasks, Scenes("train", 1).vocabulary).train()
    print("| task | questions to the device |")
    print("|---|--:|")
    for task in split_names(tasks):
        batch = make_batch(task, 3, 32, 4)
        found = count_step(model, batch)
        print(f"| {task} | {found.reads.total()} |")
        if args.where:
            for (name, line), number in found.reads.most_common():
                print(f"  {number} x {name} {line}")


if __name__ == "__main__":
    main()
