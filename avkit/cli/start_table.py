# SPDX-License-Identifier: Apache-2.0
"""What a training reads: the clips of each task and dataset, how often they are drawn, and how long an epoch is."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avkit.report.tables import Column, make_table, short_name
from avkit.training.datamodule import AVDataModule

if TYPE_CHECKING:
    from rich.console import Console


def table_rows(data: AVDataModule) -> dict[str, dict[str, str]]:
    """What each benchmark trains on, texts by heading, by name of the benchmark."""
    shares = data.shares()
    rows = {}
    for name, benchmark in data.benchmarks.items():
        clips = len(data.indices("train", name))
        batch = data.batch_size.for_training(data.spec(name))
        passes = shares[name] * data.steps * batch / clips
        rows[name] = {
            "task": benchmark.task,
            "data": benchmark.dataset,
            "train": f"{clips:,}",
            "share of steps": f"{100 * shares[name]:.1f} %",
            "batch": str(batch),
            "passes per epoch": f"{passes:.2f}",
        }
    return rows


def epoch_text(data: AVDataModule) -> str:
    """How many steps an epoch has, and why, as a sentence without a full stop."""
    text = f"an epoch is {data.epoch.steps:,} steps: {data.epoch.reason}"
    if data.steps != data.epoch.steps:
        text += f"; the trainer's limits leave {data.steps:,}"
    return text


def print_start_table(console: "Console", data: AVDataModule, splits: Sequence[str]) -> None:
    """Print what a training reads.

    Args:
        console: Where to print.
        data: The data of the training.
        splits: Splits besides `train` that it reads, whose samples are counted too.
    """
    from rich.text import Text

    numbers = ("train", *splits, "share of steps", "batch", "passes per epoch")
    columns = [Column("task"), Column("data"), *(Column(heading, right=True) for heading in numbers)]
    table = make_table(columns, narrow=console.is_terminal)
    for name, row in table_rows(data).items():
        counts = {split: f"{len(data.indices(split, name)):,}" for split in splits}
        cells = {**row, **counts}
        names = [Text(short_name(row["task"])), Text(short_name(row["data"]))]
        table.add_row(*names, *(Text(cells[heading]) for heading in numbers))
    console.print(table)
    console.print(epoch_text(data), highlight=False, markup=False)


def data_facts(data: AVDataModule) -> dict[str, str]:
    """The same for a report: a text for each benchmark, and one for the epoch."""
    facts = {}
    for row in table_rows(data).values():
        facts[f"{row['task']} on {row['data']}"] = (
            f"{row['train']} training samples, {row['share of steps']} of the steps in batches of {row['batch']}"
        )
    return facts | {"epoch": epoch_text(data)}
