# SPDX-License-Identifier: Apache-2.0
"""Steps whose caption must be generated anew because its source has changed."""

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Tokens
from avkit.nn.padding import scatter_steps


def changed_steps(tokens: Tokens, masks: Tensor | None, regions: Tensor | None, threshold: float) -> Tensor:
    """Steps whose sound, picture or region differs from the last step with a new caption by more than a threshold.

    The difference is the largest of one minus the cosine of audio tokens, frame tokens and region embeddings. A mask
    that becomes empty, or is empty no more, always counts as a change, so that no caption stays about what left the
    view. The first valid step of a clip has a new caption.

    Args:
        tokens: Tokens of the batch.
        masks: Mask logits (B, T, 1, H, W), or None.
        regions: Embeddings of the regions of all valid steps, (N, C), or None.
        threshold: Largest difference of a repeated caption, 0 or more.

    Returns:
        bool (B, T).
    """
    streams = [tokens.audio, tokens.frame]
    if regions is not None:
        streams.append(scatter_steps(regions, tokens.valid))
    distance = torch.stack([_cosine_distance(stream) for stream in streams]).amax(0)
    if masks is not None:
        covered = (masks[:, :, 0] > 0).flatten(2).any(2)
        same = covered[:, :, None] == covered[:, None]
        distance = torch.where(same, distance, torch.inf)
    rows = zip(distance.tolist(), tokens.valid.tolist(), strict=True)
    return torch.tensor([_new_captions(*row, threshold) for row in rows], device=distance.device)


def _cosine_distance(x: Tensor) -> Tensor:
    """One minus the cosine of all pairs of steps, (B, T, T), of features (B, T, D)."""
    unit = F.normalize(x.float(), dim=-1)
    return 1 - torch.einsum("btd,bsd->bts", unit, unit)


def _new_captions(distance: list[list[float]], valid: list[bool], threshold: float) -> list[bool]:
    """Which steps of a clip have a new caption; `distance` is between all pairs of its steps."""
    new = [False] * len(valid)
    last: int | None = None
    for step, is_valid in enumerate(valid):
        if not is_valid:
            continue
        if last is None or distance[step][last] > threshold:
            new[step] = True
            last = step
    return new
