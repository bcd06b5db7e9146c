# SPDX-License-Identifier: Apache-2.0
"""The report of a run: its scores beside what they have to beat, loss curves, examples and where it all came from."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avkit.files import write_file
from avkit.report.efficiency import METHOD, Efficiency
from avkit.report.files import render, strict_json
from avkit.report.images import Pixels, jpeg_uri, picture, png_uri, warm
from avkit.report.records import Array, Curve, Example, Row, RunReport
from avkit.report.timeline import THEMES, save_figure

if TYPE_CHECKING:
    from rich.table import Table

_MISSING = "\N{EN DASH}"
_MINUS = "\N{MINUS SIGN}"
_IMAGE_WIDTH = 320  # pixels; shown at half that, so that it is sharp on dense screens


def write_report(folder: Path, report: RunReport) -> Path:
    """Write report.json, report.md and report.html; the last needs no other file and no network.

    All three are made before the first is written, and each replaces its predecessor at once, so a failure leaves the
    former report. The JSON holds `name`, `title`, `rows` (the attributes of `Row` and `error_removed`), `examples`
    (without pictures), `curves`, `efficiency`, `facts` and `notes`; scores are fractions as measured, never percent,
    and what was not run is null. Markdown and HTML show fractions in percent with one decimal.

    Args:
        folder: Where to write, such as the folder of the run; made when absent.
        report: What to write.

    Returns:
        The path of report.html.
    """
    cells = [row_cells(row) for row in report.rows]
    values: dict[str, Any] = {
        "report": report,
        "rows": list(zip(report.rows, cells, strict=True)),
        "method": METHOD,
    }
    contents = {
        "report.json": strict_json(_record(report)),
        "report.md": render("run.md.j2", **values),
        "report.html": render(
            "run.html.j2", **values, examples=_examples(report.examples), curves=_curves(report.curves)
        ),
    }
    paths = [write_file(folder / name, content) for name, content in contents.items()]
    return paths[-1]


def terminal_table(rows: Sequence[Row]) -> "Table":
    """The scores as table for the terminal, the columns as in the report."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="Scores (fractions in percent)", title_justify="left", header_style="bold")
    heads = ["task", "data", "metric", "value", "baseline", "error removed", "silent sound", "other sound", "clips"]
    for head in heads:
        table.add_column(head, justify="left" if head in heads[:3] else "right", overflow="fold")
    for row in rows:
        cells = row_cells(row)
        value = Text(cells["value"], style="bold" if row.value is not None else "dim")
        names = ("baseline", "error_removed", "silence", "swapped", "clips")
        # Text, not str: a name in square brackets is no markup
        plain = [Text(t) for t in (row.task, f"{row.dataset} {row.split}", row.metric)]
        table.add_row(*plain, value, *(Text(cells[name]) for name in names))
    return table


def efficiency_table(rows: Sequence[Efficiency]) -> "Table":
    """What answers cost, as table for the terminal."""
    from rich.table import Table

    table = Table(
        title="Efficiency (one clip at a time; the report says how)", title_justify="left", header_style="bold"
    )
    headings = list(rows[0].cells()) if rows else []
    table.add_column("task")
    for heading in headings:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(row.task, *row.cells().values())
    return table


def row_cells(row: Row) -> dict[str, str]:
    """The numbers of a row as text: fractions in percent with one decimal, other numbers with three.

    Returns:
        Texts of `value`, `baseline`, `published`, `error_removed`, `silence`, `swapped`, `silence_change`,
        `swapped_change` (from `value`, in points) and `clips`. A score that is missing is a dash, a value `not run`.
    """
    cells = {name: number(getattr(row, name), row.unit) for name in ("baseline", "published", "silence", "swapped")}
    for name in ("silence", "swapped"):
        score = getattr(row, name)
        known = score is not None and row.value is not None
        cells[f"{name}_change"] = number(score - row.value, row.unit, sign=True) if known else ""
    removed = row.error_removed
    return cells | {
        "value": number(row.value, row.unit) if row.value is not None else "not run",
        "error_removed": f"{number(removed, 'fraction')} %" if removed is not None else _MISSING,
        "clips": f"{row.clips} of {row.of}" if row.of else _MISSING,
    }


def number(x: float | None, unit: str, sign: bool = False) -> str:
    """A score as text, in percent with one decimal if it is a fraction; a dash where there is none."""
    if x is None:
        return _MISSING
    text = f"{100 * x:.1f}" if unit == "fraction" else f"{x:.3f}"
    if not float(text):
        text = text.lstrip("-")
    return ("+" if sign and float(text) > 0 else "") + text.replace("-", _MINUS)


def _record(report: RunReport) -> dict[str, Any]:
    """The report as JSON holds it."""
    pictures = ("images", "masks", "heats", "silent_masks", "silent_heats", "truth_masks")
    names = [f.name for f in fields(Example) if f.name not in pictures]
    return {
        "name": report.name,
        "title": report.title,
        "rows": [vars(row) | {"error_removed": row.error_removed} for row in report.rows],
        "examples": [{name: getattr(e, name) for name in names} | {"right": e.right} for e in report.examples],
        "curves": report.curves,
        "efficiency": [vars(row) | {"fps": row.fps} for row in report.efficiency],
        "facts": report.facts,
        "notes": report.notes,
    }


def _examples(examples: Sequence[Example]) -> list[dict[str, Any]]:
    """What the template shows of each example: the record, and a picture with its texts per frame."""
    return [{"record": e, "frames": [_frame(e, k) for k in range(len(e.images))]} for e in examples]


def _frame(example: Example, k: int) -> dict[str, str]:
    silent = example.silent_masks is not None or example.silent_heats is not None
    return {
        "uri": jpeg_uri(_shown(example, k, example.masks, example.heats)),
        "silent": jpeg_uri(_shown(example, k, example.silent_masks, example.silent_heats)) if silent else "",
        "mark": example.marks[k] if example.marks else "",
        "label": f"{example.times[k]:g} s" if example.times else f"frame {k + 1}",
        "caption": example.captions[k] if example.captions else "",
        "truth_caption": example.truth_captions[k] if example.truth_captions else "",
    }


def _shown(example: Example, k: int, masks: Array | None, heats: Array | None) -> Pixels:
    """A frame with what was predicted on it, and the true mask's outline."""
    image, truth = example.images[k], None if example.truth_masks is None else example.truth_masks[k]
    if heats is not None and np.isfinite(heats[k]).all():
        image = warm(picture(image, _IMAGE_WIDTH), heats[k])
    return picture(image, _IMAGE_WIDTH, None if masks is None else masks[k], truth)


def _curves(curves: dict[str, Curve]) -> dict[str, dict[str, str]]:
    """By task the picture of its loss for a light and a dark page; tasks without a step are left out."""
    shown = {task: curve for task, curve in curves.items() if len(curve["step"])}
    return {task: {theme: png_uri(loss_curve(curve, theme)) for theme in THEMES} for task, curve in shown.items()}


def loss_curve(curve: Curve, theme: str = "light") -> bytes:
    """Draw the loss over steps, raw and smoothed, as PNG file for a `light` or `dark` page."""
    from matplotlib.figure import Figure

    colors = THEMES[theme]
    figure = Figure(figsize=(4, 2.4), layout="constrained")
    axis = figure.subplots()
    step, loss = np.asarray(curve["step"]), np.asarray(curve["loss"], dtype=float)
    axis.plot(step, loss, color=colors["accent"], alpha=0.3, linewidth=0.7)
    axis.plot(step, smooth(loss), color=colors["accent"], linewidth=1.6)
    axis.set_xlabel("step")
    axis.set_ylabel("loss")
    axis.grid(color=colors["grid"], linewidth=0.6)
    return save_figure(figure, colors)


def smooth(loss: NDArray[np.float64]) -> NDArray[np.float64]:
    """Centred moving average over a twentieth of the curve; near the ends over what is there, NaN left out."""
    width = max(1, len(loss) // 20) | 1
    known = np.isfinite(loss)
    kernel = np.ones(width)
    total = np.convolve(np.where(known, loss, 0), kernel, "same")
    count = np.convolve(known, kernel, "same")
    mean: NDArray[np.float64] = np.divide(total, count, out=np.full(len(loss), np.nan), where=count > 0)
    return mean
