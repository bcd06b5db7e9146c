# SPDX-License-Identifier: Apache-2.0
"""`avkit test zero_shot --dataset NAME`: the system without training, scored by the official metrics as any run is."""

from collections.abc import Sequence
from pathlib import Path

from avkit.cli.evaluate import report_run
from avkit.cli.trainer import make_cli, run_name
from avkit.cli.training_checks import check_samples
from avkit.datasets import DATASETS, find_dataset
from avkit.datasets.official import Official
from avkit.tasks import TASKS, VARIANTS, find_task
from avkit.training.run_folder import new_run
from avkit.training.run_lock import locked

#: What stands before the options of the user; theirs replace these.
_DEFAULTS = ("--model.system.name=zero_shot", "--data.image_size=224")
#: Classes that all datasets share, so that a common one says nothing.
_SHARED = set(Official.__mro__)


def evaluate_zero_shot(args: Sequence[str]) -> None:
    """Score the system without training into a run folder of its own.

    Args:
        args: Options of `avkit fit`; `--dataset NAME` is short for `--data.dataset NAME`.

    Raises:
        ValueError: If no dataset is named, or it does not tell the task.
    """
    words = zero_shot_words(args)
    cli = make_cli(words, testing=True)
    check_samples(cli, ["test"])
    run = new_run(Path(cli.config.out), f"zero_shot-{run_name(cli)}")
    run.create()
    with locked(run.path):
        cli.write_facts(run, words, command=("test", "zero_shot"))
        cli.attach(run, training=False)
        report_run(cli, run)


def zero_shot_words(args: Sequence[str]) -> list[str]:
    """The options of the user, with what they leave out.

    Raises:
        ValueError: If no dataset is named, or it does not tell the task.
    """
    words: list[str] = []
    options: dict[str, str] = {}
    given = iter(args)
    for word in given:
        option, equals, value = word.partition("=")
        option = {"--dataset": "--data.dataset", "--root": "--data.root"}.get(option, option)
        if not equals and option.startswith("--"):
            value = next(given, "")
        if not option.startswith("--") or not value:
            raise ValueError(
                f"{word!r} is no option with a value. Write --OPTION VALUE, such as --dataset avsbench-s4."
            )
        options[option] = value
        words.append(f"{option}={value}")
    if "--data.dataset" not in options and "--data.manifest" not in options:
        raise ValueError(
            "Name a dataset: avkit test zero_shot --dataset avsbench-s4 --data.root FOLDER. Known: "
            f"{', '.join(sorted(DATASETS))}."
        )
    if "--tasks" not in options:
        words.append(f"--tasks={_task_of(options.get('--data.dataset', ''))}")
    return [*_DEFAULTS, *words]


def _task_of(dataset: str) -> str:
    """The task whose usual dataset is of the same family as a dataset.

    Raises:
        ValueError: If there is none.
    """
    if dataset in DATASETS:
        family = set(find_dataset(dataset).__mro__) - _SHARED
        for name in TASKS:
            benchmark = find_task(name).benchmark
            if name not in VARIANTS and benchmark and family & set(find_dataset(benchmark).__mro__):
                return name
    raise ValueError(f"Which task is to be scored on {dataset or 'the manifest'}? Add --tasks, such as --tasks avs.")
