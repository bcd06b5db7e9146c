# SPDX-License-Identifier: Apache-2.0
"""SLURM scripts of the documentation train on two machines, with a stand-in for `srun` that starts tasks here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from launching import free_port
from test_fit import TINY

from avkit.training.callbacks import read_history
from avkit.training.run_folder import RunFolder

ROOT = Path(__file__).parents[1]
SCRIPTS = re.findall(r"```\n(#!/bin/bash\n.*?)```", (ROOT / "docs" / "scale.md").read_text(), re.DOTALL)

#: Starts the command once for each of two machines and fails if one fails.
SRUN = """#!/bin/bash
shift # --kill-on-bad-exit=1
for task in 0 1; do SLURM_PROCID=$task SLURM_NODEID=$task SLURM_LOCALID=0 "$@" & done
wait -n && wait -n
"""


def test_scripts_are_saved_before_their_time_ends():
    assert SCRIPTS
    for script in SCRIPTS:
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        assert "#SBATCH --signal=TERM@120\n" in script


@pytest.fixture
def programs(tmp_path):
    """A folder of programs that stand for those of a cluster."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = f'#!/bin/bash\nexec "{sys.executable}" -m'
    contents = {
        "srun": SRUN,
        "scontrol": "#!/bin/bash\necho 127.0.0.1\necho 127.0.0.2\n",
        "avkit": f'{python} avkit "$@"\n',
        "torchrun": f'{python} torch.distributed.run "$@"\n',
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_it_trains(programs, tmp_path, script):
    words = ["--tasks", "avs", *TINY, "--trainer.max_epochs", "1", "--report", "false", "--name", "run"]
    replacements = {
        "--config RECIPE": " ".join(words),
        "/shared/runs": str(tmp_path),
        "--nproc-per-node 8": "--nproc-per-node 1",
        "29500": free_port(),
    }
    for old, new in replacements.items():
        script = script.replace(old, new)
    variables = {"SLURM_NTASKS": "2", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "train", "SLURM_JOB_NODELIST": "a,b"}
    variables |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    variables |= {"SLURM_NODELIST": "127.0.0.1", "SLURM_JOB_ID": free_port()}
    done = subprocess.run(["bash", "-c", script], env=os.environ | variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in 2 processes" in done.stdout
    rows = read_history(RunFolder(tmp_path / "run").history)
    assert [row["step"] for row in rows if "task" in row] == [1, 2, 3, 4, 5]
