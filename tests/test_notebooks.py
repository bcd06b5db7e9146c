"""The notebooks of the documentation run from top to bottom."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "docs" / "notebooks").glob("*.ipynb"))
#: Stands for `main` in the cells, so that a command that fails fails the test.
GUARD = """
def check(words):
    from avkit.cli import main

    status = main(words)
    assert status == 0, (words, status)
"""


def code_of(notebook):
    cells = json.loads(notebook.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_stored(notebook):
    for cell in json.loads(notebook.read_text())["cells"]:
        assert not cell.get("outputs")


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(notebook, tmp_path):
    script = tmp_path / "cells.py"
    cells = [code.replace("main([", "check([") for code in code_of(notebook)]
    script.write_text("\n".join([GUARD, *cells]))
    run = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-2000:]
