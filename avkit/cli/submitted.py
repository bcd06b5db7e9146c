# SPDX-License-Identifier: Apache-2.0
"""Results to submit: a record with its predictions, in a folder of its own."""

import gzip
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from avkit.errors import RunError, file_error
from avkit.files import leftovers, temporary_folder
from avkit.leaderboard.hashes import file_hash
from avkit.leaderboard.records import RECORD, RECORDS, Record, read_record, read_records, write_record
from avkit.scoring.predictions import PREDICTIONS
from avkit.training.run_copies import refuse_run_url
from avkit.training.run_folder import RunFolder
from avkit.training.weights_file import current_weights, weights_hash

#: Hashes without which a result says too little, by where its figures come from.
_REQUIRED = {
    "training": ("weights", "predictions"),
    "weights": ("weights", "predictions"),
    "scenes": ("predictions",),
    "predictions": ("predictions",),
}
_NAME = re.compile(r"\w[\w.+() -]*")


@dataclass(frozen=True)
class ResultSource:
    """A record with the file of its predictions.

    Attributes:
        record: The record.
        predictions: The file, which may hold predictions of other benchmarks too.
        where: The file of the record, for messages.
        shared: Whether the run has other records of the same dataset.
    """

    record: Record
    predictions: Path
    where: Path
    shared: bool = False


def sources_of(run: Path, predictions: Path | None = None) -> list[ResultSource]:
    """The records of a tested run, of each seed of a folder of seeds, or of one record of `avkit score`.

    Args:
        run: Folder or file.
        predictions: Predictions of the one record; by default the file that the run wrote.

    Raises:
        FileError: If a record is damaged or was edited.
        RunError: If there is none.
    """
    refuse_run_url(run, "Copy the run into a folder of this machine, and name that.")
    files = [run] if run.is_file() else [run / RECORDS]
    if not files[0].is_file():
        files = sorted(run.glob(f"seed-*/{RECORDS}"))
    if not files:
        problem = f"has no {RECORDS}" if run.is_dir() else "does not exist"
        raise RunError(f"{run} {problem}. Name the folder of a tested run; 'avkit test {run}' writes its records.")
    sources = []
    for file in files:
        records = read_records(file)
        datasets = [record.dataset for record in records]
        for record in records:
            own = predictions or file.parent / PREDICTIONS
            sources.append(ResultSource(record, own, file, datasets.count(record.dataset) > 1))
    if predictions is not None and len(sources) > 1:
        raise RunError(f"{run} has {len(sources)} records, and --predictions is the file of one. Leave it out.")
    return sources


def add_result(source: ResultSource, name: str, results: Path, *, compress: bool = False) -> Path:
    """Write a result into `results/DATASET/NAME/seed-N`; the folder appears when it is whole.

    Where a run answers several tasks on one dataset, or that folder has the result of another task, the task stands
    before the seed. What killed processes left of the same folder is deleted.

    Args:
        source: The record and its predictions.
        name: Name of the method.
        results: Folder of all results.
        compress: Write the predictions gzipped.

    Returns:
        The folder.

    Raises:
        ValueError: If the name cannot be that of a folder.
        RunError: If predictions or hashes are missing, predictions or weights are others than those that were tested,
            or another result is there.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"--as is {name!r}; a name has letters, digits, spaces and ._+()- and begins with the former.")
    check_complete(source.record, source.predictions, source.where)
    check_weights(source.record, source.where.parent)
    target = _folder_of(source, results / source.record.dataset.replace(":", ".") / name.replace(" ", "-"))
    for left in leftovers(target):
        shutil.rmtree(left, ignore_errors=True)
    part = temporary_folder(target)
    try:
        predictions = _copy_predictions(source, part)
        if compress:
            predictions = _compressed(predictions)
        hashes = {**source.record.hashes, "predictions": file_hash(predictions)}
        record = replace(source.record, method=name, hashes=hashes)
        write_record(part / RECORD, record)
        if target.exists():
            _check_same(target, record)
        else:
            part.chmod(0o755)
            part.replace(target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _folder_of(source: ResultSource, method: Path) -> Path:
    """The folder of a result below that of its method."""
    record = source.record
    seed = f"seed-{'-'.join(map(str, record.seeds)) or 'none'}"
    other = (method / seed / RECORD).is_file() and read_record(method / seed / RECORD).task != record.task
    return method / record.task / seed if source.shared or other else method / seed


def check_complete(record: Record, predictions: Path, where: Path) -> None:
    """Refuse a record without predictions or hashes, or with other predictions than those that were scored.

    Raises:
        RunError: If it is such a record.
    """
    if predictions.is_dir():
        raise RunError(f"{predictions} is a folder; a result has its predictions in one file.")
    lacking = [name for name in _REQUIRED[record.by] if not record.hashes.get(name)]
    if lacking == ["predictions"] or not predictions.is_file():
        raise RunError(
            f"{where}: the record of {record.benchmark} has no predictions ({predictions}). Test the run again without "
            "--save_predictions false."
        )
    if lacking:
        raise RunError(f"{where}: the record of {record.benchmark} has no hash of {', '.join(lacking)}. Test it again.")
    if file_hash(predictions) != record.hashes["predictions"]:
        raise file_error(
            predictions,
            f"holds other predictions than those that {where} was made of: their hashes differ",
            "Test the run again, or take both from one test.",
        )


def check_weights(record: Record, folder: Path) -> None:
    """Refuse the record of a run whose weights are others than those that were tested.

    Args:
        record: The record.
        folder: Folder of the record; one without checkpoints is not judged.

    Raises:
        RunError: If none of its checkpoints has the weights of the record.
    """
    run = RunFolder(folder)
    expected = record.hashes.get("weights")
    files = sorted(run.checkpoints.glob("*.ckpt"))
    if not expected or not files:
        return
    if expected not in (weights_hash(current_weights(file)) for file in files):
        raise RunError(
            f"{run.checkpoints} holds other weights than those that the record of {record.benchmark} is of: their "
            f"hashes differ. Test them: avkit test {folder}"
        )


def _copy_predictions(source: ResultSource, folder: Path) -> Path:
    """The predictions of a benchmark as a file of their own."""
    suffixes = "".join(source.predictions.suffixes[-2:])
    target = folder / (PREDICTIONS if source.predictions.name == PREDICTIONS else f"predictions{suffixes}")
    if source.predictions.name != PREDICTIONS:
        shutil.copyfile(source.predictions, target)
        return target
    count = 0
    with target.open("w", encoding="utf-8", newline="\n") as file:
        for line in _benchmark_lines(source.predictions, source.record):
            file.write(line)
            count += 1
    if not count:
        problem = f"holds no predictions for {source.record.benchmark}"
        raise file_error(source.predictions, problem, "Test the run again.")
    return target


def _compressed(path: Path) -> Path:
    """A file gzipped in its place, the same bytes whenever that is done; one that is gzipped stays as it is."""
    if path.suffix == ".gz":
        return path
    target = path.with_name(f"{path.name}.gz")
    target.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    path.unlink()
    return target


def _benchmark_lines(path: Path, record: Record) -> Iterator[str]:
    """The lines of a file of predictions that are of the benchmark of a record, each as it is."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            head = f'{{"task":{json.dumps(record.task)},"dataset":{json.dumps(record.dataset)},'
            if line.startswith(head):
                yield line


def _check_same(folder: Path, record: Record) -> None:
    """Refuse to replace another result.

    Raises:
        RunError: If the folder holds one.
    """
    if (folder / RECORD).is_file() and read_record(folder / RECORD).to_json() == record.to_json():
        return
    raise RunError(f"{folder} holds another result. Give another name with --as, or delete that folder first.")
