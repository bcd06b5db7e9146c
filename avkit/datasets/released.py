# SPDX-License-Identifier: Apache-2.0
"""Features that the authors of a dataset publish, and features named by a path."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

from avkit.datasets.folder import Folder
from avkit.errors import FileError
from avkit.features.base import FeatureFacts, Features
from avkit.features.combined import ConcatenatedFeatures, TokenFeatures
from avkit.features.files import NpyFolder, RowFile
from avkit.features.shards import is_sharded, open_store
from avkit.features.sidecar import read_sidecar
from avkit.reading.arrays import open_hdf5
from avkit.reading.remote import is_folder, is_there, url_of

#: What features are of: pictures or sound.
FeatureModality: TypeAlias = Literal["visual", "audio"]


@dataclass(frozen=True)
class ReleasedFeatures:
    """Features that the authors of a dataset publish, or that a well-known model of it reads.

    Attributes:
        pattern: Where they are below the root: `folder/{media}.npy`, or an HDF5 file with one row per annotation.
        shape: Shape of a clip's features as published; None stands for a free length.
        facts: How they were made.
        modality: Whether they are of pictures or of sound.
        published: Where their authors publish them.
        recipe: Recipe of `avkit extract` that makes such features, or that says why none does; empty if there is none.
        token: Which of a step's tokens is read, such as 0 for a class token; all where None.
    """

    pattern: str
    shape: tuple[int | None, ...]
    facts: FeatureFacts
    modality: FeatureModality = "audio"
    published: str = ""
    recipe: str = ""
    token: int | None = None


def open_released(root: Folder, features: ReleasedFeatures, row_ids: Callable[[], Sequence[str]]) -> Features:
    """Features as their authors publish them; a `features.json` beside them says what is otherwise about these.

    Args:
        root: Folder of the dataset.
        features: Where they are.
        row_ids: Gives the id of each row of an HDF5 file.
    """
    path = released_path(root, features)
    if "{media}" not in features.pattern:
        return RowFile(path, row_ids(), facts=_stated_facts(path, features.facts))
    folder = NpyFolder(path.parent, path.name.removeprefix("*"), _stated_facts(path.parent, features.facts))
    return folder if features.token is None else TokenFeatures(folder, features.token)


def _stated_facts(path: Path, facts: FeatureFacts) -> FeatureFacts:
    """Facts of released features, with those in their place that a file beside them states."""
    own = {name: value for name, value in asdict(read_sidecar(path)).items() if value}
    return replace(facts, **own)


def released_path(root: Folder, features: ReleasedFeatures) -> Path:
    """Where released features are below a root, there or not: a file, or files with `*` for the clip.

    Args:
        root: Folder of the dataset.
        features: Their facts.
    """
    folder, _, name = features.pattern.rpartition("/")
    if "{media}" in name:
        return (root.find(folder) or root.path / folder) / name.replace("{media}", "*")
    return root.find(features.pattern) or root.path / features.pattern


def open_path(path: Path, row_ids: Callable[[], Sequence[str]]) -> Features:
    """Features at a path.

    Args:
        path: A folder of `.npy` files, a feature store (a file, or a folder of shards), or an HDF5 file with one row
            per annotation.
        row_ids: Gives the id of each row of an HDF5 file.

    Raises:
        ValueError: If it is something else.
    """
    if is_folder(path):
        return open_store(path) if is_sharded(path) else NpyFolder(path)
    if path.suffix not in (".h5", ".hdf5"):
        raise ValueError(f"{path} is no feature store (.h5) and no folder of .npy files.")
    return open_store(path) if is_store(path) else RowFile(path, row_ids())


def open_named(names: str, root: Path) -> Features:
    """Features at paths from here or from a folder, several of them joined by `+`.

    Args:
        names: Feature stores, or folders of `.npy` files.
        root: The folder.

    Raises:
        ValueError: If there is nothing at a path.
    """
    parts: list[Features] = []
    for name in names.split("+"):
        paths = [Path(name.strip())] if url_of(name.strip()) else [Path(name.strip()), root / name.strip()]
        paths = [path for path in paths if is_there(path)]
        if not paths:
            raise ValueError(
                f"There are no features at {name.strip()!r}, from here or from {str(root)!r}. Give the path of a "
                "feature store, or of a folder of .npy files."
            )
        parts.append(open_path(paths[0], lambda: ()))
    return parts[0] if len(parts) == 1 else ConcatenatedFeatures(parts)


def is_store(path: Path) -> bool:
    """Whether an HDF5 file is a feature store; also True if it cannot be read, so that `Store` reports why."""
    try:
        with open_hdf5(path) as file:
            return "avkit_features" in file.attrs
    except FileError:
        return True
