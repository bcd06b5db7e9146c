# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a scene by field name of `avkit.fields.FIELDS`, computed and never estimated."""

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import unknown_name
from avkit.scenes.captioning import scene_captions
from avkit.scenes.picture import Painting, paint
from avkit.scenes.sound import render_sound
from avkit.scenes.world import CLASSES, Scene, Track, overlap, track

#: Fewest rows of `boxes`, so that ten-second scenes of one to four things have equal shapes.
BOXES = 4


def scene_targets(
    scene: Scene, size: int = 96, hop: float = 1.0, fields: Collection[str] | None = None
) -> dict[str, Any]:
    """What is true of a scene, for pictures of `size` pixels and steps of `hop` seconds.

    Args:
        scene: Any scene.
        size: Pixels of a side.
        hop: Seconds per step.
        fields: Names wanted; None for all but those of a question.

    Raises:
        ValueError: If a field is unknown.
    """
    state = track(scene, hop)
    wanted = list(TARGET_FIELDS) if fields is None else list(fields)
    painting = paint(scene, state, size, pictures=False) if PIXEL_FIELDS & set(wanted) else None
    return describe(scene, hop, state, painting, wanted)


def render(
    scene: Scene, size: int = 96, hop: float = 1.0, fields: Collection[str] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, Any]]:
    """Pictures (T, 3, size, size), sound (samples,) and truth of a scene in one pass."""
    state = track(scene, hop)
    painting = paint(scene, state, size)
    assert painting.frames is not None
    return (
        painting.frames,
        render_sound(scene),
        describe(scene, hop, state, painting, TARGET_FIELDS if fields is None else fields),
    )


def describe(
    scene: Scene, hop: float, state: Track, painting: Painting | None, fields: Collection[str]
) -> dict[str, Any]:
    """The fields wanted, from what is already known; `painting` may be None if no field has pixels."""
    for name in fields:
        if name not in TARGET_FIELDS:
            raise unknown_name("field of a scene", name, TARGET_FIELDS)
    return {name: TARGET_FIELDS[name](scene, hop, state, painting) for name in fields}


def _mask(painting: Painting | None) -> NDArray[np.uint8]:
    return (_painted(painting).sounding > 0).view(np.uint8)


def _painted(painting: Painting | None) -> Painting:
    assert painting is not None, "a field with pixels needs the painting"
    return painting


def _boxes(painting: Painting | None) -> NDArray[np.float32]:
    boxes = _painted(painting).boxes
    missing = max(0, BOXES - boxes.shape[1])
    return np.pad(boxes, ((0, 0), (0, missing), (0, 0)), constant_values=np.nan)


def box_maps(boxes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """What boxes (T, N, 4), x1 y1 x2 y2 in [0, 1], cover: float32 (T, size, size) of 0 and 1; NaN covers nothing."""
    middles = (np.arange(size) + 0.5) / size
    low, high = boxes[..., None, :2], boxes[..., None, 2:]
    inside = (middles[:, None] >= low) & (middles[:, None] < high)  # (T, N, size, 2)
    return np.asarray((inside[..., None, :, 0] & inside[..., :, None, 1]).any(1), np.float32)


def _segments(scene: Scene, state: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Classes at each step, (T, K), from things at each step, (N, T)."""
    out = np.zeros((state.shape[1], len(CLASSES)), np.uint8)
    for thing, steps in zip(scene.things, state, strict=True):
        out[:, thing.kind] |= steps.view(np.uint8)
    return out


def _video_labels(scene: Scene) -> NDArray[np.uint8]:
    out = np.zeros(len(CLASSES), np.uint8)
    out[[t.kind for t in scene.things if t.visible or t.sounding]] = 1
    return out


def _events(scene: Scene) -> NDArray[np.float32]:
    rows = sorted((*span, t.kind) for t in scene.things for span in overlap(t.visible, t.sounding))
    return np.array(rows, np.float32).reshape(-1, 3)


#: How each field is made.
TARGET_FIELDS: dict[str, Callable[[Scene, float, Track, Painting | None], Any]] = {
    "mask": lambda scene, hop, state, painting: _mask(painting),
    "mask_known": lambda scene, hop, state, painting: np.ones(state.visible.shape[1], bool),
    "class_mask": lambda scene, hop, state, painting: np.ascontiguousarray(_painted(painting).sounding),
    "instance_mask": lambda scene, hop, state, painting: np.ascontiguousarray(_painted(painting).instance),
    "boxes": lambda scene, hop, state, painting: _boxes(painting),
    "source": lambda scene, hop, state, painting: box_maps(
        np.where(state.sounding.T[..., None], _painted(painting).boxes, np.nan), _painted(painting).instance.shape[-1]
    ),
    "caption": lambda scene, hop, state, painting: scene_captions(scene, hop, state),
    "audio_segments": lambda scene, hop, state, painting: _segments(scene, state.sounding),
    "visual_segments": lambda scene, hop, state, painting: _segments(scene, state.visible),
    "video_labels": lambda scene, hop, state, painting: _video_labels(scene),
    "events": lambda scene, hop, state, painting: _events(scene),
}
#: Fields that need the pixels' owners.
PIXEL_FIELDS = frozenset({"mask", "class_mask", "instance_mask", "boxes", "source"})
