# SPDX-License-Identifier: Apache-2.0
"""Masks of annotated pictures: which shapes they are made of, and drawing them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.shapes import Box, Shape, Size
from avkit.errors import count_of

#: What may become of objects with a box alone in a picture in which others have masks.
BOX_ONLY = ("fill", "background", "drop")


@dataclass
class MaskPlan:
    """A mask that is to be drawn.

    Attributes:
        name: Name of the file.
        size: Height and width.
        shapes: What is drawn into it, the last on top.
        where: Where it comes from, for messages.
    """

    name: str
    size: Size
    shapes: Sequence[Shape]
    where: str


def areas_of(shapes: Sequence[Shape], where: str, box_only: str | None) -> list[Shape]:
    """The shapes that the mask of a picture is made of; none where no object has a mask.

    A mask says of every pixel what is there. An object with a box alone would count as background in it, so what
    becomes of such objects must be said.

    Args:
        shapes: All shapes in the picture.
        where: File and picture, for messages.
        box_only: What becomes of objects with a box alone, see `BOX_ONLY`. Filled boxes lie under the masks.

    Raises:
        DataError: If some objects have a mask and others a box alone, and `box_only` is None.
    """
    areas: list[Shape] = [shape for shape in shapes if not isinstance(shape, Box)]
    boxes: list[Shape] = [shape for shape in shapes if isinstance(shape, Box) and not shape.has_mask]
    if not areas or not boxes or box_only == "background":
        return areas
    if box_only == "fill":
        return boxes + areas
    if box_only == "drop":
        return []
    names = ", ".join(sorted({shape.label for shape in boxes}))
    raise field_error(
        where,
        "",
        f"{count_of(len(boxes), 'object')} ({names}) {'has' if len(boxes) == 1 else 'have'} a box and no mask, while "
        "others have masks, in which they would count as background. Say what is meant with --box_only: fill (the box "
        "is the mask), background, or drop (the picture's masks are left out).",
    )


def draw_mask(plan: MaskPlan, classes: dict[str, int]) -> NDArray[np.uint16]:
    """The pixel values of a mask, (H, W): numbers of sources, or those of classes."""
    values = np.zeros(plan.size, np.uint16)
    for shape in plan.shapes:
        values[shape.mask(plan.size, plan.where)] = shape.source or classes[shape.label]
    return values
