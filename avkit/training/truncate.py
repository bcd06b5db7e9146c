# SPDX-License-Identifier: Apache-2.0
"""Random crops of untrimmed videos that keep an event, as UnAV makes them."""

import random

import torch
from torch import Tensor

from avkit.batch import Item
from avkit.collate import crop


def truncate(
    steps: int,
    segments: Tensor,
    max_steps: int,
    min_share: float | None,
    rng: random.Random,
    keep: float = 0.5,
    trials: int = 200,
) -> tuple[int, int, Tensor]:
    """Draw a random part of a video that keeps some event.

    A video longer than `max_steps` is cropped to that length; a shorter one, unless `min_share` is None, to a random
    length of at least `min_share` of its own. Parts are drawn until one keeps enough of an event; if none does, the
    last one is taken.

    Args:
        steps: Length of the video in steps.
        segments: Starts and ends of its events in steps, (E, 2).
        max_steps: Longest part in steps.
        min_share: Smallest part of a short video, a share in (0, 1].
        rng: Source of random numbers.
        keep: Share of an event that must lie in the part for the event to remain.
        trials: Most parts that are drawn.

    Returns:
        First step, end (exclusive), and which events remain, bool (E,).

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/datasets/data_utils.py`.
    """
    remain = torch.ones(len(segments), dtype=torch.bool)
    length = max_steps
    if steps <= max_steps:
        if min_share is None:
            return 0, steps, remain
        length = rng.randint(max(round(min_share * steps), 1), steps)
        if length == steps:
            return 0, steps, remain
    start = 0
    for _ in range(trials):
        start = rng.randint(0, steps - length)
        inside = segments.clamp(start, start + length).diff(dim=1)[:, 0]
        remain = inside / segments.diff(dim=1)[:, 0].abs() >= keep
        if remain.any():
            break
    return start, start + length, remain


def truncate_item(item: Item, max_steps: int, min_share: float | None, rng: random.Random) -> Item:
    """The part of a clip that `truncate` draws, with the events that remain, clipped to it."""
    events = item.targets["events"]
    segments = (events[:, :2] - item.offset) / item.hop - 0.5
    start, end, remain = truncate(item.steps, segments, max_steps, min_share, rng)
    if (start, end) == (0, item.steps):
        return item
    part = crop(item, start, end - start)
    inside = segments[remain].clamp(start, end) - start
    times = (inside + 0.5) * item.hop + item.offset
    part.targets["events"] = torch.cat([times, events[remain, 2:]], 1)
    return part
