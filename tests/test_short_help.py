"""The help that fits a screen."""

import re
import subprocess
import sys

import pytest

from avkit.cli import main
from avkit.cli.dry_run import SWITCH
from avkit.cli.short_help import FIT_OPTIONS
from avkit.cli.trainer import make_cli


@pytest.mark.parametrize("command", ["fit", "test", "validate"])
def test_it_fits_a_screen_and_loads_no_torch(command):
    code = f"import sys; from avkit.cli import main; main([{command!r}, '--help']); print('torch' in sys.modules)"
    lines = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert lines[-1] == "False"
    assert len(lines) <= 36
    assert max(map(len, lines)) < 80
    assert lines[0].startswith(f"usage: avkit {command} ")


def test_options_that_it_names_are_there(capsys):
    with pytest.raises(SystemExit):
        make_cli(["--help"])
    listed = set(re.findall(r"--[\w.]+", capsys.readouterr().out))
    by_task = "--model.heads.TASK"
    for option in FIT_OPTIONS:
        name = option.split()[0]
        if name == SWITCH:
            continue
        assert name in listed or (name == by_task and "--model.heads" in listed), name


def test_all_options_are_listed_on_demand(capsys):
    with pytest.raises(SystemExit) as end:
        main(["fit", "--model.system.name", "ccnet", "--help-all"])
    assert not end.value.code
    assert "--trainer.accumulate_grad_batches" in capsys.readouterr().out
