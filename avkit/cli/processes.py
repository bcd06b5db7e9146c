# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one run together on one machine.

The command starts a copy of itself, with the same words, for every further process, and sends each over its standard
input which folder and checkpoint the run uses. The environment tells Lightning that it need not start processes.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread

from avkit.errors import RunError
from avkit.training.stop_signals import end_helpers

#: Seconds that other processes get to end by themselves.
_SECONDS_TO_END = 3.0
#: Environment variable with the number of a copy of the command.
RANK = "AVKIT_RANK"
#: Environment variable with the number of all processes.
COUNT = "AVKIT_PROCESSES"


def process_rank() -> int:
    """The number of this process, 0 for the command itself."""
    return int(os.environ.get(RANK, "0"))


class Processes:
    """The further processes of a command; each ends at the latest with the command.

    Args:
        command: Words of the command, such as `fit --tasks avs`.
        count: Number of all processes; 1 starts none.
    """

    def __init__(self, command: Sequence[str], count: int) -> None:
        self.others: list[subprocess.Popen[str]] = []
        self._replaced: dict[str, str | None] = {}
        if count < 2:
            return
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
            "NODE_RANK": "0",
            "LOCAL_RANK": "0",
            COUNT: str(count),
        }
        self._replaced = {name: os.environ.get(name) for name in shared}
        os.environ.update(shared)
        for rank in range(1, count):
            self.others.append(_start(command, rank))

    def send(self, run: str, checkpoint: str | None) -> None:
        """Send the others the folder of the run and the checkpoint to resume from."""
        for process in self.others:
            assert process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended, which `join` reports
                print(json.dumps({"run": run, "checkpoint": checkpoint}), file=process.stdin, flush=True)

    def join(self, *, failed: bool = False) -> None:
        """Wait until the others end; at most a few seconds if this process has failed.

        Raises:
            RunError: If one of them ended with an error.
        """
        codes = [_exit_code(process, 5 if failed else None) for process in self.others]
        count = len(codes) + 1
        self.end()
        errors = [f"process {number} of {count} ended with code {code}" for number, code in enumerate(codes, 2) if code]
        if errors:
            raise RunError(
                f"Training stopped: {', '.join(errors)}; its messages are above. --trainer.devices 1 trains in one "
                "process."
            )

    def end(self) -> None:
        """End the others, and restore the environment."""
        for process in self.others:
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.close()  # which ends it, see `_end_with_command`
        for process in self.others:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
            process.kill()
            process.wait()
        self.others = []
        for name, value in self._replaced.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _start(command: Sequence[str], rank: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "avkit", *command],
        env={**os.environ, "LOCAL_RANK": str(rank), RANK: str(rank)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def _exit_code(process: subprocess.Popen[str], seconds: float | None) -> int:
    """The exit code of a process after at most `seconds`; 0 while it runs."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return 0


def receive() -> tuple[str, str | None]:
    """What the command sent to this copy of it: the folder of the run, and the checkpoint to resume from.

    Raises:
        RunError: If the command has ended.
    """
    line = sys.stdin.readline()
    if not line:
        raise RunError("The command that this process belongs to has ended.")
    Thread(target=_end_with_command, daemon=True).start()
    message = json.loads(line)
    return message["run"], message["checkpoint"]


def _end_with_command() -> None:
    """End this process and its helpers when the command has ended, in whatever way."""
    os.read(sys.stdin.fileno(), 1)  # not sys.stdin.read, which a daemon thread may not be in when Python ends
    end_helpers()
    os._exit(1)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
