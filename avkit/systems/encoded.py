# SPDX-License-Identifier: Apache-2.0
"""What the encoders of a system make of a batch and how they are run, and of windows of a clip together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from avkit.batch import Batch, exportable
from avkit.encoders.base import AudioEncoder, TextEncoder, VisualEncoder, VisualFeatures
from avkit.nn.padding import scatter_steps, valid_rows

EncoderT = TypeVar("EncoderT", VisualEncoder, AudioEncoder, TextEncoder)


@exportable
@dataclass
class Encoded:
    """What the encoders make of a batch. It does not depend on the task, so one pass serves all tasks.

    Attributes:
        visual: Visual features with (C, T) in front.
        audio: Audio features, (C, T, width of the encoder).
    """

    visual: VisualFeatures
    audio: Tensor

    def steps(self, part: slice) -> "Encoded":
        """The features of some steps."""
        return Encoded(self.visual.map(lambda x: x[:, part]), self.audio[:, part])

    def without_maps(self) -> "Encoded":
        """The same without feature maps, which are most of it."""
        return Encoded(replace(self.visual, pyramid=[]), self.audio)


def join_encoded(parts: Sequence[Encoded]) -> Encoded:
    """Features of windows, one after the other in time."""
    visual = [part.visual for part in parts]
    return Encoded(
        VisualFeatures(
            frame=torch.cat([features.frame for features in visual], 1),
            patches=torch.cat([features.patches for features in visual], 1),
            grid=visual[0].grid,
            sources=_join_optional([features.sources for features in visual]),
            pyramid=[torch.cat(maps, 1) for maps in zip(*(features.pyramid for features in visual), strict=True)],
        ),
        torch.cat([part.audio for part in parts], 1),
    )


def _join_optional(parts: Sequence[Tensor | None]) -> Tensor | None:
    """Tensors one after the other in time, or None if one is missing."""
    present = [part for part in parts if part is not None]
    return torch.cat(present, 1) if len(present) == len(parts) else None


def freeze_pretrained(encoder: EncoderT, *, train: bool) -> EncoderT:
    """Freeze an encoder of a system, unless it is trained from scratch or `train` asks for it."""
    if not encoder.from_scratch and not train:
        encoder.requires_grad_(False)
    return encoder


def encode_frames(encoder: Callable[[Tensor], VisualFeatures] | None, batch: Batch) -> VisualFeatures:
    """Visual features with (C, T) in front; only the pictures of valid steps pass the encoder.

    Raises:
        ValueError: If there is no encoder, or no pictures.
    """
    if encoder is None:
        raise ValueError("This model reads stored visual features, and the batch has none.")
    if batch.frames is None:
        raise ValueError("This model reads frames, and the batch has none.")
    pictures = valid_rows(batch.frames, batch.valid, batch.rows)
    return encoder(pictures).map(lambda x: scatter_steps(x, batch.valid, batch.rows))


def encode_waveform(encoder: AudioEncoder | None, batch: Batch) -> Tensor:
    """Audio features (C, T, width), the stored ones where there is no encoder.

    Raises:
        ValueError: If there is neither sound nor stored features.
    """
    if encoder is None:
        if batch.audio is None:
            raise ValueError("This model reads stored audio features, and the batch has none.")
        return batch.audio.float()
    if batch.waveform is None:
        raise ValueError("This model reads waveforms, and the batch has none.")
    return encoder(batch.waveform, batch.valid.shape[1], batch.hop)
