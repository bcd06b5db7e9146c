# SPDX-License-Identifier: Apache-2.0
"""Answers that keep sources apart: a mask and a sentence for each, per step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers.base import RowsByName, Scope, StepGrid, join_grids
from avkit.answers.encoding import Record
from avkit.answers.maps import StepMaps
from avkit.answers.texts import text_spans


@dataclass(eq=False)
class Sources(StepMaps):
    """The pixels of each source that sounds, and what is said of it, per step.

    `maps` holds the probability that a pixel shows source k and that it sounds, float (T, K, H, W); of true sources 0
    or 1, uint8.

    Attributes:
        texts: T lists of K sentences; empty where nothing is said of a source.
        grid: The steps.
    """

    kind: ClassVar[str] = "sources"
    prediction_values: ClassVar[tuple[str, ...]] = ("source_mask", "source_caption")
    target_fields: ClassVar[tuple[str, ...]] = ("source_mask", "source_known", "source_caption")
    exclusive: ClassVar[bool] = True

    texts: list[list[str]]
    grid: StepGrid

    @classmethod
    def from_values(cls, values: RowsByName, row: int, scope: Scope) -> "Sources":
        """The sources of one row."""
        steps = scope.grid.steps
        maps = values["source_mask"][row][:steps].detach().cpu().numpy()
        return cls(scope.task, maps, [list(texts) for texts in values["source_caption"][row][:steps]], scope.grid)

    @classmethod
    def from_targets(cls, targets: RowsByName, row: int, scope: Scope) -> "Sources | None":
        """The true sources of one sample; None if no step has an annotated mask of one."""
        if not bool(targets["source_known"][row].any()):
            return None
        true = cls.from_values(targets, row, scope)
        count = len(true.texts[0])  # beyond it are only sources of other clips of the batch
        true.maps = true.maps[:, :count]
        return true

    @classmethod
    def join(cls, parts: Sequence["Sources"]) -> "Sources":
        """The sources of all windows."""
        maps = np.concatenate([part.maps for part in parts])
        texts = [texts for part in parts for texts in part.texts]
        return cls(parts[0].task, maps, texts, join_grids([part.grid for part in parts]))

    @classmethod
    def from_json(cls, record: Record) -> "Sources":
        """The answer that `to_json` wrote."""
        values = {**record, "grid": StepGrid(**record["grid"])}
        return super().from_json(values)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width of the masks."""
        return self.maps.shape[2], self.maps.shape[3]

    def labels(self, step: int) -> NDArray[Any]:
        """Number of the source that each pixel shows in a step, from 1, the likeliest of several; else 0: (H, W)."""
        maps = self.maps[step]
        if not len(maps):
            return np.zeros(self.picture_size, np.int16)
        return np.where(maps.max(0) > 0.5, maps.argmax(0) + 1, 0).astype(np.int16)

    def spans(self, source: int) -> list[tuple[float, float, str]]:
        """Start and end in seconds, and text, of what is said of a source; equal neighbours as one."""
        return text_spans([texts[source] for texts in self.texts], self.grid)
