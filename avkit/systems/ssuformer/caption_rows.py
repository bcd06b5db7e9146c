# SPDX-License-Identifier: Apache-2.0
"""What captions are written from, row by row: about all that sounds, or about one source."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avkit.systems.ssuformer.caption_context import CaptionContext
from avkit.systems.ssuformer.experts import ExpertFeatures


@dataclass
class CaptionRows:
    """What N captions are written from.

    Attributes:
        context: Patches, sound and region token.
        regions: Embeddings of the masked regions, (N, C); None where they are not read.
        expert: Features of the vision-language model; None without a router.
    """

    context: CaptionContext
    regions: Tensor | None = None
    expert: ExpertFeatures | None = None

    def chosen(self, rows: Tensor) -> "CaptionRows":
        """Some of the captions; `rows` is bool (N,) or int64."""
        return CaptionRows(
            self.context.rows(rows),
            None if self.regions is None else self.regions[rows],
            None if self.expert is None else self.expert.rows(rows),
        )


def join_rows(parts: Sequence[CaptionRows]) -> CaptionRows:
    """The captions of all parts, one after the other."""
    first = parts[0]
    if len(parts) == 1:
        return first
    contexts = [part.context for part in parts]
    regions = [part.regions for part in parts if part.regions is not None]
    experts = [part.expert for part in parts if part.expert is not None]
    return CaptionRows(
        CaptionContext(
            torch.cat([context.memory for context in contexts]),
            torch.cat([context.frame for context in contexts]),
            torch.cat([context.topic for context in contexts]),
        ),
        torch.cat(regions) if regions else None,
        ExpertFeatures(torch.cat([e.features for e in experts]), torch.cat([e.available for e in experts]))
        if experts
        else None,
    )
