# SPDX-License-Identifier: Apache-2.0
"""Published figures as they are printed, one value a record, and the sources that print them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from pathlib import Path
from typing import TypeVar

from avkit.errors import FileError, file_error
from avkit.reading.text import read_text, table_rows

DATA = Path(__file__).parent / "data"
#: Kinds of rows: of a table that compares methods, of one that takes parts away, of one that measures cost.
KINDS = ("comparison", "ablation", "efficiency")
#: How a value is printed: per cent, in [0, 1], a number without upper end, or words.
SCALES = ("percent", "fraction", "number", "text")
_NUMBER = re.compile(r"(?P<number>-?\d+(?:\.(?P<decimals>\d+))?)(?P<factor>[KMGBT]?)")
_FACTORS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}
_Record = TypeVar("_Record", "PublishedValue", "Source")


@dataclass(frozen=True)
class Source:
    """Where figures are printed.

    Attributes:
        id: Unique short name.
        title: Title of the paper or page.
        venue: Conference, journal, preprint server or repository.
        year: Year of the source.
        form: `paper` or `readme` if its tables were read there, `second hand` if they were read in a text about it.
        address: Where it is; empty where that is not known.
        code: `owner/repository`, with `@commit` where one was read; empty where there is none.
        licence: Licence of the code, as its repository states it; empty where that is not known.
        weights: Where trained weights are; empty where none are known.
    """

    id: str
    title: str
    venue: str
    year: str
    form: str
    address: str
    code: str
    licence: str
    weights: str


@dataclass(frozen=True)
class PublishedValue:
    """A value of a published table.

    Attributes:
        row: The printed row, unique over all sources; its values share it.
        task: Task, as avkit names it.
        dataset: Board on which it stands, such as `music-avqa`; two joined by `+` for an average of both.
        release: Release of the annotations as the source states it; empty where it does not.
        split: Split that was tested on; empty for costs.
        setting: Further terms on which it was measured, such as training data; empty for the usual ones.
        metric: Name of the metric, as the source prints it or means it.
        method: Name of the method, as printed.
        printed: The value as printed, all decimals kept.
        scale: One of `SCALES`.
        year: Year of the method.
        features: Features or encoders as far as stated.
        kind: One of `KINDS`.
        source: Id of the source.
        table: Table of the source; empty where it has no number.
        reported_by: `authors` of the method, or `cited` by others.
        confidence: `a` if it was read in the source, `b` if second hand.
        note: What else the source says of it.
    """

    row: str
    task: str
    dataset: str
    release: str
    split: str
    setting: str
    metric: str
    method: str
    printed: str
    scale: str
    year: str
    features: str
    kind: str
    source: str
    table: str
    reported_by: str
    confidence: str
    note: str

    @property
    def id(self) -> str:
        """Unique name of the value."""
        return f"{self.row}:{self.metric}"

    @cached_property
    def value(self) -> float | None:
        """The number that is printed, with its factor written out (`2.65T`); None for words."""
        match = _NUMBER.fullmatch(self.printed)
        if match is None or self.scale == "text":
            return None
        return float(match["number"]) * _FACTORS[match["factor"]]

    @cached_property
    def decimals(self) -> int:
        """Number of digits that are printed after the point."""
        match = _NUMBER.fullmatch(self.printed)
        return len(match["decimals"] or "") if match else 0

    @cached_property
    def fraction(self) -> float | None:
        """The value as our reports hold it: per cent as a fraction, other numbers as they are."""
        if self.value is None:
            return None
        return self.value / 100 if self.scale == "percent" else self.value

    @cached_property
    def rounding(self) -> float:
        """Half a unit of the last printed digit, in the unit of `fraction`."""
        half = 0.5 * 10.0**-self.decimals
        return half / 100 if self.scale == "percent" else half

    @property
    def percent(self) -> float | None:
        """A share in per cent, however it is printed; None for other numbers."""
        if self.value is None or self.scale not in ("percent", "fraction"):
            return None
        return self.value if self.scale == "percent" else 100 * self.value


@dataclass(frozen=True)
class PublishedRow:
    """The values of one printed row, at least one; what they share is read from the first."""

    values: Sequence[PublishedValue]

    @property
    def first(self) -> PublishedValue:
        """The first value, which says what all of the row share."""
        return self.values[0]

    def value(self, metric: str) -> PublishedValue | None:
        """The value of a metric; None where the row has none."""
        return next((value for value in self.values if value.metric == metric), None)


@cache
def read_published() -> tuple[PublishedValue, ...]:
    """All published values of the package.

    Raises:
        FileError: If the file is damaged or has other columns.
    """
    return tuple(_read_records(DATA / "published.csv", PublishedValue))


@cache
def read_sources() -> dict[str, Source]:
    """All sources of the package by id.

    Raises:
        FileError: If the file is damaged, has other columns, or names a source twice.
    """
    sources: dict[str, Source] = {}
    for source in _read_records(DATA / "sources.csv", Source):
        if source.id in sources:
            raise FileError(f"{DATA / 'sources.csv'}: the source {source.id!r} stands twice.")
        sources[source.id] = source
    return sources


def group_rows(values: Iterable[PublishedValue]) -> list[PublishedRow]:
    """Values by printed row, in the order of their first."""
    rows: dict[str, list[PublishedValue]] = {}
    for value in values:
        rows.setdefault(value.row, []).append(value)
    return [PublishedRow(row) for row in rows.values()]


def _read_records(path: Path, kind: type[_Record]) -> Iterator[_Record]:
    """Records of a CSV file whose columns are the attributes of a class."""
    rows = table_rows(read_text(path), str(path))
    names = [record.name for record in fields(kind)]
    _, header = next(rows, (0, []))
    if header != names:
        raise file_error(path, f"has the columns {', '.join(header)}", f"Expected: {', '.join(names)}.")
    for line, cells in rows:
        if len(cells) != len(names):
            raise file_error(f"{path}, line {line}", f"has {len(cells)} cells", f"Give {len(names)}.")
        yield kind(*cells)
