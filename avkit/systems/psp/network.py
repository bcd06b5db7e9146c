# SPDX-License-Identifier: Apache-2.0
"""PSP: events of ten seconds by propagation between similar steps of the two modalities."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.nn.audio_guided_attention import AudioGuidedAttention, BimodalLSTM
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.clip_events import ATTENTION_NAMES, AttentionOptions
from avkit.systems.official_keys import rename
from avkit.systems.psp.propagation import PositiveSamplePropagation

#: Width of each direction of the recurrent networks, and of the layers before them.
WIDTH = 128
#: Published thresholds of the fully and of the weakly supervised network.
THRESHOLD = 0.099
WEAK_THRESHOLD = 0.095
_NAMES = {f"attention.{ours}": f"attention.{theirs}" for ours, theirs in ATTENTION_NAMES.items()} | {
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


@exportable
@dataclass
class PSPOutput:
    """Output of PSP.

    Attributes:
        logits: Classes of each step, background last, (B, T, K).
        fused: Features that they come from, (B, T, D).
        similarity: Cosine of visual and audio features of each step, (B, T).
    """

    logits: Tensor
    fused: Tensor
    similarity: Tensor


@dataclass
class PSPOptions(AttentionOptions):
    """Options of PSP's networks.

    Attributes:
        weak: The network for labels of the clip, which task `ave_weak` asks for.
        threshold: A pair of steps is kept if its share of the row's similarity is above it; where None the published
            one, 0.099, and 0.095 for `weak`.
    """

    weak: bool = False
    threshold: float | None = None


class PSP(OfficialNetwork):
    """The networks of "Positive Sample Propagation along the Audio-Visual Event Line" (CVPR 2021).

    Args:
        options: Supervision, threshold and sizes.
        audio: Width of audio features.
        visual: Width of a position's features.
        classes: Number of classes K, background included, which comes last.
    """

    name = "psp"
    source = "jasongief/PSP_CVPR_2021 at commit ddd20f3b0a17"
    Options = PSPOptions

    def __init__(self, options: PSPOptions, audio: int = 128, visual: int = 512, classes: int = 29) -> None:
        super().__init__(options, audio=audio, visual=visual, classes=classes)
        weak = options.weak
        threshold = options.threshold
        if threshold is None:
            threshold = WEAK_THRESHOLD if weak else THRESHOLD
        audio_width = audio if weak else WIDTH
        self.weak = weak
        self.sizes_given = (audio, visual, classes)
        self.audio_in = None if weak else _two_layers(audio)
        self.visual_in = nn.Linear(visual, WIDTH) if weak else _two_layers(visual)
        self.attention = AudioGuidedAttention(audio_width, visual, options.attention_width, options.positions)
        self.recurrent = BimodalLSTM(audio_width, WIDTH, WIDTH)
        self.propagation = PositiveSamplePropagation(2 * WIDTH, threshold, renormalise=not weak, project=not weak)
        self.first = nn.Linear(2 * WIDTH, 64, bias=False)
        self.last = nn.Linear(64, classes, bias=False)
        for layer in (self.first, self.last):
            nn.init.xavier_uniform_(layer.weight)
        self.weight = nn.Linear(classes, 1, bias=False) if weak else None

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> PSPOutput:
        """From audio (B, T, A), pictures (B, T, P, V), and which steps are valid, bool (B, T)."""
        if self.audio_in is not None:
            audio = self.audio_in(audio)
        audio, visual = self.recurrent(audio, self.visual_in(self.attention(audio, visual)))
        fused, visual, audio = self.propagation(audio, visual, valid)
        logits = self.last(self.first(fused).relu())
        if self.weight is not None:
            logits = logits * self.weight(logits).relu().sigmoid()
        return PSPOutput(logits, fused, F.cosine_similarity(visual, audio, -1))

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `threshold`."""
        if "attention.affine_h.weight" not in state or "psp.layer_norm.weight" not in state:
            return None
        attention_width, visual = state["attention.affine_video.weight"].shape
        weak = "fa.0.weight" not in state
        return {
            "audio": state["attention.affine_audio.weight" if weak else "fa.0.weight"].shape[1],
            "visual": visual,
            "classes": len(state["L2.weight"]),
            "weak": weak,
            "attention_width": attention_width,
            "positions": len(state["attention.affine_v.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        return rename(key, _NAMES)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Layers that nothing reads."""
        audio, visual, classes = self.sizes_given
        if self.weak:
            return {"temperature": (1, classes), "W1.weight": (1, 256), "W2.weight": (1, 64)}
        unused: dict[str, tuple[int, ...]] = {"linear_v.weight": (audio, visual), "linear_v.bias": (audio,)}
        for modality in "va":
            unused[f"{modality}_classify.L1.weight"] = (64, 256)
            unused[f"{modality}_classify.L2.weight"] = (28, 64)
        return unused | {"L3.weight": (64, 256), "L3.bias": (64,), "L4.weight": (2, 64), "L4.bias": (2,)}


def _two_layers(inputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, 256, bias=False), nn.Linear(256, WIDTH, bias=False))
