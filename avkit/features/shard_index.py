# SPDX-License-Identifier: Apache-2.0
"""The index of a folder of shards: which clip lies where, and what it must be."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.errors import DataError, file_error
from avkit.features.base import FeatureFacts
from avkit.features.store_index import StoreIndex
from avkit.files import atomic
from avkit.reading.boundary import file_errors
from avkit.reading.remote import is_file
from avkit.reading.tensors import read_tensors, write_tensors
from avkit.reading.text import parse_json

#: File that says where clips are.
INDEX = "index.safetensors"
#: What its metadata call the form of the store.
FORM = "avkit features 2"
#: What to do about a store that cannot be read.
ADVICE = "Copy or extract it again."


@dataclass(frozen=True)
class Shard:
    """A file of a store.

    Attributes:
        name: Its name.
        first: Number of its first row among those of all shards.
        offset: Position of that row in the file, in bytes.
        size: Size of the file in bytes.
    """

    name: str
    first: int
    offset: int
    size: int


def is_sharded(path: Path) -> bool:
    """Whether a path is a folder of shards."""
    return is_file(path / INDEX)


def write_index(
    path: Path,
    names: Sequence[str],
    starts: NDArray[np.int64],
    checksums: Sequence[int],
    shards: Sequence[Shard],
    layout: dict[str, str],
    facts: FeatureFacts,
) -> None:
    """Write the index of a folder of shards.

    Args:
        path: The folder.
        names: Names of the clips in order.
        starts: First row of each clip, and the number of all rows.
        checksums: CRC-32 of each clip.
        shards: The files.
        layout: `dtype`, and `shape` of a row as JSON.
        facts: How the features were made.
    """
    tensors = {
        "names": torch.frombuffer(bytearray("\0".join(names).encode()), dtype=torch.uint8),
        "starts": torch.from_numpy(starts),
        "checksums": torch.tensor(checksums, dtype=torch.int64),
    }
    texts = {"form": FORM, "facts": json.dumps(asdict(facts)), "shards": json.dumps([asdict(s) for s in shards])}
    with atomic(path / INDEX) as part:
        write_tensors(part, tensors, {**texts, **layout})


def read_index(path: Path) -> tuple[StoreIndex, list[Shard]]:
    """The index of a folder, and its shards.

    Raises:
        DataError: If it is no store, was changed, is of a newer version, or a shard is missing or cut off.
    """
    if not is_sharded(path):
        raise DataError(f"{path} is no feature store: it has no {INDEX}. Make one with 'avkit extract'.")
    index, shards = parse_index(path / INDEX, path)
    for shard in shards:
        file = path / shard.name
        if not file.is_file():
            raise DataError(f"{path} lacks its file {shard.name}. {ADVICE}")
        if file.stat().st_size != shard.size:
            raise file_error(file, "is cut off or of another store", ADVICE)
    return index, shards


def parse_index(file: Path, path: Path) -> tuple[StoreIndex, list[Shard]]:
    """What an index says.

    Args:
        file: The index.
        path: The folder of the store, for messages.

    Raises:
        DataError: If it was changed, or is of a newer version.
    """
    texts, tensors = read_tensors(file)
    if texts.get("form") != FORM:
        raise DataError(f"{path} has the form {texts.get('form')!r}, and this avkit reads {FORM!r}. Update avkit.")
    with file_errors(file, "is damaged", ADVICE, DataError):
        names = bytes(tensors["names"].numpy()).decode().split("\0")
        stated = parse_json(texts["facts"], str(file))
        known = {field.name for field in fields(FeatureFacts)}
        index = StoreIndex(
            names=names,
            starts=tensors["starts"].numpy(),
            offset=0,
            shape=tuple(parse_json(texts["shape"], str(file))),
            dtype=np.dtype(texts["dtype"]),
            facts=FeatureFacts(**{name: value for name, value in stated.items() if name in known}),
            checksums=dict(zip(names, tensors["checksums"].tolist(), strict=True)),
        )
        shards = [Shard(**shard) for shard in parse_json(texts["shards"], str(file))]
    return index, shards
