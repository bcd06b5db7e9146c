# SPDX-License-Identifier: Apache-2.0
"""Test samples of a run beside what the model says about them, for its report."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.batch import Batch, Prediction
from avkit.report import Example
from avkit.training.evaluator import silence
from avkit.training.module import AVModel

#: Most pictures of a sample that are shown; of longer clips they are evenly apart.
PICTURES = 12
#: Least probability of a dense event that is told.
_SURE = 0.25


def examples(model: AVModel, batches: dict[str, list[Batch]]) -> Iterator[Example]:
    """A few test samples of each task with what the model says."""
    model.eval()
    for name, several in batches.items():
        for batch in several:
            given = batch.to(model.device)
            with torch.inference_mode():
                prediction = model(given)
                shown = batch.frames is not None and {"mask", "heat", "parts"} & prediction.values.keys()
                silent = model(silence(given)) if shown else None
            for row in range(len(batch)):
                yield _example(name, batch, prediction, silent, row, model.vocabulary.of(name).classes)


def _example(
    name: str, batch: Batch, prediction: Prediction, silent: Prediction | None, row: int, classes: Sequence[str]
) -> Example:
    clip = row if batch.clip is None else int(batch.clip[row])
    count = int(batch.valid[clip].sum())
    shown = np.unique(np.linspace(0, count - 1, min(count, PICTURES)).round().astype(int))
    if "chosen" in prediction.values and count > PICTURES:
        chosen = prediction["chosen"][row].cpu().numpy()
        shown = np.unique(np.concatenate([shown[:: max(1, len(chosen) // 4)], chosen]))
    found, truth = prediction.values, batch.targets
    example = Example(name, batch.id[row])

    def part(values: Any) -> Any:
        """The shown steps of this sample, as an array, or as a list where they are texts."""
        steps = values[row]
        return steps[torch.from_numpy(shown)].cpu().numpy() if isinstance(steps, Tensor) else [steps[t] for t in shown]

    if batch.frames is not None:
        example.images = list(batch.frames[clip].cpu().numpy()[shown].transpose(0, 2, 3, 1))
        example.times = [(t + 0.5) * batch.hop for t in shown.tolist()]
    if "mask" in found and example.images:
        example.masks = part(found["mask"])
        example.silent_masks = part(silent["mask"]) if silent is not None else None
        example.truth_masks = part(truth["mask"]) if bool(truth["mask_known"][row].any()) else None
    if "heat" in found and example.images:
        example.heats = part(found["heat"])
        example.silent_heats = part(silent["heat"]) if silent is not None else None
        example.truth_masks = part(truth["source"]) > 0 if "source" in truth else None
    if "caption" in found:
        example.captions, example.truth_captions = part(found["caption"]), part(truth["caption"])
    if "event" in found:
        both = truth["audio_segments"].bool() & truth["visual_segments"].bool()
        example.captions = [text or "background" for text in part(found["event"])]
        example.truth_captions = [_names(step, classes) or "background" for step in part(both)]
    if "audio_scores" in found:
        sure = (found["clip_scores"] >= 0.5)[:, None]
        heard, seen = (part((found[f"{kind}_scores"] >= 0.5) & sure) for kind in ("audio", "visual"))
        example.captions = _heard_and_seen(heard, seen, classes)
        heard, seen = (part(truth[f"{kind}_segments"]) for kind in ("audio", "visual"))
        example.truth_captions = _heard_and_seen(heard, seen, classes)
    if "event_list" in found:
        sure_of = found["event_list"][row]
        told = _spans(sure_of[sure_of[:, 3] >= _SURE], classes), _spans(truth["events"][row], classes)
        example.note = "Found: {}. True: {}.".format(*told)
    if "answer" in found:
        example.question = (batch.text or [""] * len(batch))[row]
        example.answer, example.truth_answer = found["answer"][row], truth["answer"][row]
        example.note = truth["question_type"][row]
    if "chosen" in found and example.images:
        weights = found["step_weights"][row].cpu()
        chosen = set(found["chosen"][row].tolist())
        example.marks = [f"chosen, weight {weights[t]:.2f}" if t in chosen else "" for t in shown.tolist()]
        if "parts" in found:
            example.heats = _heats(prediction, row, shown)
            example.silent_heats = None if silent is None else _heats(silent, row, shown)
    return example


def _heats(prediction: Prediction, row: int, shown: Any) -> Any:
    """How much each part of the shown pictures counted, (F, h, w); NaN where a picture was not looked at.

    None where parts have no place, as merged tokens have none.
    """
    parts = prediction["parts"][row].cpu().numpy()
    side = round(parts.shape[1] ** 0.5)
    if side * side != parts.shape[1]:
        return None
    by_step = {t: part.reshape(side, side) for t, part in zip(prediction["shown"][row].tolist(), parts, strict=True)}
    nothing = np.full((side, side), np.nan, np.float32)
    return np.stack([by_step.get(t, nothing) for t in shown.tolist()])


def _names(on: Any, classes: Sequence[str]) -> str:
    return ", ".join(name for name, there in zip(classes, on, strict=True) if there)


def _heard_and_seen(heard: Any, seen: Any, classes: Sequence[str]) -> list[str]:
    pairs = zip(heard, seen, strict=True)
    return [f"heard {_names(a, classes) or 'nothing'}; seen {_names(v, classes) or 'nothing'}" for a, v in pairs]


def _spans(events: Tensor, classes: Sequence[str]) -> str:
    rows = sorted(events[:, :3].tolist())
    return ", ".join(f"{classes[int(k)]} {start:.1f} to {end:.1f} s" for start, end, k in rows) or "nothing"
