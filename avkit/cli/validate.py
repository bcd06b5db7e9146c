# SPDX-License-Identifier: Apache-2.0
"""`avkit validate RUN`: the scores by which training chose its best checkpoint."""

from avkit.cli.open_run import open_run
from avkit.cli.trainer import AVCLI
from avkit.report import open_console, print_scores


def run(args: list[str]) -> int:
    """Validate; `args` are a run folder, or the URL of one, and options that replace those of its config."""
    cli, run = open_run("validate", args)
    from avkit.cli.provenance import versions_in_common
    from avkit.cli.training_checks import check_samples
    from avkit.training.processes import together

    check_samples(cli, ["val"])
    checkpoint = run.best if run.best.exists() else run.last
    with together(cli.trainer, ["validate", *args], versions_in_common()):
        cli.trainer.validate(cli.model, datamodule=cli.datamodule, ckpt_path=str(checkpoint), verbose=False)
        if cli.trainer.is_global_zero:
            _print_scores(cli)
    return 0


def _print_scores(cli: AVCLI) -> None:
    from avkit.cli.evaluate import label_splits, score_rows

    sizes = {task: cli.datamodule.coverage("val", task) for task in cli.model.benchmarks}
    rows = score_rows(cli.model, cli.datamodule.benchmarks, "val", sizes)
    print_scores(open_console(), label_splits(cli.datamodule, rows))
