# SPDX-License-Identifier: Apache-2.0
"""`avkit fit --seeds N`: a training for each seed, each a run of its own, then mean and standard deviation."""

import json
import shlex
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from avkit.cli.given_options import last_value
from avkit.cli.rank import process_rank
from avkit.errors import RunError, Stopped, count_of
from avkit.files import hold, release_lock, write_file
from avkit.leaderboard.records import RECORDS
from avkit.reading.text import read_json
from avkit.training.run_folder import RunFolder, new_run

#: File of a folder of runs that says which command made it.
SEEDS = "seeds.json"
_OPTION = "--seeds"
_ACCEPTED = "Give the number of trainings, such as 3, or seeds, such as 0,1,2."


def seeds_of(args: Sequence[str]) -> list[int] | None:
    """The seeds that a command asks for; None where it asks for one training.

    A number N asks for the seeds 0 to N - 1, several numbers joined by commas for these.

    Args:
        args: Words of the command.

    Raises:
        ValueError: If they are no seeds, or one stands twice.
    """
    given = last_value(args, "seeds")
    if given is None:
        return None
    text = ",".join(map(str, given)) if isinstance(given, list) else str(given)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not parts or not all(part.isdecimal() for part in parts):
        raise ValueError(f"--seeds is {text!r}. {_ACCEPTED}")
    numbers = [int(part) for part in parts]
    if "," in text or isinstance(given, list):
        for number in numbers:
            if numbers.count(number) > 1:
                raise ValueError(f"--seeds names seed {number} twice. Name each once.")
        return numbers
    if not numbers[0]:
        raise ValueError(f"--seeds is 0. {_ACCEPTED}")
    return list(range(numbers[0]))


def run_seeds(
    args: Sequence[str], seeds: Sequence[int], train: Callable[[list[str]], int], default_name: Callable[[], str]
) -> Path | None:
    """Train and test with each seed, in folders `seed-N` of one folder, and compare them.

    The same command goes on where it was stopped: runs that are done are kept, others go on from their last state.
    Further seeds may be asked for later.

    Args:
        args: Words of the command.
        seeds: The seeds.
        train: Trains and tests one run, by the words of its command.
        default_name: Gives the name of the folder where the command names none.

    Returns:
        The folder; None in a process that others have started with the first one, which takes part in the trainings.

    Raises:
        ValueError: If the command also asks for one seed, or for a checkpoint.
        RunError: If another process trains into the folder.
    """
    for option in ("seed_everything", "ckpt_path"):
        if last_value(args, option) is not None:
            raise ValueError(
                f"--seeds says which seeds are trained and goes on by itself, so --{option} cannot go with it. Leave "
                "one of them out."
            )
    words = _without(args, (_OPTION, "--name", "--out"))
    if process_rank():
        earlier = _earlier_folder(args, words, default_name)
        for seed in [seed for seed in seeds if earlier is None or not (earlier / f"seed-{seed}" / RECORDS).exists()]:
            train([*words, *_place(Path("runs"), seed, words)])
        return None
    parent = _earlier_folder(args, words, default_name) or _new_folder(args, default_name)
    with _held(parent):
        write_file(parent / SEEDS, json.dumps({"command": words}, indent=1) + "\n")
        for seed in seeds:
            try:
                _train_seed(parent, seed, words, train)
            except Stopped as e:
                advice = f"Seeds that are done are kept. Go on: {shlex.join(['avkit', 'fit', *args])}"
                raise Stopped(e.signal, advice) from None
    return parent


def _out_and_name(args: Sequence[str], default_name: Callable[[], str]) -> tuple[Path, str]:
    name = str(last_value(args, "name") or "") or default_name()
    return Path(str(last_value(args, "out") or "runs")), name


def _earlier_folder(args: Sequence[str], words: Sequence[str], default_name: Callable[[], str]) -> Path | None:
    """The folder that the same command, but for its seeds, made before."""
    out, name = _out_and_name(args, default_name)
    for path in sorted(out.glob(f"{name}*/{SEEDS}")):
        numbered = path.parent.name.removeprefix(f"{name}-").isdigit()
        if (path.parent.name == name or numbered) and read_json(path).get("command") == list(words):
            return path.parent
    return None


def _new_folder(args: Sequence[str], default_name: Callable[[], str]) -> Path:
    return new_run(*_out_and_name(args, default_name)).path


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    try:
        lock = hold(folder / "lock.json")
    except BlockingIOError as error:
        raise RunError(f"{folder} is being trained by {error}. Wait for it, end it, or give another --name.") from None
    try:
        yield
    finally:
        release_lock(lock)


def _train_seed(parent: Path, seed: int, words: Sequence[str], train: Callable[[list[str]], int]) -> None:
    """Train and test with one seed, from where it was stopped; nothing where that is done."""
    run = RunFolder(parent / f"seed-{seed}")
    if (run.path / RECORDS).exists():
        print(f"seed {seed}: {run.path} is done")
        return
    place = _place(parent, seed, words)
    if run.checkpoint_files():
        place += ["--ckpt_path", str(run.last)]
    elif run.path.exists():  # it was stopped before anything was kept
        shutil.rmtree(run.path)
    print(f"seed {seed}:")
    train([*words, *place])


def _place(parent: Path, seed: int, words: Sequence[str]) -> list[str]:
    """The words that say the seed of a training, and where it writes."""
    place = ["--seed_everything", str(seed), "--out", str(parent), "--name", f"seed-{seed}"]
    if last_value(words, "seeds") is not None:  # of a config file
        place += [_OPTION, "null"]
    return place


def _without(args: Sequence[str], options: Sequence[str]) -> list[str]:
    """The words of a command without some options and their values."""
    words: list[str] = []
    skipped = False
    for word in args:
        option, equals, _ = word.partition("=")
        if skipped:
            skipped = False
        elif option in options:
            skipped = not equals
        else:
            words.append(word)
    return words


def compare_seeds(parent: Path, seeds: Sequence[int]) -> None:
    """Print mean and standard deviation over seeds, write them beside the runs, and the verdicts on published rows."""
    from avkit.cli.compare import headlines, print_comparison
    from avkit.cli.tested_runs import read_scores
    from avkit.report import open_console
    from avkit.report.compare import Variant, compare_variants
    from avkit.report.compare_files import write_comparison

    runs = [RunFolder(parent / f"seed-{seed}") for seed in seeds]
    tested = [run for run in runs if (run.path / RECORDS).exists()]
    if len(tested) < 2:
        return
    variant = Variant(parent.name, [read_scores(run.path) for run in tested])
    comparison = compare_variants([variant])
    shown = headlines(comparison)
    paths = write_comparison(parent, comparison, shown)
    console = open_console()
    console.print(f"mean ± standard deviation over {count_of(len(tested), 'seed')}", highlight=False)
    print_comparison(console, shown)
    for line in seed_verdicts([run.path for run in tested]):
        console.print(f"published: {line}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"report: {paths['html']}", highlight=False, markup=False, soft_wrap=True)


def seed_verdicts(folders: Sequence[Path]) -> list[str]:
    """The verdict on the mean over seeds of each benchmark whose runs are of an experiment, a line each."""
    from avkit.cli.experiment_claims import claim_for
    from avkit.leaderboard import Record, find_experiment, judge, read_records

    groups: dict[tuple[str, str, str | None], list[Record]] = {}
    for folder in folders:
        for record in read_records(folder / RECORDS):
            groups.setdefault((record.task, record.dataset, record.experiment), []).append(record)
    lines = []
    for (task, dataset, experiment), records in groups.items():
        if experiment is not None:
            claim = claim_for(find_experiment(experiment), task)
            lines.append(f"{task} on {dataset} beside {claim.name} ({claim.source}): {judge(records, claim)}")
    return lines
