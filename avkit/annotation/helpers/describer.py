# SPDX-License-Identifier: Apache-2.0
"""Sentences on the region of an object, by a vision-language model: the part that Chat-UniVi has in RA-SSU's system."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from avkit.annotation.helpers import HelperChoice, HelperError, Proposal, Request
from avkit.annotation.helpers.models import load_model, read_steps
from avkit.annotation.values import Key, read_mask
from avkit.systems.zero_shot.catalogue import Part
from avkit.systems.zero_shot.language import LanguageModel

#: Any vision-language model of transformers, from a folder that is named.
_ANY = Part(
    "language",
    "vlm",
    "a vision-language model",
    "a model of your choice",
    "of your choice",
    0,
    "not stated",
    "avkit.systems.zero_shot.language:LanguageModel",
)
#: Share of its sides by which the region's surroundings are shown, and their brightness.
_MARGIN = 0.3
_DIMMED = 0.35
_QUESTION = (
    "Describe {name} in the bright part of the picture in one short sentence: what it is, where, and what it does."
)
_QUESTION_ON_ALL = "Describe in one short sentence what makes a sound here and what it does."


class Describer:
    """Proposes a sentence for the step, on the object's region or on everything."""

    def __init__(self, choice: HelperChoice) -> None:
        self.choice = choice
        self.model: LanguageModel | None = None

    def propose(self, request: Request) -> Iterator[Proposal]:
        """The sentence of the step."""
        if self.choice.name == _ANY.name and not self.choice.weights:
            raise HelperError("Name the folder of the model: --sentences vlm=PATH.")
        part = _ANY if self.choice.name == _ANY.name else None
        self.model = self.model or load_model(self.choice, LanguageModel, part)
        frame = read_steps(request, [(request.step + 0.5) * request.hop], self.model.network.device)[0]
        question = _QUESTION_ON_ALL
        if request.object:
            if request.mask is None or not any(request.mask["runs"][1::2]):
                raise HelperError("There is no mask in this step to describe. Draw one first.")
            frame = region_of(frame, torch.from_numpy(read_mask(request.mask)).to(frame.device))
            question = _QUESTION.format(name=f"the {request.name}" if request.name else "the object")
        text = self.model.ask(frame[None], question).strip()
        if not text:
            raise HelperError(f"{self.choice.name} says nothing. Write the sentence yourself.")
        yield Proposal({Key("sentence", request.object, request.step): {"text": text[:2000]}})


def region_of(frame: Tensor, mask: Tensor) -> Tensor:
    """A picture (3, H, W) cut around a mask (H, W), with what is outside of the mask dimmed."""
    height, width = mask.shape
    rows = mask.any(1).nonzero()[:, 0].cpu().numpy()
    columns = mask.any(0).nonzero()[:, 0].cpu().numpy()
    top, bottom = _widened(rows, height)
    left, right = _widened(columns, width)
    dimmed = torch.where(mask, frame.float(), frame.float() * _DIMMED).round().to(torch.uint8)
    return dimmed[:, top:bottom, left:right]


def _widened(places: "np.ndarray[tuple[int], np.dtype[np.int64]]", most: int) -> tuple[int, int]:
    first = int(places[0])
    after = int(places[-1]) + 1
    margin = max(4, round(_MARGIN * (after - first)))
    return max(0, first - margin), min(most, after + margin)
