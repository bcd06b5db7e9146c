# SPDX-License-Identifier: Apache-2.0
"""Recipes by name: the configs of published experiments, which are part of the package."""

import copy
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TypeAlias

from avkit.errors import FileError
from avkit.reading.text import read_yaml

#: Value of an option of `avkit fit`.
Option: TypeAlias = "str | int | float | bool | list[Option] | dict[str, Option] | None"

#: Folder of all recipes and, below `experiments`, of the rows that they aim at.
CONFIGS = Path(__file__).parents[1] / "configs"
#: Earlier names of recipes.
RENAMED = {"ccnet_unav100": "ccnet/i3d"}


def list_recipes() -> list[str]:
    """Names of all recipes: paths below `CONFIGS` without `.yaml`, such as `ccnet/i3d`."""
    names = [path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml")]
    return sorted(name for name in names if not name.startswith("experiments/"))


def find_recipe(name: str) -> Path:
    """A config file by its path, or a recipe by its name.

    A file on disk comes first. `.yaml` and a folder `configs/` in front may be left out; the last part of a name is
    enough where only one recipe ends in it.

    Args:
        name: Path of a file, or name of a recipe, such as `tspm_music_avqa` or `ccnet/i3d`.

    Raises:
        FileError: If there is neither a file nor one recipe of this name.
    """
    if Path(name).is_file():
        return Path(name)
    short = Path(name).as_posix().removeprefix("avkit/").removeprefix("configs/").removesuffix(".yaml")
    short = RENAMED.get(short, short)
    names = list_recipes()
    found = [own for own in names if own == short] or [own for own in names if own.endswith(f"/{short}")]
    if len(found) == 1:
        return CONFIGS / f"{found[0]}.yaml"
    if found:
        raise FileError(f"Several recipes are called {name!r}: {', '.join(found)}. Write one of these names.")
    near = get_close_matches(short, [*names, *(own.rpartition("/")[2] for own in names)], n=1, cutoff=0.6)
    advice = f"Did you mean {near[0]!r}?" if near else f"Recipes of avkit: {', '.join(names)}."
    raise FileError(f"There is no config file {name!r}, nor a recipe of this name. {advice}")


def recipe_options(recipe: Sequence[str], options: Mapping[str, Option]) -> dict[str, Option]:
    """The options of recipes and those after them as one nested mapping; later ones count.

    Args:
        recipe: Files below `CONFIGS`, in order.
        options: Options after the files, by dotted name.
    """
    merged: dict[str, Option] = {}
    for name in recipe:
        _merge(merged, _recipe_content(name))
    for name, value in options.items():
        *parents, last = name.split(".")
        nested: dict[str, Option] = {last: value}
        for parent in reversed(parents):
            nested = {parent: nested}
        _merge(merged, nested)
    return merged


@cache
def _recipe_content(name: str) -> Mapping[str, Option]:
    """What a recipe holds; to be copied, not changed."""
    content: Mapping[str, Option] = read_yaml(CONFIGS / name)
    return content


def _merge(target: dict[str, Option], other: Mapping[str, Option]) -> None:
    for key, value in other.items():
        own = target.get(key)
        if isinstance(value, dict) and isinstance(own, dict):
            _merge(own, value)
        else:
            target[key] = copy.deepcopy(value)
