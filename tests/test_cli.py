# SPDX-License-Identifier: Apache-2.0
"""The commands that need no training."""

import json
import subprocess
import sys

import pytest
from PIL import Image

from avkit.cli import COMMANDS, main


def test_help_lists_every_command(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in COMMANDS)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from avkit.cli import main; main(['--help']); print([m for m in ('torch', 'numpy', "
        "'lightning') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip().endswith("[]")


def test_misspelt_command_names_the_nearest(capsys):
    assert main(["ftt"]) == 2
    assert "Did you mean 'fit'" in capsys.readouterr().err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("avkit 0.")


def test_info_as_table_and_json(capsys):
    assert main(["info"]) == 0
    assert "ra_ssu" in capsys.readouterr().out
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"ra_ssu", "avs", "avqa"} <= set(facts["tasks"])


@pytest.mark.parametrize("extra", [[], ["--untrimmed"]])
def test_contact_sheet(tmp_path, extra):
    path = tmp_path / "sheet.png"
    assert main(["scenes", "preview", "--out", str(path), "--count", "1", *extra]) == 0
    with Image.open(path) as image:
        assert image.width > 600


def test_contact_sheet_of_nothing(capsys):
    assert main(["scenes", "preview", "--count", "0"]) == 2
    assert "at least 1 scene" in capsys.readouterr().err


def test_config_can_be_printed_and_read_back(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--tasks", "avs", "--print_config"])
    config = tmp_path / "config.yaml"
    config.write_text(capsys.readouterr().out)
    assert "tasks: avs" in config.read_text()
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(config), "--model.lr", "0.5", "--print_config"])
    assert "lr: 0.5" in capsys.readouterr().out
