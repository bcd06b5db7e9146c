"""Shells complete commands and options."""

import shutil
import subprocess

import pytest

from avkit.cli import COMMANDS, main

pytest.importorskip("shtab")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_names_all_commands_and_options(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for name in COMMANDS:
        assert name in script
    for option in ("data.root", "commercial_safe", "caption_change_threshold", "allow_partial"):
        assert option in script


def test_bash_completes(capsys, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "avkit.bash"
    script.write_text(capsys.readouterr().out)
    for words, expected in ((("avkit", "lead"), "leaderboard"), (("avkit", "fit", "--data.r"), "--data.root")):
        code = (
            f"source {script}; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
            '_shtab_avkit; echo "${COMPREPLY[@]}"'
        )
        run = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
        assert expected in run.stdout.split(), run.stderr


def test_another_shell_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["completion", "cmd"])
    assert "invalid choice: 'cmd'" in capsys.readouterr().err
