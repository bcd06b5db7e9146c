# SPDX-License-Identifier: Apache-2.0
"""The seconds that an answer was made of: their pictures with the parts that counted, and their weights over time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from avkit.answers import Choice
from avkit.report.figure import Theme, TimelineRow
from avkit.report.files import seconds
from avkit.report.images import cut_middle, jpeg_uri, picture, warm
from avkit.report.records import Array, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Pictures of one answer; of more steps those that count most are shown.
MAX_PICTURES = 24
#: Width of a picture in pixels.
_WIDTH = 240
#: Questions whose weights the timeline shows.
_MAX_QUESTIONS = 3


def shown_steps(answer: Choice) -> list[int]:
    """The steps whose pictures are shown: chosen ones, and those whose pictures were looked at in parts."""
    weights = {chosen.step: chosen.weight for chosen in answer.chosen}
    steps = {*weights, *answer.region_steps}
    ranked = sorted(steps, key=lambda step: -weights.get(step, 0.0))
    return sorted(ranked[:MAX_PICTURES])


def looked_at(answer: Choice, result: Result) -> list[dict[str, str]]:
    """The pictures that an answer was made of, cut to what the model was given; `uri`, `label` and `note` of each."""
    if not answer.chosen:
        return []
    steps = [step for step in shown_steps(answer) if step < result.steps]
    heats = answer.region_maps(steps)
    weights = {chosen.step: chosen.weight for chosen in answer.chosen}
    pictures = []
    for place, step in enumerate(steps):
        image = result.picture(step)
        if image is None:
            return []
        start, end = result.span(step)
        shown = picture(cut_middle(image, result.crop), _WIDTH)
        if heats is not None and not _is_empty(heats[place]):
            shown = warm(shown, heats[place])
        note = f"weight {weights[step]:.2f}" if step in weights else "looked at, not chosen"
        pictures.append({"uri": jpeg_uri(shown), "label": f"{seconds(start)} to {seconds(end)} s", "note": note})
    return pictures


def legend(answer: Choice) -> str:
    """What glows in the pictures of an answer, or why nothing does, as a sentence; empty where there are no parts."""
    if answer.region_weights is None:
        return ""
    if answer.region_maps([]) is not None:
        return "What glows is what counted in the pictures that were looked at."
    return "Parts of these pictures counted too; they are merged tokens, and it is not known where these are."


def weights_rows(answers: Sequence[Choice], theme: Theme) -> list[TimelineRow]:
    """A row per question with the weights of its chosen steps."""
    shown = [answer for answer in answers if answer.chosen][:_MAX_QUESTIONS]
    rows = []
    for number, answer in enumerate(shown, start=1):
        place = f" {number}" if len(answers) > 1 else ""
        rows.append(_weights_row(answer, f"weights\nof answer{place}", theme))
    return rows


def _weights_row(answer: Choice, label: str, theme: Theme) -> TimelineRow:
    starts = [chosen.start for chosen in answer.chosen]
    lengths = [chosen.end - chosen.start for chosen in answer.chosen]
    weights = [chosen.weight for chosen in answer.chosen]

    def draw(axis: "Axes") -> None:
        axis.bar(starts, weights, lengths, align="edge", color=theme["accent"], edgecolor=theme["paper"])
        axis.set_yticks([])
        axis.set_ylim(0, 1.1 * max(weights) or 1.0)
        axis.set_ylabel(label)

    return TimelineRow(0.6, draw)


def _is_empty(heat: Array) -> bool:
    """Whether a map is of a picture that was not looked at."""
    return bool((heat != heat).all())
