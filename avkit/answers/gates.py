# SPDX-License-Identifier: Apache-2.0
"""How much each step of a clip matters to a model, by its sound and by its pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers.base import Answer, RowsByName, Scope, StepGrid, join_grids
from avkit.answers.encoding import Record

Curve = NDArray[np.float32]


@dataclass(eq=False)
class Gates(Answer):
    """Temporal gates: what a model lets pass of each step (CCNet, Eq. 3 and figure 4).

    Attributes:
        audio: Gate made of the sound, which the pictures pass (g_A), float32 (T,) in [0, 1].
        visual: Gate made of the pictures, which the sound passes (g_V), the same.
        grid: The steps.
    """

    kind: ClassVar[str] = "gates"
    prediction_values: ClassVar[tuple[str, ...]] = ("audio_gate", "visual_gate")

    audio: Curve
    visual: Curve
    grid: StepGrid

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Gates":
        """The gates of one row, (T,) each."""
        steps = scope.grid.steps
        audio = values["audio_gate"][row][:steps].float().cpu().numpy()
        visual = values["visual_gate"][row][:steps].float().cpu().numpy()
        return cls(scope.task, audio, visual, scope.grid)

    @classmethod
    def join(cls, parts: Sequence["Gates"]) -> "Gates":
        """The gates of all windows."""
        audio = np.concatenate([part.audio for part in parts])
        visual = np.concatenate([part.visual for part in parts])
        return cls(parts[0].task, audio, visual, join_grids([part.grid for part in parts]))

    @classmethod
    def from_json(cls, record: Record) -> "Gates":
        """The answer that `to_json` wrote."""
        return super().from_json({**record, "grid": StepGrid(**record["grid"])})

    def curves(self) -> dict[str, Curve]:
        """The gates by the names that figures give them."""
        return {"g_A (sound)": self.audio, "g_V (pictures)": self.visual}

    def times(self) -> list[float]:
        """The middle of each step in seconds."""
        middles = []
        for step in range(len(self.audio)):
            start, end = self.grid.span(step)
            middles.append((start + end) / 2)
        return middles
