# SPDX-License-Identifier: Apache-2.0
"""Parts that another package could bring; tests name them as `outside_parts:Class`."""

from dataclasses import dataclass
from typing import ClassVar

from avkit.answers import Answer, Values
from avkit.datasets.scenes import Scenes
from avkit.tasks.avs import Segmentation


class OwnClips(Scenes):
    """Scenes under a name of their own."""

    name = "own_clips"


class OwnSegmentation(Segmentation):
    """Segmentation under a name of its own."""

    name = "own_segmentation"
    benchmark = None
    default_head = "avkit.heads.mask:MaskHead"


class BenchmarkedSegmentation(Segmentation):
    """Segmentation with a usual dataset from outside."""

    name = "benchmarked_segmentation"
    default_head = "avkit.heads.mask:MaskHead"
    benchmark = "outside_parts:OwnClips"


@dataclass(eq=False)
class Cover(Answer):
    """How much of the picture sounds, on average: a kind of answer that avkit does not know."""

    kind: ClassVar[str] = "cover"
    prediction_values: ClassVar[tuple[str, ...]] = ("mask",)
    target_fields: ClassVar[tuple[str, ...]] = ("mask",)

    share: float

    @classmethod
    def from_values(cls, values, row, scope):
        return cls(scope.task, float(values["mask"][row][: scope.grid.steps].float().mean()))

    from_targets = from_values

    @classmethod
    def join(cls, parts):
        return cls(parts[0].task, sum(part.share for part in parts) / len(parts))


class CoverTask(OwnSegmentation):
    """Answers with a kind of its own."""

    name = "cover"
    answers = (Cover,)


class OpenTask(OwnSegmentation):
    """Declares no kind of answer."""

    name = "open"
    answers = (Values,)
