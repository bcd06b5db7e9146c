# SPDX-License-Identifier: Apache-2.0
"""`avkit fit`: train, test the best checkpoint, write the report."""

import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from avkit.cli.processes import process_rank, receive
from avkit.cli.trainer import AVCLI, make_cli, run_name
from avkit.cli.training_checks import check_before_training
from avkit.errors import AvkitError
from avkit.systems.encoder_weights import check_encoder_weights
from avkit.training.callbacks import History
from avkit.training.run_folder import RunFolder, new_run, newest_run


def run(args: list[str]) -> int:
    """Train; `args` are the words after `avkit fit`."""
    start = time.perf_counter()
    cli = make_cli(args, training=True)
    if process_rank():
        path, checkpoint = receive()
        _train(cli, RunFolder(path), checkpoint)
        return 0
    run = _train_together(cli, args)
    minutes = (time.perf_counter() - start) / 60
    print(f"trained {cli.trainer.global_step} steps in {minutes:.1f} min")
    if cli.config.report and not cli.trainer.interrupted:
        _report(cli, run, minutes)
    return 0


def _train_together(cli: AVCLI, args: Sequence[str]) -> RunFolder:
    """Train in this process and in those that were started with it; returns the folder of the run."""
    try:
        if not cli.config.ckpt_path:
            check_encoder_weights(cli.model.system)
        run, checkpoint = _choose_folder(cli)
        check_before_training(cli, checkpoint)
        run.create()
        cli.write_facts(run, args)
        cli.others.send(str(run.path), checkpoint)
        _print_start(cli, run)
        _train(cli, run, checkpoint)
    except RuntimeError as e:
        if not isinstance(e, AvkitError):  # perhaps a lost connection: then the other process knows the cause
            cli.others.join(failed=True)
        raise
    else:
        cli.others.join()
    finally:
        cli.others.end()
    return run


def _print_start(cli: AVCLI, run: RunFolder) -> None:
    device = str(cli.trainer.strategy.root_device)
    if cli.others.others:
        device += f" in {len(cli.others.others) + 1} processes"
    print(f"avkit fit: {', '.join(cli.model.tasks)} on {cli.datamodule.dataset}, {device}, into {run.path}")
    for note in cli.datamodule.notes():
        print(f"note: {note}")


def _train(cli: AVCLI, run: RunFolder, checkpoint: str | None) -> None:
    """Train in this process, together with the others if there are any."""
    cli.attach(run, training=True)
    try:
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint)
        kept = cli.config.trainer.enable_checkpointing
        if (
            kept and not run.last.exists() and not run.best.exists()
        ):  # zero steps were asked for: the untrained model is tested
            cli.trainer.save_checkpoint(run.last)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(cli.threads)


def _report(cli: AVCLI, run: RunFolder, minutes: float) -> None:
    """Test the best checkpoint and write the report."""
    from avkit.cli.evaluate import report_run

    history = next(callback for callback in vars(cli.trainer)["callbacks"] if isinstance(callback, History))
    cli.trainer = cli.evaluation_trainer()
    report_run(cli, run, history, training_minutes=minutes)


def _choose_folder(cli: AVCLI) -> tuple[RunFolder, str | None]:
    """The folder of the run, and the checkpoint to resume from.

    Raises:
        RunError: If there is no run to resume, or another version of avkit wrote it.
    """
    out = Path(cli.config.out)
    checkpoint = cli.config.ckpt_path
    if not checkpoint:
        return new_run(out, run_name(cli)), None
    if checkpoint == "last":
        run = newest_run(out, run_name(cli))
        checkpoint = str(run.last)
    elif Path(checkpoint).parent.name == "checkpoints":
        run = RunFolder(Path(checkpoint).parent.parent)
    else:
        return new_run(out, run_name(cli)), checkpoint
    if run.facts.exists():
        run.read_facts()  # refuses a run of another version of avkit
    return run, checkpoint
