# SPDX-License-Identifier: Apache-2.0
"""Inputs of a clip: stored features where there are any, pictures and sound where there are none."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avkit.datasets.annotations import Annotation
from avkit.datasets.grid import Grid
from avkit.datasets.inputs import ClipInputs, ReadOptions
from avkit.datasets.media_reader import MediaReader
from avkit.errors import DataError
from avkit.features.base import Array, FeatureFacts, Features
from avkit.features.combined import average_rows, rows_per_step
from avkit.features.sidecar import sidecar_path
from avkit.media.decode import probe

#: Rows that features may have beyond their clip's steps: windows of a clip that is longer than it is taken to be.
_EXTRA_ROWS = 2
#: Share of its clip's length, and number of rows, by which features may be longer or shorter before their hop is wrong.
_LENGTH_SHARE = 0.2
_LENGTH_ROWS = 3


@dataclass(frozen=True)
class _Stream:
    """Stored features of one clip in one modality.

    Attributes:
        features: Where they are from.
        facts: How they were made; hop 0 if that is not known.
        rows: Features, (R, ...).
    """

    features: Features
    facts: FeatureFacts
    rows: Array

    @property
    def seconds(self) -> float:
        """Length by number of rows and hop."""
        return self.facts.seconds(len(self.rows))

    def steps(self, hop: float) -> int:
        """Number of whole steps of `hop` seconds that it has rows for, at least one."""
        return max(1, len(self.rows) // rows_per_step(self.facts, hop))

    def fit(self, grid: Grid, annotation: Annotation) -> Array:
        """Features with one row per step of a grid."""
        return fit_rows(self.rows, grid.steps, annotation, rows_per_step(self.facts, grid.hop))

    def __str__(self) -> str:
        return f"{self.features.path}: {len(self.rows)} rows of hop {self.facts.hop:g} s last {self.seconds:.2f} s"


class ClipReader:
    """Reads clips from stored features and media files, each part of a clip from where it is.

    Args:
        options: How clips are read.
    """

    def __init__(self, options: ReadOptions) -> None:
        self.options = options
        self.media = MediaReader(options)
        self._durations: dict[tuple[Path, float | None, float | None], float] = {}

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
        visual_stream = self._read_stream(self.options.visual, annotation)
        audio_stream = self._read_stream(self.options.audio, annotation)
        streams = [stream for stream in (visual_stream, audio_stream) if stream is not None]
        if not streams:
            return self.media.read(annotation, None, frames=True, audio=True)
        grid = self._feature_grid(annotation, streams)
        visual = None if visual_stream is None else visual_stream.fit(grid, annotation)
        audio = None if audio_stream is None else audio_stream.fit(grid, annotation)
        inputs = ClipInputs(grid)
        if visual is None or audio is None:
            inputs = self.media.read(annotation, grid, frames=visual is None, audio=audio is None)
            inputs.grid = replace(grid, size=inputs.grid.size)
        if visual is not None:
            inputs.visual = as_patches(visual)
        if audio is not None:
            inputs.audio = torch.from_numpy(audio)
        return inputs

    def _read_stream(self, features: Features | None, annotation: Annotation) -> _Stream | None:
        """Features of a clip; None where pictures or sound are read instead."""
        if features is None:
            return None
        rows = features.read(feature_name(features, annotation))
        return _Stream(features, stream_facts(features, self.options), rows)

    def _feature_grid(self, annotation: Annotation, streams: list[_Stream]) -> Grid:
        """Steps of stored features: the number that the dataset fixes, or else as many as there are rows.

        Raises:
            DataError: If rows and hop of a stream contradict the length of the clip, or that of the other stream.
        """
        steps = self.options.steps_of(annotation)
        hop = self.options.hop
        if steps is not None:
            _check_lengths(annotation, streams, steps * hop)
            return Grid(steps, hop, steps * hop)
        for stream in streams:
            require_hop(stream.features, self.options)
        duration = self.clip_duration(annotation)
        _check_lengths(annotation, streams, duration)
        slowest = max(streams, key=lambda stream: stream.facts.hop).facts
        steps = min(stream.steps(slowest.hop) for stream in streams)
        if duration is None:
            duration = steps * slowest.hop + slowest.offset
        return Grid(steps, slowest.hop, float(duration), slowest.offset)

    def clip_duration(self, annotation: Annotation) -> float | None:
        """Length of a clip in seconds by its annotation, or else by its media; None where neither is there."""
        if annotation.duration is not None:
            return annotation.duration
        if annotation.start is not None and annotation.end is not None:
            return annotation.end - annotation.start
        name = annotation.video or annotation.audio
        if name is None:
            return None
        key = (annotation.root / name, annotation.start, annotation.end)
        if key not in self._durations:
            length = probe(key[0]).duration if annotation.end is None else annotation.end
            self._durations[key] = length - (annotation.start or 0)
        return self._durations[key]


def feature_name(features: Features, annotation: Annotation) -> str:
    """The name of a clip's features: its id where they have that (files with a row per annotation), else its media."""
    return annotation.id if annotation.id in features.names else annotation.media


def stream_facts(features: Features, options: ReadOptions) -> FeatureFacts:
    """How features were made; where they do not say their hop, it is that of the options.

    Raises:
        DataError: If the hop of the options is another than that of the features.
    """
    facts = features.facts
    if not facts.hop:
        return replace(facts, hop=options.feature_hop or 0.0)
    if options.feature_hop is not None and abs(facts.hop - options.feature_hop) > 1e-6:
        raise DataError(
            f"{features.path} has a hop of {facts.hop:g} s, and --data.hop (hop in Python) says "
            f"{options.feature_hop:g} s. Leave the option out, and write the hop of features that do not say theirs "
            "beside them, into features.json."
        )
    return facts


def require_hop(features: Features, options: ReadOptions) -> None:
    """Refuse features of which nobody says how many seconds lie between two rows.

    Raises:
        DataError: If neither the features nor the options say it.
    """
    if not stream_facts(features, options).hop:
        raise DataError(
            f"{features.path} does not say how many seconds lie between two rows of its features. Say it with "
            "--data.hop SECONDS (--hop of avkit check, hop in Python), or write it, and the seconds that a row covers, "
            f'into {sidecar_path(features.path)}: {{"hop": 0.32, "window": 0.96}}.'
        )


def _check_lengths(annotation: Annotation, streams: list[_Stream], duration: float | None) -> None:
    """Refuse features whose rows and hop contradict the length of their clip, or each other."""
    timed = [stream for stream in streams if stream.facts.hop]
    for stream in timed:
        if duration is not None and not _is_near(stream, duration):
            raise annotation.error(
                "", f"{stream}; its clip lasts {duration:.2f} s. Give the hop that they were made with."
            )
    for stream in timed[1:]:
        if not _is_near(stream, timed[0].seconds):
            raise annotation.error("", f"{timed[0]}; {stream}. Give the hops that they were made with.")


def _is_near(stream: _Stream, duration: float) -> bool:
    tolerance = max(_LENGTH_ROWS * stream.facts.hop, _LENGTH_SHARE * duration)
    return abs(stream.seconds - duration) <= tolerance


def fit_rows(rows: Array, steps: int, annotation: Annotation, per_step: int = 1) -> Array:
    """Features with one row per step.

    Args:
        rows: Features, (R, ...). Where R is a multiple of `steps`, groups of rows are averaged; one or two rows more
            than steps are cut off.
        steps: Number of steps T.
        annotation: The clip, for messages.
        per_step: Rows of a step by the hops; a clip that ends within a step has some more.

    Returns:
        Features, (T, ...).

    Raises:
        DataError: If the number of rows fits neither way.
    """
    count = len(rows)
    if count % steps == 0 or (per_step > 1 and steps * per_step <= count < (steps + _EXTRA_ROWS) * per_step):
        return average_rows(rows, steps, per_step)
    if steps < count <= steps + _EXTRA_ROWS:
        return rows[:steps]
    raise annotation.error("", f"its features have {count} rows where {steps} steps need one row or several each.")


def as_patches(rows: Array) -> Tensor:
    """Visual features as (T, P, D), from vectors (T, D), patches (T, P, D), or maps with channels first or last."""
    if rows.ndim == 2:
        rows = rows[:, None]
    elif rows.ndim == 4 and rows.shape[2] == rows.shape[3]:
        rows = rows.reshape(*rows.shape[:2], -1).transpose(0, 2, 1)
    elif rows.ndim == 4:
        rows = rows.reshape(len(rows), -1, rows.shape[-1])
    return torch.from_numpy(np.ascontiguousarray(rows))
