# SPDX-License-Identifier: Apache-2.0
"""Scores over years as a drawing: places of points, steps and ticks, in per cent of its width and height."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from avkit.leaderboard.board_rows import BoardRow
from avkit.leaderboard.boards import DOUBTFUL, Board
from avkit.leaderboard.metric_names import LOWER_IS_BETTER

#: Margins of the drawing, in per cent: left, right, top, bottom.
_LEFT = 10.0
_RIGHT = 4.0
_TOP = 7.0
_BOTTOM = 12.0
#: How far points of one year are moved apart, in years.
_APART = 0.13
_TICKS = 5
#: Years that a drawing needs.
_YEARS = 2
#: Room of a name, in per cent.
_LABEL_WIDTH = 22.0
_LABEL_HEIGHT = 5.5


@dataclass(frozen=True)
class Point:
    """A row in the drawing.

    Attributes:
        x: Place from the left, in per cent.
        y: Place from the top.
        kind: `measured`, `doubtful` or `claimed`.
        text: Method, year, figure and verdict.
        label: Name to write beside it; empty where none is written.
        end: Whether the name ends at the point, instead of beginning there.
    """

    x: float
    y: float
    kind: str
    text: str
    label: str
    end: bool


@dataclass(frozen=True)
class Step:
    """A line of the best figure so far, from one place to another, in per cent."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Tick:
    """A mark at an axis.

    Attributes:
        place: Place along the axis, in per cent.
        text: What is written there.
        second: Whether it may be left out where the drawing is narrow.
    """

    place: float
    text: str
    second: bool


@dataclass(frozen=True)
class Plot:
    """A board's scores over years.

    Attributes:
        metric: The metric.
        points: Rows.
        steps: The best so far.
        years: Ticks of years.
        values: Ticks of the metric.
        left: Where the axis of values is, in per cent.
        bottom: Where the axis of years is.
    """

    metric: str
    points: tuple[Point, ...]
    steps: tuple[Step, ...]
    years: tuple[Tick, ...]
    values: tuple[Tick, ...]
    left: float = _LEFT
    bottom: float = 100 - _BOTTOM


def draw(board: Board) -> Plot | None:
    """The drawing of a board's first task and the metric that ranks it; None where rows with figures have one year."""
    first = board.settings[0]
    metric = first.metrics[0]
    rows = []
    for setting in board.settings:
        if setting.terms.task == first.terms.task and setting.terms.split:
            rows += [row for row in setting.of("comparison", "measured") if _value(row, metric) is not None]
    rows = [row for row in rows if row.year is not None]
    if len({row.year for row in rows}) < _YEARS:
        return None
    axes = _Axes.of(rows, metric)
    best = _best_so_far(rows, metric)
    return Plot(
        metric,
        tuple(_with_room(axes.points(rows, [row for row, _ in best]))),
        tuple(axes.steps(best)),
        tuple(axes.year_ticks()),
        tuple(axes.value_ticks()),
    )


def _value(row: BoardRow, metric: str) -> float | None:
    cell = row.cells.get(metric)
    return None if cell is None else cell.value


def _number(row: BoardRow, metric: str) -> float:
    return _value(row, metric) or 0.0


def _best_so_far(rows: Sequence[BoardRow], metric: str) -> list[tuple[BoardRow, float]]:
    """Rows that were better than all before, with their figures; doubtful ones are passed over."""
    better = min if metric in LOWER_IS_BETTER else max
    best: list[tuple[BoardRow, float]] = []
    for year in sorted({row.year for row in rows if row.year is not None}):
        sound = [row for row in rows if row.year == year and row.word not in DOUBTFUL]
        if not sound:
            continue
        row = better(sound, key=lambda row: _number(row, metric))
        value = _number(row, metric)
        if not best or better(value, best[-1][1]) != best[-1][1]:
            best.append((row, value))
    return best


def _with_room(points: Sequence[Point]) -> list[Point]:
    """Points without the names that would be written over the name of a better one."""
    named = sorted((point for point in points if point.label), key=lambda point: point.y)
    kept: list[Point] = []
    for point in named:
        if all(abs(point.x - other.x) > _LABEL_WIDTH or abs(point.y - other.y) > _LABEL_HEIGHT for other in kept):
            kept.append(point)
    return [point if point in kept or not point.label else replace(point, label="") for point in points]


@dataclass(frozen=True)
class _Axes:
    """From years and figures to places."""

    metric: str
    first_year: int
    last_year: int
    low: float
    high: float
    step: float
    percent: bool

    @classmethod
    def of(cls, rows: Sequence[BoardRow], metric: str) -> "_Axes":
        years = [row.year for row in rows if row.year is not None]
        values = [_number(row, metric) for row in rows]
        span = max(values) - min(values) or abs(max(values)) or 1.0
        step = _nice_step(span / _TICKS)
        low = math.floor(min(values) / step) * step
        high = math.ceil(max(values) / step) * step
        percent = all(row.cells[metric].scale == "percent" for row in rows)
        return cls(metric, min(years), max(years), low, high if high > low else low + step, step, percent)

    def x(self, year: float) -> float:
        span = self.last_year - self.first_year + 1
        return _LEFT + (100 - _LEFT - _RIGHT) * (year - self.first_year + 0.5) / span

    def y(self, value: float) -> float:
        return _TOP + (100 - _TOP - _BOTTOM) * (self.high - value) / (self.high - self.low)

    def points(self, rows: Sequence[BoardRow], labelled: Sequence[BoardRow]) -> list[Point]:
        """Rows as points; those of one year are moved apart in the order of their figures."""
        points = []
        for row in rows:
            year = row.year or 0
            of_year = sorted((other for other in rows if other.year == year), key=lambda o: _number(o, self.metric))
            apart = (of_year.index(row) % 3 - 1) * _APART if len(of_year) > 1 else 0.0
            x = self.x(year + apart)
            text = f"{row.method}, {year}: {row.cells[self.metric].text}, {row.word}"
            kind = "measured" if row.records else "doubtful" if row.word in DOUBTFUL else "claimed"
            label = row.method if row in labelled else ""
            points.append(Point(x, self.y(_number(row, self.metric)), kind, text, label, x > 55))
        return points

    def steps(self, best: Sequence[tuple[BoardRow, float]]) -> list[Step]:
        """The best so far as lines: level until it is beaten, then up, and level to the last year."""
        steps = []
        level: float | None = None
        start = 0.0
        for row, value in best:
            x = self.x(row.year or 0)
            y = self.y(value)
            if level is not None:
                steps += [Step(start, level, x, level), Step(x, level, x, y)]
            level = y
            start = x
        if level is not None:
            steps.append(Step(start, level, 100 - _RIGHT, level))
        return steps

    def year_ticks(self) -> list[Tick]:
        years = range(self.first_year, self.last_year + 1)
        return [Tick(self.x(year), str(year), bool((self.last_year - year) % 2)) for year in years]

    def value_ticks(self) -> list[Tick]:
        count = round((self.high - self.low) / self.step)
        ticks = []
        for number in range(count + 1):
            value = self.low + number * self.step
            ticks.append(Tick(self.y(value), f"{100 * value if self.percent else value:g}", second=False))
        return ticks


def _nice_step(step: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)
