# SPDX-License-Identifier: Apache-2.0
"""Stored features of the built-in scenes, as `avkit extract scenes` makes them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avkit.datasets.clip_reader import as_patches
from avkit.datasets.released import open_named
from avkit.datasets.scene_names import KINDS, scene_name
from avkit.errors import DataError
from avkit.features.base import Array, Features
from avkit.features.combined import average_rows, rows_per_step

_COMMAND = "avkit extract scenes --recipe scenes --out FOLDER"


@dataclass(frozen=True)
class SceneFeatures:
    """Stored features that are read in place of the pictures or the sound of scenes.

    Attributes:
        visual: In place of pictures, or None.
        audio: In place of sound, or None.
        hop: Seconds per step of the scenes.
    """

    visual: Features | None
    audio: Features | None
    hop: float

    def __post_init__(self) -> None:
        for features in self.parts:
            hop = features.facts.hop
            if hop != self.hop and rows_per_step(features.facts, self.hop) == 1:
                raise DataError(
                    f"{features.path} has a row every {hop:g} s; scenes have steps of {self.hop:g} s, so rows are that "
                    f"far apart or a whole part of it. Make others with '{_COMMAND}'."
                )

    @property
    def parts(self) -> list[Features]:
        """Those that there are."""
        return [features for features in (self.visual, self.audio) if features is not None]

    def kind(self, split: str) -> str:
        """The first kind of scenes of which they hold a clip of a split; the usual kind where they hold none."""
        for kind in KINDS:
            if all(scene_name(split, 0, kind) in features.names for features in self.parts):
                return kind
        return KINDS[0]

    def check_holds(self, split: str, size: int, kinds: Iterable[str]) -> None:
        """Refuse splits of which clips are missing.

        Args:
            split: Name of the split.
            size: Number of its clips.
            kinds: Kinds of scenes; those of which no clip is stored are passed over, unless it is so of all.

        Raises:
            DataError: Naming the file, the number of clips that it has, and the option that asks for as many.
        """
        for features in self.parts:
            counts = {kind: _count(features, split, kind) for kind in kinds}
            stored = {kind: count for kind, count in counts.items() if count}
            fewest = min(stored.values(), default=0)
            if fewest >= size:
                continue
            if not stored:
                raise DataError(f"{features.path} has no scenes of split {split!r}. Make them with '{_COMMAND}'.")
            raise DataError(
                f"{features.path} has features of {fewest} scenes of split {split!r}, and the run asks for {size}. Say "
                f"--data.scenes.{split}_size {fewest}, or make more with '{_COMMAND} --{split} {size}'."
            )

    def read(self, features: Features, name: str, steps: int) -> Array:
        """Features of a scene with one row per step, (T, ...).

        Raises:
            DataError: If the scene is not stored, or has another number of rows.
        """
        if name not in features.names:
            raise DataError(
                f"{features.path} has no features of scene {name!r}. Make those that a task reads with "
                f"'{_COMMAND} --tasks TASK'."
            )
        rows = average_rows(features.read(name), steps, rows_per_step(features.facts, self.hop))
        if len(rows) != steps:
            raise DataError(f"{features.path}: scene {name!r} has {len(rows)} rows, and it lasts {steps} steps.")
        return rows

    def read_visual(self, name: str, steps: int) -> Tensor | None:
        """Features of pictures, (T, P, D); None where there are none."""
        return None if self.visual is None else as_patches(self.read(self.visual, name, steps))

    def read_audio(self, name: str, steps: int) -> Tensor | None:
        """Features of sound, (T, D); None where there are none."""
        if self.audio is None:
            return None
        return torch.from_numpy(np.ascontiguousarray(self.read(self.audio, name, steps)))


def open_scene_features(
    visual: str | Features | None, audio: str | Features | None, root: Path | None, hop: float
) -> SceneFeatures | None:
    """The stored features that a run names, by paths from here or from `root`; None where it names none.

    Raises:
        DataError: If there is nothing at a path.
    """
    if visual is None and audio is None:
        return None
    opened: list[Features | None] = []
    for named in (visual, audio):
        if isinstance(named, str):
            try:
                opened.append(open_named(named, root or Path()))
            except ValueError as error:
                raise DataError(f"{error} '{_COMMAND}' makes such stores of scenes.") from error
        else:
            opened.append(named)
    return SceneFeatures(opened[0], opened[1], hop)


def _count(features: Features, split: str, kind: str) -> int:
    """Number of successive scenes of a kind, from the first, that are stored."""
    count = 0
    while scene_name(split, count, kind) in features.names:
        count += 1
    return count
