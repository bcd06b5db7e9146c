# SPDX-License-Identifier: Apache-2.0
"""A result as lines for the terminal."""

from avkit.report.records import Result
from avkit.report.renderers.table import group_answers


def terminal_lines(result: Result) -> list[str]:
    """The warning, the answers, those of the run beside it, then the notes, a line each."""
    groups = sorted(group_answers(result.answers), key=lambda group: group[0].terminal_rank)
    lines = [f"warning: {result.warning}"] if result.warning else []
    for renderer, answers in groups:
        lines += renderer.terminal_lines(answers)
    for renderer, answers in sorted(group_answers(result.beside), key=lambda group: group[0].terminal_rank):
        lines += [f"{result.beside_name}: {line.strip()}" for line in renderer.terminal_lines(answers)]
    lines += [f"note: {note}" for note in result.notes]
    return lines
