# SPDX-License-Identifier: Apache-2.0
"""How temporal gates are shown: curves over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avkit.answers import Gates
from avkit.answers.encoding import Record
from avkit.report.figure import Theme, TimelineRow
from avkit.report.files import render
from avkit.report.images import palette
from avkit.report.records import Example, Result
from avkit.report.renderers.base import Renderer, Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of the palette, one for each curve.
_COLORS = (2, 1)


class GatesRenderer(Renderer[Gates]):
    """Gates of any task, below its events."""

    rank = 3
    terminal_rank = 1

    def timeline_rows(self, answers: Sequence[Gates], result: Result, theme: Theme) -> list[TimelineRow]:
        """A row per task with both curves."""
        return [_curves_row(answer, theme) for answer in answers]

    def page_block(self, answers: Sequence[Gates], result: Result) -> str:
        """What the curves are, and their range."""
        return render("answers/gates.html.j2", answers=answers)

    def terminal_lines(self, answers: Sequence[Gates]) -> list[str]:
        """The range of each curve."""
        lines = []
        for answer in answers:
            ranges = [f"{name} {curve.min():.2f} to {curve.max():.2f}" for name, curve in answer.curves().items()]
            lines.append(f"gates: {', '.join(ranges)}  ({answer.task})")
        return lines

    def record(self, answers: Sequence[Gates]) -> Record:
        """Both curves, a value per step."""
        gates = []
        for answer in answers:
            gates.append({"task": answer.task, "audio": answer.audio.tolist(), "visual": answer.visual.tolist()})
        return {"gates": gates}

    def fill_example(self, example: Example, sample: Sample[Gates]) -> None:
        """The curves over time."""
        times = sample.predicted.times()
        for name, curve in sample.predicted.curves().items():
            example.curves[name] = list(zip(times, curve.tolist(), strict=True))


def _curves_row(answer: Gates, theme: Theme) -> TimelineRow:
    """Both curves from 0 to 1."""
    times = answer.times()

    def draw(axis: "Axes") -> None:
        for color, (name, curve) in zip(_COLORS, answer.curves().items(), strict=True):
            axis.plot(times, curve, color=palette()[color] / 255, linewidth=1.4, label=name, marker=".", markersize=2)
        axis.set_ylim(-0.05, 1.05)
        axis.set_yticks([0, 1])
        axis.grid(axis="y", color=theme["grid"], linewidth=0.6)
        axis.set_ylabel(f"{answer.task}\ngates")
        axis.yaxis.set_label_coords(-0.085, 0.5)
        axis.legend(loc="upper right", fontsize=7, frameon=False, ncols=2, labelcolor=theme["muted"])

    return TimelineRow(0.9, draw)
