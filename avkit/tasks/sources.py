# SPDX-License-Identifier: Apache-2.0
"""Answers that keep sources apart: scored by pairing accuracy, stored and read back."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.answers.encoding import Record
from avkit.answers.rle import encode_rle
from avkit.batch import Batch, Prediction
from avkit.nn.mask_losses import known_steps
from avkit.tasks.masks import read_masks
from avkit.tasks.stored import list_entry, read_each, show, steps_entry, texts_entry

#: Values of a prediction that keeps sources apart: probabilities (B, T, J, H, W), and B lists of T lists of J texts.
SOURCE_VALUES = ("source_mask", "source_caption")


def keeps_sources_apart(prediction: Prediction) -> bool:
    """Whether a prediction has a mask, and perhaps a sentence, for each source."""
    return "source_mask" in prediction.values


def score_sources(metric: Metric, prediction: Prediction, batch: Batch) -> None:
    """Score masks and sentences of sources, where both the prediction and the data have them."""
    if not keeps_sources_apart(prediction) or "source_mask" not in batch.targets:
        return
    nothing: list[list[list[str]]] = [[] for _ in batch.id]
    has_sentences = "source_caption" in prediction.values
    known = batch.targets["source_known"] & known_steps(batch)[..., None]
    metric.update(
        prediction["source_mask"].float(),
        prediction["source_caption"] if has_sentences else nothing,
        batch.targets["source_mask"],
        batch.targets["source_caption"] if has_sentences else nothing,
        known,
        batch.id,
    )


def add_source_records(records: Sequence[Record], prediction: Prediction, batch: Batch) -> None:
    """Add `sources` to records of masks: for each source its number, its mask in each of `steps`, and its captions."""
    if not keeps_sources_apart(prediction):
        return
    masks = prediction["source_mask"].cpu() > 0.5
    for row, record in enumerate(records):
        sources = []
        for k in range(masks.shape[2]):
            of_steps = masks[row, record["steps"], k].numpy()
            source = {"source": k + 1, "masks": [encode_rle(mask) for mask in of_steps]}
            if "source_caption" in prediction.values:
                steps = int(batch.valid[row].sum())
                source["captions"] = [texts[k] for texts in prediction["source_caption"][row][:steps]]
            sources.append(source)
        record["sources"] = sources


def stored_sources(records: Sequence[Record], batch: Batch) -> dict[str, object]:
    """Values of the prediction that records with `sources` are of; none if no record has them."""
    if not any("sources" in record for record in records):
        return {}
    parts = read_each(records, lambda record, row: _read_sources(record, batch, row))
    count = max(len(masks) for masks, _ in parts)
    true = batch.targets["mask"]
    maps = true.new_zeros((*true.shape[:2], count, *true.shape[2:]), dtype=torch.float32)
    captions = []
    for row, (masks, texts) in enumerate(parts):
        for k, mask in enumerate(masks):
            maps[row, :, k] = mask
        of_steps = []
        for step in range(int(batch.valid[row].sum())):
            of_steps.append([of_source[step] for of_source in texts] + [""] * (count - len(texts)))
        captions.append(of_steps)
    return {"source_mask": maps, "source_caption": captions}


def _read_sources(record: Record, batch: Batch, row: int) -> tuple[list[Tensor], list[list[str]]]:
    """The masks (T, H, W) and the captions of each source of a record."""
    masks = []
    captions = []
    steps = steps_entry(record, known_steps(batch)[row].nonzero()[:, 0].tolist())
    numbers: set[int] = set()
    for source in list_entry(record, "sources") if "sources" in record else []:
        if not isinstance(source, dict) or type(source.get("source")) is not int or source["source"] in numbers:
            raise ValueError(f"'sources' holds {show(source)}; give objects with 'source', a number of its own")
        numbers.add(source["source"])
        try:
            masks.append(_mask_of(source, steps, batch))
            captions.append(_captions_of(source, int(batch.valid[row].sum())))
        except ValueError as error:
            raise ValueError(f"source {source['source']}: {error}") from error
    return masks, captions


def _mask_of(source: Record, steps: Sequence[int], batch: Batch) -> Tensor:
    size = (batch.targets["mask"].shape[-2], batch.targets["mask"].shape[-1])
    maps = torch.zeros(batch.targets["mask"].shape[1:])
    for step, mask in zip(steps, read_masks(source, len(steps), size), strict=True):
        if step < len(maps):
            maps[step] = torch.from_numpy(mask.astype(np.float32))
    return maps


def _captions_of(source: Record, steps: int) -> list[str]:
    return texts_entry(source, "captions", steps) if "captions" in source else [""] * steps
