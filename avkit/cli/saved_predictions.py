# SPDX-License-Identifier: Apache-2.0
"""What a test predicts, written beside its report as it is made."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext

from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction
from avkit.cli.trainer import AVCLI
from avkit.scoring.predictions import PREDICTIONS, PredictionWriter
from avkit.tasks.base import Task
from avkit.training.run_folder import RunFolder


class SavedPredictions:
    """Takes the predictions of a test and writes those of tasks that say how they are stored.

    Args:
        writer: Where they are written; None in processes that write nothing.
        tasks: Tasks by name of their benchmark.
        datasets: Names of datasets by name of the benchmark.
    """

    def __init__(self, writer: PredictionWriter | None, tasks: Mapping[str, Task], datasets: Mapping[str, str]) -> None:
        self.writer = writer
        self.tasks = {name: task for name, task in tasks.items() if is_stored(task)}
        self.datasets = datasets

    def read(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """What is stored of a batch; nothing of a task that does not say."""
        task = self.tasks.get(batch.benchmark)
        return [] if task is None else task.records(prediction, batch)

    def write(self, benchmark: str, records: list[Record]) -> None:
        """Write what is stored of a batch."""
        if self.writer is not None and benchmark in self.tasks:
            self.writer.write_records(self.tasks[benchmark].name, self.datasets[benchmark], records)


def is_stored(task: Task) -> bool:
    """Whether a task says how its predictions are stored."""
    return type(task).records is not Task.records


@contextmanager
def saved_predictions(cli: AVCLI, run: RunFolder) -> Iterator[None]:
    """Have what is tested in the block write its predictions; the file of an earlier test is replaced or deleted.

    The file is there when the block ends without an error. Memory does not grow with the number of samples.

    Args:
        cli: Trainer, model and data of the test.
        run: Folder of the run.
    """
    path = run.path / PREDICTIONS
    model = cli.model
    writes = cli.trainer.is_global_zero
    if not cli.config.save_predictions:
        yield
        if writes:
            path.unlink(missing_ok=True)  # they are not of the weights that were tested now
        return
    datasets = {name: benchmark.dataset for name, benchmark in cli.datamodule.benchmarks.items()}
    with PredictionWriter(path) if writes else nullcontext() as writer:
        model.predictions = SavedPredictions(writer, model.benchmarks, datasets)
        try:
            yield
        finally:
            model.predictions = None


def not_saved(cli: AVCLI) -> list[str]:
    """Notes on tasks whose predictions are not saved, one sentence each."""
    if not cli.config.save_predictions:
        return []
    notes = []
    for name, task in cli.model.benchmarks.items():
        if not is_stored(task):
            notes.append(f"{name}: predictions are not saved, since {type(task).__name__} defines no records().")
    return notes
