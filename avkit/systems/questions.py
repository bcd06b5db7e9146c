# SPDX-License-Identifier: Apache-2.0
"""What the systems of question answering share: questions, the loss over answers, predictions, and text encoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from avkit.batch import Batch, Losses, Prediction
from avkit.encoders import build_text_encoder
from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.nn.answers import QuestionOutput, answer_index, answer_loss, answer_values, selection_values
from avkit.systems.base import RunContext, freeze_pretrained
from avkit.systems.features import FeatureConfig, FeatureSystem


@dataclass
class QuestionConfig(FeatureConfig):
    """Options of all systems that answer questions."""

    answered_tasks: ClassVar[tuple[str, ...]] = ("avqa",)


class QuestionSystem(FeatureSystem):
    """Encoders where the data hold pictures and sound, and a network that scores the dataset's answers.

    A subclass builds the network and says what it reads of a batch and how it is trained.

    Args:
        config: Its options.
        context: What it is built for.
    """

    def __init__(self, config: FeatureConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self.answers = answers_of(context)
        self.answer_index = answer_index(self.answers)

    def predict(self, output: QuestionOutput, batch: Batch) -> Prediction:
        """`answer` and `answer_logits`, and what the network selected, see `avkit.nn.answers.selection_values`."""
        values = answer_values(output.logits, batch, self.answers, self.answer_index)
        return Prediction(batch.task, batch.id, values | selection_values(output))

    def graph_values(self, output: QuestionOutput, batch: Batch) -> dict[str, Tensor]:
        """`answer_logits`, and what the network selected."""
        return {"answer_logits": output.logits.float(), **selection_values(output)}


def answers_of(context: RunContext) -> list[str]:
    """Answers of the task `avqa` in index order."""
    return context.vocabulary.of("avqa").answers


def questions_of(batch: Batch) -> list[str]:
    """The questions of a batch.

    Raises:
        ValueError: If it has none.
    """
    if batch.text is None:
        raise ValueError(
            f"This model answers questions, and clips {', '.join(batch.id[:3])} bring none. Use a dataset with "
            "questions, or pass one to `avkit predict` with --question."
        )
    return batch.text


@dataclass
class EncodedQuestionConfig(QuestionConfig):
    """Options of systems whose questions pass a text encoder.

    Attributes:
        text: Text encoder, see `avkit.encoders.list_encoders`.
        text_weights: Weights of the text encoder: empty, `hub`, a tag, or a path.
    """

    text: str = "small"
    text_weights: str | None = None


class EncodedQuestionSystem(QuestionSystem):
    """A system of question answering with a text encoder, which a subclass builds in `build_network`.

    Loss: cross-entropy over answers.

    Args:
        config: Its options.
        context: What it is built for.
    """

    config: EncodedQuestionConfig
    text: "CachedTextEncoder"

    def build_text_encoder(self, context: RunContext) -> "CachedTextEncoder":
        """The text encoder, with the words of a run's data where it learns from scratch."""
        config = self.config
        encoder = build_text_encoder(config.text, config.text_weights, context.vocabulary.words)
        return CachedTextEncoder(freeze_pretrained(encoder, train=config.train_encoders))

    def loss(self, output: QuestionOutput, batch: Batch) -> Losses:
        """Cross-entropy over answers."""
        return {"loss": answer_loss(output.logits, batch, self.answer_index)}

    def encoders(self) -> list[nn.Module]:
        """Encoders of pictures and sound, where there are any, and of text."""
        return [*super().encoders(), self.text]

    @property
    def reads_any_word(self) -> bool:
        """Whether the text encoder was pretrained."""
        return not self.text.encoder.from_scratch


class CachedTextEncoder(nn.Module):
    """A text encoder that encodes equal sentences once: those of a batch, or, where it is frozen, all of a run.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.width
        #: Valid tokens (L, D) and pooled features (D,) by sentence, of a frozen encoder, on the CPU.
        self._cache: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def frozen(self) -> bool:
        """Whether none of its parameters is trained."""
        return not any(parameter.requires_grad for parameter in self.encoder.parameters())

    def forward(self, texts: Sequence[str]) -> TextFeatures:
        """Encode sentences to tokens (B, L, D), valid (B, L) and pooled (B, D)."""
        distinct = list(dict.fromkeys(texts))
        if self.frozen:
            self._fill_cache([text for text in distinct if text not in self._cache])
            return self._read_cache(texts)
        features = self.encoder(distinct)
        row_of = {text: row for row, text in enumerate(distinct)}
        rows = torch.tensor([row_of[text] for text in texts], device=features.pooled.device)
        return TextFeatures(features.tokens[rows], features.valid[rows], features.pooled[rows])

    def _fill_cache(self, texts: list[str]) -> None:
        """Encode sentences that were not encoded before."""
        if not texts:
            return
        with torch.no_grad():
            features = self.encoder(texts)
        rows = zip(texts, features.tokens, features.valid, features.pooled.cpu(), strict=True)
        for text, tokens, valid, pooled in rows:
            self._cache[text] = (tokens[valid].cpu(), pooled)

    def _read_cache(self, texts: Sequence[str]) -> TextFeatures:
        """Features of encoded sentences, padded, on the encoder's device."""
        device = next(self.encoder.parameters()).device
        tokens = [self._cache[text][0] for text in texts]
        pooled = torch.stack([self._cache[text][1] for text in texts])
        lengths = torch.tensor([len(sentence) for sentence in tokens])
        valid = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        padded = pad_sequence(tokens, batch_first=True)
        return TextFeatures(padded.to(device), valid.to(device), pooled.to(device))
