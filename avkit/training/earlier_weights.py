# SPDX-License-Identifier: Apache-2.0
"""Weights that an earlier version of avkit wrote and that this one cannot run."""

from collections.abc import Iterable
from pathlib import Path

from avkit.errors import RunError

#: A tensor that only an earlier decoder of sequences had, and how that differed from today's.
_EARLIER = {
    "system.decoder.embed.weight": "wrote a row of tokens per clip and numbered its steps; this version writes a row "
    "per step",
    "system.decoder.read.norms.text.weight": "read the words of a question by themselves; this version reads them in "
    "the light of the clip",
}


def check_not_earlier(path: Path | str, names: Iterable[str]) -> None:
    """Refuse weights of an earlier form.

    Args:
        path: The file.
        names: Names of its tensors.

    Raises:
        RunError: If they are.
    """
    present = set(names)
    for tensor, difference in _EARLIER.items():
        if tensor in present:
            raise RunError(
                f"{path} was trained with an earlier form of --model.interface sequence, which {difference}, and "
                "cannot use these weights. Train the run again, or test it with the version of avkit that its run.json "
                "names."
            )
