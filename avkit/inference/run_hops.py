# SPDX-License-Identifier: Apache-2.0
"""How long the steps are that each task of a run was trained with."""

import math
from collections.abc import Mapping, Sequence

from avkit.reading.text import read_yaml
from avkit.training.run_folder import RunFacts, RunFolder

#: Seconds per step where nothing says it.
USUAL_HOP = 1.0


class RunHops:
    """Seconds per step by task.

    Args:
        by_task: Of tasks that read pictures and sound, one for each of the task's datasets; 1 for tasks that are not
            named.
    """

    def __init__(self, by_task: Mapping[str, Sequence[float]] | None = None) -> None:
        self.by_task = {task: tuple(dict.fromkeys(hops)) for task, hops in (by_task or {}).items()}

    def of(self, tasks: Sequence[str], hop: float | None = None) -> float:
        """Seconds per step for tasks that are answered together.

        Args:
            tasks: Names.
            hop: Seconds per step that a user asks for, which go before those of the run.

        Raises:
            ValueError: If none are asked for, and the run was trained with several.
        """
        if hop is not None:
            return hop
        hops = {task: self.by_task.get(task, (USUAL_HOP,)) for task in tasks}
        lengths = {length for own in hops.values() for length in own}
        if len(lengths) > 1:
            listed = ", ".join(f"{task} of {' and '.join(f'{x:g} s' for x in own)}" for task, own in hops.items())
            raise ValueError(
                f"The run was trained with steps of several lengths: {listed}. Say which with --hop SECONDS (hop in "
                "Python), or predict tasks one after the other, with --tasks."
            )
        return next(iter(lengths), USUAL_HOP)


def read_hops(folder: RunFolder, facts: RunFacts) -> RunHops:
    """What a run says of the steps of its tasks: `run.json`, or for runs without that the config.

    Args:
        folder: The run.
        facts: Its `run.json`.
    """
    hops = facts.get("hops")
    if hops is None:
        own = _stated_in_config(folder)
        hops = {} if own is None else {task: [own] for task in facts["tasks"]}
    reads_features = facts.get("features") or {}
    return RunHops({task: own for task, own in hops.items() if not any(reads_features.get(task) or [])})


def _stated_in_config(folder: RunFolder) -> float | None:
    """The run's `data.hop`, where it is one number for all datasets."""
    config = read_yaml(folder.config)
    data = config.get("data") if isinstance(config, dict) else None
    try:
        hop = float(data["hop"]) if isinstance(data, dict) else 0.0
    except (KeyError, TypeError, ValueError):
        return None
    return hop if 0 < hop < math.inf else None
