# SPDX-License-Identifier: Apache-2.0
"""Frames of a video with the prediction drawn on them: sounding regions, class names, caption and answers."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avkit.report.images import Labels, Layer, Pixels, fit_labels, palette, tint
from avkit.report.records import Result

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]
Line = list[tuple[str, Color]]  # parts of a line, each in its colour

_WHITE: Color = (255, 255, 255)
_ANSWER: Color = (255, 214, 10)
_SHADE = (0, 0, 0, 150)
_MAX_SHARE = 0.3  # of the height: text never hides more than that at either end


def overlay_frames(frames: Iterable[tuple[float, Pixels]], result: Result) -> Iterator[Pixels]:
    """Draw a result on the frames of its video.

    Args:
        frames: Time in seconds and picture uint8 (H, W, 3) of each frame, in any order, all of one size.
        result: What to draw; the step of a frame is the one its time falls into.

    Yields:
        uint8 (H, W, 3), the frame with the mask of its step tinted and bordered, the classes and the caption of the
        step at the bottom, questions and answers at the top. A frame without anything to draw is unchanged.
    """

    @lru_cache(maxsize=4)
    def layer(step: int, height: int, width: int) -> Layer:
        return step_layer(result, step, (height, width))

    for time, frame in frames:
        # a nudge, because 0.3 / 0.1 is below 3
        step = min(max(int(time / result.hop + 1e-6), 0), result.steps - 1)
        yield layer(step, *frame.shape[:2]).over(frame)


def step_layer(result: Result, step: int, size: tuple[int, int]) -> Layer:
    """All that is drawn during one step, for frames of `size` (height, width)."""
    rgba = np.zeros((*size, 4), dtype=np.uint8)
    labels = step_labels(result, step, size)
    if labels is not None:
        rgba = tint(labels, line=max(1, size[0] // 180))
    canvas = Image.fromarray(rgba)
    caption = result.captions[step] if result.captions else ""
    classes = _classes(result, labels) if result.class_mask is not None and labels is not None else []
    _write(canvas, [[(a.question, _WHITE), (a.answer, _ANSWER)] for a in result.answers], top=True)
    _write(canvas, [classes, [(caption, _WHITE)]], top=False)
    return Layer.of(np.asarray(canvas))


def step_labels(result: Result, step: int, size: tuple[int, int]) -> Labels | None:
    """The label map of a step: its classes where they are known, else what sounds; None where nothing is."""
    mask = result.class_mask if result.class_mask is not None else result.masks
    return None if mask is None else fit_labels(mask[step], size)


def wrap(text: str, font: Font, width: float, lines: int) -> list[str]:
    """Text broken into at most `lines` lines of at most `width` pixels; what does not fit ends in an ellipsis.

    A word longer than a line is broken inside. Empty text gives no line.
    """
    out: list[str] = []
    for word in text.split():
        line = f"{out[-1]} {word}" if out else word
        if out and font.getlength(line) <= width:
            out[-1] = line
            continue
        out.append(word)
        while font.getlength(out[-1]) > width and len(out[-1]) > 1:
            fits = _longest(out[-1], font, width)
            out[-1:] = [out[-1][:fits], out[-1][fits:]]
    if len(out) > lines:
        last = out[lines - 1]
        while last and font.getlength(last + "...") > width:
            last = last[:-1]
        out = [*out[: lines - 1], last.rstrip() + "..."]
    return out


def _longest(word: str, font: Font, width: float) -> int:
    """How many leading letters of the word fit, at least one."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(word[:middle]) <= width else (low, middle - 1)
    return low


def _write(canvas: Image.Image, paragraphs: list[Line], top: bool) -> None:
    """Write paragraphs on a dark strip at one end of an RGBA canvas."""
    width, height = canvas.size
    size = max(10, height // 20)
    font, pitch, margin = ImageFont.load_default(size), round(size * 1.3), size // 2
    lines = _lines(paragraphs, font, width - 2 * margin, max(1, int(height * _MAX_SHARE) // pitch))
    if not lines:
        return
    band = Image.new("RGBA", (width, len(lines) * pitch + margin), _SHADE)
    draw = ImageDraw.Draw(band)
    for row, line in enumerate(lines):
        x = float(margin)
        for text, color in line:
            draw.text((x, margin // 2 + row * pitch), text, fill=color, font=font)
            x += font.getlength(text + "  ")
    canvas.alpha_composite(band, (0, 0 if top else max(0, height - band.height)))


def _lines(paragraphs: list[Line], font: Font, width: float, room: int) -> list[Line]:
    """Paragraphs as at most `room` lines; a part joins the line before it where it fits."""
    out: list[Line] = []
    for parts in paragraphs:
        start = len(out)
        for text, color in parts:
            joined = "  ".join([part for part, _ in out[-1]] + [text]) if len(out) > start else ""
            if joined and font.getlength(joined) <= width:
                out[-1].append((text, color))
            else:
                out += [[(line, color)] for line in wrap(text, font, width, room)]
    return out if len(out) <= room else [*out[: room - 1], [("...", _WHITE)]]


def _classes(result: Result, labels: Labels) -> Line:
    """The name of each class in the label map, in a light shade of its colour."""
    present = [int(k) for k in np.unique(labels) if k]
    shades = (palette()[present].astype(int) + 255) // 2
    return [(result.class_names[k - 1], (r, g, b)) for k, (r, g, b) in zip(present, shades.tolist(), strict=True)]
