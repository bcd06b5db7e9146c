# SPDX-License-Identifier: Apache-2.0
"""The feature store in another form: a folder of `.safetensors` with a tensor for each clip, and an index.

Any reader of safetensors reads the shards; avkit reads a clip at its known position, as in a store of HDF5, without
opening more than the index. Shards are written once and have names of their own: the index, which is written last,
names those that belong to the store. `benchmarks/store.py --forms` compares both forms.
"""

import json
import os
import secrets
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError, file_error
from avkit.features.base import Array, FeatureFacts
from avkit.features.shard_index import ADVICE, FORM, INDEX, Shard, parse_index, read_index, write_index
from avkit.features.shard_index import is_sharded as is_sharded
from avkit.features.store import Store, measure_clips, open_for_clips, to_stored_dtype
from avkit.features.store_index import StoreIndex
from avkit.files import atomic
from avkit.reading.boundary import file_errors
from avkit.reading.checksums import Span, crc32
from avkit.reading.copies import kept_copy
from avkit.reading.remote import read_range, size_of, url_of

#: Bytes of features in a shard; a longer clip has one to itself.
SHARD_BYTES = 2**30
_CODES = {"float16": "F16", "float32": "F32"}


class ShardedStore(Store):
    """A feature store in a folder of shards, opened when first read.

    Args:
        path: The folder.

    Raises:
        DataError: When first read, if the folder is no store, a shard is missing or cut off, or there is no such clip.
    """

    @cached_property
    def _shards(self) -> list[Shard]:
        return read_index(self.path)[1]

    @cached_property
    def _index(self) -> StoreIndex:
        index, self._shards = read_index(self.path)
        return index

    @cached_property
    def _first_rows(self) -> list[int]:
        return [shard.first for shard in self._shards]

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        self._files: dict[str, int] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._files = {}

    def __del__(self) -> None:
        for file in vars(self).get("_files", {}).values():
            os.close(file)

    def _read_into(self, values: Array, position: int) -> int:
        """Fill an array from a position in the rows of all shards, which begin at 0."""
        row_bytes = self._index.row_bytes
        shard = self._shards[bisect_right(self._first_rows, position // row_bytes) - 1]
        start = shard.offset + position - shard.first * row_bytes
        if not hasattr(os, "preadv"):  # Windows
            with (self.path / shard.name).open("rb") as opened:
                opened.seek(start)
                return opened.readinto(values.data.cast("B"))
        file = self._files.get(shard.name)
        if file is None:
            file = self._files[shard.name] = self._open_shard(shard)
        return os.preadv(file, [values.data.cast("B")], start)

    def _open_shard(self, shard: Shard) -> int:
        """Open a shard, and tell the kernel how it will be read."""
        path = self.path / shard.name
        with file_errors(path, "cannot be opened", ADVICE, DataError):
            span = Span(shard.offset, shard.size - shard.offset)
            return open_for_clips(path, span, total=self._index.value_bytes)


class RemoteStore(ShardedStore):
    """A folder of shards at a URL, of which clips are read by their ranges; the index is copied to this machine.

    Args:
        url: The folder.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)

    @cached_property
    def _index(self) -> StoreIndex:
        index, self._shards = parse_index(self.path / INDEX, self.path)
        for shard in self._shards:
            size = size_of(self._url_of(shard))
            if size != shard.size:
                raise file_error(self._url_of(shard), "is cut off or of another store", ADVICE)
        return index

    def _url_of(self, shard: Shard) -> str:
        url = url_of(self.path / shard.name)
        assert url is not None
        return url

    def _read_into(self, values: Array, position: int) -> int:
        """Fill an array from a position in the rows of all shards."""
        row_bytes = self._index.row_bytes
        shard = self._shards[bisect_right(self._first_rows, position // row_bytes) - 1]
        start = shard.offset + position - shard.first * row_bytes
        content = read_range(self._url_of(shard), start, values.nbytes)
        values.data.cast("B")[: len(content)] = content
        return len(content)


def open_store(path: str | Path) -> Store:
    """A feature store of either form, on this machine or at a URL; a file of HDF5 at a URL is copied.

    Raises:
        FileError: If the place of a URL cannot be reached.
    """
    url = url_of(path)
    if url is None:
        return ShardedStore(path) if is_sharded(Path(path)) else Store(path)
    if PurePosixPath(url).suffix in (".h5", ".hdf5"):
        return Store(kept_copy(url))
    return RemoteStore(url)


def write_shards(
    path: str | Path, clips: Iterable[tuple[str, Array]], facts: FeatureFacts, dtype: str = "float16"
) -> Path:
    """Write a store as a folder of shards; readers see the store of before, or all of this one.

    Args:
        path: Folder to write; a store that is there is replaced.
        clips: Name and features (T, ...) of each clip, iterated twice, as for `write_store`.
        facts: How the features were made.
        dtype: `float16` or `float32`.

    Raises:
        ValueError: As `write_store`.
        WriteError: If it cannot be written; a store of before is unchanged.
    """
    if dtype not in _CODES:
        raise ValueError(f"dtype is {dtype!r}; a store holds {' or '.join(_CODES)}.")
    path = Path(path)
    names, starts, shape = measure_clips(clips)
    if "__metadata__" in names:
        raise ValueError("A clip is called '__metadata__', which safetensors keeps for itself. Give it another name.")
    row_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    batch = secrets.token_hex(4)
    shards = []
    checksums: list[int] = []
    given = iter(clips)
    for number, (first, end) in enumerate(_split(starts, row_bytes)):
        name = f"{batch}-{number:05d}.safetensors"
        header = _header(names[first:end], starts[first : end + 1], shape, dtype, row_bytes)
        with atomic(path / name) as part, part.open("wb") as file:
            file.write(header)
            for clip in names[first:end]:
                _, array = next(given)
                values = np.ascontiguousarray(to_stored_dtype(clip, array, dtype))
                data = values.reshape(-1).view(np.uint8).data
                checksums.append(crc32(data))
                file.write(data)
        shards.append(Shard(name, int(starts[first]), len(header), (path / name).stat().st_size))
    write_index(path, names, starts, checksums, shards, {"dtype": dtype, "shape": json.dumps(shape)}, facts)
    kept = {shard.name for shard in shards}
    for old in path.glob("*-[0-9][0-9][0-9][0-9][0-9].safetensors"):
        if old.name not in kept:
            with suppress(OSError):  # another system may not delete what somebody reads
                old.unlink()
    return path


def _split(starts: NDArray[np.int64], row_bytes: int) -> Iterator[tuple[int, int]]:
    """First clip of each shard, and the clip after its last."""
    first = 0
    for clip in range(1, len(starts)):
        full = clip < len(starts) - 1 and (starts[clip + 1] - starts[first]) * row_bytes > SHARD_BYTES
        if full or clip == len(starts) - 1:
            yield first, clip
            first = clip


def _header(
    names: Sequence[str], starts: NDArray[np.int64], shape: tuple[int, ...], dtype: str, row_bytes: int
) -> bytes:
    """The start of a `.safetensors` with the tensors of these clips one after the other."""
    positions = ((starts - starts[0]) * row_bytes).tolist()
    entries = {}
    for number, name in enumerate(names):
        rows = int(starts[number + 1] - starts[number])
        place = [positions[number], positions[number + 1]]
        entries[name] = {"dtype": _CODES[dtype], "shape": [rows, *shape], "data_offsets": place}
    text = json.dumps({"__metadata__": {"form": FORM}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
