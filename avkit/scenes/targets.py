# SPDX-License-Identifier: Apache-2.0
"""Targets of a scene by the field names of `avkit.fields.FIELDS`; they are exact, since they come from its record."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import unknown_name
from avkit.scenes.captioning import scene_captions, source_captions
from avkit.scenes.picture import Painting, paint
from avkit.scenes.sound import render_sound
from avkit.scenes.world import CLASSES, Scene, Track, overlap, track

#: Minimum number of rows of `boxes`, so that ten-second scenes of one to four things have equal shapes.
BOXES = 4
#: Fields that are computed from painted pixels.
PIXEL_FIELDS = frozenset({"mask", "class_mask", "instance_mask", "boxes", "source", "source_mask"})


def scene_targets(
    scene: Scene, size: int = 96, hop: float = 1.0, fields: Collection[str] | None = None
) -> dict[str, Any]:
    """Targets of a scene, for pictures of `size` pixels and steps of `hop` seconds.

    Args:
        scene: Any scene.
        size: Height and width in pixels.
        hop: Seconds per step.
        fields: Names wanted; None for all but those of a question.

    Raises:
        ValueError: If a field is unknown.
    """
    state = track(scene, hop)
    names = _names(fields)
    painting = None
    if not PIXEL_FIELDS.isdisjoint(names):
        painting = paint(scene, state, size, pictures=False)
    return _make_targets(_Rendering(scene, hop, state, painting), names)


def render(
    scene: Scene, size: int = 96, hop: float = 1.0, fields: Collection[str] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, Any]]:
    """Pictures (T, 3, size, size), sound (samples,) and targets of a scene in one pass."""
    state = track(scene, hop)
    painting = paint(scene, state, size)
    assert painting.frames is not None
    targets = _make_targets(_Rendering(scene, hop, state, painting), _names(fields))
    return painting.frames, render_sound(scene), targets


@dataclass(frozen=True, slots=True)
class _Rendering:
    """A scene with what targets are computed from; there is no painting if no field of `PIXEL_FIELDS` is wanted."""

    scene: Scene
    hop: float
    state: Track
    painting: Painting | None

    @property
    def pixels(self) -> Painting:
        assert self.painting is not None, "a field of `PIXEL_FIELDS` needs a painting"
        return self.painting


def _names(fields: Collection[str] | None) -> Collection[str]:
    return TARGET_FIELDS if fields is None else fields


def _make_targets(rendering: _Rendering, fields: Collection[str]) -> dict[str, Any]:
    for name in fields:
        if name not in TARGET_FIELDS:
            raise unknown_name("field of a scene", name, TARGET_FIELDS)
    return {name: TARGET_FIELDS[name](rendering) for name in fields}


def scene_events(scene: Scene) -> list[tuple[float, float, int]]:
    """Spans in which a thing is both visible and sounding: start and end in seconds, and class, in order of time."""
    events = []
    for thing in scene.things:
        for start, end in overlap(thing.visible, thing.sounding):
            events.append((start, end, thing.kind))
    return sorted(events)


def box_maps(boxes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """Union of the boxes of each step: float32 (T, size, size) of 0 and 1.

    Args:
        boxes: x1 y1 x2 y2 in [0, 1], (T, N, 4); a pixel is covered if its centre is. NaN covers nothing.
        size: Height and width in pixels.
    """
    middles = (np.arange(size) + 0.5) / size
    low = boxes[..., None, :2]
    high = boxes[..., None, 2:]
    inside = (middles[:, None] >= low) & (middles[:, None] < high)  # (T, N, size, 2)
    return np.asarray((inside[..., None, :, 0] & inside[..., :, None, 1]).any(1), np.float32)


def _mask(rendering: _Rendering) -> NDArray[np.uint8]:
    return (rendering.pixels.sounding > 0).view(np.uint8)


def _mask_known(rendering: _Rendering) -> NDArray[np.bool_]:
    return np.ones(rendering.state.visible.shape[1], bool)


def _class_mask(rendering: _Rendering) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rendering.pixels.sounding)


def _instance_mask(rendering: _Rendering) -> NDArray[np.uint8]:
    return np.ascontiguousarray(rendering.pixels.instance)


def _boxes(rendering: _Rendering) -> NDArray[np.float32]:
    boxes = rendering.pixels.boxes
    missing = max(0, BOXES - boxes.shape[1])
    return np.pad(boxes, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)


def _source(rendering: _Rendering) -> NDArray[np.float32]:
    painting = rendering.pixels
    sounding = rendering.state.sounding.T[..., None]
    return box_maps(np.where(sounding, painting.boxes, np.nan), painting.instance.shape[-1])


def _captions(rendering: _Rendering) -> list[str]:
    return scene_captions(rendering.scene, rendering.hop, rendering.state)


def _source_mask(rendering: _Rendering) -> NDArray[np.uint8]:
    painting = rendering.pixels
    own = painting.instance[:, None] == (rendering.state.sources + 1)[:, None, None]  # (T, K, H, W)
    return (own & (painting.sounding > 0)[:, None]).view(np.uint8)


def _source_known(rendering: _Rendering) -> NDArray[np.bool_]:
    return np.ones((rendering.state.visible.shape[1], len(rendering.state.sources)), bool)


def _source_captions(rendering: _Rendering) -> list[list[str]]:
    return source_captions(rendering.scene, rendering.hop, rendering.state)


def _audio_segments(rendering: _Rendering) -> NDArray[np.uint8]:
    return _segments(rendering.scene, rendering.state.sounding)


def _visual_segments(rendering: _Rendering) -> NDArray[np.uint8]:
    return _segments(rendering.scene, rendering.state.visible)


def _segments(scene: Scene, state: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Classes at each step, (T, K), from things at each step, (N, T)."""
    labels = np.zeros((state.shape[1], len(CLASSES)), np.uint8)
    for thing, steps in zip(scene.things, state, strict=True):
        labels[:, thing.kind] |= steps.view(np.uint8)
    return labels


def _video_labels(rendering: _Rendering) -> NDArray[np.uint8]:
    labels = np.zeros(len(CLASSES), np.uint8)
    for thing in rendering.scene.things:
        if thing.visible or thing.sounding:
            labels[thing.kind] = 1
    return labels


def _events(rendering: _Rendering) -> NDArray[np.float32]:
    return np.array(scene_events(rendering.scene), np.float32).reshape(-1, 3)


#: How each field is computed.
TARGET_FIELDS: dict[str, Callable[[_Rendering], Any]] = {
    "mask": _mask,
    "mask_known": _mask_known,
    "class_mask": _class_mask,
    "instance_mask": _instance_mask,
    "boxes": _boxes,
    "source": _source,
    "caption": _captions,
    "source_mask": _source_mask,
    "source_known": _source_known,
    "source_caption": _source_captions,
    "audio_segments": _audio_segments,
    "visual_segments": _visual_segments,
    "video_labels": _video_labels,
    "events": _events,
}
