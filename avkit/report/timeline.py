# SPDX-License-Identifier: Apache-2.0
"""One picture of a clip over time: frames, sound, sounding area, classes, captions, questions and answers."""

import io
import textwrap
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.report.images import palette, picture, strip, warm
from avkit.report.overlay import step_labels
from avkit.report.records import Event, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 12.0  # inches of the figure
_LEFT, _RIGHT = 0.105, 0.985  # shares of the width where the time axis starts and ends
_LETTER = 0.075  # inches of an average letter at the size of captions
_LINE = 0.165  # inches of a line of text
_THUMBNAILS = 12
_LISTED = 24  # captions or class rows shown; the rest is in result.json

#: Colours of a figure on a light and on a dark page.
THEMES: dict[str, dict[str, str]] = {
    "light": {"paper": "#ffffff", "ink": "#1d2733", "muted": "#67737f", "grid": "#dfe4e8", "accent": "#0a7ea4"},
    "dark": {"paper": "#161b20", "ink": "#e6eaee", "muted": "#98a4af", "grid": "#313a42", "accent": "#3cc8f0"},
}
Row = tuple[float, Callable[["Axes"], None]]


def timeline(result: Result, theme: str = "light") -> bytes:
    """Draw a result over time as PNG file.

    Rows without data are left out: thumbnails with tinted masks; waveform and spectrogram; thumbnails that glow where
    the sound comes from; share of the picture that sounds; one bar per class; events by task and modality; captions,
    equal neighbours joined; questions with answers.

    Args:
        result: What was predicted.
        theme: `light` or `dark`, the page it is shown on.
    """
    colors = THEMES[theme]
    rows = [
        *_picture_rows(result, colors),
        *_sound_rows(result, colors),
        *_heat_rows(result, colors),
        *_mask_rows(result, colors),
        *_event_rows(result, colors),
        *_text_rows(result, colors),
    ]
    rows = rows or [_lines_row(["Nothing was predicted."], colors)]
    figure, axes = _figure(rows)
    timed = []
    for axis, (_, draw) in zip(axes, rows, strict=True):
        axis.set_xlim(0, result.duration)
        axis.tick_params(labelbottom=False, bottom=False)
        draw(axis)
        timed += [axis] if axis.axison else []
    if timed:
        timed[-1].tick_params(labelbottom=True, bottom=True)
        timed[-1].xaxis.set_major_formatter("{x:g} s")
    return save_figure(figure, colors)


def save_figure(figure: "Figure", colors: dict[str, str]) -> bytes:
    """A figure as PNG file, its labels and frames in the colours of a theme."""
    figure.set_facecolor(colors["paper"])
    for axis in figure.axes:
        axis.set_facecolor(colors["paper"])
        axis.tick_params(colors=colors["muted"], labelsize=8, length=3)
        axis.xaxis.label.set(color=colors["muted"], size=8)
        axis.yaxis.label.set(color=colors["muted"], size=8)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(colors["grid"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def log_spectrogram(waveform: NDArray[Any], rate: int = SAMPLE_RATE, columns: int = 1200) -> NDArray[np.float32]:
    """Level of the sound over frequency and time.

    Args:
        waveform: (samples,).
        rate: Samples per second.
        columns: Windows at most; longer sound is looked at less often.

    Returns:
        (257, windows), dB below the loudest, cut at -80; the first row is 0 Hz, the last half the rate. Windows are
        Hann, of 512 samples.
    """
    size = 512
    padded = np.pad(np.nan_to_num(waveform.astype(np.float32)), (size // 2, size))
    hop = max(rate // 100, -(-len(waveform) // columns))
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[: len(waveform) : hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(size), axis=1)).T ** 2
    # silence has no loudest window: then 80 dB below full scale takes its place, so that silence looks silent
    loudest = max(float(power.max(initial=0)), 1e-8 * (size / 4) ** 2)
    level: NDArray[np.float32] = (10 * np.log10(np.maximum(power, 1e-20) / loudest)).astype(np.float32)
    return np.maximum(level, -80)


def sounding_area(result: Result) -> NDArray[np.float64] | None:
    """Share of the picture that sounds at each step, (T,) in [0, 1]; None where there are no masks."""
    if result.masks is not None:
        return np.asarray((result.masks >= 0.5).mean(axis=(1, 2)))
    return None if result.class_mask is None else np.asarray((result.class_mask > 0).mean(axis=(1, 2)))


def _figure(rows: list[Row]) -> tuple["Figure", list["Axes"]]:
    """A figure with one axis per row, heights in inches, all over the same time axis."""
    from matplotlib.figure import Figure

    gap, margin, ticks = 0.12, 0.1, 0.15
    total = sum(height for height, _ in rows) + gap * (len(rows) - 1) + 2 * margin + ticks
    figure = Figure(figsize=(_WIDTH, total))
    axes, y = [], total - margin
    for height, _ in rows:
        y -= height
        axes.append(figure.add_axes((_LEFT, y / total, _RIGHT - _LEFT, height / total)))
        y -= gap
    return figure, axes


def _picture_rows(result: Result, colors: dict[str, str]) -> list[Row]:
    frames = result.frames
    if frames is None or not len(frames):
        return []
    size = frames.shape[-2:]
    return [_thumbnails(result, colors, lambda s: picture(_frame(result, s), 200, step_labels(result, s, size)))]


def _heat_rows(result: Result, colors: dict[str, str]) -> list[Row]:
    heat = result.heat
    if heat is None or result.frames is None:
        return []
    return [_thumbnails(result, colors, lambda s: warm(picture(_frame(result, s), 200), heat[s]), "source")]


def _frame(result: Result, step: int) -> NDArray[np.uint8]:
    assert result.frames is not None
    return np.asarray(result.frames[step].transpose(1, 2, 0))


def _thumbnails(
    result: Result, colors: dict[str, str], make: Callable[[int], NDArray[np.uint8]], label: str = ""
) -> Row:
    """A strip of pictures made for evenly chosen steps."""
    shown = min(result.steps, _THUMBNAILS)
    steps = ((np.arange(shown) + 0.5) * result.steps / shown).astype(int).tolist()
    row = strip([make(s) for s in steps], color=tuple(bytes.fromhex(colors["paper"][1:])))
    inches = (_RIGHT - _LEFT) * _WIDTH * row.shape[0] / row.shape[1]

    def draw(axis: "Axes") -> None:
        axis.imshow(row, extent=(0, result.steps * result.hop, 0, 1), aspect="auto")
        axis.set_xlim(0, result.duration)
        if not label:
            axis.axis("off")
            return
        axis.set_yticks([])
        axis.set_ylabel(label)
        axis.spines[["left", "bottom"]].set_visible(False)

    return min(inches, 3.0), draw


def _sound_rows(result: Result, colors: dict[str, str]) -> list[Row]:
    wave = result.waveform
    if wave is None or not len(wave):
        return []
    seconds = len(wave) / SAMPLE_RATE

    def draw_wave(axis: "Axes") -> None:
        # lowest and highest sample of each of about 2000 bins: a picture has no more columns
        edges = np.linspace(0, len(wave), min(2000, len(wave)), endpoint=False).astype(int)
        low, high = np.minimum.reduceat(wave, edges), np.maximum.reduceat(wave, edges)
        axis.fill_between(edges / SAMPLE_RATE, low, high, color=colors["accent"], linewidth=0.3)
        axis.set_yticks([])
        axis.set_ylabel("sound")

    def draw_levels(axis: "Axes") -> None:
        image = log_spectrogram(wave)
        axis.imshow(
            image,
            extent=(0, seconds, 0, SAMPLE_RATE / 2000),
            aspect="auto",
            origin="lower",
            cmap="magma",
            vmin=-80,
            vmax=0,
        )
        axis.set_xlim(0, result.duration)
        axis.set_yticks([0, 4, 8])
        axis.set_ylabel("kHz")

    return [(0.6, draw_wave), (1.2, draw_levels)]


def _mask_rows(result: Result, colors: dict[str, str]) -> list[Row]:
    area = sounding_area(result)
    if area is None:
        return []
    edges = np.array([result.span(s)[0] for s in range(result.steps)] + [result.duration])

    def draw_area(axis: "Axes") -> None:
        axis.stairs(100 * area, edges, fill=True, color=colors["accent"], alpha=0.35)
        axis.stairs(100 * area, edges, color=colors["accent"], baseline=None)
        axis.set_ylim(0, max(5.0, 115 * float(np.nan_to_num(area).max())))
        axis.set_ylabel("sounding\narea, %")

    return [(0.8, draw_area), *_class_rows(result, edges, colors)]


def _class_rows(result: Result, edges: NDArray[np.float64], colors: dict[str, str]) -> list[Row]:
    if result.class_mask is None:
        return []
    counts = np.stack([(result.class_mask == k + 1).any(axis=(1, 2)) for k in range(len(result.class_names))] or [[]])
    present = [int(k) for k in np.flatnonzero(counts.any(axis=1))][:_LISTED]
    if not present:
        return []

    def draw(axis: "Axes") -> None:
        for row, k in enumerate(present):
            steps = np.flatnonzero(counts[k])
            spans = list(zip(edges[steps], edges[steps + 1] - edges[steps], strict=True))
            axis.broken_barh(spans, (row - 0.35, 0.7), color=palette()[k + 1] / 255)
        names = [result.class_names[k][:15] for k in present]
        axis.set_yticks(range(len(present)))
        axis.set_yticklabels(names, parse_math=False)
        axis.set_ylim(len(present) - 0.5, -0.5)

    return [(0.22 * len(present) + 0.05, draw)]


def _event_rows(result: Result, colors: dict[str, str]) -> list[Row]:
    """One lane per task and modality, in it one bar per class."""
    return [_lane(task, modality, events) for (task, modality), events in result.lanes().items()]


def _lane(task: str, modality: str, events: list[Event]) -> Row:
    names = list(dict.fromkeys(event.name for event in events))[:_LISTED]

    def draw(axis: "Axes") -> None:
        for row, name in enumerate(names):
            for event in (e for e in events if e.name == name):
                strength = 0.9 if event.score is None else 0.25 + 0.65 * event.score
                span = [(event.start, event.end - event.start)]
                color = palette()[1 + zlib.crc32(name.encode()) % 24] / 255
                axis.broken_barh(span, (row - 0.35, 0.7), color=color, alpha=strength)
        axis.set_yticks(range(len(names)))
        axis.set_yticklabels([name[:15] for name in names], parse_math=False)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.set_ylabel(f"{task}\n{modality}")
        axis.yaxis.set_label_coords(-0.085, 0.5)

    return max(0.5, 0.22 * len(names) + 0.05), draw


def _text_rows(result: Result, colors: dict[str, str]) -> list[Row]:
    spans = result.captions_merged()
    inches = [(end - start) / result.duration * (_RIGHT - _LEFT) * _WIDTH for start, end, _ in spans]
    narrow = any(width < 0.85 for width in inches)
    inside = [str(k + 1) if narrow else t for k, (_, _, t) in enumerate(spans)]
    wrapped = [textwrap.wrap(t, max(1, int(w / _LETTER) - 1))[:12] for t, w in zip(inside, inches, strict=True)]
    rows: list[Row] = []
    if spans:
        height = _LINE * max(len(lines) for lines in wrapped) + 0.3

        def draw(axis: "Axes") -> None:
            for k, ((start, end, _), lines) in enumerate(zip(spans, wrapped, strict=True)):
                axis.axvspan(start, end, color=colors["accent"], alpha=(0.2, 0.1)[k % 2], linewidth=0)
                text = "\n".join(lines)
                axis.text(
                    (start + end) / 2,
                    0.5,
                    text,
                    ha="center",
                    va="center",
                    size=8,
                    color=colors["ink"],
                    parse_math=False,
                    clip_on=True,
                )
            axis.set_yticks([])
            axis.set_ylabel("caption")

        rows.append((height, draw))
    listed = [f"{k + 1}   {_clock(a)} - {_clock(b)}   {t}" for k, (a, b, t) in enumerate(spans)] if narrow else []
    lines = _listing(listed) + [line for a in result.answers for line in _paragraph(f"{a.question}   {a.answer}")]
    return [*rows, _lines_row(lines, colors)] if lines else rows


def _listing(captions: list[str]) -> list[str]:
    more = len(captions) - _LISTED
    lines = [line for caption in captions[:_LISTED] for line in _paragraph(caption)]
    return [*lines, f"and {more} more, see result.json"] if more > 0 else lines


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, int((_RIGHT - _LEFT) * _WIDTH / _LETTER), subsequent_indent="    ")


def _lines_row(lines: list[str], colors: dict[str, str]) -> Row:
    height = _LINE * len(lines) + 0.2  # the ticks of the axis above stand in the first part

    def draw(axis: "Axes") -> None:
        axis.axis("off")
        for row, line in enumerate(lines):
            y = 1 - (0.2 + row * _LINE) / height
            axis.text(0, y, line, transform=axis.transAxes, size=8, va="top", color=colors["ink"], parse_math=False)

    return height, draw


def _clock(seconds: float) -> str:
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"
