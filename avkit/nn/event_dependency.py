# SPDX-License-Identifier: Apache-2.0
"""Relations between events, over time and between classes: UnAV's dependency block (TDM)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from avkit.nn.event_options import EventPyramidOptions
from avkit.nn.masked_conv import MaskedConv, PyramidBlock
from avkit.nn.matmul_conv import run_in_chunks
from avkit.nn.padding import scatter_steps, surely_all, valid_rows

#: Steps of all videos that are processed at once on a CPU: enough for the matrix products, few enough for the caches.
MAX_STEPS = 512


class EventDependency(nn.Module):
    """Makes features of every class, relates them over time and between classes, and projects them back.

    With `options.mixed` the temporal branch masks row `b K + c` (class c of video b) with the valid steps of video
    `(b K + c) mod B`, as the official code does by mistake. The result for a video then depends on the others in its
    batch. The published numbers were made so. Without padding, or with one video, it makes no difference.

    Args:
        width: Width D of the features.
        classes: Number of classes K.
        options: `inner` H, `drop_path` and `mixed` are read.

    Source:
        ttgeng233/UnAV at commit 1609deba4fba, `libs/modeling/dependency_block.py`.
    """

    def __init__(self, width: int, classes: int, options: EventPyramidOptions) -> None:
        super().__init__()
        inner = options.inner
        self.classes = classes
        self.inner = inner
        self.mixed = options.mixed
        self.expand = MaskedConv(width, classes * inner)
        self.squeeze = MaskedConv(classes * inner, width)
        self.over_time = PyramidBlock(inner, 1, inner=inner, drop_path=options.drop_path)
        self.over_classes = PyramidBlock(inner, 1, inner=inner, drop_path=options.drop_path)

    def forward(self, x: Tensor, valid: Tensor, class_features: Callable[[slice], Tensor] | None = None) -> Tensor:
        """From (B, T, D) and bool (B, T) to (B, T, D).

        Args:
            x: Features.
            valid: Steps that are no padding.
            class_features: Gives, for some of the videos, features (B', T, K, H) that are added to those of classes.
        """
        videos = len(x)
        size = max(1, MAX_STEPS // x.shape[1]) if x.device.type == "cpu" else videos
        results = []
        for start in range(0, videos, size):
            part = slice(start, start + size)
            extra = None if class_features is None else class_features(part)
            results.append(self._relate(x, valid, part, extra))
        return torch.cat(results)

    def _relate(self, x: Tensor, valid: Tensor, part: slice, extra: Tensor | None) -> Tensor:
        """Some of the videos; `valid` is that of all, because padding may be taken from others."""
        features = self.expand(x[part], valid[part]).relu().unflatten(2, (self.classes, self.inner))
        if extra is not None:
            features = features + extra
        padded = not surely_all(valid)
        over_time = self._over_time(features, valid, part.start, padded)
        over_classes = self._over_classes(features, valid[part] if padded else None)
        related: Tensor = self.squeeze((over_time + over_classes).flatten(2), valid[part])
        return related

    def _over_time(self, features: Tensor, valid: Tensor, start: int, padded: bool) -> Tensor:
        """Relate the steps (B', T, K, H) of each class of videos from `start` on."""
        rows = features.transpose(1, 2)
        keep = None
        if padded:
            row = torch.arange(start * self.classes, (start + len(features)) * self.classes, device=valid.device)
            video = row % len(valid) if self.mixed else row // self.classes
            keep = valid[video]
        return run_in_chunks(self.over_time, rows.flatten(0, 1), keep).view(rows.shape).transpose(1, 2)

    def _over_classes(self, features: Tensor, valid: Tensor | None) -> Tensor:
        """Relate the classes of each step of (B', T, K, H); padded steps are skipped, and come out as 0."""
        rows = features.flatten(0, 1) if valid is None else valid_rows(features, valid)
        related = run_in_chunks(self.over_classes, rows, None)
        return related.view(features.shape) if valid is None else scatter_steps(related, valid)
