# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: a command ends at once, a training after the step that it is at, when its state is saved."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from avkit.errors import Stopped

#: Seconds after which a second Ctrl-C ends a training at once. Some senders give a signal twice.
_PATIENCE = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """What happens when this process is asked to end; there is one, `STOP_SIGNALS`."""

    def __init__(self) -> None:
        #: The signal that was received, which a training asks for after each step.
        self.received: signal.Signals | None = None
        #: Whether a training runs that ends by itself soon after a signal.
        self.training = False
        #: Whether another process says what happens.
        self.quiet = False
        self._received_at = 0.0
        self._process = os.getpid()

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Handle the signals in the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self.received = None
        self.training = False
        self._process = os.getpid()
        replaced = {number: signal.signal(number, self._receive) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, earlier in replaced.items():
                signal.signal(number, earlier)

    def ignore(self) -> None:
        """Let nothing interrupt what is left to do; ends with the block of `handled`."""
        leave_signals_to_parent()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a fork that has not set its own handlers yet
            return
        now = time.monotonic()
        impatient = self.received is not None and number == signal.SIGINT and now - self._received_at > _PATIENCE
        repeated = self.received is not None
        self.received = self.received or signal.Signals(number)
        self._received_at = now
        if not self.training or impatient:
            raise Stopped(number)
        if not repeated and not self.quiet:  # not print, which may be what the signal has interrupted
            os.write(2, b"\navkit fit: stopping after this step, to save; Ctrl-C again stops at once\n")


STOP_SIGNALS = StopSignals()


def leave_signals_to_parent() -> None:
    """Have a helper process ignore Ctrl-C and SIGTERM, which reach whole groups: the main process ends it."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_helpers() -> None:
    """Kill the helper processes of this process, such as a loader's workers."""
    for process in multiprocessing.active_children():
        process.kill()
