# SPDX-License-Identifier: Apache-2.0
"""Statistics of a dataset as a figure, as RA-SSU shows its datasets."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.datasets.statistics import DatasetStatistics
from avkit.errors import unknown_name
from avkit.files import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Endings of pictures that can be written.
ENDINGS = (".png", ".svg", ".pdf")
#: Types that are shown, those with the most clips.
_TYPES = 40
_COLOUR = "#0b746c"


def plot_statistics(statistics: DatasetStatistics) -> "Figure":
    """A figure of five panels: types, lengths, words of sentences, sources per clip, areas of masks."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(12, 7), layout="constrained")
    grid = figure.add_gridspec(2, 4, height_ratios=(1.2, 1))
    types = statistics.types.most_common(_TYPES)
    axes = figure.add_subplot(grid[0, :])
    axes.bar(range(len(types)), [count for _, count in types], color=_COLOUR)
    axes.set_xticks(range(len(types)), [_plain(name) for name, _ in types], rotation=60, ha="right", fontsize=8)
    more = f", the {_TYPES} most frequent of {len(statistics.types)}" if len(statistics.types) > _TYPES else ""
    axes.set_title(f"clips by type{more}")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    _histogram(figure.add_subplot(grid[1, 0]), statistics.seconds, "length of a clip in seconds")
    _histogram(figure.add_subplot(grid[1, 1]), statistics.words, "words of a sentence")
    _bars(figure.add_subplot(grid[1, 2]), statistics.sources, "sources of a clip")
    percent = [100 * area for area in statistics.areas]
    _histogram(figure.add_subplot(grid[1, 3]), percent, "area of a source in % of the picture")
    return figure


def write_plot(statistics: DatasetStatistics, path: Path) -> Path:
    """Write the figure; the ending says in which format.

    Raises:
        ValueError: If the ending is none of `ENDINGS`.
        WriteError: If it cannot be written.
    """
    if path.suffix.lower() not in ENDINGS:
        raise unknown_name("ending of a picture", path.suffix, ENDINGS)
    with atomic(path) as part:
        plot_statistics(statistics).savefig(part, format=path.suffix[1:].lower(), dpi=110)
    return path


def _plain(name: str) -> str:
    """A name in which matplotlib finds no formula."""
    short = name if len(name) <= 28 else f"{name[:27]}…"
    return short.replace("$", r"\$")


def _histogram(axes: "Axes", values: Sequence[float], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10)
    if values:
        axes.hist(values, bins=min(30, max(5, len(set(values)))), color=_COLOUR)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    else:
        axes.text(0.5, 0.5, "none", ha="center", va="center", transform=axes.transAxes)


def _bars(axes: "Axes", values: Sequence[int], title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_title(title, fontsize=10)
    counts = sorted(Counter(values).items())
    axes.bar([str(value) for value, _ in counts], [count for _, count in counts], color=_COLOUR)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
