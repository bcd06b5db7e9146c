# SPDX-License-Identifier: Apache-2.0
"""Features of a large vision-language model, made of a user's clip for a run that was trained with some."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from avkit.batch import Item
from avkit.errors import DataError
from avkit.extraction.extractor import stream_width
from avkit.extraction.in_memory import ClipExtractor
from avkit.extraction.recipe import ExtractionRecipe, FeatureStream, read_recipe
from avkit.extraction.sources import MediaSource
from avkit.media.decode import Clip
from avkit.reading.remote import whole_path

#: Name of the clip among its features.
_NAME = "clip"


@dataclass
class ExpertInputs:
    """Makes the expert's features; its network is loaded when the first clip is read.

    Attributes:
        stream: The stream of its features.
        device: Where its network runs.
    """

    stream: FeatureStream
    device: torch.device

    @property
    def description(self) -> str:
        """Stream, encoder and weights, for provenance."""
        return f"{self.stream.name} ({self.stream.encoder}, weights {self.stream.weights or 'random'})"

    @cached_property
    def extractor(self) -> ClipExtractor:
        """The network.

        Raises:
            AvkitError: If a library or weights are missing.
        """
        return ClipExtractor([self.stream], self.device)

    def read(self, clip: Clip) -> Tensor:
        """Features of a clip, float (M, E), a row per picture or per word.

        Raises:
            MediaError: If the file cannot be read, or has no picture.
        """
        clip.info.require(video=True)
        seconds = clip.duration if clip.info.is_image else None
        source = MediaSource(name=_NAME, root=Path(), video=whole_path(clip.path), seconds=seconds, silent_ok=True)
        return torch.from_numpy(self.extractor.read(source)[self.stream.name].read(_NAME)).float()

    def add(self, item: Item, rows: Tensor, first: float = 0.0) -> Item:
        """A clip, or a window of it, with the expert's features.

        Args:
            item: The clip or window.
            rows: The features of the whole clip; rows of pictures go to the steps in whose middle they are, or to the
                nearest.
            first: Seconds at which the window starts.
        """
        hop = self.extractor.facts[self.stream.name].hop
        if not hop:
            return replace(item, expert=rows)
        middles = first + (torch.arange(item.steps) + 0.5) * item.hop
        nearest = (middles / hop).floor().long().clamp(max=len(rows) - 1)
        return replace(item, expert=rows[nearest])


def make_expert(run: str, recipe: str, width: int | None, weights: str | None, device: torch.device) -> ExpertInputs:
    """What makes the features of the expert that a run was trained with.

    Args:
        run: Name of the run, for messages.
        recipe: Name or file of the recipe.
        width: Width of the features that the run was trained with; None where it was trained without an expert.
        weights: Weights of its stream, as `avkit extract --weights` takes them.
        device: Where the network runs.

    Raises:
        DataError: If the run has no expert, or the recipe makes features of another width or several streams.
        ValueError: If the recipe or a stream is unknown.
    """
    if not width:
        raise DataError(
            f"{run} was trained without features of an expert, so that it reads none. Leave --expert out, or train it "
            "with --data.features.expert."
        )
    own = read_recipe(recipe).with_weights(weights)
    streams = [stream for stream in own.streams if stream.of == "pictures"]
    if len(streams) != 1:
        raise DataError(
            f"Recipe {recipe} has {len(streams)} streams of pictures ({_names(own)}); an expert's features are one. "
            "Name a recipe such as llava or video_llava."
        )
    made = stream_width(streams[0])
    if made != width:
        raise DataError(
            f"{run} was trained with an expert's features of width {width}; recipe {recipe} makes {made}. Name "
            "the recipe that its features were made by."
        )
    return ExpertInputs(streams[0], device)


def split_expert_weights(weights: str | None, recipe: str, *, others_exist: bool) -> tuple[str | None, str | None]:
    """Weights that are meant for the expert's stream, and the others.

    Args:
        weights: As `avkit extract --weights` takes them.
        recipe: Name or file of the expert's recipe.
        others_exist: Whether there are other streams, for which weights without the name of a stream are meant too.
    """
    if weights is None:
        return None, None
    names = [stream.name for stream in read_recipe(recipe).streams]
    own = []
    others = []
    for part in weights.split(","):
        name, _, _ = part.rpartition("=")
        if not name or name in names:
            own.append(part)
        if (not name and others_exist) or (name and name not in names):
            others.append(part)
    return ",".join(own) or None, ",".join(others) or None


def _names(recipe: ExtractionRecipe) -> str:
    names: Sequence[str] = [stream.name for stream in recipe.streams]
    return ", ".join(names) or "none"
