# SPDX-License-Identifier: Apache-2.0
"""UniAV in a run."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from torch import nn

from avkit.batch import Batch, FeatureWidths
from avkit.encoders import build_text_encoder
from avkit.encoders.base import TextEncoder
from avkit.errors import DataError
from avkit.nn.event_levels import EventLevel
from avkit.systems.base import Encoded, RunContext, freeze_pretrained
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.dense_events import ONE_PEACE_INPUTS, EventConfig, EventSystem
from avkit.systems.published import ConvertedFacts, PublishedInputs
from avkit.systems.questions import CachedTextEncoder
from avkit.systems.uniav.experts import class_sentences, find_expert
from avkit.systems.uniav.network import UniAV, UniAVOptions
from avkit.systems.uniav.prompts import CLASS_PROMPTS, ONE_PEACE_WIDTH, ClassPrompts
from avkit.text.tokenizer import unique_words


@dataclass
class UniAVConfig(UniAVOptions, EventConfig):
    """UniAV for `davel`: cross-modal pyramid, one task's expert, and classes by the words of their names.

    Attributes:
        name: Name of the system.
        normaliser: Number of positive points that losses are divided by before any batch was counted.
        text: What makes the text features of classes: a text encoder, which reads a sentence about each class, or
            `class_prompts`, a file with a row per class. `small` learns its words with the system.
        text_weights: Weights of the text encoder: empty, `hub`, a tag, or a path. Of `class_prompts`: the `.npy` file,
            or `hub` for the authors' of the expert's dataset; without one, and with `train_encoders`, rows are learned.
        text_width: Width of the rows of `class_prompts`.
    """

    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (ONE_PEACE_INPUTS,)
    converted_options: ClassVar[Mapping[str, Any]] = {"text": CLASS_PROMPTS, "text_weights": "hub"}

    name: Literal["uniav"] = "uniav"
    normaliser: float = 300.0
    text: str = "small"
    text_weights: str | None = None
    text_width: int = ONE_PEACE_WIDTH

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same, with the width of the text features that it was trained with."""
        facts = super().converted_facts(network, built_with)
        return replace(facts, options={**facts.options, "text_width": built_with["text"]})

    def build(self, context: RunContext) -> "UniAVSystem":
        """The system."""
        return UniAVSystem(self, context)


class UniAVSystem(EventSystem):
    """UniAV behind features or encoders, with a text encoder for the names of classes."""

    config: UniAVConfig
    text: CachedTextEncoder

    def build_network(self, widths: FeatureWidths, context: RunContext) -> UniAV:
        """The network, and the text encoder of its classes."""
        classes = context.vocabulary.classes
        #: What is read for each class, in the order of the classes.
        self.sentences = class_sentences(self.config.expert, classes)
        encoder = freeze_pretrained(self._build_text_encoder(), train=self.config.train_encoders)
        self.text = CachedTextEncoder(encoder)
        return UniAV(self.config, widths.visual, widths.audio, len(classes), self.text.width)

    def _build_text_encoder(self) -> TextEncoder:
        config = self.config
        if config.text == CLASS_PROMPTS:
            expert = find_expert(config.expert)
            return ClassPrompts(self.sentences, config.text_width, config.text_weights, expert)
        return build_text_encoder(config.text, config.text_weights, unique_words(self.sentences))

    def start_from(self, path: str) -> None:
        """Take converted weights.

        Raises:
            DataError: If they read other text features, or are of a network that was built otherwise.
        """
        own = self.text.width
        theirs = UniAV.load(path).built_with["text"]
        if theirs != own:
            raise DataError(
                f"{path} reads text features of width {theirs}, and those of --model.system.text {self.config.text} "
                f"have {own}. Pass --model.system.text {CLASS_PROMPTS} --model.system.text_weights hub, or what it was "
                "trained with."
            )
        super().start_from(path)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> list[EventLevel]:
        """Events at every point of the pyramid, of the classes that the sentences name."""
        encoded = encoded or self.encode(batch)
        prompts = self.text(self.sentences).pooled
        output: list[EventLevel] = self.network(encoded.visual.frame, encoded.audio, batch.valid, prompts)
        return output

    def encoders(self) -> list[nn.Module]:
        """Encoders of pictures and sound, where there are any, and of text."""
        return [*super().encoders(), self.text]
