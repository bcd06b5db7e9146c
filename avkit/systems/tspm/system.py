# SPDX-License-Identifier: Apache-2.0
"""TSPM as a system: encoders, its network and its prompt constructor, for question answering."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from avkit.batch import Batch, FeatureWidths
from avkit.encoders.base import VisualFeatures
from avkit.systems.base import Encoded, RunContext
from avkit.systems.features import valid_or_none
from avkit.systems.questions import EncodedQuestionConfig, EncodedQuestionSystem, answers_of, questions_of
from avkit.systems.tspm.network import TSPM, TSPMOutput
from avkit.systems.tspm.options import TSPMOptions, check_prompt
from avkit.systems.tspm.prompt_constructor import PromptConstructor


@dataclass
class TSPMConfig(TSPMOptions, EncodedQuestionConfig):
    """TSPM for `avqa`: a prompt selects steps, and the sound of each attends to the patches of a picture.

    Attributes:
        name: Name of the system.
        prompt: Text that selects steps: `declarative`, a sentence constructed from the question, or the `question`.
        prompts: Sentences of the question templates, a CSV file with columns `question_template` and
            `declarative_prompt`, such as the authors' spreadsheet; avkit's own where None.
        frame: How many of the last stored visual features are of the whole frame and not of its patches: 768 for
            `tome14+clip`. With 0 the mean of the patches stands for the frame.
    """

    name: Literal["tspm"] = "tspm"
    prompt: str = "declarative"
    prompts: str | None = None
    frame: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt(self.prompt)

    def build(self, context: RunContext) -> "TSPMSystem":
        """The system for a run's data."""
        return TSPMSystem(self, context)


class TSPMSystem(EncodedQuestionSystem):
    """TSPM's network behind encoders or stored features.

    Args:
        config: Its options.
        context: What it is built for.
    """

    config: TSPMConfig
    network: TSPM

    def __init__(self, config: TSPMConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self.construct_prompt = PromptConstructor.load(config.prompts)

    def build_network(self, widths: FeatureWidths, context: RunContext) -> TSPM:
        """The network for widths of features and the answers of a run."""
        config = self.config
        self.text = self.build_text_encoder(context)
        return TSPM(
            config,
            audio=widths.audio,
            visual=config.frame or widths.visual,
            patches=widths.visual - config.frame,
            text=self.text.width,
            answers=len(answers_of(context)),
        )

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> TSPMOutput:
        """Answer the questions of a batch."""
        encoded = encoded or self.encode(batch)
        questions = questions_of(batch)
        frame, patches = split_frame(encoded.visual, self.config.frame)
        output: TSPMOutput = self.network(
            encoded.audio,
            frame,
            patches,
            self.text(questions).pooled,
            self._encode_prompts(questions),
            batch.clip,
            valid_or_none(batch),
        )
        return output

    def _encode_prompts(self, questions: list[str]) -> Tensor | None:
        """Features of the declarative sentences, (B, width of text), or None where the question selects steps."""
        if self.config.prompt == "question":
            return None
        sentences = [self.construct_prompt(question) for question in questions]
        return self.text(sentences).pooled


def split_frame(visual: VisualFeatures, frame_width: int) -> tuple[Tensor, Tensor]:
    """Frame features (C, T, V) and patch features (C, T, P, W).

    Args:
        visual: Visual features.
        frame_width: How many of the last features of each patch are of the whole frame; 0 for none.
    """
    if not frame_width:
        return visual.frame, visual.patches
    patch_width = visual.patches.shape[-1] - frame_width
    patches, frame = visual.patches.split([patch_width, frame_width], -1)
    return frame[:, :, 0], patches
