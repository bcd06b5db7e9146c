# SPDX-License-Identifier: Apache-2.0
"""What the prompt's gate makes of the sound's attention to a picture, shown beside an answer to a question."""

from dataclasses import dataclass, field

from torch import Tensor

from avkit.backbone.gate import GateFactors
from avkit.batch import Output, exportable
from avkit.nn.pooling import shrink


@exportable
@dataclass
class ShownOutput:
    """Output of a head, and what shows how the backbone made its tokens.

    Attributes:
        answer: Output of the head.
        shown: Values of a `Prediction` by name.
    """

    answer: Output
    shown: dict[str, Tensor] = field(default_factory=dict)


def prompt_heat(
    attention: Tensor,
    factors: GateFactors,
    grid: tuple[int, int],
    valid: Tensor,
) -> dict[str, Tensor]:
    """Maps of the sound's attention without and with the prompt's gate.

    Args:
        attention: Share of each patch in the attention of its step's sound, (B, T, rows, columns).
        factors: Of the prompt's gate, for B prompts.
        grid: Rows and columns of the patches that the gate weighs, at most those of `attention`.
        valid: bool (B, T).

    Returns:
        `heat_plain` and `heat_prompted`, (B, T, h, w), which add up to 1 over a picture, and `heat_step_scores`
        (B, T), the share of each step in the weights over time.

    Source:
        AV-Unified, Fig. 4; that the attention is the one of Eq. 6 is our reading.
    """
    plain = shrink(attention, grid)
    prompted = plain * factors.patches[..., 0].unflatten(-1, grid)
    time = (factors.audio_time + factors.frame)[..., 0] * valid
    return {
        "heat_plain": plain / plain.sum((-1, -2), keepdim=True),
        "heat_prompted": prompted / prompted.sum((-1, -2), keepdim=True),
        "heat_step_scores": time / time.sum(-1, keepdim=True),
    }
