# SPDX-License-Identifier: Apache-2.0
"""Of which files the clips of a folder of stores are, so that none are taken for another clip of the same name."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from avkit.errors import AvkitError, DataError, count_of
from avkit.extraction.sources import MediaSource
from avkit.files import write_file
from avkit.reading.remote import is_file, is_folder, list_names, read_ends, url_of
from avkit.reading.text import read_json

#: Name of the record in the folder of stores.
ORIGINS = ".origins.json"
#: By the name of a clip, the path of its first file and what tells the file's content.
Origins: TypeAlias = dict[str, list[str]]
#: Bytes at each end of a file that are compared.
_COMPARED_BYTES = 2**16
_SHOWN = 3
#: Files that are read at the same time.
_READERS = 16


def check_origins(out: Path, sources: Sequence[MediaSource], done: Collection[str]) -> None:
    """Refuse clips of which features are stored that are of another file; note the files of the others.

    A file that was moved or copied counts as the same one.

    Args:
        out: Folder of the stores.
        sources: The clips that are asked for.
        done: Names of the clips of which features are stored.

    Raises:
        DataError: If stored features are of another file; names clips and files.
    """
    origins = _read(out / ORIGINS)
    others = []
    changed = False
    unknown = dict(_unknown_files(sources, origins, done))
    with ThreadPoolExecutor(_READERS) as readers:  # which wait for disks and networks
        digests = readers.map(_digest, unknown.values())
        for (name, path), digest in zip(unknown.items(), digests, strict=True):
            if name not in done:
                origins[name] = [str(path), digest]
                changed = True
            elif origins[name][1] != digest:
                others.append(f"{name!r} of {origins[name][0]}, not of {path}")
    if others:
        more = ", ..." if len(others) > _SHOWN else ""
        raise DataError(
            f"{out} holds features of {count_of(len(others), 'clip')} of the same name from another file: "
            f"{'; '.join(others[:_SHOWN])}{more}. Choose another --out, or rename the files."
        )
    if changed:
        write_file(out / ORIGINS, json.dumps(origins))


def _unknown_files(
    sources: Sequence[MediaSource], origins: Origins, done: Collection[str]
) -> Iterator[tuple[str, Path]]:
    """Names and first files of clips whose files must be looked at: others than noted, or not noted and not done."""
    for source in sources:
        if source.drawn:  # its name tells what it is
            continue
        path = _first_file(source)
        earlier = origins.get(source.name)
        if earlier is None and source.name in done:  # there is nothing to hold it against
            continue
        if earlier is None or earlier[0] != str(path):
            yield source.name, path


def _read(path: Path) -> Origins:
    """The record; empty where there is none or it is damaged, for features are whole without it."""
    try:
        record = read_json(path)
    except AvkitError:
        return {}
    if not isinstance(record, dict):
        return {}
    return {name: entry for name, entry in record.items() if isinstance(entry, list) and len(entry) == 2}


def _first_file(source: MediaSource) -> Path:
    """The file that tells a clip from others: its video, or its frames or sound."""
    frames = source.frames or ""
    first_frame = frames if isinstance(frames, str) else frames[0]
    name = source.video or first_frame or source.audio or ""
    path = source.root / name
    return path if url_of(path) else Path(os.path.realpath(path))


def _digest(path: Path) -> str:
    """Size of a file and a hash of its ends; of a folder, the names in it."""
    if is_folder(path):
        return hashlib.sha256("\n".join(sorted(list_names(path))).encode()).hexdigest()[:16]
    if not is_file(path):
        return ""
    size, content = read_ends(path, _COMPARED_BYTES)
    return f"{size} {hashlib.sha256(content).hexdigest()[:16]}"
