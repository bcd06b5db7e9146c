# SPDX-License-Identifier: Apache-2.0
"""Frames of a video with the answers drawn on them: heat, sounding regions, class names, caption and answers."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from avkit.report.images import Layer, Pixels, glow, palette, tint
from avkit.report.records import Result
from avkit.report.renderers.base import WHITE, Color, ColoredLine
from avkit.report.renderers.table import Regions, group_answers, step_glow, step_regions, step_subtitle

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_SHADE = (0, 0, 0, 150)
#: Shares of the height that text hides at most; where not even a line fits, there is none.
_TOP_SHARE = 0.15
_BOTTOM_SHARE = 0.2
#: Height in pixels of the smallest letters that can be read.
_SMALLEST = 8


def overlay_frames(frames: Iterable[tuple[float, Pixels]], result: Result) -> Iterator[Pixels]:
    """Draw a result on the frames of its video.

    Args:
        frames: Time in seconds and picture uint8 (H, W, 3) of each frame, in any order, all of one size.
        result: What to draw; the step of a frame is the one its time falls into.

    Yields:
        uint8 (H, W, 3), the frame with the heat of its step glowing, its mask tinted and bordered, the classes and the
        caption of the step at the bottom, or what is said of each source in its colour, questions and answers at the
        top. Text covers no more than a third of a picture, and is left out where it would have to. A frame
        without anything to draw is unchanged.
    """

    @lru_cache(maxsize=4)
    def layer(step: int, height: int, width: int) -> Layer:
        return step_layer(result, step, (height, width))

    for time, frame in frames:
        # a small shift, because 0.3 / 0.1 is below 3
        step = min(max(int(time / result.hop + 1e-6), 0), result.steps - 1)
        yield layer(step, *frame.shape[:2]).over(frame)


def step_layer(result: Result, step: int, size: tuple[int, int]) -> Layer:
    """All that is drawn during one step, for frames of `size` (height, width)."""
    canvas = Image.new("RGBA", size[::-1])
    heat = step_glow(result, step)
    if heat is not None:
        canvas.alpha_composite(Image.fromarray(glow(heat, size)))
    regions = step_regions(result, step, size)
    lines: list[ColoredLine] = []
    if regions is not None:
        canvas.alpha_composite(Image.fromarray(tint(regions.labels, line=max(1, size[0] // 180))))
        lines = [_class_names(regions), *_sentences(regions)]
    if regions is None or not any(regions.sentences):  # else they say what the caption says
        lines.append([(step_subtitle(result, step), WHITE)])
    _write(canvas, _headlines(result), top=True)
    _write(canvas, lines, top=False)
    return Layer.of(np.asarray(canvas))


def wrap(text: str, font: Font, width: float, max_lines: int) -> list[str]:
    """Text broken into at most `max_lines` lines of at most `width` pixels; a longer text ends in an ellipsis.

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
            fits = _count_fitting(out[-1], font, width)
            out[-1:] = [out[-1][:fits], out[-1][fits:]]
    if len(out) > max_lines:
        last = out[max_lines - 1]
        while last and font.getlength(last + "...") > width:
            last = last[:-1]
        out = [*out[: max_lines - 1], last.rstrip() + "..."]
    return out


def _headlines(result: Result) -> list[ColoredLine]:
    """What is written at the top of every frame."""
    lines: list[ColoredLine] = []
    if result.short_warning:
        lines.append([(result.short_warning, WHITE)])
    for renderer, answers in group_answers(result.answers):
        lines += [renderer.headline(answer) for answer in answers]
    return lines


def _count_fitting(word: str, font: Font, width: float) -> int:
    """How many leading letters of the word fit, at least one."""
    low = 1
    high = len(word)
    while low < high:
        middle = (low + high + 1) // 2
        if font.getlength(word[:middle]) <= width:
            low = middle
        else:
            high = middle - 1
    return low


def _write(canvas: Image.Image, paragraphs: Sequence[ColoredLine], top: bool) -> None:
    """Write paragraphs on a dark strip at one end of an RGBA canvas."""
    width, height = canvas.size
    size = max(_SMALLEST, height // 24)
    font = ImageFont.load_default(size)
    pitch = round(size * 1.3)
    margin = size // 2
    room = int(height * (_TOP_SHARE if top else _BOTTOM_SHARE))
    max_lines = (room - margin) // pitch
    if max_lines < 1:
        return
    lines = _break_lines(paragraphs, font, width - 2 * margin, max_lines)
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


def _break_lines(paragraphs: Sequence[ColoredLine], font: Font, width: float, max_lines: int) -> list[ColoredLine]:
    """Paragraphs as at most `max_lines` lines; a part joins the line before it where it fits."""
    out: list[ColoredLine] = []
    for parts in paragraphs:
        start = len(out)
        for text, color in parts:
            if len(out) > start and _fits_behind(out[-1], text, font, width):
                out[-1].append((text, color))
            else:
                out += [[(line, color)] for line in wrap(text, font, width, max_lines)]
    if len(out) > max_lines:
        return [*out[: max_lines - 1], [("...", WHITE)]] if max_lines > 1 else []  # dots alone say nothing
    return out


def _fits_behind(line: ColoredLine, text: str, font: Font, width: float) -> bool:
    """Whether a text has room behind the parts of a line."""
    joined = "  ".join([*(part for part, _ in line), text])
    return font.getlength(joined) <= width


def _class_names(regions: Regions) -> ColoredLine:
    """The name of each region that is there, in a light shade of its colour."""
    return [(regions.names[k - 1], _light(k)) for k in regions.present()]


def _sentences(regions: Regions) -> list[ColoredLine]:
    """What is said of each region, a line each in a light shade of its colour."""
    return [[(text, _light(k))] for k, text in enumerate(regions.sentences, 1) if text]


def _light(label: int) -> Color:
    """A light shade of a label's colour."""
    red, green, blue = ((palette()[label].astype(int) + 255) // 2).tolist()
    return red, green, blue
