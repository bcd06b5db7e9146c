# SPDX-License-Identifier: Apache-2.0
"""Figures as sources print them: their digits, and what these say about rounding."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Literal, TypeAlias

#: How figures are printed.
Scale: TypeAlias = Literal["percent", "fraction", "number"]


@dataclass(frozen=True)
class Printed:
    """A figure as it is printed in a source.

    Attributes:
        text: The digits, such as `76.79`; its decimals decide the tolerance.
        scale: `percent`, `fraction`, or `number` for a metric without an upper end.

    Raises:
        ValueError: If the text is no number.
    """

    text: str
    scale: Scale = "percent"

    def __post_init__(self) -> None:
        try:
            finite = Decimal(self.text).is_finite()
        except InvalidOperation:
            finite = False
        if not finite:
            raise ValueError(f"{self.text!r} is no printed figure. Give digits, such as 76.79.")

    @property
    def value(self) -> float:
        """The figure as a fraction, or as the number that it is."""
        return self.points / 100

    @property
    def points(self) -> float:
        """The figure in points, hundredths of a fraction or of a number."""
        return float(self._in_points(Decimal(self.text)))

    @property
    def half_unit(self) -> float:
        """Half a unit of the last printed digit, in points."""
        exponent = int(Decimal(self.text).as_tuple().exponent)
        return float(self._in_points(Decimal(1).scaleb(exponent) / 2))

    def _in_points(self, number: Decimal) -> Decimal:
        return number if self.scale == "percent" else number * 100
