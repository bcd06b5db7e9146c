# SPDX-License-Identifier: Apache-2.0
"""What systems share: what encoders make of a batch, and the contract of a system's config."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.encoders.base import AudioEncoder, TextEncoder, VisualEncoder, VisualFeatures
from avkit.tasks.base import Task

EncoderT = TypeVar("EncoderT", VisualEncoder, AudioEncoder, TextEncoder)


class SystemConfig(Protocol):
    """What a system is made of, as a dataclass that the command line fills.

    The module that `build` makes has `sense(batch, seen)`, `pyramid_widths`, the config as `config`, and is called as
    `AVUnified` is.
    """

    @property
    def name(self) -> str:
        """Of the system, the same for all its configs; it tells on the command line which system is meant."""

    @property
    def width(self) -> int:
        """Width D of its tokens."""

    def speak(self, vocabulary: Vocabulary) -> Vocabulary:
        """The dataset's vocabulary with what the system itself adds."""

    def tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The tasks by name, as the system answers them."""

    def build(
        self, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None, expert: int | None = None
    ) -> nn.Module:
        """The system, for a vocabulary, widths of stored features by task, and the width of an expert's features."""


@dataclass
class Senses:
    """What the encoders make of a batch, whatever is asked about it: one pass serves all tasks.

    Attributes:
        seen: Visual features with (C, T) in front.
        heard: Audio features, (C, T, width of the encoder).
    """

    seen: VisualFeatures
    heard: Tensor

    def steps(self, part: slice) -> "Senses":
        """Those of some steps."""
        return Senses(self.seen.map(lambda x: x[:, part]), self.heard[:, part])


def join_senses(parts: Sequence[Senses]) -> Senses:
    """One after the other in time."""
    seen = [part.seen for part in parts]
    maps = [torch.cat(level, 1) for level in zip(*(x.pyramid for x in seen), strict=True)]
    frame, patches = torch.cat([x.frame for x in seen], 1), torch.cat([x.patches for x in seen], 1)
    heard = torch.cat([part.heard for part in parts], 1)
    return Senses(VisualFeatures(frame, patches, seen[0].grid, maps), heard)


def freeze_pretrained(encoder: EncoderT, *, train: bool) -> EncoderT:
    """Freeze an encoder of a system, unless it is trained from scratch or `train` asks for it."""
    if not encoder.from_scratch and not train:
        encoder.requires_grad_(False)
    return encoder


def see(encoder: Callable[[Tensor], VisualFeatures] | None, batch: Batch) -> VisualFeatures:
    """Visual features with (B, T) in front; only pictures that exist pass the encoder.

    Raises:
        ValueError: If there is no encoder, or no pictures.
    """
    if encoder is None:
        raise ValueError("This model reads stored visual features, and the batch has none.")
    if batch.frames is None:
        raise ValueError("This model reads frames, and the batch has none.")
    whole = bool(batch.valid.all())
    seen = encoder(batch.frames.flatten(0, 1) if whole else batch.frames[batch.valid])

    def spread(x: Tensor) -> Tensor:
        if whole:
            return x.unflatten(0, batch.valid.shape)
        out = x.new_zeros((*batch.valid.shape, *x.shape[1:]))
        out[batch.valid] = x
        return out

    return seen.map(spread)


def hear(encoder: AudioEncoder | None, batch: Batch) -> Tensor:
    """Audio features (B, T, width of the encoder), those that are stored where there is no encoder.

    Raises:
        ValueError: If there is neither sound nor what stands for it.
    """
    if encoder is None:
        if batch.audio is None:
            raise ValueError("This model reads stored audio features, and the batch has none.")
        return batch.audio.float()
    if batch.waveform is None:
        raise ValueError("This model reads waveforms, and the batch has none.")
    return encoder(batch.waveform, batch.valid.shape[1], batch.hop)
