# SPDX-License-Identifier: Apache-2.0
"""`avkit reproduce`: an experiment from data and weights, or from training, to a verdict on its published row."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.leaderboard import Experiment, find_experiment, read_experiments

if TYPE_CHECKING:
    from avkit.cli.reproduction import Reproduction

#: End of the id of an experiment whose predictions are given.
_PREDICTIONS = "_predictions"
#: Options of `avkit fit` that say how and where an experiment is run, and not what it is.
EXECUTION = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.enable_progress_bar",
    "trainer.logger",
    "data.loader",
    "data.allow_missing",
)
_EPILOG = """\
by weights:      avkit reproduce ID --root R --weights official.pth
by training:     avkit reproduce ID --root R --train --seeds 3
by predictions:  avkit reproduce ID --root R --predictions FILE
the same path on scenes, in minutes, without any data: avkit reproduce ID --scenes [--train]

Stopped at any point, the same command goes on where it was. Exit status: 0 the figures agree, 1 they differ, 2 they
cannot be compared. Options of 'avkit fit' that say where to run may follow, such as --trainer.devices 2; those that
change the experiment may not.
"""


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    p = argparse.ArgumentParser(
        prog="avkit reproduce",
        description="From data and weights, a training, or predictions to a verdict on a published row.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("id", nargs="?", help="the experiment, see --list")
    kinds = p.add_argument_group("what to show")
    kinds.add_argument("--list", action="store_true", help="all experiments")
    kinds.add_argument("--plan", action="store_true", help="what each needs, what is here, what is missing")
    kinds.add_argument("--dataset", help="those on one dataset")
    kinds.add_argument("--json", action="store_true", help="for scripts")
    how = p.add_argument_group("how to reproduce")
    how.add_argument("--root", type=Path, help="folder of the dataset, or one with a folder for each")
    how.add_argument("--weights", type=Path, help="the authors' checkpoint, or one that 'avkit convert' wrote")
    how.add_argument("--train", action="store_true", help="train the recipe")
    how.add_argument("--seeds", type=int, default=1, help="with --train: number of trainings")
    how.add_argument("--predictions", type=Path, help="answers that were made elsewhere, see 'avkit score'")
    how.add_argument("--scenes", action="store_true", help="on scenes in the dataset's layout: does all of it run?")
    how.add_argument("--out", type=Path, default=Path("reproductions"), help="folder for what is made")
    p.add_argument("--trust", action="store_true", help="import parts from outside avkit that files name")
    p.add_argument("--debug", action="store_true", help="show where an error comes from")
    return p


def run(args: list[str]) -> int:
    """Show experiments, or reproduce one; returns the status of the verdict."""
    p = parser()
    options, execution = p.parse_known_args(args)
    if options.list or options.plan:
        _refuse_words(execution)
        return _show(options)
    if options.id is None:
        p.error("name an experiment, or give --list or --plan")
    reproduction = _reproduction(options, execution)
    return reproduction.run()


def _show(options: argparse.Namespace) -> int:
    from avkit.cli.reproduction_plan import print_list, print_plan

    experiments = [find_experiment(options.id)] if options.id else read_experiments()
    if options.dataset:
        experiments = _of_dataset(experiments, options.dataset)
    if options.plan:
        print_plan(experiments, options.root, as_json=options.json)
    else:
        print_list(experiments, as_json=options.json)
    return 0


def _of_dataset(experiments: Sequence[Experiment], name: str) -> list[Experiment]:
    from avkit.errors import unknown_name
    from avkit.leaderboard.where import dataset_sources

    if name not in dataset_sources():
        raise unknown_name("dataset", name, dataset_sources())
    own = [experiment for experiment in experiments if name in experiment.datasets]
    if not own:
        raise ValueError(f"No experiment is on {name!r}. Leave --dataset out to see all.")
    return own


def _reproduction(options: argparse.Namespace, execution: Sequence[str]) -> "Reproduction":
    """The reproduction that was asked for.

    Raises:
        ValueError: If options contradict each other, or one is missing.
    """
    from avkit.cli.reproduction import Reproduction, Source

    id_: str = options.id
    names_predictions = id_.endswith(_PREDICTIONS)
    experiment = find_experiment(id_.removesuffix(_PREDICTIONS))
    given = [name for name in ("weights", "train", "predictions") if getattr(options, name)]
    if len(given) > 1:
        raise ValueError(f"--{given[0]} and --{given[1]} are two ways to reproduce. Give one.")
    kind: Source = "training" if options.train else "weights"
    if options.predictions or names_predictions:
        kind = "predictions"
    if kind == "predictions" and options.predictions is None:
        raise ValueError("Name the file of answers with --predictions FILE.")
    if kind != "predictions" and not experiment.recipe:
        advice = "Answers can be scored: --predictions FILE."
        raise ValueError(f"{experiment.id} has no recipe: {experiment.reason} {advice}")
    if options.scenes:
        _refuse_with_scenes(options, kind)
    elif options.root is None:
        raise ValueError(f"Name the folder of {experiment.dataset} with --root, or try the path with --scenes.")
    elif kind == "weights" and options.weights is None:
        raise ValueError("Say how: --weights FILE with the authors' checkpoint, --train, or --predictions FILE.")
    if options.seeds < 1:
        raise ValueError(f"--seeds is {options.seeds}; train at least once.")
    if options.seeds > 1 and kind != "training":
        raise ValueError("--seeds is the number of trainings, so it goes with --train.")
    _check_execution(execution)
    return Reproduction(
        experiment=experiment,
        source=kind,
        root=options.root,
        file=options.predictions or options.weights,
        seeds=options.seeds,
        scenes=options.scenes,
        out=options.out,
        execution=list(execution),
        trust=options.trust,
    )


def is_file_of_system(name: str) -> bool:
    """Whether an option names a file that the system reads: weights of an encoder, or the authors' statements."""
    return name.startswith("model.system.") and name.endswith(("_weights", ".prompts"))


def _says_where(name: str) -> bool:
    """Whether an option says where to run, or where a file of the authors lies, and not what the experiment is."""
    return is_file_of_system(name) or any(name == known or name.startswith(f"{known}.") for known in EXECUTION)


def _refuse_with_scenes(options: argparse.Namespace, kind: str) -> None:
    for name in ("root", "weights", "predictions"):
        if getattr(options, name):
            raise ValueError(f"--scenes makes its own data and weights, so --{name} cannot go with it.")
    if kind == "predictions":
        raise ValueError("--scenes trains or tests the recipe, and takes no predictions.")


def _refuse_words(words: Sequence[str]) -> None:
    if words:
        raise ValueError(f"Unknown option {words[0]!r}. 'avkit reproduce --help' names all.")


def _check_execution(words: Sequence[str]) -> None:
    """Refuse options that would change the experiment."""
    following = False
    for word in words:
        option, equals, _ = word.partition("=")
        if following and not word.startswith("--"):
            following = False
            continue
        name = option.removeprefix("--")
        if not option.startswith("--"):
            raise ValueError(f"{word!r} is no option. 'avkit reproduce --help' names all.")
        if not _says_where(name):
            known_options = ", ".join(f"--{known}" for known in EXECUTION)
            raise ValueError(
                f"{option} would change the experiment, or is no option. Beside its own options reproduce takes "
                f"{known_options}, and paths of encoders' weights and of statements (--model.system.prompts); for "
                "everything else use 'avkit fit'."
            )
        following = not equals
