# SPDX-License-Identifier: Apache-2.0
"""Public models for helpers, found and loaded as `zero_shot` does."""

from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from avkit.annotation.folder import open_video
from avkit.annotation.helpers import HelperChoice, HelperError, Request
from avkit.errors import AvkitError
from avkit.media import decode
from avkit.systems.zero_shot.catalogue import Part, find_part
from avkit.systems.zero_shot.parts import Parts

M = TypeVar("M", bound=nn.Module)

#: Stage of `zero_shot` whose models do a task.
_STAGES = {"masks": "masks", "tracker": "masks", "names": "sound", "boxes": "boxes", "sentences": "language"}


def device_of(choice: HelperChoice) -> torch.device:
    """Where a helper runs: on a GPU if there is one and nothing else is asked for.

    Raises:
        HelperError: If there is no such device.
    """
    name = choice.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise HelperError(f"--device {choice.device} cannot be used: {str(error).splitlines()[0]}") from error
    return torch.device(name)


def load_model(choice: HelperChoice, kind: type[M], part: Part | None = None) -> M:
    """The model of a choice on its device.

    Args:
        choice: The helper.
        kind: Class of the model.
        part: The model; by default that of `zero_shot` with the helper's name.

    Raises:
        HelperError: If it is not here and cannot be loaded, with the way to get it.
    """
    stage = _STAGES[choice.task]
    part = part or find_part(stage, choice.name)
    parts = Parts({stage: part}, {stage: choice.weights}, offline=choice.offline, accepted=choice.accepted)
    try:
        return parts.require(stage, kind, device_of(choice))
    except AvkitError as error:
        text = str(error).replace(f"--weights {stage}=PATH", f"--{choice.task} {choice.name}=PATH")
        raise HelperError(text) from error


def read_steps(request: Request, times: Sequence[float], device: torch.device) -> Tensor:
    """Pictures at times, uint8 (N, 3, H, W), in the size of masks."""
    return decode.read_frames(open_video(request.path), times, size=request.size).to(device)
