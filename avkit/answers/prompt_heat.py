# SPDX-License-Identifier: Apache-2.0
"""Where the sound looks in a picture, before and after a question has weighed it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers.base import Answer, RowsByName, Scope


@dataclass(eq=False)
class PromptHeat(Answer):
    """The sound's attention to the picture of each step, without and with the weights of the prompt's gate.

    Each map adds up to 1; they show what a question changes (AV-Unified, Fig. 4).

    Attributes:
        question: The question.
        plain: The sound's attention to each part of the picture, (T, h, w).
        prompted: The same multiplied by the gate's factors of the parts, (T, h, w).
        step_weights: Share of each step in the gate's weights over time, T numbers.
    """

    kind: ClassVar[str] = "prompt_heat"
    prediction_values: ClassVar[tuple[str, ...]] = ("heat_plain", "heat_prompted", "heat_step_scores")
    needs_question: ClassVar[bool] = True

    question: str
    plain: NDArray[Any]
    prompted: NDArray[Any]
    step_weights: list[float] = field(default_factory=list)

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "PromptHeat":
        """The maps of one row."""
        steps = scope.grid.steps
        maps = [values[name][row][:steps].detach().cpu().numpy() for name in ("heat_plain", "heat_prompted")]
        weights = [round(weight, 4) for weight in values["heat_step_scores"][row][:steps].tolist()]
        return cls(scope.task, scope.question, maps[0], maps[1], weights)

    @classmethod
    def join(cls, parts: Sequence["PromptHeat"]) -> "PromptHeat":
        """The maps of all windows; weights over time add up to 1 over all of them."""
        weights: list[float] = []
        for part in parts:
            weights += [round(weight / len(parts), 4) for weight in part.step_weights]
        return cls(
            parts[0].task,
            parts[0].question,
            np.concatenate([part.plain for part in parts]),
            np.concatenate([part.prompted for part in parts]),
            weights if len(parts) > 1 else list(parts[0].step_weights),
        )

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.plain)
