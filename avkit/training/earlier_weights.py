# SPDX-License-Identifier: Apache-2.0
"""Weights that an earlier version of avkit wrote and that this one cannot run."""

from collections.abc import Iterable
from pathlib import Path

from avkit.errors import RunError

#: A tensor that only the first decoder of sequences had; it counted the steps of a clip.
_FIRST_DECODER = "system.decoder.embed.weight"


def check_not_earlier(path: Path | str, names: Iterable[str]) -> None:
    """Refuse weights of an earlier form.

    Args:
        path: The file.
        names: Names of its tensors.

    Raises:
        RunError: If they are.
    """
    if _FIRST_DECODER in names:
        raise RunError(
            f"{path} was trained with the first form of --model.interface sequence, which wrote a row of tokens per "
            "clip and numbered its steps; this version writes a row per step, and cannot use these weights. Train the "
            "run again, or test it with the version of avkit that its run.json names."
        )
