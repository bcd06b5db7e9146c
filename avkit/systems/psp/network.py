# SPDX-License-Identifier: Apache-2.0
"""PSP: events of ten seconds by propagation between the steps in which sound and sight are alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.nn.audio_guided_attention import AudioGuidedAttention, TwoRecurrent
from avkit.systems.avel.network import ATTENTION
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.clip_events import PropagatedEvents, PSPOutput, WeakPropagatedEvents
from avkit.systems.features import FeatureConfig, squared
from avkit.systems.psp.propagation import PositiveSamplePropagation
from avkit.tasks.base import Task


class PSP(OfficialNetwork):
    """The networks of "Positive Sample Propagation along the Audio-Visual Event Line" (CVPR 2021).

    Args:
        audio: Width of sound.
        visual: Width of a position's features.
        classes: Number of classes K, background included, which comes last.
        weak: The network for labels of the clip.
        threshold: Least share of a row of similarities to stay; where None 0.099, and 0.095 for `weak`.
        compared: Width in which sound and sight are compared.
        positions: Positions of a picture.
    """

    name = "psp"
    source = "jasongief/PSP_CVPR_2021 at commit ddd20f3b0a17"

    def __init__(
        self,
        audio: int = 128,
        visual: int = 512,
        classes: int = 29,
        weak: bool = False,
        threshold: float | None = None,
        compared: int = 512,
        positions: int = 49,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        self.weak, width = weak, 128
        threshold = (0.095 if weak else 0.099) if threshold is None else threshold
        heard = audio if weak else width
        self.audio_in = None if weak else _two(audio, width)
        self.visual_in = nn.Linear(visual, width) if weak else _two(visual, width)
        self.attention = AudioGuidedAttention(heard, visual, compared, positions)
        self.recurrent = TwoRecurrent(heard, width, width)
        self.propagation = PositiveSamplePropagation(2 * width, threshold, not weak, not weak)
        self.first, self.last = nn.Linear(2 * width, 64, bias=False), nn.Linear(64, classes, bias=False)
        for layer in (self.first, self.last):
            nn.init.xavier_uniform_(layer.weight)
        self.weight = nn.Linear(classes, 1, bias=False) if weak else None

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> PSPOutput:
        """From sound (B, T, A), pictures (B, T, P, V), and the steps that count, bool (B, T)."""
        if self.audio_in is not None:
            audio = self.audio_in(audio)
        heard, seen = self.recurrent(audio, self.visual_in(self.attention(audio, visual)))
        fused, seen, heard = self.propagation(heard, seen, valid)
        logits = self.last(self.first(fused).relu())
        if self.weight is not None:
            logits = logits * self.weight(logits).relu().sigmoid()
        return PSPOutput(logits, fused, F.cosine_similarity(seen, heard, -1))

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `threshold`."""
        if "attention.affine_h.weight" not in state or "psp.layer_norm.weight" not in state:
            return None
        compared, visual = state["attention.affine_video.weight"].shape
        weak = "fa.0.weight" not in state
        return {
            "audio": state["attention.affine_audio.weight" if weak else "fa.0.weight"].shape[1],
            "visual": visual,
            "classes": len(state["L2.weight"]),
            "weak": weak,
            "compared": compared,
            "positions": len(state["attention.affine_v.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        return rename(key, {ours: f"attention.{theirs}" for ours, theirs in ATTENTION.items()} | _NAMES)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Layers that nothing reads."""
        visual, classes = self.made_with["visual"], self.made_with["classes"]
        if self.weak:
            return {"temperature": (1, classes), "W1.weight": (1, 256), "W2.weight": (1, 64)}
        side = {f"{x}_classify.L1.weight": (64, 256) for x in "va"} | {
            f"{x}_classify.L2.weight": (28, 64) for x in "va"
        }
        linear = {"linear_v.weight": (self.made_with["audio"], visual), "linear_v.bias": (self.made_with["audio"],)}
        last = {"L3.weight": (64, 256), "L3.bias": (64,), "L4.weight": (2, 64), "L4.bias": (2,)}
        return linear | side | last


_NAMES = {
    "audio_in.": "fa.",
    "visual_in.0.": "fv.0.",
    "visual_in.1.": "fv.1.",
    "visual_in.": "linear_v.",
    "recurrent.audio.": "lstm_a_v.lstm_audio.",
    "recurrent.visual.": "lstm_a_v.lstm_video.",
    "propagation.visual_in.0.": "psp.v_L1.",
    "propagation.visual_in.1.": "psp.v_L2.",
    "propagation.audio_in.0.": "psp.a_L1.",
    "propagation.audio_in.1.": "psp.a_L2.",
    "propagation.visual_out.": "psp.v_fc.",
    "propagation.audio_out.": "psp.a_fc.",
    "propagation.norm.": "psp.layer_norm.",
    "weight.": "W3.",
    "first.": "L1.",
    "last.": "L2.",
}


def _two(inputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 256, bias=False), nn.Linear(256, width, bias=False))


@dataclass
class PSPConfig(FeatureConfig):
    """PSP for `ave` and `ave_weak`: propagation between steps that are alike.

    Attributes:
        name: Of the system.
        weak: The network for labels of the clip, which task `ave_weak` asks for.
        threshold: See `PSP`; the published one where None.
        compared: Width in which sound and sight are compared.
        positions: Positions of a picture; others are averaged to a square grid of as many.
    """

    answers: ClassVar = {"ave": PropagatedEvents, "ave_weak": WeakPropagatedEvents}

    name: Literal["psp"] = "psp"
    weak: bool = False
    threshold: float | None = None
    compared: int = 512
    positions: int = 49

    @property
    def width(self) -> int:
        """Width of what both modalities come to."""
        return 256

    def tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The task, which has to be that of the network.

        Raises:
            ValueError: If it is not.
        """
        made = super().tasks(names, vocabulary)
        if ("ave_weak" in made) != self.weak:
            raise ValueError(
                "PSP has a network of its own for labels of the clip: use --tasks ave_weak --model.system.weak true "
                "together, or neither."
            )
        return made

    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> PSP:
        """The network."""
        return PSP(audio, visual, len(vocabulary.classes) + 1, **self.own())

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> PSPOutput:
        """Logits and features of a batch."""
        valid = None if batch.valid.all() else batch.valid
        found: PSPOutput = network(senses.heard, squared(senses.seen, self.positions), valid)
        return found
