# SPDX-License-Identifier: Apache-2.0
"""A small JSON file beside features that says how they were made."""

import math
from dataclasses import fields
from pathlib import Path

from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts
from avkit.reading.remote import is_file, is_folder
from avkit.reading.text import parse_json, read_text

#: Name of the file in a folder of features.
SIDECAR = "features.json"
#: Facts that are numbers of seconds, or of pictures per second.
_NUMBERS = ("hop", "window", "fps", "crop")


def sidecar_path(path: Path) -> Path:
    """Where the facts of features lie: in a folder of features, or beside a file of features under its name."""
    return path / SIDECAR if is_folder(path) else path.with_suffix(".json")


def read_sidecar(path: Path) -> FeatureFacts:
    """Facts of the features at `path`, from the file beside them; no facts where there is no such file.

    The file holds an object with attributes of `FeatureFacts`, such as `{"hop": 0.32, "window": 0.96}`.

    Raises:
        DataError: If the file is damaged, or has an unknown key or a value of a wrong kind.
    """
    file = sidecar_path(path)
    if not is_file(file):
        return FeatureFacts()
    content = parse_json(read_text(file), str(file), advice=_advice())
    if not isinstance(content, dict):
        raise DataError(f"{file} holds a {type(content).__name__}, not an object. {_advice()}")
    for key, value in content.items():
        _check_fact(file, key, value)
    return FeatureFacts(**content)


def _check_fact(file: Path, key: str, value: object) -> None:
    names = [field.name for field in fields(FeatureFacts)]
    if key not in names:
        raise DataError(f"{file}: {unknown_name('key', key, names)}")
    if key not in _NUMBERS:
        if not isinstance(value, str):
            raise DataError(f"{file}, field {key!r}: {value!r} is not a string. {_advice()}")
        return
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    if not math.isfinite(number) or number < 0 or (key == "hop" and number == 0):
        raise DataError(f"{file}, field {key!r}: {value!r} is not a number above 0. {_advice()}")


def _advice() -> str:
    return 'Write the seconds between two rows and the seconds that a row covers: {"hop": 0.32, "window": 0.96}.'
