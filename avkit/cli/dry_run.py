# SPDX-License-Identifier: Apache-2.0
"""`avkit fit ... --dry_run`: parameters, memory and time of a training, which is checked but not started."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from avkit.cli.trainer import AVCLI
from avkit.errors import count_of
from avkit.report import open_console
from avkit.report.tables import Column, make_table, short_name
from avkit.training.dry_run import StepCost, StepProbe, count_parameters
from avkit.training.memory import free_memory, too_large
from avkit.training.schedule import fuses
from avkit.training.total_steps import total_steps

if TYPE_CHECKING:
    from rich.table import Table

    from avkit.batch import Batch

#: The word of a command that asks for it.
SWITCH = "--dry_run"
_NUMBERS = ("clips of a process", "GB at the peak", "s per step", "share of steps")
_GB = 1e9


def is_dry_run(args: Sequence[str]) -> bool:
    """Whether the words of a command ask for a dry run."""
    wanted = False
    for word, following in zip(args, [*args[1:], ""], strict=True):
        option, equals, value = word.partition("=")
        if option == SWITCH:
            value = value if equals else following
            wanted = value.lower() != "false"
    return wanted


def without_dry_run(args: Sequence[str]) -> list[str]:
    """The words of the training that is meant."""
    words = []
    skipped = False
    for word in args:
        is_value = skipped and word.lower() in ("true", "false")
        skipped = word == SWITCH
        if not is_value and word.partition("=")[0] != SWITCH:
            words.append(word)
    return words


def print_needs(cli: AVCLI) -> None:
    """Measure small steps of each task and print what the training needs.

    Args:
        cli: Trainer, model and data, which have been checked.
    """
    data = cli.datamodule
    trainer = cli.trainer
    vars(trainer)["datamodule"] = data
    device = trainer.strategy.root_device
    free = free_memory(device)
    probe = StepProbe(
        cli.model.system, device, trainer.precision_plugin.train_step_context, fused=fuses(str(trainer.precision))
    )
    processes = trainer.world_size
    console = open_console()
    table = needs_table(narrow=console.is_terminal)
    shares = data.shares()
    seconds = 0.0
    most = 0.0
    for name, benchmark in data.benchmarks.items():
        size = -(-data.batch_size.for_training(data.spec(name)) // processes)
        cost = probe.cost(_batches(cli, name), size)
        seconds += shares[name] * cost.seconds
        most = max(most, cost.memory)
        table.add_row(short_name(benchmark.task), short_name(benchmark.dataset), *_cells(size, cost, shares[name]))
    every, trained = count_parameters(cli.model)
    copies = 4 * trained if processes > 1 else 0  # gradients on their way to other processes
    batches = total_steps(trainer) * trainer.accumulate_grad_batches
    run_by = count_of(processes, "process", "processes")
    print(f"{cli.model.system.config.name}: {every:,} parameters, {trained:,} of them trained, {run_by}")
    console.print(table)
    place = "the GPU" if device.type == "cuda" else "a process"
    duration = _duration(batches * seconds)
    print(f"memory: {(most + copies) / _GB:.2f} GB of {place} at its peak")
    here = processes if device.type == "cpu" else 1  # each has a GPU of its own
    warning = too_large(most + copies, free, here, least=False)
    if warning:
        print(warning)
    print(f"time: {duration} on {device} for {batches:,} batches of {seconds:.3g} s, beside loading and validation")
    print("nothing was trained or written")


def needs_table(*, narrow: bool) -> "Table":
    """An empty table of what a step of each task needs; `narrow` for a terminal of 80 columns."""
    return make_table([Column("task"), Column("data"), *(Column(name, right=True) for name in _NUMBERS)], narrow=narrow)


def _cells(size: int, cost: StepCost, share: float) -> list[str]:
    return [str(size), f"{cost.memory / _GB:.2f}", f"{cost.seconds:.3g}", f"{100 * share:.1f} %"]


def _batches(cli: AVCLI, name: str) -> Callable[[int], "Batch"]:
    """Makes a batch of so many training clips of a benchmark, the first ones, again and again where there are fewer."""
    data = cli.datamodule
    indices = data.indices("train", name)

    def make(size: int) -> "Batch":
        numbers = [indices[place % len(indices)] for place in range(size)]
        return data.batches_of("train", {name: numbers}, size, data.crop)[name][0]

    return make


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
