# SPDX-License-Identifier: Apache-2.0
"""Draws the pictures of a scene, and in the same pass which thing every pixel shows."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from avkit.scenes.draws import Draws
from avkit.scenes.glyphs import coverage
from avkit.scenes.world import (
    BACKGROUNDS,
    BRIGHTNESS_SCALE,
    RADII,
    RADIUS_SCALE,
    Scene,
    Thing,
    Track,
    max_radius,
    track,
)

#: RGB of each of `world.COLOURS` at full brightness. None is so near to 0 or 255 that grain could overflow.
PALETTE = np.array(
    [
        (225, 45, 45), (245, 145, 30), (245, 228, 50), (55, 175, 60), (60, 215, 220),
        (50, 85, 225), (145, 60, 200), (248, 135, 195), (135, 85, 45), (245, 245, 245),
    ],
    np.float32,
)  # fmt: skip
#: Brightness of a glyph's dark rim and marks, relative to its face.
_SHADE = 0.3
#: Maximum of the noise on a pixel.
_GRAIN = 4
_GRAIN_PLANES = 16

_Index = tuple[NDArray[np.int64], slice, NDArray[np.int64], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Painting:
    """Pictures of a scene with the thing that each pixel shows.

    Attributes:
        frames: uint8 (T, 3, H, W), or None where only the targets are wanted.
        instance: uint8 (T, H, W), i + 1 where thing i is on top.
        sounding: uint8 (T, H, W), k + 1 where the thing on top is of class k and sounds.
        boxes: float32 (T, N, 4), x1 y1 x2 y2 in [0, 1] of the visible part of each thing, else NaN.
    """

    frames: NDArray[np.uint8] | None
    instance: NDArray[np.uint8]
    sounding: NDArray[np.uint8]
    boxes: NDArray[np.float32]


def render_frames(scene: Scene, size: int = 96, hop: float = 1.0) -> NDArray[np.uint8]:
    """One RGB picture at the middle of each step, uint8 (T, 3, size, size)."""
    frames = paint(scene, track(scene, hop), size).frames
    assert frames is not None
    return frames


def paint(scene: Scene, state: Track, size: int = 96, *, pictures: bool = True) -> Painting:
    """Draw all things in order, each at all its steps at once.

    Args:
        scene: What to draw.
        state: Its state at T steps, see `track`.
        size: Height and width in pixels.
        pictures: False if only masks and boxes are needed.

    Raises:
        ValueError: If the size is below 24 pixels, where glyphs can no longer be told apart.
    """
    if size < 24:
        raise ValueError(f"size={size} pixels is too small to tell the things apart. Take 24 or more; 96 is usual.")
    steps = state.visible.shape[1]
    frames = _backdrop(scene, steps, size) if pictures else None
    labels = np.zeros((steps, 2, size, size), np.uint8)
    patches = {}
    for i, thing in enumerate(scene.things):
        if state.visible[i].any():
            patches[i] = _Patch(thing, state, i, size)
    for i, patch in patches.items():
        patch.label(labels, i + 1, state.sounding[i])
        if frames is not None:
            patch.draw(frames)
    if frames is not None:
        planes = (scene.texture + 5 * np.arange(steps)) % _GRAIN_PLANES
        frames += _grain(size)[planes, None]
    boxes = np.full((steps, len(scene.things), 4), np.nan, np.float32)
    for i, patch in patches.items():
        boxes[patch.steps, i] = patch.boxes(labels, i + 1)
    return Painting(frames, labels[:, 0], labels[:, 1], boxes)


class _Patch:
    """The square around one thing at each of the n steps in which it is visible."""

    def __init__(self, thing: Thing, state: Track, i: int, size: int) -> None:
        self.thing = thing
        self.size = size
        self.steps = np.flatnonzero(state.visible[i])
        self.side = min(size, int(2 * max_radius(thing.size) * size) + 3)
        loudness = state.loudness[i, self.steps]
        centre = state.centre[i, self.steps] * size
        self.corner = np.clip(np.floor(centre - self.side / 2 + 0.5).astype(np.int64), 0, size - self.side)
        brightness = BRIGHTNESS_SCALE[0] + BRIGHTNESS_SCALE[1] * loudness
        self.brightness = brightness.astype(np.float32)[:, None, None]
        scale = RADIUS_SCALE[0] + RADIUS_SCALE[1] * loudness
        radius = (scale * (RADII[thing.size] * size)).astype(np.float32)[:, None]
        pixels = np.arange(self.side) + 0.5
        offset = (pixels - (centre - self.corner)[:, :, None]).astype(np.float32) / radius[:, None]
        x = offset[:, 0, None, :]
        y = offset[:, 1, :, None]
        self.cover, self.dark = coverage(thing.kind, x, y, radius[:, None])

    def window(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], _Index]:
        """All squares of images (T, C, H, W) as a view, and the index of those of this thing, (n, C, side, side)."""
        steps, channels, height, width = images.shape
        shape = (steps, channels, height - self.side + 1, width - self.side + 1, self.side, self.side)
        squares = as_strided(images, shape, images.strides + images.strides[2:])
        return squares, (self.steps, slice(None), self.corner[:, 1], self.corner[:, 0])

    def label(self, labels: NDArray[np.uint8], label: int, sounding: NDArray[np.bool_]) -> None:
        """Write the label, and the class where it sounds, on the pixels of which half or more is covered."""
        squares, at = self.window(labels)
        codes = np.empty((len(self.steps), 2, 1, 1), np.uint8)
        codes[:, 0] = label
        codes[:, 1, 0, 0] = sounding[self.steps] * (self.thing.kind + 1)
        squares[at] = np.where(self.cover[:, None] >= 0.5, codes, squares[at])

    def draw(self, frames: NDArray[np.uint8]) -> None:
        """Blend the thing over what is drawn so far."""
        squares, at = self.window(frames)
        shade = self.cover * self.brightness * (1 - (1 - _SHADE) * self.dark)
        picture = squares[at].astype(np.float32)
        picture *= (1 - self.cover)[:, None]
        picture += shade[:, None] * PALETTE[self.thing.colour][:, None, None]
        picture += np.float32(0.5)
        squares[at] = picture.astype(np.uint8)

    def boxes(self, labels: NDArray[np.uint8], label: int) -> NDArray[np.float32]:
        """Box around the pixels of the label, (n, 4), NaN where there is none."""
        squares, at = self.window(labels[:, :1])
        own = squares[at][:, 0] == label
        columns = own.any(1)
        rows = own.any(2)
        low = np.stack([columns.argmax(1), rows.argmax(1)], 1)
        high = self.side - np.stack([columns[:, ::-1].argmax(1), rows[:, ::-1].argmax(1)], 1)
        corners = np.concatenate([self.corner + low, self.corner + high], 1) / self.size
        corners[~columns.any(1)] = np.nan
        return corners.astype(np.float32)


def _backdrop(scene: Scene, steps: int, size: int) -> NDArray[np.uint8]:
    texture = _texture(scene.background, size)
    room = len(texture) - size
    top = scene.texture % room
    left = scene.texture // room % room
    crop = texture[top : top + size, left : left + size]
    dark, light = np.array(scene.tints, np.float32)[:, :, None, None]
    picture = (dark + (light - dark) * crop).astype(np.uint8)
    frames = np.empty((steps, 3, size, size), np.uint8)
    frames[:] = picture
    return frames


@cache
def _texture(background: int, size: int) -> NDArray[np.float32]:
    """A texture in [0, 1], half as large again as the picture so that crops differ; the same pattern at every size."""
    side = size + size // 2
    x = np.arange(side) / size
    y = x[:, None]
    kind = BACKGROUNDS[background]
    values: NDArray[Any]
    if kind == "plain":
        values = 0 * (x + y) + 0.5
    elif kind == "striped":
        values = (x + 0.5 * y) * 8 % 1 < 0.5
    elif kind == "checked":
        values = (x * 6 % 1 < 0.5) ^ (y * 6 % 1 < 0.5)
    elif kind == "dotted":
        values = (x * 7 % 1 - 0.5) ** 2 + (y * 7 % 1 - 0.5) ** 2 < 0.08
    elif kind == "cloudy":
        values = _clouds(Draws(background), x, y)
    else:
        values = np.random.Generator(np.random.PCG64(background)).random((side, side))
    # 256 levels: a last-bit difference of a sine on another machine does not survive
    return (np.floor(np.clip(values, 0, 1) * 255 + 0.5) / 255).astype(np.float32)


def _clouds(draws: Draws, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[Any]:
    """The sum of eight waves of random direction and length, around 0.5."""
    waves = []
    for _ in range(8):
        horizontal = draws.uniform(-14, 14)
        vertical = draws.uniform(-14, 14)
        waves.append(np.sin(horizontal * x + vertical * y + draws.uniform(0, 6)))
    return np.asarray(0.5 + np.sum(waves, 0) / 10)


@cache
def _grain(size: int) -> NDArray[np.uint8]:
    """Noise of -4 to 4 per pixel, (planes, size, size); negative values wrap, as does the sum with a picture."""
    values = np.random.Generator(np.random.PCG64(size)).random((_GRAIN_PLANES, size, size))
    return (np.floor(values * (2 * _GRAIN + 1)) - _GRAIN).astype(np.int8).view(np.uint8)
