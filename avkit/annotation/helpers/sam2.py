# SPDX-License-Identifier: Apache-2.0
"""Masks by SAM 2, from a box and points, and through the steps by its tracker."""

from collections.abc import Iterator

import numpy as np
import torch

from avkit.annotation.helpers import HelperChoice, HelperError, Proposal, Request
from avkit.annotation.helpers.models import load_model, read_steps
from avkit.annotation.values import Key, mask_value, read_mask
from avkit.systems.zero_shot.segmenters import SAM2

#: Pictures per second that the tracker is shown: an object moves far in a second.
_RATE = 4.0


class Outliner:
    """Outlines what a box and points mean."""

    def __init__(self, choice: HelperChoice) -> None:
        self.choice = choice
        self.model: SAM2 | None = None

    def propose(self, request: Request) -> Iterator[Proposal]:
        """The mask of the step."""
        if request.box is None and not request.points:
            raise HelperError("Draw a box around the object, or click on it, then ask for its mask.")
        self.model = self.model or load_model(self.choice, SAM2)
        frame = read_steps(request, [(request.step + 0.5) * request.hop], self.model.network.device)[0]
        mask = self.model.segment(frame, request.box, request.points) > 0.5
        if not mask.any():
            raise HelperError(f"{self.choice.name} sees nothing there. Draw the box wider, or paint the mask.")
        yield Proposal({Key("mask", request.object, request.step): mask_value(mask.cpu().numpy(), self.choice.name)})


class Tracker:
    """Follows a mask, and stops where the object is lost."""

    def __init__(self, choice: HelperChoice) -> None:
        self.choice = choice
        self.model: SAM2 | None = None

    def propose(self, request: Request) -> Iterator[Proposal]:
        """A mask for each step after, or before, that of the request."""
        if request.mask is None or not any(request.mask["runs"][1::2]):
            raise HelperError("There is no mask in this step to follow. Draw one first.")
        self.model = self.model or load_model(self.choice, SAM2)
        direction = 1 if request.last >= request.step else -1
        steps = list(range(request.step, request.last + direction, direction))
        between = max(1, round(request.hop * _RATE))
        first = (request.step + 0.5) * request.hop
        count = (len(steps) - 1) * between
        times = first + direction * request.hop / between * np.arange(count + 1)
        frames = read_steps(request, times.tolist(), self.model.network.device)
        mask = torch.from_numpy(read_mask(request.mask))
        for number, probabilities in enumerate(self.model.follow(frames, mask), 1):
            if number % between:
                continue
            step = steps[number // between]
            followed = probabilities > 0.5
            if not followed.any():
                note = f"The tracker lost the object in step {step + 1}: it is not to be seen there. It stopped there."
                yield Proposal(note=note)
                return
            yield Proposal({Key("mask", request.object, step): mask_value(followed.cpu().numpy(), self.choice.name)})
