# SPDX-License-Identifier: Apache-2.0
"""The contract of a renderer: how answers of one kind are drawn and shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers import Answer
from avkit.answers.encoding import Record
from avkit.report.figure import Theme, TimelineRow
from avkit.report.images import Labels
from avkit.report.records import Array, Example, Result

A = TypeVar("A", bound=Answer)

Color: TypeAlias = tuple[int, int, int]
#: Parts of a line of text, each in its colour.
ColoredLine: TypeAlias = list[tuple[str, Color]]

WHITE: Color = (255, 255, 255)
YELLOW: Color = (255, 214, 10)


@dataclass
class Sample(Generic[A]):
    """The answer to a test sample, beside what it is compared with.

    Attributes:
        predicted: What the model answered.
        silent: What it answered without sound, if it was asked.
        true: The true answer, if it is known.
        steps: Indices of the steps that the example shows.
        beside: What another run answered, if one is shown beside it.
    """

    predicted: A
    silent: A | None
    true: A | None
    steps: NDArray[np.intp]
    beside: A | None = None


class Renderer(Generic[A]):
    """How answers of one kind are drawn on frames, over time, on a page, in the terminal, in files and in examples.

    Methods get the answers of one result or one answer. Each shows nothing unless a subclass overrides it. A renderer
    of a kind from outside avkit had better derive from `JSONRenderer`, which shows any answer as text.
    """

    #: Order on the page and in the timeline; answers of the renderer with the lowest rank come first.
    rank: ClassVar[int] = 100
    #: Order in the terminal.
    terminal_rank: ClassVar[int] = 100
    #: Whether the block on the page stands above the timeline.
    above_timeline: ClassVar[bool] = False
    #: What is drawn on the frames of the page, as a sentence; empty if nothing is.
    legend: ClassVar[str] = ""

    # --- on frames

    def regions(self, answer: A, step: int, size: tuple[int, int]) -> Labels | None:
        """Regions to tint in a frame of a step, integers of `size`: 0 for none; None if the answer has no regions.

        Where several answers have regions, those of the highest rank are drawn.
        """
        return None

    def region_names(self, answer: A) -> Sequence[str]:
        """Names of the regions 1, 2, ...; empty if they have none."""
        return ()

    def region_sentences(self, answer: A, step: int) -> Sequence[str]:
        """What is said of the regions 1, 2, ... in a step; empty if nothing is said of regions."""
        return ()

    def area(self, answer: A) -> NDArray[np.float64] | None:
        """Share of the picture that sounds in each step, (T,) in [0, 1]; None if the answer has no regions."""
        return None

    def glow(self, answer: A, step: int) -> Array | None:
        """A heat map (h, w) to draw on the frame of a step; None if there is none."""
        return None

    def headline(self, answer: A) -> ColoredLine:
        """A line at the top of all frames of the overlay video."""
        return []

    def subtitle(self, answer: A, step: int) -> str:
        """A line at the bottom of the frames of a step, in the overlay video and on the page."""
        return ""

    # --- timeline.png

    def timeline_rows(self, answers: Sequence[A], result: Result, theme: Theme) -> list[TimelineRow]:
        """Rows over time."""
        return []

    def timeline_lines(self, answers: Sequence[A], result: Result) -> list[str]:
        """Lines of text below all rows."""
        return []

    # --- report.html and the terminal

    def page_block(self, answers: Sequence[A], result: Result) -> str:
        """A block of HTML; what comes from data must be escaped."""
        return ""

    def terminal_lines(self, answers: Sequence[A]) -> list[str]:
        """Lines of plain text."""
        return []

    # --- result.json and the files beside it

    def step_record(self, answer: A, step: int, size: tuple[int, int] | None) -> Record:
        """Keys of a step in result.json; `size` is the source's height and width."""
        return {}

    def record(self, answers: Sequence[A]) -> Record:
        """Keys of result.json; lists under the same key are put one after the other."""
        return {}

    def write_files(self, folder: Path, answers: Sequence[A], result: Result) -> dict[str, Path]:
        """Write files of their own, remove those of an earlier result, and return the paths by name.

        Called for every renderer, with no answers if the result has none of its kind.
        """
        return {}

    # --- examples in the report of a run

    def drawn_on_frames(self, answer: A) -> bool:
        """Whether an example draws the answer on frames, and beside it what the model answers in silence."""
        return False

    def fill_example(self, example: Example, sample: Sample[A]) -> None:
        """Show the answer and the true one in an example."""
