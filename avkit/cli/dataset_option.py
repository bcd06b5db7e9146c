# SPDX-License-Identifier: Apache-2.0
"""Options that name datasets: `--data.dataset` before it is parsed, and the part of an option for one dataset.

Of several `--data.dataset` the parser would drop what is given first without a word.
"""

from collections.abc import Sequence
from itertools import pairwise

from avkit.reading.text import parse_yaml

_OPTION = "--data.dataset"


def check_dataset_option(args: Sequence[str]) -> None:
    """Refuse datasets of tasks that are given in several options, or a task that a mapping names twice.

    Args:
        args: Words of the command.

    Raises:
        ValueError: If datasets of tasks are given in several options.
        FileError: If a mapping is no YAML, or names a task twice.
    """
    values = []
    for word, following in pairwise([*args, ""]):
        option, equals, value = word.partition("=")
        if option == _OPTION:
            values.append(value if equals else following)
    for value in values:
        if value.startswith("{"):
            parse_yaml(value, _OPTION)
    by_task = [value for value in values if "=" in value or value.startswith("{")]
    if len(values) > 1 and by_task:
        raise ValueError(
            f"{_OPTION} is given {len(values)} times: {' and '.join(values)}. Only the last would count. Give all in "
            f"one, as in {_OPTION} {','.join(values)}."
        )


def own_value(option: object, dataset: str) -> str | None:
    """The part of an option such as `llp=2020,ave=weak` for one dataset; all of it if it names no datasets.

    Args:
        option: The option as a run or recipe states it; None where it states none.
        dataset: Name of the dataset.
    """
    if option is None:
        return None
    text = str(option)
    if "=" not in text:
        return text
    values = dict(part.rpartition("=")[::2] for part in text.split(","))
    return values.get(dataset)
