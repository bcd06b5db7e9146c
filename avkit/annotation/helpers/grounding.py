# SPDX-License-Identifier: Apache-2.0
"""A named object in the picture: its box by the detectors of `zero_shot`, its mask by the helper for masks."""

from collections.abc import Iterator
from dataclasses import replace

from avkit.annotation.helpers import Helper, HelperChoice, HelperError, Proposal, Request, make_helper
from avkit.annotation.helpers.models import load_model, read_steps
from avkit.systems.zero_shot.detectors import Detector
from avkit.systems.zero_shot.targets import find_target

#: Least probability of a box, as `zero_shot` has it.
_THRESHOLD = 0.3


class Finder:
    """Looks for an object by its name, and has what is in the best box outlined."""

    def __init__(self, choice: HelperChoice) -> None:
        self.choice = choice
        self.model: Detector | None = None
        self.outliners: dict[HelperChoice, Helper] = {}

    def propose(self, request: Request) -> Iterator[Proposal]:
        """The mask of the step."""
        if not request.name:
            raise HelperError("Select an object and give it a name; it is looked for by that.")
        if request.outline_with is None:
            raise HelperError("Nothing outlines what is found. Start avkit annotate with --masks NAME.")
        self.model = self.model or load_model(self.choice, Detector)
        frame = read_steps(request, [(request.step + 0.5) * request.hop], self.model.network.device)
        noun = find_target(request.name).object or request.name
        (boxes,) = self.model.detect(frame, [noun], _THRESHOLD)
        if not len(boxes.corners):
            raise HelperError(f"{self.choice.name} finds no {noun} in this step. Draw a box yourself.")
        left, top, right, bottom = (float(corner) for corner in boxes.corners[0])
        if request.outline_with not in self.outliners:
            self.outliners[request.outline_with] = make_helper(request.outline_with)
        outlining = replace(request, box=(left, top, right, bottom), points=())
        for proposal in self.outliners[request.outline_with].propose(outlining):
            note = f"{noun} found with probability {float(boxes.scores[0]):.2f}."
            yield replace(proposal, note=note)
