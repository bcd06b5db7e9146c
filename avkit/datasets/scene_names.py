# SPDX-License-Identifier: Apache-2.0
"""Names of the built-in scenes, under which features of them are stored, and the kinds of scenes that tasks ask for."""

import re
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotation_fields import FIELDS_BY_KEY
from avkit.scenes import SPLITS, Question, Scene, render_frames, render_sound, sample_question, sample_scene

#: Targets of a question about a scene; all answers are possible, so there are no `choices`.
QUESTION_FIELDS = FIELDS_BY_KEY["questions"]
#: Kinds of scenes: the usual mixture, those of question answering, long ones, and close-ups of two things.
KINDS = ("trimmed", "question", "untrimmed", "close")
_NAME = re.compile(rf"scenes-({'|'.join(SPLITS)})-(\d{{6,}})(?:-({'|'.join(KINDS[1:])}))?")


def kind_for(fields: Collection[str]) -> str:
    """The kind of scene that suits the targets asked for."""
    if not QUESTION_FIELDS.isdisjoint(fields):
        return "question"
    if set(fields) == {"events"}:
        return "untrimmed"
    if set(fields) == {"source"}:
        return "close"
    return "trimmed"


def draw_scene(kind: str, split: str, index: int, seed: int = 0) -> tuple[Scene, Question | None]:
    """A scene of a kind, and its question if it is one of question answering."""
    if kind == "question":
        return sample_question(index, split, seed)
    return sample_scene(index, split, seed, untrimmed=kind == "untrimmed", close=kind == "close"), None


def scene_name(split: str, index: int, kind: str = "trimmed") -> str:
    """Name of a scene of seed 0."""
    ending = "" if kind == "trimmed" else f"-{kind}"
    return f"scenes-{split}-{index:06d}{ending}"


def scene_named(name: str) -> Scene:
    """The scene of seed 0 that has a name.

    Raises:
        ValueError: If no scene has this name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ValueError(
            f"{name!r} is no name of a scene, which is such as 'scenes-train-000000' or 'scenes-val-000007-close'."
        )
    split, index, kind = match.groups()
    return draw_scene(kind or "trimmed", split, int(index))[0]


def pictures_named(name: str, size: int, hop: float) -> NDArray[np.uint8]:
    """Pictures of the scene of a name in the middle of each step of `hop` seconds, (T, 3, size, size)."""
    return render_frames(scene_named(name), size, hop)


def sound_named(name: str) -> NDArray[np.float32]:
    """Sound of the scene of a name, (samples,), 16 kHz."""
    return render_sound(scene_named(name))
