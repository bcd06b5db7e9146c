# SPDX-License-Identifier: Apache-2.0
"""What a report shows of clips that a run reads as stored features: their pictures, and where merged tokens are."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from avkit.batch import Batch
from avkit.datasets import Dataset
from avkit.datasets.clip_reader import feature_name
from avkit.datasets.clips import ClipDataset
from avkit.errors import AvkitError
from avkit.extraction.decoding import InputForm, SourceDataset
from avkit.extraction.recipe import FeatureStream
from avkit.extraction.sources import source_of
from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures
from avkit.features.source_maps import NoSourceMapError, open_source_maps, read_source_map

#: Side of the pictures in pixels.
_SIDE = 192
#: Grey of pictures that are not there.
_GREY = 127


@dataclass
class FeaturePictures:
    """What is shown of a clip that was read as stored features.

    Attributes:
        frames: uint8 (1, T, 3, H, W), the part of each picture that the encoder was given; grey where they are missing.
        sources: Which merged token each patch went into, int64 (1, T, h, w); None where that is not known.
        without_sources: Why `sources` is not known, as a sentence; empty where it is.
        without_frames: Why pictures are grey, as a sentence; empty where they are not.
    """

    frames: Tensor
    sources: Tensor | None
    without_sources: str = ""
    without_frames: str = ""


def feature_pictures(batch: Batch, dataset: Dataset) -> FeaturePictures | None:
    """What is shown of a batch of one clip; None where it has pictures of its own, or its dataset reads no files."""
    if batch.frames is not None or batch.visual is None or not batch.places or len(batch.visual) != 1:
        return None
    if not isinstance(dataset, ClipDataset) or dataset.visual is None:
        return None
    place = batch.places[0]
    steps = batch.visual.shape[1]
    sources = None
    without_sources = ""
    without_frames = ""
    crop = _crop_of(dataset.visual)
    try:
        maps = open_source_maps(dataset.visual)
        crop = maps.facts.crop or crop
        name = feature_name(maps, dataset.annotation_of(place))
        sources = torch.from_numpy(np.ascontiguousarray(read_source_map(maps, name, steps)))[None]
        if int(sources.max()) >= batch.visual.shape[2]:
            raise NoSourceMapError(f"{maps.path} names tokens beyond the {batch.visual.shape[2]} of clip {name!r}")
    except NoSourceMapError as error:
        sources = None
        without_sources = f"Parts of pictures are not shown: {error}."
    frames = _read_pictures(dataset, place, steps, batch.hop, crop)
    if frames is None:
        without_frames = "The pictures of this clip are not on disk."
        frames = torch.full((steps, 3, _SIDE, _SIDE), _GREY, dtype=torch.uint8)
    return FeaturePictures(frames[None], sources, without_sources, without_frames)


def _crop_of(features: Features) -> float:
    """The crop of the features that have parts of pictures, as far as it is known; of joined ones the smallest."""
    parts = features.parts if isinstance(features, ConcatenatedFeatures) else [features]
    crops = [part.facts.crop for part in parts if part.facts.crop]
    return min(crops, default=0.0)


def with_sources(batch: Batch, pictures: FeaturePictures | None) -> Batch:
    """The batch with the map of its tokens, for the model to hand on."""
    return batch if pictures is None else replace(batch, sources=pictures.sources)


def with_frames(batch: Batch, pictures: FeaturePictures | None) -> Batch:
    """The batch with pictures to show."""
    return batch if pictures is None else replace(batch, frames=pictures.frames)


def _read_pictures(dataset: ClipDataset, place: int, steps: int, hop: float, crop: float) -> Tensor | None:
    """A picture of each step, uint8 (T, 3, H, W), cropped as its encoder's were; None where they cannot be read."""
    annotation = dataset.annotation_of(place)
    if annotation.frames is None and annotation.video is None:
        return None
    stream = FeatureStream("pictures", "pictures", "", hop=hop)
    if crop:
        stream = replace(stream, resize=max(_SIDE, round(_SIDE / crop)), crop=_SIDE)
    source = source_of(dataset, annotation)
    if source.seconds is None and source.frames is None:
        source = replace(source, seconds=None if source.end is not None else steps * hop)
    try:
        frames = SourceDataset([source], [stream], {stream.name: InputForm(_SIDE)}).read(source)[stream.name]
    except (AvkitError, OSError, ValueError):
        return None
    missing = steps - len(frames)
    if missing > 0:
        frames = torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)])
    return frames[:steps]
