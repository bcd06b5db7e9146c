# SPDX-License-Identifier: Apache-2.0
"""How sources that are kept apart are drawn: each in its colour, with what is said of it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avkit.answers import Mask, Sources
from avkit.answers.encoding import Record
from avkit.report.figure import Bar, Theme, TimelineRow, bars_row
from avkit.report.files import render
from avkit.report.images import Labels, fit_labels, palette
from avkit.report.records import Example, Result
from avkit.report.renderers.base import Sample
from avkit.report.renderers.maps import MapsRenderer, area_row, region_record, step_bars


class SourcesRenderer(MapsRenderer[Sources]):
    """Sources are tinted in their colours, in place of a mask, with a sentence each, and drawn as bars over time."""

    rank = 3
    terminal_rank = 1
    legend = "Tinted: each source that sounds and is visible, in its colour."
    folder = "sources"

    def picture(self, answer: Sources, step: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """0 for background, k for source k."""
        return fit_labels(answer.labels(step), size or answer.picture_size).astype(np.uint8)

    def regions(self, answer: Sources, step: int, size: tuple[int, int]) -> Labels:
        """The source of each pixel."""
        return fit_labels(answer.labels(step), size)

    def region_sentences(self, answer: Sources, step: int) -> Sequence[str]:
        """What is said of each source."""
        return answer.texts[step]

    def area(self, answer: Sources) -> NDArray[np.float64]:
        """Share of pixels that show a source."""
        return np.array([(answer.labels(step) > 0).mean() for step in range(answer.steps)])

    def timeline_rows(self, answers: Sequence[Sources], result: Result, theme: Theme) -> list[TimelineRow]:
        """A line per source; above it the share of the picture that sounds, unless a mask shows it."""
        answer = answers[0]
        rows = []
        if result.first(Mask) is None:
            rows.append(area_row(self.area(answer), result, theme))
        labels = np.stack([answer.labels(step) for step in range(answer.steps)])
        present = [int(k) for k in np.unique(labels) if k]
        if present:
            bars = [Bar(line, step_bars((labels == k).any((1, 2)), result), k) for line, k in enumerate(present)]
            rows.append(bars_row([f"source {k}" for k in present], bars))
        return rows

    def page_block(self, answers: Sequence[Sources], result: Result) -> str:
        """A table of what is said of each source."""
        sources = []
        for k in range(answers[0].maps.shape[1]):
            red, green, blue = palette()[(k + 1) % 256].tolist()
            sources.append({"number": k + 1, "color": f"rgb({red},{green},{blue})", "spans": answers[0].spans(k)})
        return render("answers/sources.html.j2", sources=[source for source in sources if source["spans"]])

    def terminal_lines(self, answers: Sequence[Sources]) -> list[str]:
        """A line per sentence."""
        lines = []
        for k in range(answers[0].maps.shape[1]):
            lines += [
                f"{start:5.1f} - {end:5.1f} s  source {k + 1}: {text}" for start, end, text in answers[0].spans(k)
            ]
        return lines

    def step_record(self, answer: Sources, step: int, size: tuple[int, int] | None) -> Record:
        """Number, sentence, area and box of each source in the step, and the file."""
        labels = fit_labels(answer.labels(step), size or answer.picture_size)
        sources = []
        for k, text in enumerate(answer.texts[step], 1):
            mask = labels == k
            if text or mask.any():
                sources.append({"source": k, "caption": text, **region_record(mask)})
        return {"sources": sources, "source_file": self.file(step)}

    def fill_example(self, example: Example, sample: Sample[Sources]) -> None:
        """Tint predicted sources in their colours."""
        if example.images:
            example.masks = np.stack([sample.predicted.labels(step) for step in sample.steps])
