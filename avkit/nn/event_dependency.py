# SPDX-License-Identifier: Apache-2.0
"""Which events come together and which follow one another: UnAV's dependency block (TDM)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avkit.nn.masked_conv import MaskedConv, PyramidBlock
from avkit.nn.matmul_conv import in_parts

#: Steps of all videos that are related at once on a CPU: enough for the matrix products, few enough for the caches.
STEPS = 512


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

    def forward(self, x: Tensor, valid: Tensor, more: Callable[[slice], Tensor] | None = None) -> Tensor:
        """From (B, T, D) and bool (B, T) to (B, T, D).

        Args:
            x: Features.
            valid: Steps that are no padding.
            more: Makes what is added to the classes' features of some videos, (B', T, K, H).
        """
        whole, videos = bool(valid.all()), len(x)
        few = max(1, STEPS // x.shape[1]) if x.device.type == "cpu" else videos
        parts = [slice(i, i + few) for i in range(0, videos, few)]
        return torch.cat([self._some(x, valid, part, whole, more) for part in parts])

    def _some(
        self, x: Tensor, valid: Tensor, part: slice, whole: bool, more: Callable[[slice], Tensor] | None
    ) -> Tensor:
        """A few videos; padding may be taken from others."""
        y = self.expand(x[part], valid[part]).relu().unflatten(2, (self.classes, self.inner))
        if more is not None:
            y = y + more(part)
        keep, rows = None, y.transpose(1, 2)
        if not whole:
            row = torch.arange(part.start * self.classes, (part.start + len(y)) * self.classes, device=x.device)
            keep = valid[row % len(valid) if self.mixed else row // self.classes]
        over_time = in_parts(self.over_time, rows.flatten(0, 1), keep).view(rows.shape).transpose(1, 2)
        both = over_time + self._over_classes(y, None if whole else valid[part])
        back: Tensor = self.squeeze(both.flatten(2), valid[part])
        return back

    def _over_classes(self, y: Tensor, valid: Tensor | None) -> Tensor:
        """Padded steps have nothing to relate, and come out as 0."""
        rows = y.flatten(0, 1) if valid is None else y[valid]
        found = in_parts(self.over_classes, rows, None)
        if valid is None:
            return found.view(y.shape)
        out = found.new_zeros(y.shape)
        out[valid] = found
        return out
