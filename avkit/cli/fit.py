# SPDX-License-Identifier: Apache-2.0
"""`avkit fit`: train, test the best checkpoint, write the report."""

import time
from pathlib import Path

import torch
import torch.distributed as dist

from avkit.cli import processes
from avkit.cli.trainer import AVCLI, make_cli, run_name
from avkit.errors import AvkitError
from avkit.training.callbacks import History
from avkit.training.run_folder import RunFolder, new_run, newest_run


def run(args: list[str]) -> int:
    """Train; `args` are the words after `avkit fit`."""
    start = time.perf_counter()
    cli = make_cli(args, training=True)
    if processes.rank():
        folder, checkpoint = processes.receive()
        _train(cli, RunFolder(folder), checkpoint)
        return 0
    try:
        run, checkpoint = _folder(cli)
        run.create()
        cli.write_facts(run, args)
        cli.others.send(str(run.path), checkpoint)
        together = f" in {len(cli.others.others) + 1} processes" if cli.others.others else ""
        print(
            f"avkit fit: {', '.join(cli.model.tasks)} on {cli.datamodule.dataset}, "
            f"{cli.trainer.strategy.root_device}{together}, into {run.path}"
        )
        _train(cli, run, checkpoint)
    except RuntimeError as e:
        if not isinstance(e, AvkitError):  # a torn connection, perhaps: then the other process knows more
            cli.others.join(failed=True)
        raise
    else:
        cli.others.join()
    finally:
        cli.others.end()
    minutes = (time.perf_counter() - start) / 60
    print(f"trained {cli.trainer.global_step} steps in {minutes:.1f} min")
    if cli.config.report and not cli.trainer.interrupted:
        from avkit.cli.evaluate import report_run

        history = next(c for c in vars(cli.trainer)["callbacks"] if isinstance(c, History))
        if cli.trainer.world_size > 1:
            cli.trainer = cli.alone()
        report_run(cli, run, history, training_minutes=minutes)
    return 0


def _train(cli: AVCLI, run: RunFolder, checkpoint: str | None) -> None:
    """Train in this process, with the others where there are some."""
    cli.attach(run, training=True)
    try:
        cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint)
        if not run.last.exists() and not run.best.exists():  # no step was asked for: what is tested is what is there
            cli.trainer.save_checkpoint(run.last)
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
        torch.set_num_threads(cli.threads)


def _folder(cli: AVCLI) -> tuple[RunFolder, str | None]:
    """The run's folder and the checkpoint to resume from."""
    out, given = Path(cli.config.out), cli.config.ckpt_path
    name = run_name(cli.config, cli.datamodule)
    if given == "last":
        run = newest_run(out, name)
        return run, str(run.last)
    if given:
        path = Path(given)
        inside = path.parent.name == "checkpoints"
        return (RunFolder(path.parent.parent) if inside else new_run(out, name)), str(path)
    return new_run(out, name), None
