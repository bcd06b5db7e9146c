# SPDX-License-Identifier: Apache-2.0
"""A contact sheet of scenes: pictures, masks, spectrogram, spans, captions and questions side by side."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.files import atomic
from avkit.scenes.picture import PALETTE
from avkit.scenes.questions import scene_questions
from avkit.scenes.targets import render
from avkit.scenes.world import BACKGROUNDS, COLOURS, PITCHES, RHYTHMS, SIZES, Scene, Thing

_STEPS = 10
_PIXELS = 96
#: Inches: width of the column of text, height of a scene.
_TEXT_WIDTH = 6.6
_HEIGHT = 5.2


def contact_sheet(scenes: Sequence[Scene], path: str | Path) -> Path:
    """Write a PNG with one block per scene.

    Per block: ten pictures; the same with sounding things bright and all things outlined; the spectrogram with the
    spans of every thing under it (visible: pale, sounding: dark); beside them captions of a few steps and a few
    questions.

    Args:
        scenes: One or more scenes; of long ones ten steps are shown, evenly spaced.
        path: File to write, ending in `.png`.

    Returns:
        The path.

    Raises:
        ValueError: If no scene is given.
    """
    if not scenes:
        raise ValueError("scenes=[]: a contact sheet shows one scene or more.")
    figure = Figure(figsize=(_STEPS * 1.25 + _TEXT_WIDTH, _HEIGHT * len(scenes)), facecolor="white")
    blocks = figure.subfigures(len(scenes), 1, squeeze=False)[:, 0]
    for block, scene in zip(blocks, scenes, strict=True):
        _draw_scene(block, scene)
    path = Path(path)
    with atomic(path) as part:
        figure.savefig(part, dpi=90, format="png")
    return path


def _draw_scene(block: SubFigure, scene: Scene) -> None:
    frames, sound, targets = render(scene, _PIXELS)
    steps = np.linspace(0, len(frames) - 1, _STEPS).round().astype(int)
    grid = block.add_gridspec(
        4, 2, width_ratios=(_STEPS * 1.25, _TEXT_WIDTH), height_ratios=(1.2, 1.2, 1.1, 0.24 * len(scene.things) + 0.2),
        left=0.05, right=0.99, top=0.92, bottom=0.08, hspace=0.1, wspace=0.03,
    )  # fmt: skip
    wall = f"{BACKGROUNDS[scene.background]} wall, noise at {scene.snr:.0f} dB"
    title = f"{scene.split} {scene.index}, {scene.duration:g} s, {wall}"
    block.suptitle(title, x=0.05, ha="left", fontsize=11, fontweight="bold")
    _draw_strip(block.add_subplot(grid[0, 0]), frames[steps], "visible")
    highlighted = [_highlight(frames[t], targets["mask"][t], targets["instance_mask"][t]) for t in steps]
    _draw_strip(block.add_subplot(grid[1, 0]), np.stack(highlighted), "sounding")
    axes = block.add_subplot(grid[2, 0])
    axes.imshow(
        _spectrogram(sound), origin="lower", aspect="auto", extent=(0, scene.duration, 0, 1), cmap=colormaps["magma"]
    )
    axes.set(xticks=[], yticks=[0, 1], yticklabels=["125", "7500 Hz"])
    _draw_spans(block.add_subplot(grid[3, 0]), scene)
    _draw_text(block.add_subplot(grid[:, 1]), scene, targets["caption"], steps)


def _draw_strip(axes: Axes, frames: NDArray[np.uint8], label: str) -> None:
    """Pictures (n, 3, H, W) side by side."""
    gap = np.full((*frames.shape[:3], 2), 255, np.uint8)
    row = np.concatenate([frames, gap], 3).transpose(2, 0, 3, 1)
    axes.imshow(row.reshape(row.shape[0], -1, 3), aspect="auto", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_ylabel(label, fontsize=9)
    _hide_frame(axes)


def _hide_frame(axes: Axes) -> None:
    for side in axes.spines.values():
        side.set_visible(False)


def _highlight(frame: NDArray[np.uint8], mask: NDArray[np.uint8], instance: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture (3, H, W) darkened outside the mask, with white outlines of all things."""
    edge = np.zeros(instance.shape, bool)
    for axis in (0, 1):
        edge |= instance != np.roll(instance, 1, axis)
    out = frame * np.where(mask, 1.0, 0.25)
    out[:, edge] = 255 if mask.any() else 150
    return out.astype(np.uint8)


def _spectrogram(sound: NDArray[np.float32], bands: int = 96) -> NDArray[np.float64]:
    """Decibels over time on a logarithmic frequency axis, (bands, windows)."""
    window = 1024
    starts = np.arange(0, len(sound) - window, 256)
    pieces = sound[starts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.abs(np.fft.rfft(pieces)) ** 2
    bins = np.geomspace(125, 7500, bands) / SAMPLE_RATE * window
    image: NDArray[np.float64] = 10 * np.log10(power[:, bins.astype(int)].T + 1e-4)
    return image


def _draw_spans(axes: Axes, scene: Scene) -> None:
    for row, thing in enumerate(scene.things):
        colour = PALETTE[thing.colour] / 255
        for start, end in thing.visible:
            axes.add_patch(
                Rectangle((start, row + 0.1), end - start, 0.8, facecolor=colour, edgecolor="0.5", alpha=0.35)
            )
        for start, end in thing.sounding:
            axes.add_patch(
                Rectangle((start, row + 0.32), end - start, 0.36, facecolor=colour, edgecolor="black", linewidth=1)
            )
    axes.set(xlim=(0, scene.duration), ylim=(len(scene.things), 0), xlabel="seconds")
    axes.set_yticks(np.arange(len(scene.things)) + 0.5, [t.name for t in scene.things], fontsize=8)
    axes.tick_params(labelsize=8)
    _hide_frame(axes)


def _describe(thing: Thing) -> str:
    role = "sounding" if thing.sounding else "silent"
    if not thing.visible:
        role = "off screen"
    looks = f"{SIZES[thing.size]} {COLOURS[thing.colour]} {thing.name}"
    return f"{looks}: {PITCHES[thing.pitch]}, {RHYTHMS[thing.rhythm]}, {role}"


def _draw_text(axes: Axes, scene: Scene, captions: list[str], steps: NDArray[np.int64]) -> None:
    axes.axis("off")
    lines = [_describe(thing) for thing in scene.things[:6]]
    lines.append("")
    for t in steps[[1, 5, 8]]:
        lines += textwrap.wrap(f"{t}: {captions[t]}", 64, subsequent_indent="   ")
    lines.append("")
    if scene.duration <= 10:
        questions = scene_questions(scene)
        for question in questions[:: max(1, len(questions) // 5)][:5]:
            lines.append(f"{question.text}?  {question.answer}")
    axes.text(0.02, 0.98, "\n".join(lines), va="top", family="monospace", fontsize=10, linespacing=1.4)
