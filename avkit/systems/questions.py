# SPDX-License-Identifier: Apache-2.0
"""Systems that answer questions about stored features: beside sight and sound they read a text."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from avkit.batch import Batch, Vocabulary
from avkit.encoders import build_text_encoder
from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.systems.base import Senses, freeze_pretrained
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import FeatureConfig, FeatureSystem


class Texts(nn.Module):
    """A text encoder; one that does not learn reads each sentence once.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: TextEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.width = encoder.width
        self._known: dict[str, tuple[Tensor, Tensor]] = {}

    @property
    def frozen(self) -> bool:
        """Whether nothing of it learns."""
        return not any(p.requires_grad for p in self.encoder.parameters())

    def encode(self, texts: Sequence[str]) -> TextFeatures:
        """Sentences to tokens (B, L, D), valid (B, L) and pooled (B, D); equal sentences are read once."""
        different = list(dict.fromkeys(texts))
        if not self.frozen:
            read = self.encoder(different)
            rows = torch.tensor([different.index(text) for text in texts], device=read.pooled.device)
            return TextFeatures(read.tokens[rows], read.valid[rows], read.pooled[rows])
        device = next(self.encoder.parameters()).device
        if new := [text for text in different if text not in self._known]:
            with torch.no_grad():
                read = self.encoder(new)
            tokens = [x[ok].cpu() for x, ok in zip(read.tokens, read.valid, strict=True)]
            self._known |= dict(zip(new, zip(tokens, read.pooled.cpu(), strict=True), strict=True))
        every, pooled = zip(*(self._known[text] for text in texts), strict=True)
        lengths = torch.tensor([len(x) for x in every])
        valid = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        return TextFeatures(
            pad_sequence(list(every), batch_first=True).to(device), valid.to(device), torch.stack(pooled).to(device)
        )

    def train(self, mode: bool = True) -> "Texts":
        """A frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        return self


def asked(batch: Batch) -> list[str]:
    """The questions of a batch.

    Raises:
        ValueError: If it has none.
    """
    if batch.text is None:
        raise ValueError(f"A question is answered, and clips {', '.join(batch.id[:3])} bring none.")
    return batch.text


@dataclass
class QuestionConfig(FeatureConfig):
    """What all systems with a text encoder are made of, beside their networks.

    Attributes:
        text: Text encoder, a name of `list_encoders("text")`.
        text_weights: Weights of the text encoder: empty, `hub`, a tag, or a path.
    """

    text: str = "small"
    text_weights: str | None = None

    def build(
        self, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None, expert: int | None = None
    ) -> "QuestionSystem":
        """The system."""
        return QuestionSystem(self, vocabulary, features)

    @abstractmethod
    def network(self, visual: int, audio: int, vocabulary: Vocabulary, text: int = 0) -> OfficialNetwork:
        """The network for widths of features and of texts, and a dataset's answers."""

    @abstractmethod
    def run(self, network: nn.Module, senses: Senses, batch: Batch, texts: Texts | None = None) -> Any:
        """What the network makes of features and questions."""

    @classmethod
    def shared(cls) -> set[str]:
        """Fields that are not of the network itself."""
        return super().shared() | {"text", "text_weights"}


class QuestionSystem(FeatureSystem):
    """Encoders where the data hold pictures and sound, a text encoder, and a paper's network; see `FeatureSystem`."""

    config: QuestionConfig

    def make_network(self, visual: int, audio: int, vocabulary: Vocabulary) -> OfficialNetwork:
        """The network, behind the text encoder."""
        config = self.config
        encoder = build_text_encoder(config.text, config.text_weights, vocabulary.words)
        self.texts = Texts(freeze_pretrained(encoder, train=config.train_encoders))
        return config.network(visual, audio, vocabulary, self.texts.width)

    def forward(
        self,
        batch: Batch,
        prompts: list[str],
        pixels: bool = True,
        meet: bool = True,
        senses: Senses | None = None,
        classes: Sequence[str] | None = None,
    ) -> Any:
        """What the network answers."""
        return self.config.run(self.network, senses or self.sense(batch), batch, self.texts)
