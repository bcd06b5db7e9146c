# SPDX-License-Identifier: Apache-2.0
"""`avkit fit`: train, test the best checkpoint, write the report."""

import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import gethostname

from avkit.cli.dry_run import is_dry_run, print_needs, without_dry_run
from avkit.cli.provenance import versions_in_common
from avkit.cli.seeds import compare_seeds, run_seeds, seeds_of
from avkit.cli.start_table import print_start_table
from avkit.cli.trainer import AVCLI, make_cli, run_name
from avkit.cli.training_checks import check_before_training
from avkit.errors import RunError, Stopped
from avkit.files import remove_leftovers
from avkit.reading.remote import url_of
from avkit.report import open_console
from avkit.systems.encoder_weights import check_encoder_weights, save_settings
from avkit.training.dry_run import count_parameters
from avkit.training.history import History
from avkit.training.memory import free_memory, least_memory, too_large
from avkit.training.processes import first_decides, gathered, together
from avkit.training.run_folder import RunFolder, new_run, newest_run
from avkit.training.run_lock import locked


def run(args: list[str]) -> int:
    """Train, once or with each of several seeds; `args` are the words after `avkit fit`."""
    if "--help-all" in args:
        make_cli(["--help" if word == "--help-all" else word for word in args])
    if is_dry_run(args):
        return _dry_run(without_dry_run(args))
    args = without_dry_run(args)
    seeds = seeds_of(args)
    if seeds is None:
        return train(args)
    parent = run_seeds(args, seeds, train, lambda: run_name(make_cli(args)))
    if parent is not None:
        compare_seeds(parent, seeds)
    return 0


def _dry_run(args: list[str]) -> int:
    """Check a training, and print what it needs; the first of several processes does it for all."""
    cli = make_cli(args, training=True)
    if not cli.trainer.is_global_zero:
        return 0
    check_before_training(cli, None)
    print_needs(cli)
    return 0


def train(args: list[str]) -> int:
    """Train one run; `args` are the words after `avkit fit`."""
    start = time.perf_counter()
    cli = make_cli(args, training=True)
    is_first = cli.trainer.is_global_zero
    resumed, checkpoint = _choose_checkpoint(cli) if is_first else (None, None)
    if not cli.config.ckpt_path:
        check_encoder_weights(cli.model.system)
    check_before_training(cli, checkpoint)
    _warn_of_memory(cli)
    with together(cli.trainer, ["fit", *args], versions_in_common()), ExitStack() as held:

        def open_folder() -> tuple[RunFolder, str | None]:
            run = resumed or new_run(Path(cli.config.out), run_name(cli))
            run.create()
            held.enter_context(locked(run.path))
            remove_leftovers(run.path, alone=True)
            cli.write_facts(run, args)
            save_settings(cli.model.system, run.encoders)
            return RunFolder(run.path), checkpoint

        run, checkpoint = first_decides(cli.trainer, open_folder)
        _check_shared(run)
        with _how_to_go_on(cli, run, args):
            _print_start(cli, run)
            _train(cli, run, checkpoint)
            minutes = (time.perf_counter() - start) / 60
            print(f"trained {cli.trainer.global_step} steps in {minutes:.1f} min")
            if cli.config.report:
                _report(cli, run, minutes)
    return 0


def _warn_of_memory(cli: AVCLI) -> None:
    """Say before training where not even the weights and their optimizer fit into the memory that is free."""
    device = cli.trainer.strategy.root_device
    here = cli.trainer.world_size if device.type == "cpu" else 1  # each process has a GPU of its own
    needed = least_memory(*count_parameters(cli.model))
    warning = too_large(needed, free_memory(device), here, least=True)
    if warning and cli.trainer.is_global_zero:
        print(warning, file=sys.stderr)


@contextmanager
def _how_to_go_on(cli: AVCLI, run: RunFolder, args: Sequence[str]) -> Iterator[None]:
    """Have a signal that ends the block say how to go on."""
    try:
        yield
    except Stopped as e:
        raise Stopped(e.signal, _advice(cli, run, args)) from None


def _advice(cli: AVCLI, run: RunFolder, args: Sequence[str]) -> str:
    if cli.trainer.state.finished:
        return f"Training is done. Test it and write the report: {shlex.join(['avkit', 'test', str(run.path)])}"
    words = ["avkit", "fit", *_without_checkpoint(args)]
    if not run.last.exists():
        return f"Nothing was saved yet. Start again: {shlex.join(words)}"
    return f"Its state is saved. Go on: {shlex.join([*words, '--ckpt_path', str(run.last)])}"


def _without_checkpoint(args: Sequence[str]) -> list[str]:
    """The words of the command without the checkpoint that it resumed from."""
    words: list[str] = []
    following = False
    for word in args:
        option, _, value = word.partition("=")
        if not following and option != "--ckpt_path":
            words.append(word)
        following = not following and option == "--ckpt_path" and not value
    return words


def _check_shared(run: RunFolder) -> None:
    """Refuse a folder that a machine does not see: all machines read the checkpoints in it.

    Raises:
        RunError: With the machine.
    """
    blind = [machine for machine in gathered("" if run.facts.exists() else gethostname()) if machine]
    if blind:
        raise RunError(
            f"{run.path}, which the first process has made, is not to be seen on {', '.join(dict.fromkeys(blind))}. "
            "Choose an --out FOLDER that all machines share."
        )


def _print_start(cli: AVCLI, run: RunFolder) -> None:
    device = str(cli.trainer.strategy.root_device)
    if cli.trainer.world_size > 1:
        device += f" in {cli.trainer.world_size} processes"
    print(f"avkit fit: {', '.join(cli.model.tasks)} on {cli.datamodule.dataset}, {device}, into {run.path}")
    print_start_table(open_console(), cli.datamodule, ["val", "test"] if cli.config.report else ["val"])
    shared = cli.datamodule.sharing_notes(cli.trainer.world_size)
    for note in [*cli.datamodule.notes(), *shared, *cli.model.system.config.notes()]:
        print(f"note: {note}")


def _train(cli: AVCLI, run: RunFolder, checkpoint: str | None) -> None:
    """Train in this process, together with the others if there are any."""
    cli.attach(run, training=True)
    if cli.trainer.loggers:
        from avkit.cli.logged_run import add_logging

        add_logging(cli.trainer, cli.config.as_dict())
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint)
    empty = first_decides(cli.trainer, lambda: not run.checkpoint_files())
    if empty and cli.config.trainer.enable_checkpointing:  # zero steps were asked for: the untrained model is tested
        cli.trainer.save_checkpoint(run.last)


def _report(cli: AVCLI, run: RunFolder, minutes: float) -> None:
    """Test the best checkpoint and write the report."""
    from avkit.cli.evaluate import report_run

    histories = [callback for callback in vars(cli.trainer)["callbacks"] if isinstance(callback, History)]
    history = histories[0] if histories else None
    cli.trainer = cli.evaluation_trainer()
    report_run(cli, run, history, training_minutes=minutes)


def _choose_checkpoint(cli: AVCLI) -> tuple[RunFolder | None, str | None]:
    """The run to resume, None for a new one, and the checkpoint to resume from.

    Raises:
        RunError: If there is no run to resume, or another version of avkit wrote it.
    """
    out = Path(cli.config.out)
    checkpoint = cli.config.ckpt_path
    if not checkpoint:
        return None, None
    if checkpoint == "last":
        run = newest_run(out, run_name(cli))
        checkpoint = str(run.last)
    elif url_of(checkpoint) is None and Path(checkpoint).parent.name == "checkpoints":
        run = RunFolder(Path(checkpoint).parent.parent)
    else:
        return None, checkpoint
    if run.facts.exists():
        run.read_facts()  # refuses a run of another version of avkit
    if Path(checkpoint) == run.last:
        checkpoint = _whole_checkpoint(run)
    return run, checkpoint


def _whole_checkpoint(run: RunFolder) -> str:
    """The last checkpoint of a run, or, with a message, the newest other one where that is damaged."""
    path, problem = run.whole_checkpoint(run.last)
    if problem:
        print(f"avkit fit: {problem} Training goes on from {path} instead.", file=sys.stderr)
    return str(path)
