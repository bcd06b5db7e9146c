# SPDX-License-Identifier: Apache-2.0
"""PSTP-Net as a system: encoders and its network, for question answering."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, FeatureWidths
from avkit.encoders.base import TextFeatures, VisualFeatures
from avkit.nn.padding import surely_all
from avkit.systems.base import Encoded, RunContext
from avkit.systems.features import valid_or_none
from avkit.systems.pstp.network import PSTP, PSTPOptions, PSTPOutput
from avkit.systems.published import PublishedInputs
from avkit.systems.questions import EncodedQuestionConfig, EncodedQuestionSystem, answers_of, questions_of


@dataclass
class PSTPConfig(PSTPOptions, EncodedQuestionConfig):
    """PSTP-Net for `avqa`: sounds, pictures and words as one sequence.

    Attributes:
        name: Name of the system.
        first: Take the first of a picture's patches as the frame feature, as CLIP's class token is; otherwise the mean
            of the patches.
        words: Number of words that each question is cut or padded to, padding being read; 77 as the authors do. 0 reads
            the words that there are.
    """

    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("music-avqa", "clip_b32", "vggish", ("pstp",), FeatureWidths(512, 128)),
    )
    converted_options: ClassVar[Mapping[str, Any]] = {
        "text": "clip_vit_b32",
        "text_weights": "hub",
        "first": True,
        "words": 77,
    }

    name: Literal["pstp"] = "pstp"
    first: bool = False
    words: int = 0

    def build(self, context: RunContext) -> "PSTPSystem":
        """The system for a run's data."""
        return PSTPSystem(self, context)


class PSTPSystem(EncodedQuestionSystem):
    """PSTP-Net behind encoders or stored features.

    Args:
        config: Its options.
        context: What it is built for.
    """

    config: PSTPConfig
    network: PSTP

    def build_network(self, widths: FeatureWidths, context: RunContext) -> PSTP:
        """The network for widths of features and the answers of a run."""
        self.text = self.build_text_encoder(context)
        return PSTP(
            self.config,
            audio=widths.audio,
            visual=widths.visual,
            text=self.text.width,
            answers=len(answers_of(context)),
        )

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> PSTPOutput:
        """Answer the questions of a batch."""
        encoded = encoded or self.encode(batch)
        frame, regions = self._split_frame(encoded.visual)
        text: TextFeatures = self.text(questions_of(batch))
        words, words_valid = self._words(text)
        output: PSTPOutput = self.network(
            encoded.audio, frame, words, text.pooled, regions, words_valid, batch.clip, valid_or_none(batch)
        )
        return output

    def _split_frame(self, visual: VisualFeatures) -> tuple[Tensor, Tensor]:
        """Frame features (C, T, V) and features of regions (C, T, P, V)."""
        if not self.config.first:
            return visual.frame, visual.patches
        return visual.patches[:, :, 0], visual.patches[:, :, 1:]

    def _words(self, text: TextFeatures) -> tuple[Tensor, Tensor | None]:
        """Features of words, (B, L, width of text), and which are no padding, bool (B, L), or None if all are read."""
        if not self.config.words:
            return text.tokens, None if surely_all(text.valid) else text.valid
        words = text.tokens[:, : self.config.words]
        return F.pad(words, (0, 0, 0, self.config.words - words.shape[1])), None
