# SPDX-License-Identifier: Apache-2.0
"""Predictions kept to the kinds of answers that their questions ask for, see `avkit.text.question_kinds`."""

from collections.abc import Sequence

import torch

from avkit.batch import Prediction
from avkit.text.question_kinds import answer_kind, fitting_answers


def keep_to_kind(prediction: Prediction, questions: Sequence[str], answers: Sequence[str]) -> Prediction:
    """A prediction whose answers are of the kinds that their questions ask for.

    Args:
        prediction: With `answer` and `answer_logits`, logits (B, K); others are returned as they are.
        questions: B questions.
        answers: K answers.

    Returns:
        The prediction with minus infinity as the score of all other answers, the best of those that are left as
        `answer`, and `answer_kind`, the kinds that were kept, empty where all were.
    """
    if "answer_logits" not in prediction.values:
        return prediction
    scores = prediction["answer_logits"]
    allowed = torch.zeros_like(scores, dtype=torch.bool)
    kept: list[str] = []
    for row, question in zip(allowed, questions, strict=True):
        fitting = fitting_answers(question, answers)
        row[fitting] = True
        kinds = dict.fromkeys(answer_kind(answers[index]) for index in fitting)
        kept.append("" if len(fitting) == len(answers) else " or ".join(kinds))
    scores = scores.masked_fill(~allowed, -torch.inf)
    best = [answers[index] for index in scores.argmax(-1).tolist()]
    values = {**prediction.values, "answer": best, "answer_logits": scores, "answer_kind": kept}
    return Prediction(prediction.task, prediction.id, values)
