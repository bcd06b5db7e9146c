# SPDX-License-Identifier: Apache-2.0
"""Stored features that a run names and that are not there, and what makes each of them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from avkit.datasets.base import Dataset
from avkit.datasets.folder import Folder
from avkit.datasets.official import Official
from avkit.datasets.released import FeatureModality, ReleasedFeatures, released_path
from avkit.errors import DataError
from avkit.extraction.recipe import ExtractionRecipe, list_recipes, read_recipe
from avkit.reading.remote import exists, url_of

#: Endings of paths of features, which no name of released features has.
_ENDINGS = (".h5", ".hdf5", ".npy")


@dataclass(frozen=True)
class MissingFeatures:
    """Features that are not there.

    Attributes:
        dataset: Name of the dataset.
        option: The option that names them.
        name: The name there.
        path: File, or files of a folder with `*` for the clip.
        splits: The splits that read them.
        released: What the dataset states of them; None for features that a user names by a path.
    """

    dataset: str
    option: str
    name: str
    path: Path
    splits: tuple[str, ...]
    released: ReleasedFeatures | None = None


def missing_features(
    dataset: type[Dataset], root: Path, names: str, modality: FeatureModality, release: str | None
) -> list[MissingFeatures]:
    """The features of one option that are not there.

    Names that are neither released features nor look like a path are left to the reader, which says what it takes.

    Args:
        dataset: The class of the dataset.
        root: Its folder.
        names: Names joined by `+`.
        modality: What they are of.
        release: Release of the annotations.
    """
    option = f"--data.features.{modality}"
    missing = []
    for name in (part.strip() for part in names.split("+")):
        if issubclass(dataset, Official) and name in dataset.released:
            for features, splits in dataset.released_files(name, release):
                path = released_path(Folder(root), features)
                if not _is_there(path):
                    missing.append(MissingFeatures(dataset.name, option, name, path, splits, features))
        elif not _is_stored(name, root) and ("/" in name or name.endswith(_ENDINGS)):
            missing.append(MissingFeatures(dataset.name, option, name, root / name, _splits(dataset)))
    return missing


def missing_expert(path: str) -> list[MissingFeatures]:
    """The store of an expert if it is not there."""
    if _is_stored(path, Path()):
        return []
    return [MissingFeatures("", "--data.features.expert", path, Path(path), ("train", "val", "test"))]


def missing_features_error(missing: Sequence[MissingFeatures], roots: dict[str, Path]) -> DataError:
    """One error for all features that are not there: a line each, with what makes them.

    Args:
        missing: At least one.
        roots: Folders of the datasets by name.
    """
    stems = {Path(features.name).stem for features in missing if features.released is None}
    lines = [f"{len(missing)} of the stored features that this run reads are not there:"]
    for features in missing:
        root = roots.get(features.dataset)
        lines.append(f"  {_describe(features)}: {_how_to_get(features, root, stems)}")
    return DataError("\n".join(lines))


def _is_stored(name: str, root: Path) -> bool:
    """Whether there is something at a path from here or from a root, or at a URL."""
    url = url_of(name)
    return exists(url) if url is not None else Path(name).exists() or (root / name).exists()


def _splits(dataset: type[Dataset]) -> tuple[str, ...]:
    return dataset.splits if issubclass(dataset, Official) else ("train", "val", "test")


def _is_there(path: Path) -> bool:
    """Whether there is a file, or a file of a pattern such as `folder/*_rgb.npy`."""
    if "*" in path.name:
        return next(path.parent.glob(path.name), None) is not None
    return path.exists()


def _describe(features: MissingFeatures) -> str:
    dataset = f"{features.dataset}, " if features.dataset else ""
    return f"{features.path} ({dataset}{features.option} {features.name}; split {', '.join(features.splits)})"


def _how_to_get(features: MissingFeatures, root: Path | None, stems: Collection[str]) -> str:
    """What makes features, as a sentence."""
    released = features.released
    if released is None:
        recipe = _recipe_of_store(Path(features.name).stem, stems)
        if recipe is None:
            return "check the path; 'avkit extract --list' names what avkit can make."
        return f"make it with {_command(recipe, features.dataset, root, features.path.parent)}."
    published = f"the authors publish it: {released.published}" if released.published else ""
    if not released.recipe:
        return f"{published}; no recipe of avkit makes it."
    command = _command(read_recipe(released.recipe), features.dataset, root, None)
    if read_recipe(released.recipe).bring:
        return f"{published}; {command} says how to make it."
    return (
        f"make it with {command} and write features/{features.name}.h5 for {features.name} in {features.option}; or "
        f"{published}."
    )


def how_to_extract(path: Path, dataset: str, root: Path | None) -> str:
    """What adds clips to features that exist, as a sentence.

    Args:
        path: The features.
        dataset: Name of the dataset.
        root: Its folder; None for a manifest.
    """
    recipe = _recipe_of_store(path.stem, (path.stem,)) if path.suffix in _ENDINGS else None
    if recipe is None:
        return f"Add them to {path} with what made it; 'avkit extract --list' names what avkit can make."
    return f"Add them with {_command(recipe, dataset, root, path.parent)}."


def _recipe_of_store(stem: str, stems: Collection[str]) -> ExtractionRecipe | None:
    """The recipe that makes a store of this name and most of the others that are missing, and least besides."""
    recipes = []
    for name in list_recipes():
        recipe = read_recipe(name)
        if stem in _streams(recipe):
            recipes.append(recipe)
    if not recipes:
        return None
    return max(recipes, key=lambda recipe: (len(_streams(recipe) & set(stems)), -len(recipe.streams)))


def _streams(recipe: ExtractionRecipe) -> set[str]:
    return {stream.name for stream in recipe.streams}


def _command(recipe: ExtractionRecipe, dataset: str, root: Path | None, out: Path | None) -> str:
    """The command that runs a recipe."""
    source = f"{dataset} --root {root}"
    usual = root / "features" if root else None
    if dataset in ("", "manifest"):
        source = "VIDEOS"
        usual = None
    folder = f" --out {out}" if out is not None and out != usual else ""
    return f"'avkit extract {source} --recipe {recipe.name}{folder}'"
