# SPDX-License-Identifier: Apache-2.0
"""The folder of each result: named after its clip, never that of another result."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from avkit.errors import AvkitError
from avkit.files import cannot_write, write_new_file
from avkit.reading.remote import state_of
from avkit.reading.text import read_json

#: The file that says what a result answers.
REQUEST = "request.json"
#: Files of a result, by which a folder is known to hold one.
_RESULTS = ("result.json", "stream.jsonl", REQUEST)


@dataclass(frozen=True)
class Request:
    """What a result answers: which clip, by which run, with which options.

    Attributes:
        clip: Absolute path of the clip.
        size: Its size in bytes.
        changed: When it was changed, in nanoseconds.
        run: Name of the run's folder.
        weights: Name and hash of the run's weights.
        options: Options that the answers depend on, by name.
    """

    clip: str
    size: int
    changed: int
    run: str
    weights: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, clip: Path, provenance: dict[str, str], options: dict[str, Any]) -> "Request":
        """The request of a clip to a run.

        Args:
            clip: The file.
            provenance: Of the predictor.
            options: Options that the answers depend on, in the types that JSON knows.
        """
        state = state_of(clip)
        run = Path(provenance.get("run", "")).name
        return cls(state.place, state.size, state.changed, run, provenance.get("weights", ""), options)


def claim_folder(out: Path, request: Request) -> Path:
    """The folder of a result under `out`; that of the same request where it was asked before.

    It is named after the clip. Where another result has that name, the name of the clip's folder is added if that
    result is of another clip, the name of the run if it is of another run, and a number if neither tells them apart:
    `horn`, `horn-garden`, `horn-avs-scenes`, `horn-2`.

    Args:
        out: Folder of all results.
        request: What the result answers.

    Raises:
        WriteError: If the folder cannot be made.
    """
    clip = Path(request.clip)
    name = clip.stem if clip.stem.strip(". ") else clip.name
    if _claim(out / name, request):
        return out / name
    label = _difference(_read_request(out / name), request)
    if label:
        name = f"{name}-{label}"
        if _claim(out / name, request):
            return out / name
    number = 2
    while not _claim(out / f"{name}-{number}", request):
        number += 1
    return out / f"{name}-{number}"


def holds_result(folder: Path) -> bool:
    """Whether a folder is that of a result, or was claimed for one."""
    return any((folder / name).exists() for name in _RESULTS)


def _claim(folder: Path, request: Request) -> bool:
    """Take a folder for a request; False if it holds another's result.

    Of several processes that ask for one folder at the same time, one gets it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if holds_result(folder):
            return _read_request(folder) == request
        write_new_file(folder / REQUEST, json.dumps(asdict(request), indent=1, ensure_ascii=False))
    except FileExistsError:  # a file has this name, or another process was faster
        return False
    except OSError as error:
        raise cannot_write(folder, error) from error
    return True


def _read_request(folder: Path) -> Request | None:
    """What the result of a folder answers; None if that is unknown."""
    try:
        record = read_json(folder / REQUEST)
    except AvkitError:
        return None
    names = {entry.name for entry in fields(Request)}
    if not isinstance(record, dict) or set(record) != names:
        return None
    return Request(**record)


def _difference(other: Request | None, request: Request) -> str:
    """A word that tells a request from another; empty where neither clip nor run differ, or the other is unknown."""
    if other is None:
        return ""
    if other.clip != request.clip:
        return Path(request.clip).parent.name
    return request.run if other.run != request.run else ""
