# SPDX-License-Identifier: Apache-2.0
"""Rows of boards: a method with its figures, where they come from, and what is said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from avkit.leaderboard.metric_names import LOWER_IS_BETTER
from avkit.leaderboard.records import Record

#: Kinds of rows on a board, as published tables divide them, and what was measured.
RowKind: TypeAlias = Literal["measured", "comparison", "ablation", "efficiency"]


@dataclass(frozen=True)
class Terms:
    """On what a row was measured; rows of the same terms are comparable.

    Attributes:
        task: Task.
        split: Split; empty for costs.
        release: Release of the annotations; empty where it is not known.
        setting: Further terms, such as training data.
        features: Features or encoders; empty where not stated.
    """

    task: str
    split: str
    release: str
    setting: str
    features: str


@dataclass(frozen=True)
class Cell:
    """A figure on a board.

    Attributes:
        text: As printed, or measured with the board's decimals.
        value: As our reports hold it: a fraction where it is a share.
        deviation: Standard deviation over seeds.
        n: What a measured figure counts; 0 where not known.
        low: Lower end of a measured figure's 95 % interval.
        high: Upper end.
        word: What arithmetic says of this very figure; empty where nothing.
        scale: How the text shows the value: one of `SCALES` of published values.
    """

    text: str
    value: float | None
    deviation: float | None = None
    n: int = 0
    low: float | None = None
    high: float | None = None
    word: str = ""
    scale: str = "percent"

    @property
    def spread(self) -> str:
        """The standard deviation over seeds as text; empty where there is none."""
        return "" if self.deviation is None else shown(self.deviation, self.scale)


@dataclass(frozen=True)
class Origin:
    """Where a claim is printed.

    Attributes:
        row: Id of the printed row.
        source: Id of the source.
        table: Table of the source.
        reported_by: `authors` or `cited`.
        confidence: `a` or `b`.
        note: What else the source says.
    """

    row: str
    source: str
    table: str
    reported_by: str
    confidence: str
    note: str

    @property
    def place(self) -> str:
        """Source and table."""
        return f"{self.source}, {self.table}" if self.table else self.source


@dataclass(frozen=True)
class BoardRow:
    """A method on a board.

    Attributes:
        method: Its name.
        year: Year of the method, or of the measurement; None where not known.
        kind: Claimed in a comparison, an ablation or a table of costs, or measured.
        cells: Figures by our names of metrics.
        word: Verdict in a word.
        reasons: Why, in sentences.
        origins: Where a claim is printed; none for measurements.
        records: What a measurement was recorded with, one for each seed; none for claims.
        mine: Whether the user named the record.
        experiments: Ids of the experiments that aim at the row.
    """

    method: str
    year: int | None
    kind: RowKind
    cells: Mapping[str, Cell]
    word: str
    reasons: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()
    records: tuple[Record, ...] = ()
    mine: bool = False
    experiments: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the figures come from, in a few words."""
        if self.records:
            seeds = sorted({seed for record in self.records for seed in record.seeds})
            many = f", {len(seeds)} seeds" if len(seeds) > 1 else ""
            return f"measured, {self.records[0].by}{many}"
        further = f" +{len(self.origins) - 1}" if len(self.origins) > 1 else ""
        return self.origins[0].place + further

    def sort_key(self, metrics: Sequence[str]) -> tuple[float, ...]:
        """Smaller for better rows: by the first metric, then by the next; without a metric last, ablations apart."""
        key = [float(self.kind == "ablation")]
        for metric in metrics:
            value = self.cells[metric].value if metric in self.cells else None
            best = float("inf") if value is None else value if metric in LOWER_IS_BETTER else -value
            key.append(best)
        return tuple(key)


def shown(value: float, scale: str) -> str:
    """A measured figure as text on a scale of published values."""
    if scale == "percent":
        return f"{100 * value:.2f}"
    return f"{value:.4f}" if scale == "fraction" else f"{value:.3f}"
