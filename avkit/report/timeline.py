# SPDX-License-Identifier: Apache-2.0
"""One picture of a clip over time: frames, sound, and what every kind of answer draws."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.report.figure import THEMES, Theme, TimelineRow, draw_rows, labelled_row, lines_row, thumbnails_row
from avkit.report.images import Pixels, picture
from avkit.report.records import Result
from avkit.report.renderers.table import group_answers, step_regions

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Bins of the drawn waveform: a picture has no more columns.
_WAVE_BINS = 2000
#: Colours of the spectrogram; the palette of the picture has 256 for all.
_LEVELS = 24
#: Letters of a run's name that a row has room for.
_LABEL = 60


def timeline(result: Result, theme: str = "light") -> bytes:
    """Draw a result over time as PNG file.

    Rows without data are left out: thumbnails with tinted masks; waveform and spectrogram; thumbnails that glow where
    the sound comes from; share of the picture that sounds; one bar per class; events by task and modality; captions,
    equal neighbours joined; questions with answers; answers of other kinds as text. Rows of a run that is shown
    beside it come last, with its name.

    Args:
        result: What was predicted.
        theme: `light` or `dark`, the page it is shown on.
    """
    colors = THEMES[theme]
    rows = [*_picture_rows(result, colors), *_sound_rows(result, colors)]
    lines: list[str] = []
    for renderer, answers in group_answers(result.answers):
        rows += renderer.timeline_rows(answers, result, colors)
        lines += renderer.timeline_lines(answers, result)
    for renderer, answers in group_answers(result.beside):
        for row in renderer.timeline_rows(answers, result, colors):
            rows.append(labelled_row(row, result.beside_name[:_LABEL], colors))
    if lines:
        rows.append(lines_row(lines, colors))
    if not rows:
        rows.append(lines_row(["Nothing was predicted."], colors))
    return draw_rows(rows, result.duration, colors)


def sound_levels(waveform: NDArray[Any], rate: int = SAMPLE_RATE, columns: int = 1200) -> NDArray[np.float32]:
    """Level of the sound over frequency and time.

    Args:
        waveform: (samples,).
        rate: Samples per second.
        columns: Windows at most; longer sound has windows further apart.

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


def _picture_rows(result: Result, theme: Theme) -> list[TimelineRow]:
    """Frames with regions tinted."""
    if result.frames is None or not len(result.frames):
        return []

    def make(step: int) -> Pixels:
        image = result.picture(step)
        assert image is not None
        regions = step_regions(result, step, image.shape[:2])
        labels = None if regions is None else regions.labels
        return picture(image, 200, labels)

    return [thumbnails_row(result, theme, make)]


def _sound_rows(result: Result, theme: Theme) -> list[TimelineRow]:
    """Waveform and spectrogram."""
    wave = result.waveform
    if wave is None or not len(wave):
        return []
    seconds = len(wave) / SAMPLE_RATE

    from matplotlib import colormaps

    def draw_wave(axis: "Axes") -> None:
        edges = np.linspace(0, len(wave), min(_WAVE_BINS, len(wave)), endpoint=False).astype(int)
        low = np.minimum.reduceat(wave, edges)
        high = np.maximum.reduceat(wave, edges)
        axis.fill_between(edges / SAMPLE_RATE, low, high, color=theme["accent"], linewidth=0.3)
        axis.set_yticks([])
        axis.set_ylabel("sound")

    def draw_levels(axis: "Axes") -> None:
        axis.imshow(
            sound_levels(wave),
            extent=(0, seconds, 0, SAMPLE_RATE / 2000),
            aspect="auto",
            origin="lower",
            cmap=colormaps["magma"].resampled(_LEVELS),
            vmin=-80,
            vmax=0,
        )
        axis.set_xlim(0, result.duration)
        axis.set_yticks([0, 4, 8])
        axis.set_ylabel("kHz")

    return [TimelineRow(0.6, draw_wave), TimelineRow(1.2, draw_levels)]
