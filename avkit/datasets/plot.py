# SPDX-License-Identifier: Apache-2.0
"""A sample of a dataset as a figure: frames with what is annotated on them, sound, and a time line of what happens."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from avkit.batch import SAMPLE_RATE, Item

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Most frames of a clip that are shown; they are evenly apart.
_FRAMES = 10
#: Inches of a figure's width, and of its rows.
_WIDTH = 12.0
_FRAME_HEIGHT = 1.5
_SOUND_HEIGHT = 1.0
_LANE_HEIGHT = 0.3
#: Points of a drawn waveform.
_POINTS = 1200
#: Tint of a mask, red, green and blue in [0, 1].
_TINT = np.array([0.95, 0.25, 0.2])
#: Letters of a text that are shown.
_LETTERS = 150


@dataclass(frozen=True)
class Lane:
    """One line of the time line.

    Attributes:
        name: What happens.
        spans: Start and length in seconds, as often as it happens.
        color: Color of its bars.
    """

    name: str
    spans: list[tuple[float, float]]
    color: str


def plot_item(item: Item, classes: Sequence[str]) -> "Figure":
    """A figure of a sample.

    Args:
        item: The sample, with its targets.
        classes: Names of the dataset's classes in index order.

    Returns:
        The figure, which `savefig` writes and a notebook shows.
    """
    from matplotlib.figure import Figure

    lanes = list(_lanes(item, classes))
    rows: list[tuple[float, Callable[[Axes], None]]] = []
    if item.frames is not None:
        rows.append((_FRAME_HEIGHT, lambda axes: _draw_frames(axes, item)))
    if item.waveform is not None or item.audio is not None:
        rows.append((_SOUND_HEIGHT, lambda axes: _draw_sound(axes, item)))
    if lanes:
        rows.append((0.4 + _LANE_HEIGHT * len(lanes), lambda axes: _draw_lanes(axes, lanes, item.duration)))
    texts = list(_texts(item))
    height = sum(size for size, _ in rows) + 0.25 * len(texts) + 0.8
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.suptitle("\n".join([f"{item.id}, {item.duration:g} s, {item.steps} steps of {item.hop:g} s", *texts]))
    if rows:
        panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=[size for size, _ in rows])[:, 0]
        for axes, (_, draw) in zip(panels, rows, strict=True):
            draw(axes)
    return figure


def _draw_frames(axes: "Axes", item: Item) -> None:
    """Frames at their seconds, tinted where a mask is, with boxes around objects."""
    from matplotlib.patches import Rectangle

    assert item.frames is not None
    steps = len(item.frames)
    chosen = np.unique(np.linspace(0, steps - 1, min(steps, _FRAMES)).round().astype(int)).tolist()
    frames = [_tinted(item, step) for step in chosen]
    height, width = frames[0].shape[:2]
    axes.imshow(np.concatenate(frames, axis=1), aspect="equal")
    for place, step in enumerate(chosen):
        for x1, y1, x2, y2 in _boxes(item, step):
            corner = (place * width + x1 * width, y1 * height)
            axes.add_patch(Rectangle(corner, (x2 - x1) * width, (y2 - y1) * height, fill=False, color="yellow"))
    seconds = [item.offset + (step + 0.5) * item.hop for step in chosen]
    axes.set_xticks([(place + 0.5) * width for place in range(len(chosen))], [f"{second:g} s" for second in seconds])
    axes.set_yticks([])


def _tinted(item: Item, step: int) -> NDArray[np.float64]:
    """A frame, float in [0, 1] (H, W, 3), with the mask of its step."""
    assert item.frames is not None
    frame = item.frames[step].permute(1, 2, 0).numpy() / 255.0
    mask = _mask(item, step)
    if mask is None:
        return frame
    share = 0.55 * np.clip(mask, 0, 1)[..., None]
    return frame * (1 - share) + _TINT * share


def _mask(item: Item, step: int) -> NDArray[Any] | None:
    """What is marked in a frame, (H, W), cut to the frame's size; None where nothing is annotated."""
    assert item.frames is not None
    known = item.targets.get("mask_known")
    if isinstance(known, Tensor) and not bool(known[step]):
        return None
    for name in ("mask", "class_mask", "source"):
        value = item.targets.get(name)
        if isinstance(value, Tensor):
            mask = value[step].float().numpy()
            height, width = item.frames.shape[-2:]
            rows = np.arange(height) * mask.shape[0] // height
            columns = np.arange(width) * mask.shape[1] // width
            return mask[rows][:, columns]
    return None


def _boxes(item: Item, step: int) -> list[list[float]]:
    """Corners of the objects of a step that are visible."""
    boxes = item.targets.get("boxes")
    if not isinstance(boxes, Tensor):
        return []
    return [box for box in boxes[step].tolist() if not any(np.isnan(box))]


def _draw_sound(axes: "Axes", item: Item) -> None:
    """The waveform over time, or stored features of sound as a picture."""
    if item.waveform is not None:
        wave = item.waveform.numpy()
        parts = np.array_split(wave, min(_POINTS, max(1, len(wave))))
        seconds = np.linspace(0, len(wave) / SAMPLE_RATE, len(parts))
        low = [part.min(initial=0.0) for part in parts]
        high = [part.max(initial=0.0) for part in parts]
        axes.fill_between(seconds, low, high, linewidth=0.5)
        axes.set_xlim(0, max(item.duration, 1e-3))
        axes.set_ylabel("sound")
    elif item.audio is not None:
        end = item.offset + item.steps * item.hop
        axes.imshow(item.audio.float().numpy().T, aspect="auto", origin="lower", extent=(item.offset, end, 0, 1))
        axes.set_ylabel("features")
    axes.set_yticks([])


def _draw_lanes(axes: "Axes", lanes: Sequence[Lane], duration: float) -> None:
    """Bars over time, one line for each thing that happens."""
    for place, lane in enumerate(lanes):
        axes.broken_barh(lane.spans, (place - 0.4, 0.8), facecolors=lane.color)
    axes.set_yticks(range(len(lanes)), [lane.name for lane in lanes])
    axes.invert_yaxis()
    axes.set_xlim(0, max(duration, 1e-3))
    axes.set_xlabel("seconds")


def _lanes(item: Item, classes: Sequence[str]) -> Iterator[Lane]:
    """Events with their times, and classes heard and seen step by step."""
    events = item.targets.get("events")
    if isinstance(events, Tensor):
        rows = events.tolist()
        for kind in sorted({int(row[2]) for row in rows}):
            spans = [(start, end - start) for start, end, label in rows if int(label) == kind]
            yield Lane(_name(classes, kind), spans, "tab:blue")
    for name, says, color in (("audio_segments", "heard", "tab:orange"), ("visual_segments", "seen", "tab:green")):
        segments = item.targets.get(name)
        if isinstance(segments, Tensor):
            for kind in segments.any(0).nonzero()[:, 0].tolist():
                steps = segments[:, kind].nonzero()[:, 0].tolist()
                spans = [(item.offset + step * item.hop, item.hop) for step in steps]
                yield Lane(f"{_name(classes, kind)} ({says})", spans, color)


def _name(classes: Sequence[str], kind: int) -> str:
    return classes[kind] if kind < len(classes) else f"class {kind}"


def _texts(item: Item) -> Iterator[str]:
    """Questions with their answers, and captions, each once."""
    questions = [item.text] if isinstance(item.text, str) else item.text or []
    answers = item.targets.get("answer") or []
    given = [answers] if isinstance(answers, str) else list(answers)
    for place, question in enumerate(questions):
        answer = given[place] if place < len(given) else ""
        yield f"{question} {answer}".strip()[:_LETTERS]
    captions = item.targets.get("caption") or []
    yield from (caption[:_LETTERS] for caption in dict.fromkeys(captions) if caption)
