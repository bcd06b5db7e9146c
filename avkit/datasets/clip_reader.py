# SPDX-License-Identifier: Apache-2.0
"""Inputs of a clip: stored features where there are any, pictures and sound where there are none."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from avkit.datasets.annotations import Annotation
from avkit.datasets.grid import Grid
from avkit.datasets.inputs import ClipInputs, ReadOptions
from avkit.datasets.media_reader import MediaReader
from avkit.features.base import Array, Features
from avkit.features.combined import average_rows

#: Rows that features may have beyond their clip's steps: windows of a clip that is longer than it is taken to be.
_EXTRA_ROWS = 2


class ClipReader:
    """Reads clips from stored features and media files, each part of a clip from where it is.

    Args:
        options: How clips are read.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.media = MediaReader(options)

    def key(self, annotation: Annotation) -> tuple[object, ...]:
        """What the inputs of a clip depend on; clips of one key have the same inputs."""
        names = []
        for features in (self.options.visual, self.options.audio):
            if features is not None:
                names.append(feature_name(features, annotation))
        return (
            annotation.media,
            *names,
            annotation.video,
            annotation.picture,
            str(annotation.frames),
            annotation.audio,
            annotation.start,
            annotation.end,
        )

    def read(self, annotation: Annotation) -> ClipInputs:
        """Read a clip, of at most `max_steps` steps.

        Raises:
            MediaError: If a media file cannot be read.
            DataError: If features or a file do not fit the clip.
        """
        inputs = self._read_whole(annotation)
        max_steps = self.options.max_steps
        return inputs if max_steps is None else inputs.first_steps(max_steps)

    def _read_whole(self, annotation: Annotation) -> ClipInputs:
        visual = _read_features(self.options.visual, annotation)
        audio = _read_features(self.options.audio, annotation)
        if visual is None and audio is None:
            return self.media.read(annotation, None, frames=True, audio=True)
        grid = self._feature_grid(annotation, [rows for rows in (visual, audio) if rows is not None])
        if visual is not None:
            visual = fit_rows(visual, grid.steps, annotation)
        if audio is not None:
            audio = fit_rows(audio, grid.steps, annotation)
        inputs = ClipInputs(grid)
        if visual is None or audio is None:
            inputs = self.media.read(annotation, grid, frames=visual is None, audio=audio is None)
            inputs.grid = replace(grid, size=inputs.grid.size)
        if visual is not None:
            inputs.visual = _as_patches(visual)
        if audio is not None:
            inputs.audio = torch.from_numpy(audio)
        return inputs

    def _feature_grid(self, annotation: Annotation, arrays: list[Array]) -> Grid:
        """Steps of stored features: the number that the dataset fixes, or else as many as there are rows."""
        steps = self.options.steps_of(annotation)
        hop = self.options.hop
        if steps is not None:
            return Grid(steps, hop, steps * hop)
        features = self.options.audio if self.options.visual is None else self.options.visual
        assert features is not None
        offset = 0.0
        if features.facts.hop:
            hop = features.facts.hop
            offset = features.facts.offset
        steps = min(len(rows) for rows in arrays)
        duration = steps * hop + offset if annotation.duration is None else annotation.duration
        return Grid(steps, hop, float(duration), offset)


def feature_name(features: Features, annotation: Annotation) -> str:
    """The name of a clip's features: its id where they have that (files with a row per annotation), else its media."""
    return annotation.id if annotation.id in features.names else annotation.media


def _read_features(features: Features | None, annotation: Annotation) -> Array | None:
    """Features of a clip; None where pictures or sound are read instead."""
    return None if features is None else features.read(feature_name(features, annotation))


def fit_rows(rows: Array, steps: int, annotation: Annotation) -> Array:
    """Features with one row per step.

    Args:
        rows: Features, (R, ...). Where R is a multiple of `steps`, groups of rows are averaged; one or two rows more
            than steps are cut off.
        steps: Number of steps T.
        annotation: The clip, for messages.

    Returns:
        Features, (T, ...).

    Raises:
        DataError: If the number of rows fits neither way.
    """
    count = len(rows)
    if count % steps == 0:
        return average_rows(rows, steps)
    if steps < count <= steps + _EXTRA_ROWS:
        return rows[:steps]
    raise annotation.error("", f"its features have {count} rows where {steps} steps need one row or several each.")


def _as_patches(rows: Array) -> Tensor:
    """Visual features as (T, P, D), from vectors (T, D), patches (T, P, D), or maps with channels first or last."""
    if rows.ndim == 2:
        rows = rows[:, None]
    elif rows.ndim == 4 and rows.shape[2] == rows.shape[3]:
        rows = rows.reshape(*rows.shape[:2], -1).transpose(0, 2, 1)
    elif rows.ndim == 4:
        rows = rows.reshape(len(rows), -1, rows.shape[-1])
    return torch.from_numpy(np.ascontiguousarray(rows))
