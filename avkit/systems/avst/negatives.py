# SPDX-License-Identifier: Apache-2.0
"""AVST's pairs of sound and picture: negatives from other clips of a batch, and the loss that tells pairs apart."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch
from avkit.nn.losses import mean_of


def sample_negatives(visual: Tensor, valid: Tensor, clip_ids: Sequence[str]) -> Tensor | None:
    """For each step a picture of another clip of the batch, drawn at random; None where there is only one clip.

    The authors draw theirs from all clips of the split.

    Args:
        visual: (C, T, ...).
        valid: bool (C, T); pictures of other steps are not drawn.
        clip_ids: Id of each clip, C of them; clips of the same id are one clip.
    """
    numbers = {clip_id: number for number, clip_id in enumerate(dict.fromkeys(clip_ids))}
    if len(numbers) < 2:
        return None
    clips, steps = valid.shape
    number = torch.tensor([numbers[clip_id] for clip_id in clip_ids], device=valid.device)
    number = number.repeat_interleave(steps)
    allowed = (number[:, None] != number[None]) & valid.flatten()[None]
    drawn = torch.multinomial(allowed.float(), 1)[:, 0]
    return visual.flatten(0, 1)[drawn].unflatten(0, (clips, steps))


def clip_ids_of(batch: Batch) -> list[str]:
    """An id of each clip, C of them; where each question has a clip of its own these are the ids of the questions."""
    if batch.clip is None:
        return list(batch.id)
    first_question = [int((batch.clip == clip).nonzero()[0]) for clip in range(len(batch.valid))]
    return [batch.id[question] for question in first_question]


def pair_loss(match: Tensor, mismatch: Tensor) -> Tensor:
    """Cross-entropy of pairs that belong together and pairs that do not, logits of no and yes, (N, 2) each."""
    logits = torch.cat([match, mismatch])
    targets = torch.arange(2, device=logits.device).flip(0).repeat_interleave(len(match))
    return mean_of(F.cross_entropy(logits, targets, reduction="sum"), len(logits))
