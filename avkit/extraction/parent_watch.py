# SPDX-License-Identifier: Apache-2.0
"""Decoders that the system ends with the process that started them, whatever they are doing.

The process that starts decoders imports this module before anything else. From then on it dies with the extraction,
and each decoder with it, also while a decoder imports modules or is inside of a library. Linux alone offers this;
elsewhere a decoder ends by itself, as soon as it runs Python code.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

#: Variable of the environment with the id of the extraction's process, for the process that starts decoders alone.
_PARENT = "AVKIT_EXTRACTION_PID"
#: Number of prctl's request for a signal at the parent's death.
_SET_DEATH_SIGNAL = 1


@contextmanager
def named_parent() -> Iterator[None]:
    """Have a process that is started in the block, and imports this module, die with this one."""
    os.environ[_PARENT] = str(os.getpid())
    try:
        yield
    finally:
        os.environ.pop(_PARENT, None)


def _die_with(parent: int) -> None:
    """Have the system kill this process when its parent ends, or end it if that is gone already."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _watch() -> None:
    parent = os.environ.pop(_PARENT, None)
    if parent is None or sys.platform != "linux":
        return
    _die_with(int(parent))
    this_process = os.getpid()
    os.register_at_fork(after_in_child=lambda: _die_with(this_process))


_watch()
