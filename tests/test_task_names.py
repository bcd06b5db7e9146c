# SPDX-License-Identifier: Apache-2.0
"""Names of tasks are compared in their own files alone: what differs between tasks is said by `Task` and its kinds."""

import ast
import re
from pathlib import Path

import pytest

from avkit.tasks import TASKS

HOUSE = Path(__file__).parents[1] / "avkit"


def own_files():
    """Files of single tasks, and the table of their names."""
    names = {module.split(":")[0].rpartition(".")[2] for module in TASKS.values()}
    return {HOUSE / "tasks" / f"{name}.py" for name in names} | {HOUSE / "tasks" / "__init__.py"}


def names_in(node):
    """Names of tasks in an expression: the expression itself, or the entries of a list, tuple or set."""
    entries = node.elts if isinstance(node, ast.List | ast.Tuple | ast.Set) else [node]
    return [entry.value for entry in entries if isinstance(entry, ast.Constant) and entry.value in TASKS]


def comparisons(source):
    """Lines of a module that compare with the name of a task."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            for side in (node.left, *node.comparators):
                lines += [node.lineno] * len(names_in(side))
        if isinstance(node, ast.MatchValue):
            lines += [node.value.lineno] * len(names_in(node.value))
    return lines


@pytest.mark.parametrize("path", sorted(HOUSE.rglob("*.py")), ids=lambda path: str(path.relative_to(HOUSE)))
def test_no_name_of_a_task_is_compared(path):
    lines = comparisons(path.read_text())
    name = str(path.relative_to(HOUSE))
    if path in own_files():
        return
    assert not lines, f"{name} compares the name of a task in lines {lines}"


def test_templates_compare_no_name_of_a_task():
    pattern = re.compile(r"(==|!=|\bin\b)\s*[\(\[]?\s*[\"'](" + "|".join(TASKS) + r")[\"']")
    templates = sorted(HOUSE.rglob("*.j2"))
    assert templates
    for path in templates:
        assert not pattern.search(path.read_text()), path


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ('task == "avqa"', 1),
        ('"ra_ssu" != name', 1),
        ('name in ("avs", "ave")', 2),
        ('"davel" not in names', 1),
        ('match name:\n    case "ssl":\n        pass', 1),
        ('name == "other"', 0),
        ('table = {"avqa": 1}', 0),
    ],
)
def test_comparisons_are_found(source, count):
    assert len(comparisons(source)) == count
