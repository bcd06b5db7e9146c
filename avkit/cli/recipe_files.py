# SPDX-License-Identifier: Apache-2.0
"""The recipes that a training was started with."""

from collections.abc import Sequence

from avkit.cli.given_options import config_files
from avkit.cli.trust import is_run
from avkit.leaderboard.hashes import file_hash
from avkit.leaderboard.recipes import CONFIGS, find_recipe
from avkit.training.run_folder import RunFolder


def recipe_files(args: Sequence[str]) -> list[dict[str, str]]:
    """The config files that a command names, in order, each with its `name` and `sha256`.

    Recipes of avkit have their path below `avkit/configs` as name. The config of a run stands for the files that the
    run was started with.

    Args:
        args: Words of the command.
    """
    recipe: list[dict[str, str]] = []
    for named in config_files(args):
        path = find_recipe(str(named))
        if is_run(path.parent):
            recipe += RunFolder(path.parent).read_facts().get("recipe", [])
            continue
        resolved = path.resolve()
        is_own = resolved.is_relative_to(CONFIGS.resolve())
        name = resolved.relative_to(CONFIGS.resolve()).as_posix() if is_own else path.name
        recipe.append({"name": name, "sha256": file_hash(path)})
    return recipe
