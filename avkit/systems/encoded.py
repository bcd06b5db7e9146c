# SPDX-License-Identifier: Apache-2.0
"""What the encoders of a system make of a batch, and of windows of a clip together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from avkit.batch import exportable
from avkit.encoders.base import VisualFeatures


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
