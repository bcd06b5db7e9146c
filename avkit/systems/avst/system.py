# SPDX-License-Identifier: Apache-2.0
"""AVST as a system: encoders of pictures and sound, and its network, for question answering."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from avkit.batch import Batch, FeatureWidths, Losses
from avkit.nn.answers import answer_loss
from avkit.nn.padding import surely_all
from avkit.systems.avst.negatives import clip_ids_of, pair_loss, sample_negatives
from avkit.systems.avst.network import AVST, AVSTOptions, AVSTOutput
from avkit.systems.avst.question_encoder import WORDS
from avkit.systems.base import Encoded, RunContext
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.published import ConvertedFacts, PublishedInputs
from avkit.systems.questions import QuestionConfig, QuestionSystem, answers_of, questions_of
from avkit.text.tokenizer import unique_words


@dataclass
class AVSTConfig(AVSTOptions, QuestionConfig):
    """AVST for `avqa`: sound grounded in pictures, and questions in words of the data.

    Attributes:
        name: Name of the system.
        every: Read every `every`-th step; 6 for MUSIC-AVQA's 60.
        width: Width D; 0 for that of the visual features, which it has to be.
    """

    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("music-avqa", "resnet18_14x14", "vggish", ("avst",), FeatureWidths(512, 128)),
    )
    converted_options: ClassVar[Mapping[str, Any]] = {"every": 6}

    name: Literal["avst"] = "avst"
    every: int = 1
    width: int = 0

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"system.every is {self.every}; 1 reads every step, 6 every sixth.")

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same, with the words that it knows."""
        return replace(super().converted_facts(network, built_with), words=tuple(built_with["words"]))

    def build(self, context: RunContext) -> "AVSTSystem":
        """The system for a run's data."""
        return AVSTSystem(self, context)


class AVSTSystem(QuestionSystem):
    """AVST's network behind encoders or stored features.

    Loss: cross-entropy over answers, plus half of that of pairs of sound and picture, one of a step's own picture and
    one of a picture of another clip.

    Args:
        config: Its options.
        context: What it is built for.
    """

    #: Factor of the loss of pairs.
    pair_weight: ClassVar[float] = 0.5

    config: AVSTConfig
    network: AVST

    def build_network(self, widths: FeatureWidths, context: RunContext) -> AVST:
        """The network; with the words of MUSIC-AVQA in the authors' order where the data have no others."""
        config = self.config
        known = {part for word in WORDS for part in word.lower().split("_")}
        known |= set(unique_words(context.prompts.values()))  # a run's words hold those of its prompts too
        words = context.vocabulary.words
        return AVST(
            replace(config, width=config.width or widths.visual),
            audio=widths.audio,
            visual=widths.visual,
            words=WORDS if set(words) - {"?"} <= known else words,
            answers=len(answers_of(context)),
        )

    @property
    def reads_any_word(self) -> bool:
        """False: words are the data's own."""
        return False

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> AVSTOutput:
        """Answer the questions of a batch; in training also tell pictures from those of other clips."""
        encoded = encoded or self.encode(batch)
        every_nth = slice(None, None, self.config.every)
        audio = encoded.audio[:, every_nth]
        visual = encoded.visual.patches[:, every_nth]
        valid = batch.valid[:, every_nth]
        word_ids = self.network.question.word_ids(questions_of(batch)).to(audio.device)
        negatives = sample_negatives(visual, valid, clip_ids_of(batch)) if self.training else None
        output: AVSTOutput = self.network(
            audio, visual, word_ids, negatives, batch.clip, None if surely_all(valid) else valid
        )
        return output

    def loss(self, output: AVSTOutput, batch: Batch) -> Losses:
        """`answer` and, where pictures of other clips were given, `pairs`."""
        answer = answer_loss(output.logits, batch, self.answer_index)
        if output.match is None or output.mismatch is None:
            return {"loss": answer, "answer": answer}
        pairs = pair_loss(output.match, output.mismatch)
        return {"loss": answer + self.pair_weight * pairs, "answer": answer, "pairs": pairs}
