# SPDX-License-Identifier: Apache-2.0
"""Audio-visual question answering."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, Choice
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.heads.answer import AnswerHead
from avkit.metrics.avqa import AnswerAccuracy
from avkit.nn.losses import mean_of
from avkit.tasks.base import Baseline, Task


class QuestionAnswering(Task):
    """One of the dataset's answers per question.

    Loss: cross-entropy over answers (MUSIC-AVQA). A true answer outside the vocabulary is not learnt and scores wrong.
    """

    name = "avqa"
    answers: ClassVar[tuple[type[Answer], ...]] = (Choice,)
    forms: ClassVar[tuple[str, ...]] = ("answer",)
    targets = ("answer", "question_type")
    optional = ("choices",)
    pixels = False
    sampling_weight = 2.5
    benchmark = "music-avqa"
    prompt = "answer the question about what is seen and heard"
    monitor = "Overall"
    headline = ("Overall",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        if not vocabulary.answers:
            raise ValueError(
                "Task 'avqa' needs answers, and the dataset's vocabulary has none. Use a dataset with questions."
            )
        self.index = {answer: i for i, answer in enumerate(vocabulary.answers)}

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Logits over the answers."""
        return AnswerHead(width, len(self.vocabulary.answers))

    def loss(self, out: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy; zero where no true answer is in the vocabulary."""
        target = self._target(batch).to(out.device)
        total = F.cross_entropy(out, target, ignore_index=-1, reduction="sum")
        return {"loss": mean_of(total, (target >= 0).sum())}

    def predict(self, out: Tensor, batch: Batch) -> Prediction:
        """`answer` and `answer_scores`, logits (B, K); only among the choices of questions that have some."""
        scores = self._among(out.float(), batch.targets.get("choices"))
        best = [self.vocabulary.answers[i] for i in scores.argmax(-1).tolist()]
        return Prediction(self.name, batch.id, {"answer": best, "answer_scores": scores})

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Accuracy over all questions, by modality and by type."""
        return {"": AnswerAccuracy()}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score one answer per clip."""
        scores = prediction["answer_scores"]
        metrics[""].update(scores, self._target(batch).to(scores.device), batch.targets["question_type"])

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The commonest training answer, over all questions and per question type."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for batch in batches:
            for kind, answer in zip(batch.targets["question_type"], batch.targets["answer"], strict=True):
                counts[kind][answer] += 1
        overall = sum(counts.values(), Counter()).most_common(1)[0][0]
        by_type = {kind: counter.most_common(1)[0][0] for kind, counter in counts.items()}
        return {
            "commonest answer": lambda batch: self._constant(batch, [overall] * len(batch)),
            "commonest answer of the type": lambda batch: self._constant(
                batch, [by_type.get(kind, overall) for kind in batch.targets["question_type"]]
            ),
        }

    def _among(self, scores: Tensor, choices: Sequence[Sequence[str]] | None) -> Tensor:
        """Scores with all that is no choice of its question put last; a question without a known choice keeps all."""
        if choices is None:
            return scores
        open_to = torch.zeros_like(scores, dtype=torch.bool)
        for row, given in zip(open_to, choices, strict=True):
            known = [self.index[choice] for choice in given if choice in self.index]
            row[known or slice(None)] = True
        return scores.masked_fill(~open_to, torch.finfo(scores.dtype).min)

    def _target(self, batch: Batch) -> Tensor:
        return torch.tensor([self.index.get(answer, -1) for answer in batch.targets["answer"]])

    def _constant(self, batch: Batch, answers: list[str]) -> Prediction:
        target = torch.tensor([self.index.get(answer, 0) for answer in answers])
        scores = F.one_hot(target, len(self.index)).float().to(batch.valid.device)
        return Prediction(self.name, batch.id, {"answer": answers, "answer_scores": scores})
