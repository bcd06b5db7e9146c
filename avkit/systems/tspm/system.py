# SPDX-License-Identifier: Apache-2.0
"""TSPM as a system: encoders, its network and its prompt constructor, for question answering."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Item
from avkit.encoders.base import VisualFeatures
from avkit.errors import DataError
from avkit.nn.query_attention import check_step_count
from avkit.systems.base import Encoded, RunContext
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import valid_or_none
from avkit.systems.published import ConvertedFacts, PublishedInputs
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
        prompts: Sentences of the question templates, or of questions by their ids: a `.csv`, `.xlsx` or `.json` file
            with `question_template` (or `question_id`) and `declarative_prompt`, such as the authors' spreadsheet;
            avkit's own where None.
        frame: How many of the last stored visual features are of the whole frame and not of its patches: 768 for
            `tome14+clip`. With 0 the mean of the patches stands for the frame.
        tokens: How many tokens the stored features of a picture must have; 0 for any number.
    """

    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("music-avqa", "tome14+clip", "vggish", ("tspm",), FeatureWidths(1792, 128)),
    )
    converted_options: ClassVar[Mapping[str, Any]] = {"text": "clip_vit_l14_336", "text_weights": "hub"}

    name: Literal["tspm"] = "tspm"
    prompt: str = "declarative"
    prompts: str | None = None
    frame: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_prompt(self.prompt)

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same; patches and frame are joined in stored features."""
        frame = built_with["visual"]
        facts = super().converted_facts(network, {**built_with, "visual": built_with["patches"] + frame})
        return replace(facts, options={**facts.options, "frame": frame})

    def build(self, context: RunContext) -> "TSPMSystem":
        """The system for a run's data."""
        return TSPMSystem(self, context)


class TSPMSystem(EncodedQuestionSystem):
    """TSPM's network behind encoders or stored features.

    Args:
        config: Its options.
        context: What it is built for.
    """

    checks_samples: ClassVar[bool] = True

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
            self._encode_prompts(questions, batch.id),
            batch.clip,
            valid_or_none(batch),
        )
        output.sources = sources_of(encoded.visual, output, batch)
        return output

    def check_sample(self, task: str, item: Item) -> None:
        """Refuse clips with fewer steps than are selected, and stored pictures of another number of tokens."""
        self.check_steps(task, item.steps)
        tokens = self.config.tokens
        if tokens and item.visual is not None and item.visual.shape[1] != tokens:
            raise DataError(
                f"The stored pictures have {item.visual.shape[1]} tokens each, and --model.system.tokens is {tokens}. "
                f"Name features of {tokens} tokens with --data.features.visual (avkit extract --recipe tspm_tokens "
                "makes 27 and 8, tspm makes 14), or leave the option out."
            )

    def check_steps(self, task: str, steps: int) -> None:
        """Refuse clips with fewer steps than are selected."""
        if self.config.temporal:
            check_step_count(self.config.topk, steps)

    def check_questions(self, task: str, questions: Mapping[str, str]) -> None:
        """Refuse questions that the file of sentences has none for."""
        if self.config.prompt == "declarative":
            self.construct_prompt.check_covers(questions)

    def _encode_prompts(self, questions: list[str], names: Sequence[str]) -> Tensor | None:
        """Features of the declarative sentences, (B, width of text), or None where the question selects steps."""
        if self.config.prompt == "question":
            return None
        pairs = zip(questions, names, strict=True)
        sentences = [self.construct_prompt(question, name) for question, name in pairs]
        return self.text(sentences).pooled


def sources_of(visual: VisualFeatures, output: TSPMOutput, batch: Batch) -> Tensor | None:
    """Which token each part of the pictures that were attended to went into, (B, k, h, w); None if that is unknown."""
    if visual.sources is None or output.shown is None:
        return None
    clip = torch.arange(len(batch)) if batch.clip is None else batch.clip
    return visual.sources[clip.to(visual.sources.device)[:, None], output.shown]


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
