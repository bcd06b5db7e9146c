# SPDX-License-Identifier: Apache-2.0
"""Whether a checkpoint fits the tasks and the vocabulary of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from avkit.batch import Vocabulary
from avkit.errors import RunError


def check_same(facts: Mapping[str, Any], tasks: list[str], vocabulary: Vocabulary) -> None:
    """Raise RunError, with what differs, unless tasks and vocabulary are those a checkpoint was trained with."""
    if facts["tasks"] != tasks:
        raise RunError(
            f"The checkpoint has heads for {','.join(facts['tasks'])}, this run is for {','.join(tasks)}. "
            f"Pass --tasks {','.join(facts['tasks'])}, or start without --ckpt_path."
        )
    for name, now in asdict(vocabulary).items():
        then = facts["vocabulary"].get(name, type(now)())
        if then != now:
            raise _vocabulary_error(name, then, now)


def _vocabulary_error(name: str, then: Sequence[str], now: Sequence[str]) -> RunError:
    """The error for one part of the vocabulary that differs."""
    differing = sorted(set(then) ^ set(now))[:5]
    examples = f"such as {', '.join(map(repr, differing))}" if differing else "in another order"
    advice = "Use the data that it was trained on"
    if name == "pieces":
        name = "word pieces (its tokenizer)"
        advice = "Set system.pieces to those that it was trained with"
    return RunError(
        f"The checkpoint was trained with other {name}: {len(then)} there, {len(now)} here, {examples}. {advice}, "
        "or start without --ckpt_path."
    )
