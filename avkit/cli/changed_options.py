# SPDX-License-Identifier: Apache-2.0
"""The options of a run as one flat table, and those of them that differ from their defaults or were typed."""

from collections.abc import Sequence
from typing import Any

from avkit.cli.given_options import CONTENT, given_options
from avkit.cli.run_config import EVALUATION
from avkit.cli.trainer import AVCLI
from avkit.leaderboard.matching import leaves
from avkit.leaderboard.recipes import Option
from avkit.reading.text import parse_yaml, read_yaml
from avkit.training.run_folder import RunFolder

#: How names of options begin that say where a run lies, how it is shown and read, not what it is.
_NOT_OF_RUN = (
    "ckpt_path",
    "config",
    "data.loader.",
    "data.manifest",
    "data.root",
    "name",
    "out",
    "report",
    "save_",
    "seed_everything",
    "seeds",
    "trainer.accelerator",
    "trainer.default_root_dir",
    "trainer.devices",
    "trainer.enable_",
    "trainer.log",
    "trainer.num_nodes",
    "trainer.strategy",
)
#: Options of the trainer that a test reads too.
_EVALUATION = tuple(f"trainer.{name}" for name in EVALUATION)


#: How names of options begin that only training reads, so that a later test does not take them over.
_OF_TRAINING = ("trainer.", "optimizer", "lr_scheduler")


def all_options(cli: AVCLI, run: RunFolder) -> dict[str, Option]:
    """All options of a run by dotted name, as its config file holds them; those of its place are left out.

    Args:
        cli: Trainer, model and data of the test, whose options count.
        run: Folder of the run, whose options of training count.
    """
    options = _table(cli, cli.config)
    for name, value in leaves(read_yaml(run.config)):
        if name.startswith(_OF_TRAINING) and not name.startswith((*_NOT_OF_RUN, *_EVALUATION)):
            options[name] = value
    return options


def default_options(cli: AVCLI) -> dict[str, Option]:
    """The defaults of these options, of the system that was chosen."""
    return _table(cli, cli.parser.get_defaults(skip_validation=True))


def changed_options(cli: AVCLI, run: RunFolder, words: Sequence[str]) -> dict[str, Option]:
    """Those of `all_options` that differ from their defaults or were typed.

    Args:
        cli: Trainer, model and data of the test.
        run: Folder of the run.
        words: Words of the command that was typed, after `avkit fit`.
    """
    typed = {option.name for option in given_options(words) if option.file != CONTENT}
    defaults = default_options(cli)
    changed = {}
    for name, value in all_options(cli, run).items():
        if name not in defaults or defaults[name] != value or name in typed:
            changed[name] = value
    return changed


def _table(cli: AVCLI, options: Any) -> dict[str, Option]:
    """Options by dotted name."""
    content = parse_yaml(cli.parser.dump(options, skip_none=False, skip_validation=True), "options")
    return {name: value for name, value in leaves(content) if not name.startswith(_NOT_OF_RUN)}
