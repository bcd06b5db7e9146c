# SPDX-License-Identifier: Apache-2.0
"""Whether an exported file answers as the system does that it was made of."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

#: Largest difference of two answers, in units of the larger of 1 and the answer's own size.
TOLERANCE = 1e-3
#: Share of the whole numbers, such as classes of pixels, that may differ: ties that rounding breaks otherwise.
DIFFERING_SHARE = 1e-3


@dataclass(frozen=True)
class Parity:
    """The answer that differs most.

    Attributes:
        output: Its name.
        difference: Largest difference of numbers, or share of whole numbers that differ.
        bound: Largest that is accepted.
    """

    output: str
    difference: float
    bound: float

    @property
    def excess(self) -> float:
        """The difference in units of what is accepted."""
        return self.difference / self.bound

    @property
    def holds(self) -> bool:
        """Whether all answers are the same but for rounding."""
        return self.difference <= self.bound

    def describe(self) -> str:
        """The difference as part of a sentence."""
        return f"{self.output} differs by {self.difference:.2g}, and {self.bound:g} is accepted"


def compare(expected: Mapping[str, Tensor], answers: Mapping[str, Tensor]) -> Parity:
    """The answer that differs most from what is expected; a missing one or one of another shape differs infinitely."""
    parities = [_compare_one(name, value, answers.get(name)) for name, value in expected.items()]
    return max(parities, key=lambda parity: parity.excess)


def _compare_one(name: str, expected: Tensor, answer: Tensor | None) -> Parity:
    if answer is None or answer.shape != expected.shape:
        return Parity(name, torch.inf, TOLERANCE)
    if not expected.is_floating_point():
        share = (answer != expected).float().mean().item() if expected.numel() else 0.0
        return Parity(name, share, DIFFERING_SHARE)
    equal = (answer == expected) | (answer.isnan() & expected.isnan())  # equal infinities have no difference
    difference = torch.where(equal, 0.0, (answer - expected).abs() / expected.abs().clamp(min=1))
    largest = difference.nan_to_num(nan=torch.inf).max().item() if difference.numel() else 0.0
    return Parity(name, largest, TOLERANCE)
