# SPDX-License-Identifier: Apache-2.0
"""Options of SSUFormer as a system."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from avkit.batch import Vocabulary
from avkit.errors import unknown_name
from avkit.systems.base import RunContext, SystemConfig
from avkit.systems.ssuformer.options import AnsweringOptions
from avkit.tasks.base import Task
from avkit.tasks.ra_ssu import RegionAwareUnderstanding
from avkit.text.wordpiece import make_wordpieces, read_wordpieces

if TYPE_CHECKING:
    from avkit.systems.ssuformer.system import SSUFormerSystem

#: What the system may answer.
ANSWERS = ("both", "masks", "captions")


@dataclass
class SSUFormerConfig(AnsweringOptions, SystemConfig):
    """Options of SSUFormer; the defaults train from scratch on two CPU cores, recipes `ssuformer/*` have others.

    Attributes:
        name: Name of the system.
        heads: Attention heads of integration and mask decoder.
        visual: Visual encoder with a pyramid, a name of `list_encoders("visual")`; trained.
        audio: Audio encoder, a name of `list_encoders("audio")`; frozen, except `small`.
        visual_weights: Weights of the visual encoder: empty, `hub`, a tag, or a path.
        audio_weights: Weights of the audio encoder.
        width: Width of audio and visual tokens.
        integration_layers: Layers of the multi-modality integration.
        integration_inner: Width of their feed-forward layers.
        share_projections: Use the same projections for the temporal and the spatial pass of each attention.
        temporal_radius: Steps before and after that a step attends to in the temporal pass.
        audio_self_attention: Let audio tokens attend to each other over time, as the paper says and `published.yaml`
            sets; without it a step's sound reaches others only by what is seen.
        pieces: Word pieces of captions: a `vocab.txt`, a model on the hub such as `bert-base-uncased`, or empty to make
            them of the dataset's words.
        answers: `both`; `masks` alone (SSU-S); `captions` alone (SSU-D).
    """

    answered_tasks: ClassVar[tuple[str, ...]] = ("ra_ssu",)
    group: ClassVar[str] = "system"

    name: Literal["ssuformer"] = "ssuformer"
    visual: str = "small"
    audio: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    width: int = 64
    integration_layers: int = 3
    integration_inner: int = 128
    share_projections: bool = True
    temporal_radius: int = 9
    audio_self_attention: bool = False
    pieces: str | None = None
    answers: str = "both"

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: If a choice is unknown, or two options contradict each other.
        """
        if self.answers not in ANSWERS:
            raise unknown_name("system.answers", self.answers, ANSWERS)
        for name in ("mcm", "rcc"):
            if vars(self)[name] and self.answers != "both":
                raise ValueError(
                    f"system.{name} lets masks and captions help each other, and system.answers is {self.answers!r}. "
                    f"Set system.{name} to false, or answers to 'both'."
                )
        if self.mohe and self.answers == "masks":
            raise ValueError("system.mohe mixes experts of captions, and there are none. Set system.mohe to false.")
        if self.sources > 1 and self.answers == "captions":
            raise ValueError(
                f"system.sources is {self.sources}, and system.answers 'captions' makes no masks. Set answers to both."
            )
        super().__post_init__()

    @property
    def writes_captions(self) -> bool:
        """Whether captions are asked for."""
        return self.answers != "masks"

    def build(self, context: RunContext) -> "SSUFormerSystem":
        """The system for a run's data."""
        from avkit.systems.ssuformer.system import SSUFormerSystem

        return SSUFormerSystem(self, context)

    def extend_vocabulary(self, vocabulary: Vocabulary) -> Vocabulary:
        """The vocabulary with the word pieces of captions, unless it has them or there are no captions."""
        if vocabulary.pieces or self.answers == "masks":
            return vocabulary
        pieces = read_wordpieces(self.pieces) if self.pieces else make_wordpieces(vocabulary.words)
        return replace(vocabulary, pieces=pieces)

    def make_tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """Task `ra_ssu`, limited to what the system answers.

        Raises:
            ValueError: If another task is named.
        """
        tasks = super().make_tasks(names, vocabulary)
        masks = self.answers != "captions"
        captions = self.answers != "masks"
        return {name: RegionAwareUnderstanding(vocabulary.of(name), masks, captions) for name in tasks}
