# SPDX-License-Identifier: Apache-2.0
"""Weights that an earlier version of avkit wrote and that this one cannot run, or runs by an option alone."""

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
#: A module that earlier versions lacked, the option that leaves it out, and how they differed.
_LATER = {
    "system.own_sound_in.": (
        "own_sound",
        "captions heard the sound of a step as the backbone passes it on",
    ),
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


def check_not_before(path: Path | str, missing: Iterable[str]) -> None:
    """Refuse weights that lack nothing but what came later, with the option that leaves it out.

    Args:
        path: The file.
        missing: Names of the model's tensors that it lacks.

    Raises:
        RunError: If they are.
    """
    lacked = list(missing)
    for module, (option, difference) in _LATER.items():
        if lacked and all(name.startswith(module) for name in lacked):
            raise RunError(
                f"{path} was trained with an earlier version of avkit, in which {difference}. Add '{option}: false' "
                "under model: system: in the config.yaml of its run, or train the run again."
            )


def check_names(path: Path | str, own: Iterable[str], there: Iterable[str]) -> None:
    """Refuse weights whose tensors have other names than a model's.

    Args:
        path: The file.
        own: Names of the model's tensors.
        there: Names of the file's.

    Raises:
        RunError: With the first name, or with the option that reads weights of an earlier version.
    """
    missing = sorted(set(own) - set(there))
    unknown = sorted(set(there) - set(own))
    check_not_before(path, missing)
    if missing or unknown:
        lack = f"it lacks {missing[0]}" if missing else f"it has {unknown[0]}, which the model lacks"
        raise RunError(f"{path} is of a model with other options: {lack}. Use the files of one run together.")
