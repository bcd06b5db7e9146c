# SPDX-License-Identifier: Apache-2.0
"""How long an epoch is: as many steps as the data hold batches; scenes, which have no size, get a fixed number."""

from collections.abc import Mapping
from dataclasses import dataclass

#: Training steps per epoch on scenes with up to three tasks.
_SCENE_STEPS = 430
#: Further steps for each task on scenes after the third.
_SCENE_STEPS_PER_TASK = 240


@dataclass(frozen=True)
class EpochLength:
    """Training steps between two validations, and where the number comes from."""

    steps: int
    reason: str


def epoch_length(passes: Mapping[str, int], scene_tasks: int) -> EpochLength:
    """The usual length of an epoch.

    Args:
        passes: Batches in one pass over the training clips, by benchmark on data that have a size.
        scene_tasks: Number of tasks on data that are generated, of which there are as many as are asked for.
    """
    steps = sum(passes.values())
    reasons = []
    if passes:
        whose = "the data" if len(passes) == 1 else "the data of all tasks together"
        reasons.append(f"as many as {whose} hold batches")
    if scene_tasks:
        own = _SCENE_STEPS + _SCENE_STEPS_PER_TASK * max(0, scene_tasks - 3)
        steps += own
        reasons.append(f"{own} for scenes")
    return EpochLength(steps, ", and ".join(reasons))
