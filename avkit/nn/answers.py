# SPDX-License-Identifier: Apache-2.0
"""Question answering as classification: the loss over answers, and the answer among a question's choices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, exportable
from avkit.nn.losses import mean_of
from avkit.nn.sent import sent


@exportable
@dataclass(kw_only=True)
class QuestionOutput:
    """Logits of the answers, and the steps and parts of pictures that a network selected to find them.

    Attributes:
        logits: Logits of the answers, (B, K).
        weights: How much each step matters to the question, (B, T); None where a network weighs none.
        chosen: Indices of the selected steps, int64 (B, k), rising; None where a network selects none.
        shown: Indices of the steps whose pictures were attended to, int64 (B, k), or None.
        parts: Weight of each part of these pictures, (B, k, P), or None.
        sources: Which part each patch of these pictures went into, integers (B, k, h, w), where parts are merged tokens
            and that is known, else None.
    """

    logits: Tensor
    weights: Tensor | None = None
    chosen: Tensor | None = None
    shown: Tensor | None = None
    parts: Tensor | None = None
    sources: Tensor | None = None


def selection_values(output: QuestionOutput) -> dict[str, Any]:
    """What a network selected; empty without a selection.

    `chosen` and `step_weights`; `parts` and `shown` where pictures were attended to; `part_sources` where it is known
    which patches each part is of.
    """
    if output.weights is None:
        return {}
    values: dict[str, Any] = {"chosen": output.chosen, "step_weights": output.weights.float()}
    if output.parts is not None:
        values["parts"] = output.parts.float()
        values["shown"] = output.shown
        if output.sources is not None:
            values["part_sources"] = output.sources
    return values


def answer_index(answers: Sequence[str]) -> dict[str, int]:
    """The index of each answer.

    Raises:
        ValueError: If there are none.
    """
    if not answers:
        raise ValueError("Question answering needs answers, and the dataset has none. Use a dataset with questions.")
    return {answer: number for number, answer in enumerate(answers)}


def answer_targets(batch: Batch, index: Mapping[str, int]) -> Tensor:
    """Index of each true answer, int64 (B,); -1 where it is not in the vocabulary."""
    return torch.tensor([index.get(answer, -1) for answer in batch.targets["answer"]])


def answer_loss(logits: Tensor, batch: Batch, index: Mapping[str, int]) -> Tensor:
    """Cross-entropy of logits (B, K); true answers outside the vocabulary do not count, 0 where all are."""
    targets = sent(answer_targets(batch, index), logits.device)
    total = F.cross_entropy(logits, targets, ignore_index=-1, reduction="sum")
    return mean_of(total, (targets >= 0).sum())


def answer_values(logits: Tensor, batch: Batch, answers: Sequence[str], index: Mapping[str, int]) -> dict[str, Any]:
    """`answer`, B strings, and `answer_logits`, logits (B, K); only choices where a question has some of its own."""
    scores = mask_choices(logits.float(), batch.targets.get("choices"), index)
    best = scores.argmax(-1).tolist()
    return {"answer": [answers[number] for number in best], "answer_logits": scores}


def mask_choices(scores: Tensor, choices: Sequence[Sequence[str]] | None, index: Mapping[str, int]) -> Tensor:
    """Scores (B, K) with the lowest value for all answers that are no choice of their question.

    A question without choices, or with none in the vocabulary, keeps all answers.
    """
    if choices is None:
        return scores
    allowed = torch.zeros_like(scores, dtype=torch.bool)
    for row, names in zip(allowed, choices, strict=True):
        numbers = [index[name] for name in names if name in index]
        row[numbers or slice(None)] = True
    return scores.masked_fill(~allowed, torch.finfo(scores.dtype).min)
