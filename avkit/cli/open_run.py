# SPDX-License-Identifier: Apache-2.0
"""A trained run as validate and test open it: trainer, model and data of its config."""

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from avkit.batch import Vocabulary
from avkit.cli.given_options import last_value
from avkit.cli.rank import process_rank
from avkit.cli.run_config import evaluation_words
from avkit.cli.trainer import AVCLI, make_cli
from avkit.errors import RunError
from avkit.reading.remote import url_of
from avkit.training.checkpoint_fit import check_same
from avkit.training.datamodule import AVDataModule
from avkit.training.run_copies import local_run
from avkit.training.run_folder import RunFacts, RunFolder, new_run

#: Options that name a run's folder.
_PLACE = ("--out", "--name")


def open_run(command: str, args: Sequence[str]) -> tuple[AVCLI, RunFolder]:
    """Trainer, model and data of a run, from its config and from options that replace parts of it.

    Args:
        command: The command, for its error messages.
        args: Words of the command: a run folder or its URL, and options.

    Raises:
        ValueError: If no run is named, or an option does not belong to the command.
        RunError: If it is not a run, or the data have another vocabulary than the run's.
    """
    if not args or args[0].startswith("-"):
        raise ValueError(f"Name a run: avkit {command} runs/NAME [options].")
    options = args[1:]
    if any(option.partition("=")[0] == "--ckpt_path" for option in options):
        raise ValueError(
            f"avkit {command} scores the run's best checkpoint, or its last one where no validation chose one. Leave "
            "--ckpt_path out; it names the checkpoint that 'avkit fit' goes on from."
        )
    run = _open_folder(command, args[0], options)
    facts = run.read_facts()
    words = [*evaluation_words(run, trust="--trust" in options), *options]
    cli = make_cli(words, testing=True, run_vocabulary=Vocabulary(**facts["vocabulary"]))
    check_same(facts, list(cli.model.tasks), cli.model.vocabulary)
    check_drawn_splits(facts, cli.datamodule)
    cli.attach(run, training=False)
    return cli, run


def _open_folder(command: str, place: str, options: Sequence[str]) -> RunFolder:
    """The folder of a run; of a run at a URL a copy: a test makes a new folder below `--out` for it and its report.

    Raises:
        ValueError: If options name a folder that nothing is written to.
        RunError: If there is no run at the URL.
    """
    url = url_of(place)
    makes_folder = url is not None and command == "test"
    named = [option for word in options if (option := word.partition("=")[0]) in _PLACE]
    if named and not makes_folder:
        what = "writes no files" if command == "validate" else "writes its report into the run's folder"
        raise ValueError(f"avkit {command} {what}. Leave {named[0]} out.")
    folder = local_run(place, ".*")
    if url is None or not makes_folder or process_rank():
        return RunFolder(folder)
    out = str(last_value(options, "out") or "runs")
    name = str(last_value(options, "name") or PurePosixPath(url).name)
    run = new_run(Path(out), name)
    for part in folder.iterdir():
        shutil.move(part, run.path)
    print(f"copied {url} into {run.path}, where its report is written", flush=True)
    return run


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
