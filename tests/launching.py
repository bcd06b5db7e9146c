# SPDX-License-Identifier: Apache-2.0
"""Starts avkit several times at once, with the variables by which launchers tell processes of each other.

A helper process imports everything once and forks for each start, so that a test waits for no import. Each line of its
input is a list of starts; for each it answers with the exit codes.
"""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path


class Launcher:
    """The helper process."""

    def __init__(self):
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def run(self, environments, words, logs):
        """Exit codes and outputs of processes that are started at once; None for one that hangs."""
        logs = [str(Path(logs) / f"{number}.log") for number in range(len(environments))]
        starts = [
            {"environment": environment, "words": words, "log": log}
            for environment, log in zip(environments, logs, strict=True)
        ]
        print(json.dumps(starts), file=self.process.stdin, flush=True)
        codes = json.loads(self.process.stdout.readline())
        return codes, [Path(log).read_text() for log in logs]

    def end(self):
        """End the helper process."""
        self.process.stdin.close()
        self.process.wait()


def free_port():
    """A port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return str(s.getsockname()[1])


def torchrun(nodes, each):
    """The variables of torchrun's processes."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port(), "TORCHELASTIC_RUN_ID": "x"}
    shared |= {"WORLD_SIZE": str(nodes * each), "LOCAL_WORLD_SIZE": str(each)}
    return [
        shared | {"RANK": str(rank), "LOCAL_RANK": str(rank % each), "GROUP_RANK": str(rank // each)}
        for rank in range(nodes * each)
    ]


def slurm(tasks):
    """The variables of SLURM's tasks on one machine."""
    shared = {"SLURM_NTASKS": str(tasks), "SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_JOB_NAME": "train"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [shared | {"SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(tasks)]


def machines(count):
    """The variables that a user sets on each machine."""
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [shared | {"NODE_RANK": str(rank)} for rank in range(count)]


def _fork(start):
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        log = os.open(start["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(start["environment"])
        from avkit.cli import main

        code = main(start["words"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _codes(pids, seconds=180):
    codes = dict.fromkeys(pids)
    until = time.monotonic() + seconds
    while None in codes.values() and time.monotonic() < until:
        for pid in [pid for pid, code in codes.items() if code is None]:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    for pid in [pid for pid, code in codes.items() if code is None]:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return list(codes.values())


def serve():
    """Start what each line of the input says."""
    import torch

    import avkit.cli.evaluate
    import avkit.cli.fit
    import avkit.cli.test  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        print(json.dumps(_codes([_fork(start) for start in json.loads(line)])), flush=True)


if __name__ == "__main__":
    serve()
