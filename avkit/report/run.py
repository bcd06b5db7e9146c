# SPDX-License-Identifier: Apache-2.0
"""The report of a run: its scores beside what they have to beat, loss curves, examples and provenance."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.answers.encoding import Record
from avkit.files import write_file
from avkit.report.efficiency import METHOD
from avkit.report.event_lanes import curve_lanes, event_lanes, ticks
from avkit.report.figure import THEMES, save_figure
from avkit.report.files import render, sealed_json
from avkit.report.images import Pixels, jpeg_uri, picture, png_uri, warm
from avkit.report.records import EXAMPLE_MAPS, Array, Curve, Example, RunReport
from avkit.report.rows import group_rows, row_cells

_IMAGE_WIDTH = 320  # pixels; shown at half that, so that it is sharp on dense screens


def write_report(folder: Path, report: RunReport) -> Path:
    """Write report.json, report.md and report.html; the last needs no other file and no network.

    All three are made before the first is written, and each replaces its predecessor at once, so a failure leaves the
    former report. The JSON holds `name`, `title`, `rows` (the attributes of `Row` and `error_removed`), `examples`
    (without pictures), `curves`, `efficiency`, `facts`, `notes` and `verdicts`; scores are fractions as measured, never
    percent, and what was not run is null. Markdown and HTML show fractions in percent with one decimal.

    Args:
        folder: Where to write, such as the folder of the run; made when absent.
        report: What to write.

    Returns:
        The path of report.html.
    """
    cells = [row_cells(row) for row in report.rows]
    values: Record = {
        "report": report,
        "rows": list(zip(report.rows, cells, strict=True)),
        "groups": [[(row, row_cells(row)) for row in group] for group in group_rows(report.rows)],
        "published": any(row.published is not None for row in report.rows),
        "method": METHOD,
    }
    contents = {
        "report.json": sealed_json(_record(report)),
        "report.md": render("run.md.j2", **values),
        "report.html": render(
            "run.html.j2", **values, examples=_examples(report.examples), curves=_curves(report.curves)
        ),
    }
    paths = [write_file(folder / name, content) for name, content in contents.items()]
    return paths[-1]


def _record(report: RunReport) -> Record:
    """The report as JSON holds it."""
    return {
        "name": report.name,
        "title": report.title,
        "rows": [vars(row) | {"error_removed": row.error_removed} for row in report.rows],
        "examples": [_example_record(example) for example in report.examples],
        "curves": report.curves,
        "efficiency": [vars(row) | {"fps": row.fps} for row in report.efficiency],
        "facts": report.facts,
        "notes": report.notes,
        "verdicts": report.verdicts,
    }


def _example_record(example: Example) -> Record:
    """An example without its pictures, and whether its answer is right."""
    left_out = {"images", "heats_mean", "strips", *EXAMPLE_MAPS}
    record = {name: value for name, value in vars(example).items() if name not in left_out}
    return {**record, "right": example.right}


def _examples(examples: Sequence[Example]) -> list[Record]:
    """What the template shows of each example: the record, a picture with its texts per frame, and events over time."""
    values = []
    for example in examples:
        frames = [_frame(example, index) for index in range(len(example.images))]
        lanes = event_lanes(example)
        curves = curve_lanes(example)
        values.append({"record": example, "frames": frames, "lanes": lanes, "curves": curves, "ticks": ticks(example)})
    return values


def _frame(example: Example, index: int) -> Record:
    silent = ""
    if example.silent_masks is not None or example.silent_heats is not None:
        silent = jpeg_uri(draw_frame(example, index, example.silent_masks, example.silent_heats))
    return {
        "uri": jpeg_uri(draw_frame(example, index, example.masks, example.heats)),
        "silent": silent,
        "strips": [jpeg_uri(draw_frame(example, index, None, maps)) for maps in example.strips.values()],
        "mark": example.marks[index] if example.marks else "",
        "label": f"{example.times[index]:g} s" if example.times else f"frame {index + 1}",
        "caption": example.captions[index] if example.captions else "",
        "truth_caption": example.truth_captions[index] if example.truth_captions else "",
    }


def draw_frame(example: Example, index: int, masks: Array | None, heats: Array | None) -> Pixels:
    """A frame with what was predicted on it, and the true mask's outline."""
    image = example.images[index]
    mask = None if masks is None else masks[index]
    true_mask = None if example.truth_masks is None else example.truth_masks[index]
    if heats is not None and np.isfinite(heats[index]).all():
        image = warm(picture(image, _IMAGE_WIDTH), heats[index])
    return picture(image, _IMAGE_WIDTH, mask, true_mask)


def _curves(curves: dict[str, Curve]) -> dict[str, dict[str, str]]:
    """By task the picture of its loss for a light and a dark page; tasks without a step are left out."""
    pictures = {}
    for task, curve in curves.items():
        if len(curve["step"]):
            pictures[task] = {theme: png_uri(loss_curve(curve, theme)) for theme in THEMES}
    return pictures


def loss_curve(curve: Curve, theme: str = "light") -> bytes:
    """Draw the loss over steps, raw and smoothed, as PNG file for a `light` or `dark` page."""
    from matplotlib.figure import Figure

    colors = THEMES[theme]
    figure = Figure(figsize=(4, 2.4), layout="constrained")
    axis = figure.subplots()
    step = np.asarray(curve["step"])
    loss = np.asarray(curve["loss"], dtype=float)
    axis.plot(step, loss, color=colors["accent"], alpha=0.3, linewidth=0.7)
    axis.plot(step, smooth(loss), color=colors["accent"], linewidth=1.6)
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    axis.grid(color=colors["grid"], linewidth=0.6)
    return save_figure(figure, colors)


def smooth(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred moving average over a twentieth of the curve, near the ends over fewer steps; NaN is left out."""
    width = max(1, len(loss) // 20) | 1
    valid = np.isfinite(loss)
    kernel = np.ones(width)
    total = np.convolve(np.where(valid, loss, 0), kernel, "same")
    count = np.convolve(valid, kernel, "same")
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(len(loss), np.nan), where=count > 0)
    return mean
