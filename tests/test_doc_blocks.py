# SPDX-License-Identifier: Apache-2.0
"""Every block of Python in README and docs runs, or says why it does not."""

import re
from pathlib import Path

import clips
import pytest

from avkit.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
RUN = "runs/ra_ssu-avs-avqa-scenes"
TINY = ["--data.scenes.train_size", "8", "--data.scenes.val_size", "2", "--data.scenes.test_size", "2"]
TINY += ["--data.steps_per_epoch", "1", "--trainer.max_steps", "1", "--data.loader.workers", "0", "--report", "false"]
TINY += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]


def blocks(*, of_the_run):
    """Blocks that are to run: those that load the run of README's first command, or all others."""
    for page in PAGES:
        for number, text in enumerate(BLOCK.findall(page.read_text())):
            is_session = text.lstrip().startswith(">>>")  # run as a doctest
            is_left_out = page.name == "changelog.md" or re.match(r"# not run: \S+", text)
            if not is_session and not is_left_out and (RUN in text) == of_the_run:
                yield pytest.param(text, id=f"{page.name}-{number}")


@pytest.mark.parametrize("text", blocks(of_the_run=False))
def test_a_block_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "block", "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("text", blocks(of_the_run=True))
def test_a_block_about_the_run_of_the_first_command_runs(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--tasks", "ra_ssu,avs,avqa", *TINY]) == 0
    clips.write_clip(Path("clip.mp4"), [k / 5 for k in range(10)], 5, sound=clips.tone(2, 16_000))
    exec(compile(text, "block", "exec"), {})
    assert Path("out/result.json").is_file()
