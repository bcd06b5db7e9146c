# SPDX-License-Identifier: Apache-2.0
"""A joint recipe that is started with fewer of its tasks: what its options say of the others is left out.

A config file may say `data.dataset: ave=ave,avqa=music-avqa` and `data.hop: music-avqa=6`; with `--tasks ave` the parts
of `avqa` and `music-avqa` name nothing that the run reads. What the command line itself says is not changed, so that a
misspelt task there is an error.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from avkit.cli.given_options import GivenOption, YamlValue, given_options
from avkit.tasks import split_names

#: Options of a text such as `NAME=VALUE,NAME=VALUE` whose names are datasets.
_BY_DATASET = ("data.release", "data.hop", "data.features.visual", "data.features.audio", "data.dataset_mix")
#: The usual value of an option of which no part is left.
_USUAL = {"data.mix": "sampling_weight", "data.dataset_mix": "proportional"}


def leave_out_other_tasks(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command whose tasks are fewer than those of its config files.

    Args:
        args: Words of the command.

    Returns:
        The words, followed by the options that differ from those of the files; and a sentence for each of these.

    Raises:
        ValueError: If a task is unknown.
    """
    options = {option.name: option for option in given_options(args)}
    tasks = options.get("tasks")
    dataset = options.get("data.dataset")
    if tasks is None or tasks.file or not tasks.value:
        return list(args), []
    names = split_names(str(tasks.value))
    words = list(args)
    notes: list[str] = []
    changed = {"data.mix": names}
    datasets: list[str] = []
    if dataset is not None and dataset.file and "=" in str(dataset.value):
        changed["data.dataset"] = names
        datasets = [part for text in _parts(dataset.value, names).values() for part in text.split("+")]
    if datasets:
        changed |= dict.fromkeys(_BY_DATASET, datasets)
    for name, kept in changed.items():
        option = options.get(name)
        if option is None or not option.file:
            continue
        narrowed = _narrow(option, kept)
        if narrowed is not None:
            words.append(f"--{name}={narrowed}")
            notes.append(
                f"{name} is {narrowed} and not {option.value}: not all tasks of {Path(option.file).name} are trained."
            )
    return words, notes


def _parts(value: YamlValue, kept: Collection[str]) -> dict[str, str]:
    """The parts of `NAME=VALUE,NAME=VALUE` whose names are kept."""
    parts = {}
    for part in str(value).split(","):
        name, _, text = part.partition("=")
        if name.strip() in kept:
            parts[name.strip()] = text
    return parts


def _narrow(option: GivenOption, kept: Collection[str]) -> str | None:
    """The text of an option with the parts that are kept; None where it stays as it is."""
    text = str(option.value)
    if "=" not in text or text.startswith("temperature="):
        return None
    parts = _parts(text, kept)
    if len(parts) == text.count(",") + 1:
        return None
    if not parts:
        return _USUAL.get(option.name, "null")
    return ",".join(f"{name}={part}" for name, part in parts.items())
