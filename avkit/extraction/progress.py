# SPDX-License-Identifier: Apache-2.0
"""What an extraction has finished so far, on disk, so that it can be stopped at any moment and go on later.

Every finished clip is a `.npy` of its own, written at once. At the end the files become one store per stream, and are
deleted once the stores are complete. Clips that cannot be read are listed in `failed.jsonl`, with the reason.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from avkit.errors import DataError, FileError
from avkit.features.base import FeatureFacts, Features
from avkit.features.combined import ChainedFeatures, SelectedFeatures
from avkit.features.files import NpyFolder
from avkit.features.shards import ShardedStore, is_sharded, write_shards
from avkit.features.store import Store, write_store
from avkit.files import atomic
from avkit.reading.checksums import seal_file
from avkit.reading.text import parse_json

#: A file of HDF5 for each stream, or a folder of `.safetensors`.
StoreForm: TypeAlias = Literal["hdf5", "shards"]


class ExtractionProgress:
    """Finished clips of an extraction, and those set aside; several processes may each write a shard.

    Args:
        folder: Where the files lie.
        streams: Names of the streams.
        shard: Name of the shard that this process writes.
    """

    def __init__(self, folder: Path, streams: Sequence[str], shard: str = "local") -> None:
        self.folder = folder
        self.streams = list(streams)
        self.shard = shard

    def done(self) -> set[str]:
        """Names of clips whose streams are all finished, in whatever shard."""
        return _common_clips([self.features(stream) for stream in self.streams])

    def failed(self) -> dict[str, str]:
        """Names of clips set aside, with the reason."""
        reasons: dict[str, str] = {}
        for path in sorted(self.folder.glob("*/failed.jsonl")):
            for line in path.read_bytes().split(b"\n"):
                entry = _parse_failure(line)
                if entry is not None:
                    reasons[entry[0]] = entry[1]
        return reasons

    def save(self, stream: str, name: str, values: NDArray[Any]) -> None:
        """Write the features of a clip; the file appears only when it is complete."""
        with atomic(self.folder / self.shard / stream / f"{name}.npy") as part:
            np.save(part, values, allow_pickle=False)
            seal_file(part)

    def set_aside(self, name: str, reason: str) -> None:
        """Record that a clip cannot be read."""
        path = self.folder / self.shard / "failed.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "reason": reason}) + "\n")

    def forget_failures(self) -> None:
        """Let clips that were set aside be tried again."""
        for path in self.folder.glob("*/failed.jsonl"):
            path.unlink(missing_ok=True)

    def features(self, stream: str) -> ChainedFeatures:
        """Features of the finished clips of a stream, of all shards."""
        return ChainedFeatures([NpyFolder(path) for path in sorted(self.folder.glob(f"*/{stream}"))])

    def pack(
        self, out: Path, facts: dict[str, FeatureFacts], dtypes: dict[str, str], form: StoreForm = "hdf5"
    ) -> dict[str, Path]:
        """Write the stores, then delete the files of finished clips.

        Args:
            out: Folder of the stores; clips of a store that exists are kept.
            facts: How each stream's features are made.
            dtypes: `float16` or `float32`, by stream.
            form: A file of HDF5 for each stream, or a folder of `.safetensors`; a store of the other form is replaced.

        Returns:
            The stores, by stream.
        """
        stores: dict[str, Path] = {}
        for stream in self.streams:
            earlier = store_in(out, stream)
            finished = self.features(stream)
            if finished.names:
                parts: list[Features] = [finished]
                if earlier is not None:
                    parts.append(earlier)
                joined = ChainedFeatures(parts)
                clips = SelectedFeatures(joined, sorted(joined.names))
                path, write = (out / stream, write_shards) if form == "shards" else (out / f"{stream}.h5", write_store)
                stores[stream] = write(path, clips, facts[stream], dtypes[stream])
                if earlier is not None and earlier.path != path:
                    delete_store(earlier.path)
            elif earlier is not None:
                stores[stream] = earlier.path
        failed = self.failed()
        shutil.rmtree(self.folder, ignore_errors=True)
        for name, reason in failed.items():
            self.set_aside(name, reason)
        return stores


def store_in(out: Path, stream: str) -> Store | None:
    """The store of a stream in a folder, of either form; None where there is none."""
    if is_sharded(out / stream):
        return ShardedStore(out / stream)
    path = out / f"{stream}.h5"
    return Store(path) if path.exists() else None


def delete_store(path: Path) -> None:
    """Delete a store of either form."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def stored_clips(out: Path, streams: Sequence[str]) -> set[str]:
    """Names of clips that the stores of all streams have."""
    stores = [store for stream in streams if (store := store_in(out, stream)) is not None]
    return _common_clips(stores) if len(stores) == len(streams) else set()


def check_same_facts(out: Path, facts: dict[str, FeatureFacts]) -> None:
    """Refuse to add to stores that were made in another way.

    Args:
        out: Folder of the stores.
        facts: How features are made, by stream.

    Raises:
        DataError: If a store that exists differs, with the differences.
    """
    for stream in facts:
        store = store_in(out, stream)
        if store is None:
            continue
        path = store.path
        stored = vars(store.facts)
        differences = []
        for key, value in vars(facts[stream]).items():
            unknown = key == "crop" and not stored[key]  # stores of before do not say it
            if stored[key] != value and not unknown:
                differences.append(f"{key} {stored[key]!r} and not {value!r}")
        if differences:
            raise DataError(
                f"{path} was made in another way: {'; '.join(differences)}. Move it away, or choose another --out."
            )


def _parse_failure(line: bytes) -> tuple[str, str] | None:
    """Name and reason of a line of `failed.jsonl`; None for the last line of a process that was killed in writing."""
    try:
        entry = parse_json(line.decode(), "failed.jsonl")
        return str(entry["name"]), str(entry["reason"])
    except (FileError, UnicodeDecodeError, LookupError, TypeError):
        return None


def _common_clips(features: Sequence[Features]) -> set[str]:
    """Names of clips that all of several features have."""
    if not features:
        return set()
    names = set(features[0].names)
    for others in features[1:]:
        names &= set(others.names)
    return names
