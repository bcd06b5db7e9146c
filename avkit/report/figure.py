# SPDX-License-Identifier: Apache-2.0
"""Figures of reports: colours of a light and a dark page, and rows of a timeline that share one axis of time."""

import io
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from PIL import Image

from avkit.report.images import Pixels, palette, resize, strip
from avkit.report.records import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Inches of the figure's width.
_WIDTH = 12.0
#: Shares of the width at which the axis of time starts and ends.
_LEFT = 0.105
_RIGHT = 0.985
#: Shares of the width of a timeline between which its time runs.
TIME_SPAN = (_LEFT, _RIGHT)
#: Inches of the axis of time.
TIME_INCHES = (_RIGHT - _LEFT) * _WIDTH
#: Inches of an average letter at the size of captions.
LETTER = 0.075
#: Inches of a line of text.
LINE = 0.165
#: Captions, or rows of classes, that are drawn; the rest is in result.json.
MAX_LISTED = 24
_MAX_THUMBNAILS = 12

#: Colours by name.
Theme: TypeAlias = dict[str, str]

#: Colours of a figure on a light and on a dark page.
THEMES: dict[str, Theme] = {
    "light": {"paper": "#ffffff", "ink": "#1d2733", "muted": "#67737f", "grid": "#dfe4e8", "accent": "#0a7ea4"},
    "dark": {"paper": "#161b20", "ink": "#e6eaee", "muted": "#98a4af", "grid": "#313a42", "accent": "#3cc8f0"},
}


@dataclass
class TimelineRow:
    """One row of a timeline.

    Attributes:
        height: Inches.
        draw: Draws the row on its axis, whose horizontal unit is seconds.
    """

    height: float
    draw: Callable[["Axes"], None]


@dataclass
class Bar:
    """Stretches of time on one line of a row, all of one colour.

    Attributes:
        line: Index of the line, from the top.
        spans: Start and length in seconds of each stretch.
        color: Index into `palette()`.
        alpha: Opacity in [0, 1]; None for the default.
    """

    line: int
    spans: list[tuple[float, float]]
    color: int
    alpha: float | None = None


def draw_rows(rows: Sequence[TimelineRow], duration: float, theme: Theme) -> bytes:
    """Rows below each other over the same axis of time, as PNG file; the lowest one with a frame shows the seconds."""
    figure, axes = _make_figure(rows)
    timed = []
    for axis, row in zip(axes, rows, strict=True):
        axis.set_xlim(0, duration)
        axis.tick_params(labelbottom=False, bottom=False)
        row.draw(axis)
        if axis.axison:
            timed.append(axis)
    if timed:
        timed[-1].tick_params(labelbottom=True, bottom=True)
        timed[-1].xaxis.set_major_formatter("{x:g} s")
    return with_palette(save_figure(figure, theme))


def with_palette(png: bytes) -> bytes:
    """A PNG file in 256 colours, a quarter of its size."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(256).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def save_figure(figure: "Figure", theme: Theme) -> bytes:
    """A figure as PNG file, its labels and frames in the colours of a theme."""
    figure.set_facecolor(theme["paper"])
    for axis in figure.axes:
        axis.set_facecolor(theme["paper"])
        axis.tick_params(colors=theme["muted"], labelsize=8, length=3)
        axis.xaxis.label.set(color=theme["muted"], size=8)
        axis.yaxis.label.set(color=theme["muted"], size=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(theme["grid"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def thumbnails_row(result: Result, theme: Theme, make: Callable[[int], Pixels], label: str = "") -> TimelineRow:
    """A strip of pictures, made for evenly chosen steps; without a label the axis has no frame."""
    steps = thumbnail_steps(result)
    images = [make(step) for step in steps]
    images = [resize(image, images[0].shape[:2]) for image in images]
    pictures = strip(images, color=tuple(bytes.fromhex(theme["paper"][1:])))
    inches = TIME_INCHES * pictures.shape[0] / pictures.shape[1]

    def draw(axis: "Axes") -> None:
        axis.imshow(pictures, extent=(0, result.steps * result.hop, 0, 1), aspect="auto")
        axis.set_xlim(0, result.duration)
        if not label:
            axis.axis("off")
            return
        axis.set_yticks([])
        axis.set_ylabel(label)
        axis.spines[["left", "bottom"]].set_visible(False)

    return TimelineRow(min(inches, 3.0), draw)


def thumbnail_steps(result: Result) -> list[int]:
    """The steps whose pictures a strip shows."""
    count = min(result.steps, _MAX_THUMBNAILS)
    steps: list[int] = ((np.arange(count) + 0.5) * result.steps / count).astype(int).tolist()
    return steps


def bars_row(names: Sequence[str], bars: Sequence[Bar], label: str = "", min_height: float = 0.0) -> TimelineRow:
    """Bars on one line per name."""

    def draw(axis: "Axes") -> None:
        for bar in bars:
            axis.broken_barh(bar.spans, (bar.line - 0.35, 0.7), color=palette()[bar.color] / 255, alpha=bar.alpha)
        axis.set_yticks(range(len(names)))
        axis.set_yticklabels([name[:15] for name in names], parse_math=False)
        axis.set_ylim(len(names) - 0.5, -0.5)
        if label:
            axis.set_ylabel(label)
            axis.yaxis.set_label_coords(-0.085, 0.5)

    return TimelineRow(max(min_height, 0.22 * len(names) + 0.05), draw)


def labelled_row(row: TimelineRow, label: str, theme: Theme) -> TimelineRow:
    """A row with a text above its start, such as the name of the run that it is of."""

    def draw(axis: "Axes") -> None:
        row.draw(axis)
        color = theme["muted"]
        axis.text(0, 1, label, transform=axis.transAxes, size=7, va="bottom", color=color, parse_math=False)

    return TimelineRow(row.height, draw)


def lines_row(lines: Sequence[str], theme: Theme) -> TimelineRow:
    """Lines of text without an axis."""
    height = LINE * len(lines) + 0.2  # the ticks of the axis above stand in the first part

    def draw(axis: "Axes") -> None:
        axis.axis("off")
        for index, line in enumerate(lines):
            y = 1 - (0.2 + index * LINE) / height
            axis.text(0, y, line, transform=axis.transAxes, size=8, va="top", color=theme["ink"], parse_math=False)

    return TimelineRow(height, draw)


def wrap_line(text: str) -> list[str]:
    """A text as lines of the width of the figure, all but the first indented."""
    return textwrap.wrap(text, int(TIME_INCHES / LETTER), subsequent_indent="    ")


def _make_figure(rows: Sequence[TimelineRow]) -> tuple["Figure", list["Axes"]]:
    """A figure with one axis per row."""
    from matplotlib.figure import Figure

    gap = 0.12
    margin = 0.1
    ticks = 0.15
    total = sum(row.height for row in rows) + gap * (len(rows) - 1) + 2 * margin + ticks
    figure = Figure(figsize=(_WIDTH, total))
    axes = []
    y = total - margin
    for row in rows:
        y -= row.height
        axes.append(figure.add_axes((_LEFT, y / total, _RIGHT - _LEFT, row.height / total)))
        y -= gap
    return figure, axes
