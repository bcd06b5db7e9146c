# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one run together on one machine.

The command starts a second copy of itself for every further process, with the same words, and tells each over its
standard input which folder and checkpoint the run uses. Lightning finds in the environment that it need not start any.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress

from avkit.errors import RunError

#: Number of this process, and of all, for a copy of the command.
RANK, COUNT = "AVKIT_RANK", "AVKIT_PROCESSES"


def rank() -> int:
    """The number of this process, 0 for the command itself."""
    return int(os.environ.get(RANK, "0"))


class Processes:
    """The further processes of a command; each is ended when the command is.

    Args:
        words: Of the command, such as `fit --tasks avs`.
        count: Of all processes; with 1 nothing is started.
    """

    def __init__(self, words: Sequence[str], count: int) -> None:
        self.others: list[subprocess.Popen[str]] = []
        self.before: dict[str, str | None] = {}
        if count < 2:
            return
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "NODE_RANK": "0",
            "LOCAL_RANK": "0",
            COUNT: str(count),
        }
        self.before = {name: os.environ.get(name) for name in shared}
        os.environ.update(shared)
        for number in range(1, count):
            environment = {**os.environ, "LOCAL_RANK": str(number), RANK: str(number)}
            command = [sys.executable, "-m", "avkit", *words]
            self.others.append(
                subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            )

    def send(self, run: str, checkpoint: str | None) -> None:
        """Tell the others the run's folder and the checkpoint to resume from."""
        for process in self.others:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended; training will say so
                print(json.dumps({"run": run, "checkpoint": checkpoint}), file=process.stdin, flush=True)

    def join(self, failed: bool = False) -> None:
        """Wait for the others to end by themselves; where this process has failed, for a few seconds.

        Raises:
            RunError: If one of them ended with an error.
        """
        codes = [_ended(process, 5 if failed else None) for process in self.others]
        count = len(codes) + 1
        self.end()
        wrong = [f"process {n} of {count} ended with code {code}" for n, code in enumerate(codes, 2) if code]
        if wrong:
            raise RunError(
                f"Training stopped: {', '.join(wrong)}; what it said is above. --trainer.devices 1 trains in one."
            )

    def end(self) -> None:
        """End the others now, and forget them."""
        for process in self.others:
            process.kill()
            process.wait()
        self.others = []
        for name, value in self.before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _ended(process: subprocess.Popen[str], seconds: float | None) -> int:
    """The exit code of a process, 0 while it runs on."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return 0


def receive() -> tuple[str, str | None]:
    """What the command has sent to this copy of it: the run's folder, and the checkpoint to resume from."""
    line = sys.stdin.readline()
    if not line:
        raise RunError("The command that this process belongs to has ended.")
    told = json.loads(line)
    return told["run"], told["checkpoint"]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
