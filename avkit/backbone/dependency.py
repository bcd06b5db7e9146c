# SPDX-License-Identifier: Apache-2.0
"""Which events come together and which follow one another: UnAV's dependency block (TDM)."""

import torch
from einops import rearrange
from torch import Tensor, nn

from avkit.backbone.masked import MaskedConv, PyramidBlock


class EventDependency(nn.Module):
    """Gives every class features of its own, mixes them over time and over classes, and takes them back.

    Args:
        width: Width D of the features.
        classes: Number of classes K.
        inner: Width H of a class's features.
        drop_path: See `PyramidBlock`.
        mixed: Let the rows of the temporal branch take their padding from the official, wrong video: row `b K + c` from
            video `(b K + c) mod B`. What is found in a video then depends on the others in its batch. Numbers that the
            authors published were made so. Without padding, or with one video, it makes no difference.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/dependency_block.py`.
    """

    def __init__(self, width: int, classes: int, inner: int = 128, drop_path: float = 0.1, mixed: bool = True) -> None:
        super().__init__()
        self.classes, self.inner, self.mixed = classes, inner, mixed
        self.expand, self.squeeze = MaskedConv(width, classes * inner), MaskedConv(classes * inner, width)
        self.over_time, self.over_classes = (PyramidBlock(inner, 1, inner=inner, drop_path=drop_path) for _ in range(2))

    def forward(self, x: Tensor, valid: Tensor, more: Tensor | None = None) -> Tensor:
        """From (B, T, D) and bool (B, T) to (B, T, D); `more` (B, T, K, H) adds to the classes' features."""
        y = rearrange(self.expand(x, valid).relu(), "b t (k h) -> b t k h", k=self.classes)
        if more is not None:
            y = y + more
        whole = bool(valid.all())
        over_classes = self._over_classes(y, None if whole else valid)
        over_time = self._over_time(y, None if whole else valid)
        back: Tensor = self.squeeze((over_time + over_classes).flatten(2), valid)
        return back

    def _over_classes(self, y: Tensor, valid: Tensor | None) -> Tensor:
        rows = y.flatten(0, 1) if valid is None else y[valid]
        found: Tensor = self.over_classes(rows, rows, None)
        if valid is None:
            return found.view(y.shape)
        out = found.new_zeros(y.shape)
        out[valid] = found
        return out

    def _over_time(self, y: Tensor, valid: Tensor | None) -> Tensor:
        videos = len(y)
        if valid is not None:
            rows = torch.arange(videos * self.classes, device=y.device)
            valid = valid[rows % videos if self.mixed else rows // self.classes]
        rows = rearrange(y, "b t k h -> (b k) t h")
        return rearrange(self.over_time(rows, rows, valid), "(b k) t h -> b t k h", b=videos)
