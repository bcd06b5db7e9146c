# SPDX-License-Identifier: Apache-2.0
"""Objects named by what is heard, with the spans in which it is, by the taggers of `zero_shot`."""

from collections.abc import Iterator, Sequence

import torch

from avkit.annotation.clip_media import read_sound
from avkit.annotation.colours import colour_of
from avkit.annotation.helpers import HelperChoice, HelperError, Proposal, Request
from avkit.annotation.helpers.models import device_of, load_model
from avkit.annotation.values import Key
from avkit.encoders.yamnet import HOP
from avkit.systems.zero_shot.observation import hysteresis, without_general
from avkit.systems.zero_shot.taggers import WINDOW, Tagger, smooth
from avkit.systems.zero_shot.targets import Target, events, find_target

#: Score at which a name begins to count as heard, and below which it ends, as `zero_shot` has them.
_HEARD = 0.3
_KEPT = 0.15
_SMOOTHING = 3
#: Objects that are proposed, those heard best.
_MAX_NAMES = 5


class Namer:
    """Proposes an object for each name that is heard."""

    def __init__(self, choice: HelperChoice) -> None:
        self.choice = choice
        self.model: Tagger | None = None

    @torch.inference_mode()
    def propose(self, request: Request) -> Iterator[Proposal]:
        """An object per name, the one heard best first, of the dataset's classes where it has some."""
        self.model = self.model or load_model(self.choice, Tagger)
        targets = [find_target(name) for name in request.classes] or list(events().values())
        waveform = torch.from_numpy(read_sound(request.path)).to(device_of(self.choice))
        scores = self.model.score(smooth(self.model.encode(waveform), _SMOOTHING), targets).cpu()
        active = without_general(hysteresis(scores, _HEARD, _KEPT), targets)
        best = torch.where(active.any(0), scores.amax(0), 0.0)
        chosen = [int(number) for number in best.argsort(descending=True)[:_MAX_NAMES] if best[number] > 0]
        if not chosen:
            raise HelperError(f"{self.choice.name} is sure of nothing that it hears. Name the objects yourself.")
        for place, number in enumerate(chosen, 1):
            spans = spans_of(active[:, number].tolist(), request.duration)
            yield self._object(targets[number], spans, colour_of(place))

    def _object(self, target: Target, spans: list[list[float]], colour: str) -> Proposal:
        return Proposal(
            {Key("object", -1, 0): {"name": target.name, "colour": colour}, Key("spans", -1, 0): {"spans": spans}}
        )


def spans_of(active: Sequence[bool], duration: float) -> list[list[float]]:
    """Start and end in seconds of the stretches of windows in which something is heard, each around their middles."""
    spans: list[list[float]] = []
    for window, is_active in enumerate(active):
        if not is_active:
            continue
        middle = window * HOP + WINDOW / 2
        start = 0.0 if window == 0 else middle - HOP / 2
        end = duration if window == len(active) - 1 else min(duration, middle + HOP / 2)
        if spans and spans[-1][1] >= start - 1e-6:
            spans[-1][1] = end
        elif start < end:
            spans.append([start, end])
    return spans
