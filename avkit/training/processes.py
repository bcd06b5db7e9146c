# SPDX-License-Identifier: Apache-2.0
"""Several processes that train or test one run together, whoever starts them.

torchrun and SLURM start all of them. Else Lightning starts those of a machine, as copies of the command.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from pathlib import Path
from threading import Event, Thread
from types import TracebackType
from typing import NoReturn, TypeVar

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.strategies.launchers import subprocess_script

from avkit.errors import AvkitError, RunError
from avkit.training.heartbeat import SILENCE, STALL, Heartbeat
from avkit.training.position import position
from avkit.training.stop_signals import end_helpers

Decision = TypeVar("Decision")
Value = TypeVar("Value")

#: Seconds that a process gets to end by itself, or to say what ended it.
PATIENCE = 3.0
#: Processes that are named where many are at one place.
_NAMED = 3
#: Environment variable with the process id of the command that started this copy of it.
_STARTED_BY = "AVKIT_STARTED_BY"
#: What is in the text of an error that is about a connection.
_LOST = ("gloo", "Gloo", "Connection", "Broken pipe", "NCCL")


@contextmanager
def together(trainer: L.Trainer, command: Sequence[str], versions: str) -> Iterator[None]:
    """Have all processes of a trainer run the block side by side; the first one alone prints.

    Args:
        trainer: The trainer.
        command: Words of the command after `avkit`, with which the others are started where nobody has done so.
        versions: Of what all of them must have the same.

    Raises:
        RunError: If their versions differ, or one of them ends before the others.
    """
    if trainer.world_size == 1:
        yield
        return
    _end_with_starter()
    with ExitStack() as stack:
        others = stack.enter_context(Others(command))
        if trainer.global_rank:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
        try:
            others.start(trainer)
            trainer.strategy.setup_environment()
            machines = gathered((socket.gethostname(), versions))
            check_versions(machines)
            stack.enter_context(_watched(trainer, others, [machine for machine, _ in machines]))
            yield
        except RuntimeError as error:
            if "find_unused_parameters" in str(error):
                raise RunError(
                    "This --trainer.strategy needs a gradient of every parameter in each step, and a step has one "
                    "task. Leave it out, or give ddp_find_unused_parameters_true."
                ) from error
            if isinstance(error, AvkitError) or not _is_lost(error):
                raise
            raise RunError(f"{others.cause()} Start the command again when that is mended.") from error


def _watched(trainer: L.Trainer, others: "Others", machines: Sequence[str]) -> Heartbeat:
    """What ends this process when another one gives no sign of life."""

    def end(rank: int) -> None:
        others.end_all(
            f"rank {rank} on {machines[rank]} has given no sign of life for {SILENCE:.0f} s; this process ends too"
        )

    def tell(positions: dict[int, str]) -> None:
        places = _places(positions, machines)
        os.write(2, f"avkit {others.command[0]}: no process has come further for {STALL:.0f} s; {places}.\n".encode())

    strategy = trainer.strategy
    environment = strategy.cluster_environment if isinstance(strategy, ParallelStrategy) else None
    address = environment.main_address if environment is not None else "127.0.0.1"
    return Heartbeat(
        trainer.global_rank,
        trainer.world_size,
        address,
        lambda port: gathered(port)[0],
        end,
        position=lambda: position(trainer),
        on_stall=tell,
    )


def _places(positions: dict[int, str], machines: Sequence[str]) -> str:
    """Where processes are, those at one place together; the first three of many by name."""
    at: dict[str, list[str]] = {}
    for rank in sorted(positions):
        at.setdefault(positions[rank], []).append(f"rank {rank} on {machines[rank]}")
    places = []
    for place, ranks in at.items():
        more = f" and {len(ranks) - _NAMED} more" if len(ranks) > _NAMED else ""
        places.append(f"{', '.join(ranks[:_NAMED])}{more}: {place}")
    return "; ".join(places)


def _is_lost(error: RuntimeError) -> bool:
    """Whether an error is about the connection to another process."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _LOST)


def first_decides(trainer: L.Trainer, decide: Callable[[], Decision]) -> Decision:
    """What the first process decides, in all of them; where it fails, the others end too.

    Raises:
        RunError: In the others, if the first one failed.
    """
    decision = None
    try:
        if trainer.is_global_zero:
            decision = decide()
    finally:
        decision = trainer.strategy.broadcast(decision)
    if decision is None:
        raise RunError("The first process has ended; what it says tells why.")
    return decision


def gathered(value: Value) -> list[Value]:
    """The values of all processes, in their order."""
    if not dist.is_initialized():
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def check_versions(of_all: Sequence[tuple[str, str]]) -> None:
    """Refuse processes of different versions, which would train different models.

    Args:
        of_all: Machine and versions of each process.

    Raises:
        RunError: With both versions.
    """
    machine, first = of_all[0]
    for rank, (other, own) in enumerate(of_all):
        if own != first:
            raise RunError(
                f"The processes have different versions: rank 0 on {machine} {first}, rank {rank} on {other} {own}. "
                "Install the same on all machines."
            )


class Others:
    """The processes that Lightning has started on this machine; they end at the latest with this one.

    Args:
        command: Words of the command after `avkit`.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)
        self.processes: list[subprocess.Popen[bytes]] = []
        self._ends = Event()
        self._environment = dict(os.environ)
        self._threads = torch.get_num_threads()

    def start(self, trainer: L.Trainer) -> None:
        """Have Lightning start them, if nobody else has."""
        launcher = trainer.strategy.launcher
        if launcher is None:
            return
        functions = vars(subprocess_script)
        plain = functions["_basic_subprocess_cmd"]  # which repeats the words of this process, perhaps another program
        functions["_basic_subprocess_cmd"] = lambda: [sys.executable, "-m", "avkit", *self.command]
        os.environ[_STARTED_BY] = str(os.getpid())
        try:
            launcher.launch(_nothing)
        finally:
            functions["_basic_subprocess_cmd"] = plain
            del os.environ[_STARTED_BY]
        if isinstance(launcher, subprocess_script._SubprocessScriptLauncher) and launcher.procs:
            self.processes = list(launcher.procs)
            launcher.procs.clear()  # Lightning's own watch would kill this process without a word
            Thread(target=self._watch, daemon=True).start()

    def cause(self) -> str:
        """What ended the connection, as a sentence."""
        until = time.monotonic() + PATIENCE
        while self.processes and not self._failed() and time.monotonic() < until:
            time.sleep(0.05)
        failed = self._failed()
        if failed:
            return f"{' and '.join(failed)}; its messages, if it could write some, are above."
        return "The connection to another process was lost; its messages tell why."

    def _failed(self) -> list[str]:
        """What ended those that have failed."""
        failed = []
        for rank, process in enumerate(self.processes, 1):
            code = process.poll()
            if code:
                how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
                failed.append(f"Process {rank + 1} of {len(self.processes) + 1} on this machine {how}")
        return failed

    def _watch(self) -> None:
        """End this process soon after another has failed: it may wait for that one for ever."""
        while not self._ends.wait(0.5):
            failed = self._failed()
            if failed and not self._ends.wait(2 * PATIENCE):
                self.end_all(f"{failed[0]}; this one waits for it in vain")

    def end_all(self, reason: str) -> NoReturn:
        """End this process and those that it has started, whatever they are doing, with a sentence that says why."""
        os.write(2, f"avkit {self.command[0]}: {reason}.\n".encode())
        self._kill()
        end_helpers()
        os._exit(2)

    def __enter__(self) -> "Others":
        """Remember what Lightning will change in this process."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them, at once after an error, and forget what Lightning noted about them in this process."""
        self._ends.set()
        if not self.processes:
            return
        if kind is not None:
            for process in self.processes:
                process.terminate()
        if dist.is_initialized():
            dist.destroy_process_group()
        until = time.monotonic() + PATIENCE
        for process in self.processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
        self._kill()
        os.environ.clear()
        os.environ.update(self._environment)
        torch.set_num_threads(self._threads)

    def _kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


def _nothing() -> None:
    """What is to be done when the others have been started: to go on."""


def _end_with_starter() -> None:
    """Have this process end when the one that started it has ended, in whatever way."""
    parent = os.environ.pop(_STARTED_BY, None)
    if parent is None and not dist.is_torchelastic_launched():
        return
    Thread(target=_watch_parent, args=(int(parent or os.getppid()),), daemon=True).start()


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    end_helpers()
    os._exit(1)
