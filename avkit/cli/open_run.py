# SPDX-License-Identifier: Apache-2.0
"""A trained run as validate and test open it: trainer, model and data of its config."""

from collections.abc import Sequence

from avkit.batch import Vocabulary
from avkit.cli.run_config import evaluation_words
from avkit.cli.trainer import AVCLI, make_cli
from avkit.errors import RunError
from avkit.training.checkpoint_fit import check_same
from avkit.training.datamodule import AVDataModule
from avkit.training.run_folder import RunFacts, RunFolder


def open_run(command: str, args: Sequence[str]) -> tuple[AVCLI, RunFolder]:
    """Trainer, model and data of a run, from its config and from options that replace parts of it.

    Args:
        command: The command, for its error messages.
        args: Words of the command: a run folder and options.

    Raises:
        ValueError: If no run is named.
        RunError: If it is not a run, or the data have another vocabulary than the run's.
    """
    if not args or args[0].startswith("-"):
        raise ValueError(f"Name a run: avkit {command} runs/NAME [options].")
    run = RunFolder(args[0])
    facts = run.read_facts()
    options = args[1:]
    if any(option.partition("=")[0] == "--ckpt_path" for option in options):
        raise ValueError(
            f"avkit {command} scores the run's best checkpoint, or its last one where no validation chose one. Leave "
            "--ckpt_path out; it names the checkpoint that 'avkit fit' goes on from."
        )
    words = [*evaluation_words(run, trust="--trust" in options), *options]
    cli = make_cli(words, testing=True, run_vocabulary=Vocabulary(**facts["vocabulary"]))
    check_same(facts, list(cli.model.tasks), cli.model.vocabulary)
    check_drawn_splits(facts, cli.datamodule)
    cli.attach(run, training=False)
    return cli, run


def check_drawn_splits(facts: RunFacts, data: AVDataModule) -> None:
    """Refuse to score a run on test clips that were drawn anew from a manifest that has changed.

    Raises:
        RunError: If the test clips are others than those that were left out of training.
    """
    for name, now in data.split_facts().items():
        then = facts.get("splits", {}).get(name)
        if then is None or not then["drawn"] or then["path"] != now["path"] or then["digest"] == now["digest"]:
            continue
        raise RunError(
            f"The lines of {now['path']} have changed since the run, so other clips are drawn for test, and the run "
            "may have been trained on some. Give the lines their 'split', or name a manifest of test clips with "
            "--data.manifest FILE."
        )
