# SPDX-License-Identifier: Apache-2.0
"""`avkit test RUN`: official metrics on the test split, and the report again."""

from collections.abc import Sequence
from pathlib import Path

from avkit.cli.open_run import open_run
from avkit.inference.zero_shot import ZERO_SHOT


def run(args: list[str]) -> int:
    """Test; `args` are a run folder, or the URL of one, and options that replace those of its config."""
    words, other = _without_beside(args)
    if words and words[0] == ZERO_SHOT and not Path(ZERO_SHOT).exists():
        from avkit.cli.evaluate_zero_shot import evaluate_zero_shot

        if other:
            raise ValueError("--beside shows answers beside those of a run. Leave it out of 'avkit test zero_shot'.")
        evaluate_zero_shot(words[1:])
        return 0
    cli, run = open_run("test", words)
    from avkit.cli.beside import open_beside
    from avkit.cli.evaluate import report_run
    from avkit.cli.provenance import versions_in_common
    from avkit.files import remove_leftovers
    from avkit.training.processes import together

    beside = open_beside(other, cli, trust="--trust" in args) if other else None
    with together(cli.trainer, ["test", *args], versions_in_common()):
        if cli.trainer.is_global_zero:
            remove_leftovers(run.path)
        report_run(cli, run, beside=beside)
    return 0


def _without_beside(args: Sequence[str]) -> tuple[list[str], str]:
    """The words without `--beside RUN`, and that run; empty where there is none.

    Raises:
        ValueError: If no run follows.
    """
    words: list[str] = []
    other = ""
    given = iter(args)
    for word in given:
        option, equals, value = word.partition("=")
        if option != "--beside":
            words.append(word)
            continue
        other = value if equals else next(given, "")
        if not other or other.startswith("-"):
            raise ValueError("--beside names no run. Give one, such as --beside runs/BASELINE.")
    return words, other
