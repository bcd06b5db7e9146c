# SPDX-License-Identifier: Apache-2.0
"""`avkit test RUN`: official metrics on the test split, and the report again."""

from avkit.cli.evaluation_help import show_help
from avkit.cli.open_run import open_run


def run(args: list[str]) -> int:
    """Test; `args` are a run folder and options that replace those of its config."""
    if show_help("test", args):
        return 0
    cli, run = open_run("test", args)
    from avkit.cli.evaluate import report_run

    report_run(cli, run)
    return 0
