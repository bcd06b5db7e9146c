# SPDX-License-Identifier: Apache-2.0
"""Features of single clips, made as `avkit extract` makes them and kept in memory."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch

from avkit.encoders.base import VisualEncoder
from avkit.extraction.decoding import SourceDataset
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.recipe import FeatureStream
from avkit.extraction.sources import MediaSource
from avkit.features.base import Array, FeatureFacts, missing_clip_error
from avkit.features.store import to_stored_dtype


class MemoryFeatures:
    """Features of a few clips in memory.

    Args:
        clips: Features by the clip's name.
        facts: How they were made.
        path: What stands for a file in messages.
    """

    def __init__(self, clips: Mapping[str, Array], facts: FeatureFacts, path: Path) -> None:
        self.clips = clips
        self.facts = facts
        self.path = path

    @property
    def names(self) -> Collection[str]:
        """Names of the clips."""
        return self.clips.keys()

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...)."""
        if name not in self.clips:
            raise missing_clip_error(self.path, name, self.names)
        return self.clips[name]


class ClipExtractor:
    """Runs streams over single clips; each encoder is loaded once, and pictures of one rate and size are decoded once.

    Args:
        streams: Streams of frames and audio.
        device: Where encoders run.
        batch_size: Frames or rows of sound at a time.

    Raises:
        AvkitError: If an encoder's library or weights are missing.
    """

    def __init__(self, streams: Sequence[FeatureStream], device: torch.device, batch_size: int = 64) -> None:
        self.extractor = FeatureExtractor(streams, device, batch_size)
        self.facts = self.extractor.facts("")

    @property
    def picture_encoder(self) -> VisualEncoder | None:
        """The encoder of single pictures; None where all encoders of pictures read several at once."""
        for group in self.extractor.groups:
            if isinstance(group.encoder, VisualEncoder):
                return group.encoder
        return None

    def read(self, source: MediaSource) -> dict[str, MemoryFeatures]:
        """Features of a clip by stream, in the numbers that a store would hold.

        Raises:
            AvkitError: If the clip's files are missing, damaged, or without picture or sound.
        """
        dataset = SourceDataset([source], self.extractor.streams, self.extractor.input_forms())
        inputs = dataset.decode(0)
        dtypes = {stream.name: stream.dtype for stream in self.extractor.streams}
        features: dict[str, MemoryFeatures] = {}
        for part in (*self.extractor.feed(inputs), *self.extractor.flush()):
            values = to_stored_dtype(part.name, part.values, dtypes[part.stream])
            facts = self.facts[part.stream]
            features[part.stream] = MemoryFeatures({part.name: values}, facts, Path(source.video or source.name))
        return features
