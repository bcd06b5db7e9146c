# SPDX-License-Identifier: Apache-2.0
"""The stored features that a run's tasks read, made of a user's clip as `avkit extract` would make them."""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from avkit.batch import Item
from avkit.datasets.annotations import Annotation
from avkit.datasets.clip_reader import ClipReader
from avkit.datasets.inputs import ReadOptions
from avkit.errors import DataError
from avkit.extraction.in_memory import ClipExtractor, MemoryFeatures
from avkit.extraction.sources import MediaSource
from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures
from avkit.inference.stream_choice import ChosenStream, FeaturePlan
from avkit.media.decode import Clip
from avkit.reading.remote import whole_path

#: Name of the clip among its features.
_NAME = "clip"


class StoredInputs:
    """Makes the stored features of one plan; encoders are loaded when the first clip is read.

    Args:
        plan: The streams.
        device: Where their encoders run.
        image_size: Height and width of pictures where these are read beside features of sound.
    """

    def __init__(self, plan: FeaturePlan, device: torch.device, image_size: int) -> None:
        self.plan = plan
        self.device = device
        self.image_size = image_size

    @cached_property
    def extractor(self) -> ClipExtractor:
        """The encoders.

        Raises:
            AvkitError: If a library or weights are missing.
            DataError: If weights are others than those of the features that the run was trained on.
        """
        extractor = ClipExtractor(self.plan.streams, self.device)
        for chosen in (*self.plan.visual, *self.plan.audio):
            made_with = extractor.facts[chosen.stream.name].weights
            if chosen.weights and chosen.stream.weights is not None and made_with != chosen.weights:
                encoder = chosen.stream.encoder
                raise DataError(
                    f"Stream {chosen.stream.name}: the run was trained on features of {encoder} with weights "
                    f"{chosen.weights}, and {chosen.stream.weights!r} has weights {made_with}. Name the weights that "
                    f"those were made with: --weights {chosen.stream.name}=PATH."
                )
        return extractor

    def count_steps(self, clip: Clip) -> int | None:
        """Steps of a clip by the duration that its file states, rounded up; None where it states none.

        Streams of several rows per step count by step.
        """
        if not clip.duration:
            return None
        hop = max(chosen.stream.hop for chosen in (*self.plan.visual, *self.plan.audio))
        return math.ceil(clip.duration / hop)

    def read(self, clip: Clip, silent_ok: bool = False) -> Item:
        """A clip as the run's model reads it.

        Args:
            clip: The open clip.
            silent_ok: Use silence where it has no sound.

        Raises:
            MediaError: If the file cannot be read, or lacks picture or sound.
        """
        audio = None if clip.audio_path is None else whole_path(clip.audio_path)
        path = whole_path(clip.path)
        if self.plan.visual:
            clip.info.require(video=True)
        source = MediaSource(
            name=_NAME,
            root=Path(),
            video=path,
            audio=audio,
            seconds=clip.duration if clip.info.is_image else None,
            offset=self.plan.place,
            silent_ok=silent_ok,
            fit_sound=True,
        )
        features = self.extractor.read(source)
        options = ReadOptions(
            image_size=self.image_size,
            frame_offset=self.plan.place,
            silent_ok=silent_ok,
            short_ok=True,
            visual=_joined(self.plan.visual, features),
            audio=_joined(self.plan.audio, features),
        )
        is_image = clip.info.is_image
        annotation = Annotation(
            id=_NAME,
            where=str(clip.path),
            root=Path(),
            video=None if is_image else path,
            picture=path if is_image else None,
            audio=audio,
            duration=clip.duration,
        )
        inputs = ClipReader(options).read(annotation)
        grid = inputs.grid
        return Item(
            id=_NAME,
            duration=grid.duration,
            hop=grid.hop,
            offset=grid.offset,
            frames=inputs.frames,
            waveform=inputs.waveform,
            visual=inputs.visual,
            audio=inputs.audio,
            sources=self._sources(features, inputs.visual),
        )

    def read_sound(self, path: Path | str) -> Tensor:
        """Features of a sound file, or of a video's sound, as the model reads them, (T, Da).

        Raises:
            MediaError: If the file has no sound or cannot be read.
        """
        extractor = ClipExtractor([entry.stream for entry in self.plan.audio], self.device)
        features = extractor.read(MediaSource(_NAME, Path(), audio=whole_path(path)))
        joined = _joined(self.plan.audio, features)
        assert joined is not None
        return torch.from_numpy(joined.read(_NAME))

    def _sources(self, features: Mapping[str, MemoryFeatures], visual: Tensor | None) -> Tensor | None:
        """Which merged token each patch went into, int64 (T, h, w); None where tokens are not merged, or averaged."""
        if self.plan.sources is None or visual is None:
            return None
        rows = features[self.plan.sources.name].read(_NAME)
        steps = len(visual)
        if not steps <= len(rows) < 2 * steps:
            return None
        return torch.from_numpy(np.rint(rows[:steps]).astype(np.int64))


def _joined(chosen: Sequence[ChosenStream], features: Mapping[str, MemoryFeatures]) -> Features | None:
    """Features of several streams as one."""
    if not chosen:
        return None
    parts = [features[entry.stream.name] for entry in chosen]
    return parts[0] if len(parts) == 1 else ConcatenatedFeatures(parts)
