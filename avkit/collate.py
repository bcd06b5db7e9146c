# SPDX-License-Identifier: Apache-2.0
"""Clips cut to a part of their steps (`crop`), and put side by side as a batch (`collate`)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avkit.batch import SAMPLE_RATE, Batch, Item
from avkit.fields import Field, find_field

#: Parts of an item with one row per step.
_PER_STEP = ("frames", "visual", "audio", "sources")
#: Parts of an item that a batch stacks, each padded with zeros to the longest.
_STACKED = ("frames", "waveform", "visual", "audio", "sources")


def crop(item: Item, start: int, steps: int) -> Item:
    """The part of a clip from step `start`, at most `steps` long, with its sound, pictures and per-step targets."""
    total = item.steps
    if steps >= total:
        return item
    part = slice(start, start + steps)
    rows = list(_PER_STEP)
    if item.expert is not None and len(item.expert) == total:
        rows.append("expert")
    values = {name: getattr(item, name) for name in rows}
    # a window of features may be longer than the hop, so the part lasts to the end of its last window
    longest = steps * item.hop + 2 * item.offset
    duration = min(longest, item.duration - start * item.hop)
    return replace(
        item,
        duration=duration,
        waveform=_crop_waveform(item, start, steps),
        targets={
            name: _crop_target(find_field(name), value, part, start * item.hop, duration)
            for name, value in item.targets.items()
        },
        **{name: value[part] for name, value in values.items() if value is not None},
    )


def _crop_waveform(item: Item, start: int, steps: int) -> Tensor | None:
    if item.waveform is None:
        return None
    samples = round(item.hop * SAMPLE_RATE)
    return item.waveform[start * samples : (start + steps) * samples]


def _crop_target(field: Field, value: Any, part: slice, begin: float, duration: float) -> Any:
    """The part of a target that belongs to some steps; `begin` and `duration` are theirs, in seconds."""
    if field.per_step:
        return value[part]
    if field.spans:
        times = (value[:, :2] - begin).clamp(0, duration)
        remaining = times[:, 1] > times[:, 0]
        return torch.cat([times, value[:, 2:]], 1)[remaining]
    return value


def collate(items: Sequence[Item], task: str, dataset: str = "") -> Batch:
    """Put clips side by side, each padded with zeros to the longest.

    Args:
        items: The clips.
        task: Name of the task.
        dataset: Name of the dataset where the task has several.

    Raises:
        ValueError: If clips have different targets, hops, offsets or sizes, or a feature is not a finite number.
    """
    first = items[0]
    for item in items:
        _check_alike(item, first)
        _check_finite(item)
    steps = torch.tensor([item.steps for item in items])
    questions = [item.text if isinstance(item.text, list) else [item.text] for item in items]
    counts = [len(texts) for texts in questions]
    expert, expert_known = _collate_experts(items)
    return Batch(
        task=task,
        dataset=dataset,
        id=[item.id for item, count in zip(items, counts, strict=True) for _ in range(count)],
        duration=torch.tensor([item.duration for item in items], dtype=torch.float32),
        hop=first.hop,
        offset=first.offset,
        valid=torch.arange(int(steps.max()))[None] < steps[:, None],
        text=_collate_texts(questions),
        targets={name: _collate_target(find_field(name), items) for name in first.targets},
        clip=torch.arange(len(items)).repeat_interleave(torch.tensor(counts)) if max(counts) > 1 else None,
        expert=expert,
        expert_known=expert_known,
        places=_collate_places(items),
        **{name: _stack([getattr(item, name) for item in items], name, items) for name in _STACKED},
    )


def _collate_places(items: Sequence[Item]) -> list[int] | None:
    places = [item.place for item in items if item.place is not None]
    return places if len(places) == len(items) else None


def _check_alike(item: Item, first: Item) -> None:
    """Raise ValueError unless both items can stand in one batch."""
    if (item.hop, item.offset) != (first.hop, first.offset):
        raise ValueError(
            f"Items {first.id!r} and {item.id!r} have hops of {first.hop} and {item.hop} s, offsets of "
            f"{first.offset} and {item.offset} s; one batch takes one hop and one offset."
        )
    if item.targets.keys() != first.targets.keys():
        raise ValueError(
            f"Items {first.id!r} and {item.id!r} carry different targets: {sorted(first.targets)} "
            f"and {sorted(item.targets)}."
        )


def _check_finite(item: Item) -> None:
    """Raise ValueError if a feature is NaN or infinite."""
    for name in ("waveform", "visual", "audio", "expert"):
        value = getattr(item, name)
        if value is None:
            continue
        finite = torch.isfinite(value)
        if not finite.all():
            raise ValueError(
                f"Item {item.id!r}: {int((~finite).sum())} of {value.numel()} values of {name!r} are NaN or infinite. "
                "Extract or export this clip again, or leave it out."
            )


def _collate_texts(questions: Sequence[Sequence[str | None]]) -> list[str] | None:
    """All questions one after the other; None where no clip has any."""
    texts = [text for clip in questions for text in clip]
    return None if all(text is None for text in texts) else [text or "" for text in texts]


def _collate_experts(items: Sequence[Item]) -> tuple[Tensor | None, Tensor | None]:
    """Features of a vision-language model (C, M, E), zeros where unknown, and where they are known, bool (C, M)."""
    widths = {item.id: item.expert.shape[1] for item in items if item.expert is not None}
    if not widths:
        return None, None
    if len(set(widths.values())) > 1:
        raise ValueError(f"The expert's features have different widths in one batch: {widths}. Take them of one store.")
    example = next(item.expert for item in items if item.expert is not None)
    nothing = example.new_zeros(0, example.shape[1])
    rows = [nothing if item.expert is None else item.expert for item in items]
    counts = torch.tensor([len(row) for row in rows])
    return pad_sequence(rows, batch_first=True), torch.arange(int(counts.max()))[None] < counts[:, None]


def _collate_target(field: Field, items: Sequence[Item]) -> Any:
    """A target of all items: stacked where it is a tensor, else a list."""
    values = [item.targets[field.name] for item in items]
    if field.spans:
        return values
    if field.per_question:
        return [answer for value in values for answer in (value if isinstance(value, list) else [value])]
    if field.ragged_axis is not None:
        values = _pad_axis(values, field.ragged_axis)
    return _stack(values, field.name, items)


def _pad_axis(values: Sequence[Tensor], axis: int) -> list[Tensor]:
    """Tensors padded to the same length along an axis, with NaN where they are floats, else with 0."""
    longest = max(value.shape[axis] for value in values)
    padded = []
    for value in values:
        missing = list(value.shape)
        missing[axis] = longest - value.shape[axis]
        filler = torch.nan if value.is_floating_point() else 0
        padded.append(torch.cat([value, value.new_full(missing, filler)], axis))
    return padded


def _stack(values: Sequence[Any], name: str, items: Sequence[Item]) -> Any:
    """Tensors padded along their first axis and stacked; None where all are None; other values as a list."""
    missing = [item.id for item, value in zip(items, values, strict=True) if value is None]
    if len(missing) == len(items):
        return None
    if missing:
        raise ValueError(f"{name!r} is missing in {missing} and present in the rest of the batch.")
    if not all(isinstance(value, Tensor) for value in values):
        return list(values)
    sizes = {item.id: tuple(value.shape[1:]) for item, value in zip(items, values, strict=True)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"{name!r} has different sizes in one batch: {sizes}. Read the clips at one size.")
    longest = max(len(value) for value in values)
    stacked = values[0].new_zeros((len(values), longest, *values[0].shape[1:]))
    for row, value in zip(stacked, values, strict=True):
        row[: len(value)] = value
    return stacked
