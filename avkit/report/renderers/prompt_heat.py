# SPDX-License-Identifier: Apache-2.0
"""How the sound's attention without and with the prompt's gate is drawn and stored."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avkit.answers import PromptHeat
from avkit.answers.encoding import Record
from avkit.files import write_file
from avkit.report.figure import Theme, TimelineRow, thumbnails_row
from avkit.report.images import Pixels, heat_picture, picture, png, warm
from avkit.report.records import Array, Example, Result
from avkit.report.renderers.base import Renderer, Sample
from avkit.report.renderers.maps import remove_pictures

#: Folder of the pictures, and its name among the written paths.
FOLDER = "prompt_heat"
#: What the two maps are called in files.
_KINDS = ("plain", "prompted")
#: Questions that the timeline shows.
_MAX_QUESTIONS = 3


class PromptHeatRenderer(Renderer[PromptHeat]):
    """Two strips of pictures per question: where the sound looks, without and with the question's weights."""

    rank = 7

    def timeline_rows(self, answers: Sequence[PromptHeat], result: Result, theme: Theme) -> list[TimelineRow]:
        """The pictures of a question without its weights, and below them with."""
        if result.frames is None:
            return []
        rows = []
        for number, answer in enumerate(answers[:_MAX_QUESTIONS], start=1):
            place = f" {number}" if len(answers) > 1 else ""
            rows.append(_strip(result, theme, answer.plain, f"without\nprompt{place}"))
            rows.append(_strip(result, theme, answer.prompted, f"with\nprompt{place}"))
        return rows

    def timeline_lines(self, answers: Sequence[PromptHeat], result: Result) -> list[str]:
        """What the strips show."""
        return ["without and with prompt: the sound's attention to the picture, then weighed by the question"]

    def record(self, answers: Sequence[PromptHeat]) -> Record:
        """For each question the hottest place of each step without and with its weights, and the files."""
        records = []
        for number, answer in enumerate(answers):
            steps = []
            for step, (plain, prompted) in enumerate(zip(answer.plain, answer.prompted, strict=True)):
                steps.append(
                    {
                        "plain": _hottest(plain),
                        "prompted": _hottest(prompted),
                        "weight": answer.step_weights[step],
                        "plain_file": _file(number, "plain", step),
                        "prompted_file": _file(number, "prompted", step),
                    }
                )
            records.append({"question": answer.question, "steps": steps})
        return {"prompt_heat": records}

    def write_files(self, folder: Path, answers: Sequence[PromptHeat], result: Result) -> dict[str, Path]:
        """Write a picture per question, step and map."""
        for number, answer in enumerate(answers):
            for name, maps in zip(_KINDS, (answer.plain, answer.prompted), strict=True):
                for step, heat in enumerate(maps):
                    write_file(folder / _file(number, name, step), png(heat_picture(heat, result.size)))
        _remove_earlier(folder / FOLDER, answers)
        return {FOLDER: folder / FOLDER} if answers else {}

    def fill_example(self, example: Example, sample: Sample[PromptHeat]) -> None:
        """Both maps below the frames."""
        if example.images:
            example.strips["the sound's attention to the picture"] = sample.predicted.plain[sample.steps]
            example.strips["the same weighed by the question"] = sample.predicted.prompted[sample.steps]


def _strip(result: Result, theme: Theme, maps: Array, label: str) -> TimelineRow:
    def make(step: int) -> Pixels:
        image = result.picture(step)
        assert image is not None
        return warm(picture(image, 200), maps[step])

    return thumbnails_row(result, theme, make, label)


def _file(question: int, name: str, step: int) -> str:
    """Path of a picture."""
    return f"{FOLDER}/{question}_{name}/{step:05d}.png"


def _hottest(heat: Array) -> list[float]:
    """Middle of the hottest part of a map (h, w), [x, y] in [0, 1]."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return [round((float(column) + 0.5) / heat.shape[1], 4), round((float(row) + 0.5) / heat.shape[0], 4)]


def _remove_earlier(folder: Path, answers: Sequence[PromptHeat]) -> None:
    """Remove pictures of an earlier result that this one has not, and folders that are left empty."""
    for path in folder.glob("*_*"):
        match = re.fullmatch(rf"(\d+)_({'|'.join(_KINDS)})", path.name)
        if match is None:
            continue
        number = int(match[1])
        remove_pictures(path, answers[number].steps if number < len(answers) else 0)
        if not any(path.iterdir()):
            path.rmdir()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
