# SPDX-License-Identifier: Apache-2.0
"""A result as a notebook shows it: some pictures, answers, and the time line; and as figure, record and table."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from avkit.answers import Choice
from avkit.errors import AvkitError, unknown_name
from avkit.report.files import render, seconds
from avkit.report.images import Pixels, jpeg_uri, picture, png_as_jpeg_uri
from avkit.report.records import Result
from avkit.report.result import drawn_picture, page_steps, result_record
from avkit.report.timeline import timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

#: Lists of result.json that can be turned into a table.
TABLES = ("steps", "events", "answers", "captions")

_PICTURES = 4
_WIDTH_INCHES = 10.0
_WIDTH = 320


def one_line(result: Result) -> str:
    """What a result is of and how much it holds."""
    length = f"{seconds(result.duration)} s, {result.steps} steps of {result.hop:g} s"
    answers = f"{len(result.answers)} answers of {', '.join(result.tasks)}"
    return f"<{type(result).__name__} of {Path(result.source).name}: {length}; {answers}>"


def notebook_html(result: Result) -> str:
    """HTML for a notebook's cell, which needs no other file."""
    return render(
        "notebook.html.j2",
        name=Path(result.source).name,
        length=seconds(result.duration),
        steps=result.steps,
        tasks=", ".join(result.tasks),
        warning=result.warning,
        pictures=_pictures(result),
        answers=[f"{choice.question}: {choice.answer}" for choice in result.of(Choice)],
        timeline=png_as_jpeg_uri(timeline(result)),
    )


def _drawn_steps(result: Result) -> list[tuple[int, Pixels]]:
    """A few steps, evenly over the clip, with their pictures and what is drawn on these."""
    steps = page_steps(result)
    drawn = []
    for place in np.linspace(0, len(steps) - 1, min(len(steps), _PICTURES)).astype(int).tolist():
        image = drawn_picture(result, steps[place])
        if image is not None:
            drawn.append((steps[place], image))
    return drawn


def _pictures(result: Result) -> list[dict[str, str]]:
    """The pictures of the cell with their times."""
    pictures = []
    for step, image in _drawn_steps(result):
        start, end = result.span(step)
        label = f"{seconds(start)} to {seconds(end)} s"
        pictures.append({"uri": jpeg_uri(picture(image, _WIDTH)), "label": label})
    return pictures


def result_figure(result: Result) -> "Figure":
    """Pictures and the time line as a figure of matplotlib."""
    from matplotlib.figure import Figure
    from PIL import Image

    line = np.asarray(Image.open(BytesIO(timeline(result))).convert("RGB"))
    images = _drawn_steps(result)
    heights = [_WIDTH_INCHES * line.shape[0] / line.shape[1]]
    if images:
        heights = [_WIDTH_INCHES / _PICTURES, *heights]
    figure = Figure(figsize=(_WIDTH_INCHES, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    if images:
        for axes, (step, image) in zip(parts[0].subplots(1, len(images), squeeze=False)[0], images, strict=True):
            axes.imshow(image)
            axes.set_title(f"{seconds(result.span(step)[0])} s")
            axes.set_axis_off()
    below = parts[-1].subplots()
    below.imshow(line)
    below.set_axis_off()
    return figure


def result_table(result: Result, table: str) -> "DataFrame":
    """A list of result.json as a table of pandas, with a row per step, event, answer or caption.

    Raises:
        ValueError: If there is no list of this name.
        AvkitError: If pandas is not installed.
    """
    if table not in TABLES:
        raise unknown_name("table", table, TABLES)
    try:
        import pandas as pd
    except ImportError as error:
        raise AvkitError("A table needs pandas. Install it with pip install pandas, or use to_dict().") from error
    return pd.json_normalize(result_record(result)[table])
