# SPDX-License-Identifier: Apache-2.0
"""Jobs of helpers: one after the other in a process of their own, which can be cancelled at any time."""

import multiprocessing
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from avkit.annotation.helpers import Helper, HelperChoice, Proposal, Request, make_helper
from avkit.errors import AvkitError

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

#: Seconds that a helper may take to notice that it is cancelled; then its process is ended.
_PATIENCE = 3.0
#: Jobs that are remembered.
_KEPT = 200


@dataclass
class Job:
    """A request to a helper, and what became of it.

    Attributes:
        number: Its number.
        clip: Number of the clip.
        choice: The helper.
        request: What it is asked.
        author: Who asked.
        state: waiting, running, done, failed or cancelled.
        note: What the person must know.
        proposals: Number of items proposed so far.
    """

    number: int
    clip: int
    choice: HelperChoice
    request: Request
    author: str
    state: str = "waiting"
    note: str = ""
    proposals: int = 0
    cancelled: threading.Event = field(default_factory=threading.Event)

    def as_dict(self) -> dict[str, Any]:
        """What the page is told."""
        return {
            "number": self.number,
            "clip": self.clip,
            "task": self.choice.task,
            "helper": self.choice.name,
            "object": self.request.object,
            "step": self.request.step,
            "author": self.author,
            "state": self.state,
            "note": self.note,
            "proposals": self.proposals,
        }


class Jobs:
    """Runs jobs one by one.

    Args:
        on_proposal: Stores a proposal of a job; returns why the job must stop, or an empty text.
    """

    def __init__(self, on_proposal: Callable[[Job, Proposal], str]) -> None:
        self.on_proposal = on_proposal
        self.jobs: dict[int, Job] = {}
        self._changed = threading.Condition()
        self._is_closed = False
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None
        self._cancel: Event | None = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def add(self, clip: int, choice: HelperChoice, request: Request, author: str) -> Job:
        """Put a job behind those that wait."""
        with self._changed:
            job = Job(max(self.jobs, default=0) + 1, clip, choice, request, author)
            self.jobs[job.number] = job
            finished = [number for number, old in self.jobs.items() if old.state in ("done", "failed", "cancelled")]
            for number in finished[: max(0, len(self.jobs) - _KEPT)]:
                del self.jobs[number]
            self._changed.notify_all()
        return job

    def cancel(self, number: int) -> Job | None:
        """Cancel a job; what it has proposed stays."""
        with self._changed:
            job = self.jobs.get(number)
            if job is not None:
                job.cancelled.set()
                if job.state == "waiting":
                    job.state = "cancelled"
        return job

    def close(self) -> None:
        """Cancel all jobs and end the process."""
        with self._changed:
            self._is_closed = True
            for job in self.jobs.values():
                job.cancelled.set()
            self._changed.notify_all()
        self._thread.join(timeout=2 * _PATIENCE)
        self._end_process()

    def _run(self) -> None:
        """Take jobs in their order until this is closed."""
        while True:
            with self._changed:
                while not self._is_closed and self._next() is None:
                    self._changed.wait()
                job = self._next()
                if self._is_closed or job is None:
                    return
                job.state = "running"
            try:
                job.state, note = self._do(job)
            except Exception as error:  # a page that waits must be told whatever happens
                job.state, note = "failed", f"{type(error).__name__}: {error}"
                self._end_process()
            job.note = " ".join(filter(None, [job.note, note]))

    def _next(self) -> Job | None:
        waiting = [job for job in self.jobs.values() if job.state == "waiting"]
        return waiting[0] if waiting else None

    def _do(self, job: Job) -> tuple[str, str]:
        """Run one job; returns its last state, and what is to be said."""
        connection, cancel, process = self._start_process()
        cancel.clear()
        connection.send((job.choice, job.request))
        patience = _PATIENCE
        while True:
            if job.cancelled.is_set():
                cancel.set()
                patience -= 0.1
                if patience < 0:
                    self._end_process()
                    return "cancelled", ""
            if not connection.poll(0.1):
                if not process.is_alive():
                    self._end_process()
                    return "failed", f"The helper's process ended ({_end(process)}). Is there enough memory?"
                continue
            try:
                kind, content = connection.recv()
            except EOFError:
                process.join(_PATIENCE)
                self._end_process()
                return "failed", f"The helper's process ended ({_end(process)}). Is there enough memory?"
            if kind != "proposal":
                return ("cancelled", "") if job.cancelled.is_set() else (kind, content)
            if job.cancelled.is_set():
                continue
            job.note = " ".join(filter(None, [job.note, content.note]))
            reason = self.on_proposal(job, content) if content.values else ""
            job.proposals += len(content.values)
            if reason:
                job.note = " ".join(filter(None, [job.note, reason]))
                cancel.set()

    def _start_process(self) -> "tuple[Connection, Event, BaseProcess]":
        if self._process is None or not self._process.is_alive() or self._connection is None or self._cancel is None:
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._cancel = context.Event()
            self._process = context.Process(target=_work, args=(theirs, self._cancel), daemon=True)
            self._process.start()
            theirs.close()
        return self._connection, self._cancel, self._process

    def _end_process(self) -> None:
        if self._process is not None and self._process.is_alive():
            self._process.kill()
            self._process.join(_PATIENCE)
        if self._connection is not None:
            self._connection.close()
        self._process = None
        self._connection = None


def _end(process: BaseProcess) -> str:
    code = process.exitcode
    return f"signal {-code}" if code is not None and code < 0 else f"code {code}"


def _work(connection: Connection, cancel: "Event") -> None:
    """What the process does: take requests, send proposals, and in the end how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which ends this
    helpers: dict[HelperChoice, Helper] = {}
    while True:
        try:
            choice, request = connection.recv()
        except (EOFError, OSError):
            return
        try:
            if choice not in helpers:
                helpers[choice] = make_helper(choice)
            for proposal in helpers[choice].propose(request):
                if cancel.is_set():
                    break
                connection.send(("proposal", proposal))
            answer = ("done", "")
        except AvkitError as error:
            answer = ("failed", str(error))
        except Exception as error:  # whatever a model's library raises
            first = str(error).splitlines()[:1]
            answer = ("failed", f"{choice.name} failed: {type(error).__name__}: {' '.join(first)[:300]}")
        try:
            connection.send(answer)
        except OSError:
            return
