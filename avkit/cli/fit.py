# SPDX-License-Identifier: Apache-2.0
"""`avkit fit`: train, test the best checkpoint, write the report."""

import time
from pathlib import Path

from avkit.cli.trainer import AVCLI, make_cli, run_name
from avkit.runs import RunFolder, new_run, newest_run


def run(args: list[str]) -> int:
    """Train; `args` are the words after `avkit fit`."""
    start = time.perf_counter()
    cli = make_cli(args)
    run, checkpoint = _folder(cli)
    run.create()
    cli.write_facts(run, args)
    cli.attach(run, training=True)
    print(
        f"avkit fit: {', '.join(cli.model.tasks)} on {cli.datamodule.dataset}, "
        f"{cli.trainer.strategy.root_device}, into {run.path}"
    )
    cli.trainer.fit(cli.model, cli.datamodule, ckpt_path=checkpoint)
    minutes = (time.perf_counter() - start) / 60
    print(f"trained {cli.trainer.global_step} steps in {minutes:.1f} min")
    if cli.config.report and not cli.trainer.interrupted:
        from avkit.cli.report import report_run

        report_run(cli, run, training_minutes=minutes)
    return 0


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
