# SPDX-License-Identifier: Apache-2.0
"""Losses that more than one task or paper uses."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def mean_of(total: Tensor, count: Tensor | float) -> Tensor:
    """`total / count`, or 0 where the count is 0.

    Where several processes share a batch, `count` is replaced by its mean over them. The mean of their gradients is
    then that of one process with the whole batch, however unevenly the counted elements are spread.

    Args:
        total: Sum of a loss over the counted elements of this process, a scalar.
        count: Number of these elements.
    """
    given = count.to(total) if isinstance(count, Tensor) else total.new_full((), count)
    number = over_processes(given)
    return total / torch.where(number > 0, number, 1)


def over_processes(x: Tensor) -> Tensor:
    """Mean over the processes that train together, which all have to call this; without gradient."""
    if not (dist.is_available() and dist.is_initialized()):
        return x.detach()
    mean = x.detach().clone()
    dist.all_reduce(mean)
    return mean / dist.get_world_size()


def dice_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Dice loss of each map, not reduced, (N,).

    `1 - 2 sum(p g) / (sum p^2 + sum g^2 + 0.002)` with p the sigmoid of the logits.

    Args:
        logits: (N, H, W).
        target: 0 or 1, (N, H, W).

    Source:
        AVSegFormer, `loss/loss.py` at commit 7083cb6586d1.
    """
    p = logits.sigmoid().flatten(1)
    g = target.to(logits.dtype).flatten(1)
    return 1 - 2 * (p * g).sum(1) / ((p * p).sum(1) + (g * g).sum(1) + 0.002)


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy plus Dice loss; maps with an empty target have no Dice loss. Without maps it is 0.

    Args:
        logits: (N, H, W).
        target: 0 or 1, (N, H, W).
    """
    bce = F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="sum")
    full = target.flatten(1).any(1).bool()
    return mean_of(bce, target.numel()) + mean_of((dice_loss(logits, target) * full).sum(), full.sum())


def balanced_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy averaged over background pixels and over other pixels, each with half of the weight.

    Where a batch has only one of both, that mean alone.

    Args:
        logits: (N, K, H, W), background first.
        target: Class indices, int64 (N, H, W).
    """
    losses = F.cross_entropy(logits, target, reduction="none")
    foreground = (target > 0).to(losses.dtype)
    counts = over_processes(torch.stack([foreground.sum(), (1 - foreground).sum()]))
    totals = torch.stack([(losses * foreground).sum(), (losses * (1 - foreground)).sum()])
    present = counts > 0
    return (totals / torch.where(present, counts, 1)).sum() / present.sum().clamp(min=1)


def focal_loss(logits: Tensor, target: Tensor, gamma: float = 2.0, ignore: int = -100) -> Tensor:
    """Focal cross-entropy over classes, `-(1 - p)^gamma log p` of the true class, mean over targets not ignored.

    Args:
        logits: (N, K).
        target: Class indices, (N,).
        gamma: 0 gives plain cross-entropy.
        ignore: Targets of this value do not count; if nothing is left the loss is 0.
    """
    keep = target != ignore
    log_p = logits.log_softmax(-1).gather(-1, target.where(keep, 0)[:, None])[:, 0]
    losses = -((1 - log_p.exp()) ** gamma * log_p)
    return mean_of(losses.where(keep, 0).sum(), keep.sum())


def mentions_loss(mentions: Tensor, words: Tensor, ignore: int) -> Tensor:
    """Binary cross-entropy of mentions (N, V) on which words a caption has, int64 (N, L); mean over words.

    Summed over the vocabulary and divided by the number of words in the captions, so that it has the magnitude of a
    word's loss. Words equal to `ignore` do not count.
    """
    mentioned = torch.zeros_like(mentions).scatter_(1, words, 1.0)
    mentioned[:, ignore] = 0
    return mean_of(F.binary_cross_entropy_with_logits(mentions, mentioned, reduction="sum"), mentioned.sum())


def sigmoid_focal_loss(logits: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal binary cross-entropy of each logit, not reduced.

    Args:
        logits: Any shape.
        target: 0 to 1, the same shape.
        alpha: Weight of positives; negatives have the rest.
        gamma: 0 gives weighted cross-entropy.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/losses.py`.
    """
    p = logits.sigmoid()
    missed = (1 - p) * target + p * (1 - target)
    weight = alpha * target + (1 - alpha) * (1 - target)
    return weight * missed**gamma * F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def distance_iou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Distance-IoU loss of segments around a common point, not reduced: 1 - IoU, plus the distance of their centres.

    Args:
        predicted: Predicted offsets to the start and to the end, (..., 2), 0 or more.
        true: Target offsets, (..., 2).

    Returns:
        (...), from 0.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/losses.py`, the one-dimensional distance-IoU.
    """
    shared = torch.minimum(predicted, true).sum(-1)
    hull = torch.maximum(predicted, true).sum(-1).clamp(min=1e-8)
    union = (predicted.sum(-1) + true.sum(-1) - shared).clamp(min=1e-8)
    distance = 0.5 * ((predicted[..., 1] - predicted[..., 0]) - (true[..., 1] - true[..., 0]))
    return 1 - shared / union + (distance / hull) ** 2


def generalised_iou_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Generalised-IoU loss of segments around a common point, not reduced: 1 - IoU + (hull - union) / hull.

    Both segments hold the point, so their hull is their union and the last term is 0: the loss is 1 - IoU.

    Args:
        predicted: Predicted offsets to the start and to the end, (..., 2), 0 or more.
        true: Target offsets, (..., 2).

    Returns:
        (...), from 0 to 1.

    Source:
        CCNet (AAAI 2025), Eq. 9, and Rezatofighi et al. (CVPR 2019), in one dimension.
    """
    shared = torch.minimum(predicted, true).sum(-1)
    union = torch.maximum(predicted, true).sum(-1).clamp(min=1e-8)
    return 1 - shared / union
