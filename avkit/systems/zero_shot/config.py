# SPDX-License-Identifier: Apache-2.0
"""Options of the system without training: which public model runs each stage, and the rules' thresholds."""

from dataclasses import dataclass

from avkit.systems.base import RunContext, System, SystemConfig
from avkit.systems.zero_shot.catalogue import NONE, STAGES, Part, find_part


@dataclass
class ZeroShotConfig(SystemConfig):
    """Options of `zero_shot`.

    Each stage takes the name of a model, or `none`; its weights are a path, else they are looked for in the folder that
    AVKIT_WEIGHTS names and in caches, and downloaded.

    Attributes:
        sound: Audio tagger: yamnet, ast or clap.
        sound_weights: Path of its weights.
        words: Sentence encoder that matches names which no table has: minilm.
        words_weights: Path of its weights.
        seen: Model that tells what is seen: clip, siglip or siglip2.
        seen_weights: Path of its weights.
        boxes: Open-vocabulary detector: grounding_dino or owlv2.
        boxes_weights: Path of its weights.
        masks: Segmenter: sam2.
        masks_weights: Path of its weights.
        language: Vision-language model for sentences and answers: smolvlm or qwen2_5_vl_3b.
        language_weights: Path of its weights.
        offline: Download nothing.
        accept_licence: Licences that you accept, separated by commas; needed of models that may not be used freely.
        heard: Least score of a target that counts as heard in a step.
        kept: Least score in the steps between and after those in which it is heard.
        seen_threshold: Least probability of a target that counts as seen.
        box_threshold: Least probability of a box.
        smoothing: Windows of sound, 0.48 s apart, whose median is taken.
        max_names: Targets that are looked for in the picture, those heard best.
        track: Follow what is found through the clip by SAM 2's tracker; else each picture is outlined by itself, as
            AT-GDINO-SAM does.
    """

    name: str = "zero_shot"
    sound: str = "yamnet"
    sound_weights: str | None = None
    words: str = NONE
    words_weights: str | None = None
    seen: str = "clip"
    seen_weights: str | None = None
    boxes: str = "grounding_dino"
    boxes_weights: str | None = None
    masks: str = "sam2"
    masks_weights: str | None = None
    language: str = NONE
    language_weights: str | None = None
    offline: bool = False
    accept_licence: str = ""
    heard: float = 0.3
    kept: float = 0.15
    seen_threshold: float = 0.5
    box_threshold: float = 0.3
    smoothing: int = 3
    max_names: int = 3
    track: bool = True

    def __post_init__(self) -> None:
        for option in ("heard", "kept", "seen_threshold", "box_threshold"):
            value = vars(self)[option]
            if not 0 < value < 1:
                raise ValueError(f"{option} is {value:g}; it is a probability between 0 and 1.")
        for option in ("smoothing", "max_names"):
            if vars(self)[option] < 1:
                raise ValueError(f"{option} is {vars(self)[option]}; give 1 or more.")
        if self.sound == NONE:
            raise ValueError("sound is none, and nothing can be answered without it. Choose yamnet, ast or clap.")
        self.parts()

    def parts(self) -> dict[str, Part | None]:
        """The model of each stage.

        Raises:
            ValueError: If a name is unknown.
        """
        return {stage: find_part(stage, vars(self)[stage]) for stage in STAGES}

    def weights(self) -> dict[str, str | None]:
        """Paths of weights by stage."""
        return {stage: vars(self)[f"{stage}_weights"] for stage in STAGES}

    def build(self, context: RunContext) -> System:
        """The system for a run's tasks and data."""
        from avkit.systems.zero_shot.system import ZeroShot

        return ZeroShot(self, context)

    def notes(self) -> list[str]:
        """How steps are decided."""
        return [
            f"zero_shot was not trained: a name counts as heard from a score of {self.heard:g} on, the median of "
            f"{self.smoothing} windows 0.48 s apart, and until it falls below {self.kept:g}; as seen from "
            f"{self.seen_threshold:g} on."
        ]
