# SPDX-License-Identifier: Apache-2.0
"""A command in a process of its own that ends by SIGKILL at a chosen call, as by a machine that goes down."""

import os
import signal
import sys
from importlib import import_module
from unittest import mock

from avkit.cli import main


def run_killed(words, place, call=1):
    """Run a command that is killed before a call of a function.

    Args:
        words: Words of the command.
        place: The function as `module:function` or `module:Class.method`.
        call: Number of the call before which it dies.
    """
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _run_to_death(words, place, call)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status), f"{words} came to its end with status {status} and never to call {call} of {place}"
    assert os.WTERMSIG(status) == signal.SIGKILL


def _run_to_death(words, place, call):
    status = 70
    try:
        module, _, name = place.partition(":")
        owner = import_module(module)
        *classes, last = name.split(".")
        for part in classes:
            owner = vars(owner)[part]
        function = vars(owner)[last]
        calls = 0

        def deadly(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        with mock.patch.object(owner, last, deadly):
            status = main(words)
    finally:
        os._exit(status)
