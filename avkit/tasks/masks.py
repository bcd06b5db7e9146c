# SPDX-License-Identifier: Apache-2.0
"""What tasks with masks share: metrics, scoring, constant masks."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric

from avkit.answers.encoding import Record, encode_array
from avkit.answers.rle import decode_rle, encode_rle
from avkit.batch import Batch, Prediction
from avkit.metrics.avs import MaskFScore, MaskIoU
from avkit.metrics.mask_levels import level_probabilities, mask_levels
from avkit.nn.mask_losses import known_steps
from avkit.tasks.stored import array_entry, list_entry, read_each, steps_entry

#: Metrics of binary masks.
MASK_METRICS = ("mIoU", "F")


def mask_metrics(videos_per_call: int = 1) -> dict[str, Metric]:
    """MIoU and F-score of S4 and MS3, official; so many videos are scored together, one as AVSBench does."""
    return {
        "mIoU": MaskIoU(videos_per_call, form="probabilities"),
        "F": MaskFScore(videos_per_call, form="probabilities"),
    }


def score_masks(metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
    """Update mIoU and F with the annotated steps of a batch."""
    for name in MASK_METRICS:
        metrics[name].update(prediction["mask"], batch.targets["mask"], known_steps(batch), batch.id)


def mask_records(prediction: Prediction, batch: Batch) -> list[Record]:
    """`masks` of the annotated `steps`, where the probability is above 0.5, as run lengths.

    `levels` beside them where probabilities are not 0 and 1 alone: the highest official threshold of each pixel, which
    is all that the F-score reads. Both take bytes for what is the same in every figure.
    """
    records: list[Record] = []
    for row, (name, known) in enumerate(zip(batch.id, known_steps(batch).cpu(), strict=True)):
        steps = known.nonzero()[:, 0]
        records.append(mask_record(name, steps.tolist(), prediction["mask"][row].cpu()[steps].float()))
    return records


def mask_record(name: str, steps: list[int], maps: Tensor) -> Record:
    """The record of one sample, as in `mask_records`.

    Args:
        name: Id of the sample.
        steps: The annotated steps.
        maps: Probabilities of their masks, float32 (n, H, W).
    """
    record: Record = {"id": name, "steps": steps, "masks": [encode_rle(m.numpy()) for m in maps > 0.5]}
    if not bool(((maps == 0) | (maps == 1)).all()):
        record["levels"] = encode_array(mask_levels(maps).numpy())
    return record


def stored_masks(records: Sequence[Record], batch: Batch) -> Tensor:
    """Probabilities (B, T, H, W) of which IoU and F are those of the stored ones; 0 in steps without annotation."""
    target = batch.targets["mask"]
    height, width = target.shape[-2:]
    known = known_steps(batch)
    masks = torch.zeros(target.shape)

    def read(record: Record, row: int) -> None:
        steps = steps_entry(record, known[row].nonzero()[:, 0].tolist())
        maps = read_masks(record, len(steps), (height, width))
        values = torch.from_numpy(maps)
        if "levels" in record:
            levels = torch.from_numpy(array_entry(record, "levels", "u", maps.shape))
            values = level_probabilities(levels, values)
        for step, value in zip(steps, values, strict=True):
            if step < masks.shape[1]:
                masks[row, step] = value

    read_each(records, read)
    return masks


def read_masks(record: Record, count: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The `masks` of a record, one for each of `count` steps and of the size of the true ones, (N, H, W)."""
    height, width = size
    maps = np.zeros((count, height, width), np.bool_)
    for number, entry in enumerate(list_entry(record, "masks", count, "one for each of 'steps'")):
        mask = decode_rle(entry)
        if mask.shape != size:
            raise ValueError(f"a mask has {mask.shape[0]} x {mask.shape[1]} pixels, the true one {height} x {width}")
        maps[number] = mask
    return maps


def empty_masks(batch: Batch) -> list[Record]:
    """Records of masks in which nothing sounds."""
    size = tuple(batch.targets["mask"].shape[-2:])
    empty = encode_rle(np.zeros(size, np.bool_))
    records: list[Record] = []
    for name, known in zip(batch.id, known_steps(batch), strict=True):
        steps = known.nonzero()[:, 0].tolist()
        records.append({"id": name, "steps": steps, "masks": [empty] * len(steps)})
    return records


def constant_masks(batches: Sequence[Batch]) -> dict[str, Callable[[Batch], Tensor]]:
    """Masks that ignore the clip: nothing, everything, and the mean training mask above its best thresholds.

    Returns:
        Functions from a batch to masks of 0 and 1, (B, T, H, W).
    """
    total = torch.zeros_like(batches[0].targets["mask"][0, 0], dtype=torch.float32)
    count = 0
    for batch in batches:
        known = known_steps(batch)
        total = total + batch.targets["mask"][known].float().sum(0)
        count += int(known.sum())
    mean = total / max(1, count)
    masks = {"empty": torch.zeros_like(mean), "everything": torch.ones_like(mean)}
    for share in (0.5, 0.75):
        masks[f"mean mask > {share:g} of its peak"] = (mean > share * mean.max()).float()
    return {name: _constant(mask) for name, mask in masks.items()}


def _constant(mask: Tensor) -> Callable[[Batch], Tensor]:
    """The same mask in every step."""

    def maps(batch: Batch) -> Tensor:
        return mask.to(batch.valid.device).expand(*batch.valid.shape, *mask.shape)

    return maps
