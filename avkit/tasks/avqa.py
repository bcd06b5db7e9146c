# SPDX-License-Identifier: Apache-2.0
"""Audio-visual question answering."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torchmetrics import Metric

from avkit.answers import Answer, Choice, PromptHeat
from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.metrics.avqa import AnswerAccuracy
from avkit.nn.answers import answer_index, answer_targets
from avkit.tasks.base import Baseline, Task
from avkit.tasks.stored import read_each, text_entry


class QuestionAnswering(Task):
    """One of the dataset's answers per question.

    A true answer outside the vocabulary is not trained on and scores wrong.

    Args:
        vocabulary: The dataset's answers.

    Raises:
        ValueError: If it has none.
    """

    name = "avqa"
    default_head = "avkit.heads.answer:AnswerHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (Choice, PromptHeat)
    sequence_forms: ClassVar[tuple[str, ...]] = ("answer",)
    targets = ("answer", "question_type")
    optional = ("choices",)
    sampling_weight = 2.6
    benchmark = "music-avqa"
    prompt = "answer the question about what is seen and heard"
    if_absent = "wrong"
    monitor = "Overall"
    headline = ("Overall",)

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        if not vocabulary.answers:
            raise ValueError(
                "Task 'avqa' needs answers, and the dataset's vocabulary has none. Use a dataset with questions."
            )
        self.index = answer_index(vocabulary.answers)

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Accuracy over all questions, by modality and by type."""
        return {"": AnswerAccuracy()}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score one answer per question."""
        scores = prediction["answer_logits"]
        target = answer_targets(batch, self.index).to(scores.device)
        metrics[""].update(scores, target, batch.targets["question_type"], batch.id)

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`answer`, the answer with the highest score."""
        best = prediction["answer_logits"].max(1).indices.tolist()
        rows = zip(batch.id, best, strict=True)
        return [{"id": name, "answer": self.vocabulary.answers[number]} for name, number in rows]

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The answers; one outside the vocabulary has a score of its own, behind all others, and is wrong."""
        answers = read_each(records, lambda record, row: text_entry(record, "answer"))
        outside = len(self.index)
        numbers = torch.tensor([self.index.get(answer, outside) for answer in answers], dtype=torch.long)
        scores = F.one_hot(numbers, outside + 1).float()
        return Prediction(self.name, batch.id, {"answer": answers, "answer_logits": scores})

    def absent(self, batch: Batch) -> list[Record]:
        """No answer."""
        return [{"id": name, "answer": ""} for name in batch.id]

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """The commonest training answer, over all questions and per question type."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for batch in batches:
            for kind, answer in zip(batch.targets["question_type"], batch.targets["answer"], strict=True):
                counts[kind][answer] += 1
        overall = sum(counts.values(), Counter()).most_common(1)[0][0]
        by_type = {kind: counter.most_common(1)[0][0] for kind, counter in counts.items()}

        def commonest(batch: Batch) -> Prediction:
            return self._constant(batch, [overall] * len(batch))

        def commonest_of_type(batch: Batch) -> Prediction:
            return self._constant(batch, [by_type.get(kind, overall) for kind in batch.targets["question_type"]])

        return {"commonest answer": commonest, "commonest answer of the type": commonest_of_type}

    def _constant(self, batch: Batch, answers: list[str]) -> Prediction:
        numbers = torch.tensor([self.index.get(answer, 0) for answer in answers])
        scores = F.one_hot(numbers, len(self.index)).float().to(batch.valid.device)
        return Prediction(self.name, batch.id, {"answer": answers, "answer_logits": scores})
