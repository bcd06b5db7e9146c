# SPDX-License-Identifier: Apache-2.0
"""Captions of a batch: those that were written, and generated ones back at their clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.batch import Batch, exportable
from avkit.nn.sent import sent


@exportable
@dataclass
class WrittenCaptions:
    """The captions of a batch.

    Attributes:
        texts: Captions that are not empty, N of them, clip by clip and step by step.
        steps: The steps that they belong to, bool (B, T).
        rows: Numbers of these steps among all B T, int64 (N,).
    """

    texts: list[str]
    steps: Tensor
    rows: Tensor


def written_captions(batch: Batch) -> WrittenCaptions:
    """Captions of the batch's targets; a step whose caption is empty or blank has none."""
    length = batch.valid.shape[1]
    texts = []
    steps = []
    for clip in batch.targets["caption"]:
        written = [bool(text.strip()) for text in clip]
        steps.append([*written, *[False] * (length - len(clip))])
        texts += [text for text, is_there in zip(clip, written, strict=True) if is_there]
    flags = torch.tensor(steps, dtype=torch.bool)
    device = batch.valid.device
    return WrittenCaptions(texts, sent(flags, device), sent(flags.flatten().nonzero()[:, 0], device))


def group_by_clip(texts: Sequence[str], batch: Batch) -> list[list[str]]:
    """Captions of all steps, B T of them, as B lists of T."""
    length = batch.valid.shape[1]
    return [list(texts[start : start + length]) for start in range(0, len(texts), length)]
