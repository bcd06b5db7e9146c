# SPDX-License-Identifier: Apache-2.0
"""A result as part of a page with a player: the overlay, the time line, and answers that follow it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from avkit.report.figure import TIME_SPAN
from avkit.report.files import render, trusted_html
from avkit.report.records import Result
from avkit.report.renderers.table import frame_legends, group_answers, step_regions, step_subtitle

#: Side of the small map in which the classes of a step are looked up.
_SMALL = 128


@dataclass
class PlayerFiles:
    """Addresses of what a page with a player shows.

    Attributes:
        overlay: Video with the answers drawn on it.
        timeline: Picture of the result over time, as `avkit.report.timeline` draws it.
        report: Page of the result.
        silent: Video with the answers without sound; empty if there is none.
        downloads: Address by title.
    """

    overlay: str
    timeline: str
    report: str
    silent: str = ""
    downloads: dict[str, str] = field(default_factory=dict)


def player_html(
    result: Result, name: str, files: PlayerFiles, silent: Result | None = None, changes: Sequence[str] = ()
) -> str:
    """HTML of a result whose players, time line and rows of answers a script can keep together.

    Args:
        result: What was predicted; the answers in `result.beside` get blocks of their own.
        name: What the clip is called.
        files: What it links to.
        silent: What was predicted without sound.
        changes: Sentences about how that differs.
    """
    above = []
    below = []
    for renderer, answers in group_answers(result.answers):
        block = trusted_html(renderer.page_block(answers, result))
        if renderer.above_timeline:
            above.append(block)
        else:
            below.append(block)
    beside = []
    for renderer, answers in group_answers(result.beside):
        block = trusted_html(renderer.page_block(answers, result))
        if block.strip():
            beside.append(block)
    left, right = TIME_SPAN
    return render(
        "player.html.j2",
        result=result,
        name=name,
        files=files,
        downloads=files.downloads,
        steps=step_lines(result),
        silent_steps=[] if silent is None else step_lines(silent),
        silent_title=result.beside_name[:1].upper() + result.beside_name[1:],
        legends=frame_legends(result),
        changes=changes,
        blocks_above=above,
        blocks_below=below,
        blocks_beside=beside,
        left=left,
        right=right,
    )


def step_lines(result: Result) -> list[tuple[float, float, str]]:
    """Start, end and text of each step: what is seen sounding, and what is written under its frames."""
    lines = []
    for step in range(result.steps):
        start, end = result.span(step)
        regions = step_regions(result, step, (_SMALL, _SMALL))
        names = "" if regions is None else ", ".join(regions.names[k - 1] for k in regions.present())
        text = ": ".join(part for part in (names, step_subtitle(result, step)) if part)
        lines.append((start, end, text))
    return lines
