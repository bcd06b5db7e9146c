# SPDX-License-Identifier: Apache-2.0
"""Commands in forks of the tests' process, which has imported what a new one needs ten seconds for."""

import os
import runpy
import subprocess
import sys
import time
from multiprocessing import forkserver
from pathlib import Path


def start(words, log, cwd=None):
    """Start `avkit WORDS` in a process group of its own; its output goes to a file. Returns its process id."""
    import avkit.cli.evaluate
    import avkit.cli.fit  # noqa: F401  # what most commands need, so that their forks have it

    return start_call(lambda: _main(words), log, cwd)


def start_call(call, log, cwd=None):
    """Start a function in a process group of its own; it exits with what the function returns, 70 if that raises."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        forkserver._forkserver.__init__()  # the parent's starter of processes is not this one's
        if cwd is not None:
            os.chdir(cwd)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(file, stream)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        code = call() or 0
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def run_module(words, log, paths=()):
    """The exit code and the output of `python -m avkit WORDS` with folders on the path of modules."""

    def call():
        sys.argv = ["avkit", *words]
        sys.path[:0] = [str(Path.cwd()), *map(str, paths)]
        try:
            runpy.run_module("avkit", run_name="__main__", alter_sys=True)
        except SystemExit as e:
            return e.code

    code = wait(start_call(call, log), 180)
    return code, Path(log).read_text()


def _main(words):
    from avkit.cli import main

    return main(words)


def ended(pid):
    """The exit code, negative for a signal; None while it runs."""
    process, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if process else None


def wait(pid, seconds):
    """The exit code, negative for a signal, once it has ended; it is killed after some seconds."""
    until = time.monotonic() + seconds
    while (code := ended(pid)) is None:
        if time.monotonic() > until:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
            raise subprocess.TimeoutExpired(str(pid), seconds)
        time.sleep(0.01)
    return code


def run(words, log, seconds=180, cwd=None):
    """The exit code and the output of a command."""
    code = wait(start(words, log, cwd), seconds)
    return code, Path(log).read_text()
