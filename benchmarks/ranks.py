# SPDX-License-Identifier: Apache-2.0
"""Two processes beside one on two cores, and two ways for heads to go without a gradient in DistributedDataParallel.

A step has one task, so other heads have no gradient. Either the graph is searched for what takes part
(`find_unused_parameters`), or every parameter takes part with a zero and loses its gradient after the backward pass.
Usage: python benchmarks/ranks.py [--steps 30]
"""

import argparse
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

TASKS = ["avs", "ave", "avqa"]
WORDS = ["--tasks", ",".join(TASKS), "--trainer.accelerator", "cpu", "--data.loader.workers", "0"]
WORDS += ["--data.batch_size.trimmed", "16", "--data.batch_size.whole", "16", "--model.system.dropout", "0"]


class Step(torch.nn.Module):
    """A step of a system, its loss with a zero of all parameters where these are to take part."""

    def __init__(self, system, zeros):
        super().__init__()
        self.system = system
        self.zeros = zeros

    def forward(self, batch):
        """The loss."""
        loss = self.system.loss(self.system(batch), batch)["loss"]
        if not self.zeros:
            return loss
        return loss + 0.0 * sum(parameter.sum() for parameter in self.system.parameters())


def train(rank, count, mode, steps, folder, results):
    """Train in one process; the first one writes seconds per step and the weights."""
    from avkit.cli.dry_run import _batches
    from avkit.cli.trainer import make_cli

    torch.set_num_threads(1)
    if count > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/{mode}", rank=rank, world_size=count)
    cli = make_cli(WORDS, training=True)
    batches = [_batches(cli, task)(16 // count) for task in TASKS]
    step = Step(cli.model.system.train(), mode == "zeros")
    model = DistributedDataParallel(step, find_unused_parameters=mode == "search") if count > 1 else step
    optimizer = torch.optim.SGD(step.parameters(), 0.01)
    for number in range(steps + len(TASKS)):
        if number == len(TASKS):
            start = time.perf_counter()
        optimizer.zero_grad()
        model(batches[number % len(TASKS)]).backward()
        optimizer.step()
    if rank == 0:
        results[mode] = (time.perf_counter() - start) / steps
        torch.save(step.state_dict(), f"{folder}/{mode}.pt")
    if count > 1:
        dist.destroy_process_group()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--steps", type=int, default=30)
    p.add_argument("--repeats", type=int, default=3)
    o = p.parse_args()
    best = {}
    with mp.Manager() as manager, tempfile.TemporaryDirectory() as folder:
        for repeat in range(o.repeats):
            for mode, count in (("one", 1), ("search", 2), ("zeros", 2)):
                results = manager.dict()
                place = tempfile.mkdtemp(dir=folder, prefix=f"{repeat}{mode}")
                mp.spawn(train, (count, mode, o.steps, place, results), nprocs=count)
                best[mode] = min(best.get(mode, 1e9), results[mode])
                weights = torch.load(f"{place}/{mode}.pt", weights_only=True)
                if mode == "search":
                    searched = weights
            same = all(torch.equal(x, searched[name]) for name, x in weights.items())
            print(f"zeros and search give the same weights: {same}", flush=True)
    for mode, seconds in best.items():
        print(f"{mode:8} {1 / seconds:6.2f} steps/s", flush=True)


if __name__ == "__main__":
    main()
