# SPDX-License-Identifier: Apache-2.0
"""Whether the predictions of a result, scored again, have the figures that its record says."""

from pathlib import Path

from avkit.cli.submitted import check_complete, check_weights
from avkit.datasets import find_dataset
from avkit.datasets.official import Official
from avkit.errors import RunError
from avkit.leaderboard.hashes import files_hash
from avkit.leaderboard.records import Record
from avkit.scoring.predictions import PREDICTIONS
from avkit.scoring.result import Score
from avkit.scoring.scorer import score
from avkit.scoring.truth import TruthOptions
from avkit.tasks import find_task

#: How far two figures may differ, which sums in another order on another device may.
_TOLERANCE = 1e-6


def verify_record(record: Record, folder: Path, root: Path | None) -> list[str]:
    """In what a record differs from its predictions, one clause each; nothing where its figures are the same.

    Args:
        record: The record.
        folder: Folder of its predictions.
        root: Folder of the official files.

    Raises:
        RunError: If the record has no predictions or hashes, or its predictions or weights are others.
        DataError: If the official files cannot be read.
        ValueError: If the dataset needs a root and none is given.
    """
    path = _predictions_of(folder)
    check_complete(record, path, folder)
    check_weights(record, folder)
    options = truth_options(record, root)
    result = score(path, record.dataset, record.task, options=options, task_options=_task_options(record))
    return [*_differing_hashes(record, result), *_differing_figures(record, result)]


def _predictions_of(folder: Path) -> Path:
    """The file of predictions in a folder.

    Raises:
        RunError: If there are several.
    """
    files = sorted(folder.glob("predictions.*"))
    if len(files) > 1:
        raise RunError(f"{folder} has {len(files)} files of predictions. Keep the one that was scored.")
    return files[0] if files else folder / PREDICTIONS


def truth_options(record: Record, root: Path | None) -> TruthOptions:
    """Where the official files are, and how targets are made of them as in the test of a record."""
    size = record.protocol.get("picture size", "").partition(" ")[0]
    hop = record.protocol.get("hop", "").partition(" ")[0]
    dataset = find_dataset(record.dataset)
    fixed = False
    if issubclass(dataset, Official):
        if root is None:
            raise ValueError(
                f"{record.dataset} needs its official files, without media: name their folder with --root."
            )
        fixed = dataset.fixed_steps is not None
    return TruthOptions(
        root=root,
        release=record.release or None,
        split=record.split,
        image_size=int(size) if size.isdecimal() else None,
        hop=float(hop) if hop and not fixed else None,
        size=record.n if dataset.generated else None,
    )


def _task_options(record: Record) -> dict[str, object]:
    """Options of the task that its protocol and figures tell."""
    return find_task(record.task).options_of(record.protocol, record.figures)


def _differing_hashes(record: Record, result: Score) -> list[str]:
    """Official files that are others than those that the record was measured on."""
    if "annotations" not in record.hashes or not result.annotations:
        return []
    found = files_hash({path.name: path for path in result.annotations})
    if found == record.hashes["annotations"]:
        return []
    return [f"annotations: the record's have the hash {record.hashes['annotations'][:16]}, those here {found[:16]}"]


def _differing_figures(record: Record, result: Score) -> list[str]:
    """Figures that are not the same, and coverage."""
    differences = []
    if result.n != record.n:
        differences.append(f"samples: the record says {record.n:,}, the predictions are of {result.n:,}")
    for name, figure in record.figures.items():
        row = result.rows.get(name)
        if row is None:
            differences.append(f"{name}: the record says {figure.value:.6f}, and the predictions give no such figure")
        elif not abs(row.value - figure.value) <= _TOLERANCE * max(1.0, abs(figure.value)):
            differences.append(f"{name}: the record says {figure.value:.6f}, the predictions give {row.value:.6f}")
    for fault in result.faults:
        differences.append(fault)
    return differences
