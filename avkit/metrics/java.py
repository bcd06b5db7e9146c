# SPDX-License-Identifier: Apache-2.0
"""Runs the Java programs of caption scores: their jars come with pycocoevalcap, the Java runtime is the user's."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Timer
from typing import IO

from avkit.errors import AvkitError


class JavaError(AvkitError):
    """Java is missing, or a program run with it failed or gave no answer."""


def find_java() -> str:
    """Path of the `java` command.

    Raises:
        JavaError: If there is none on PATH.
    """
    path = shutil.which("java")
    if path is None:
        raise JavaError("no java on PATH; install a Java runtime, e.g. openjdk-17-jre-headless")
    return path


def find_jar(*parts: str) -> str:
    """Path of a jar inside the installed pycocoevalcap package.

    Args:
        *parts: Folders and file name below the package.

    Raises:
        JavaError: If pycocoevalcap is not installed or lacks the file.
    """
    spec = find_spec("pycocoevalcap")
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or []:
        path = Path(folder, *parts)
        if path.is_file():
            return str(path.resolve())
    raise JavaError(f"no {'/'.join(parts)} in pycocoevalcap; install it with `pip install pycocoevalcap`")


class JavaProcess:
    """A running Java program, with pipes in UTF-8 to its input and output.

    Every call has a deadline: a program that misses it is killed, which ends the blocked read or write. Its stderr is
    written to a file, since a full pipe would block it.

    Args:
        *arguments: Command line behind `java`.

    Raises:
        JavaError: If there is no Java or it cannot be started.
    """

    def __init__(self, *arguments: str) -> None:
        command = [find_java(), "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", *arguments]
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._expired = 0.0  # the timeout in seconds after which it was killed, 0 if it was not
        try:
            # a session of its own, so that a wrapper script named java is killed together with what it started
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
            )
        except OSError as error:
            self._log.close()
            raise JavaError(f"java cannot be started: {error}") from error

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return self._process.poll() is None

    def run(self, text: str, timeout: float) -> str:
        """Send the whole input, wait until the program ends, and return the whole output.

        Args:
            text: Standard input.
            timeout: Seconds until the program is killed.

        Raises:
            JavaError: If it fails or runs out of time.
        """
        with self._deadline(timeout):
            output, _ = self._process.communicate(text.encode("utf-8", "replace"))
        if self._process.returncode != 0:
            raise self.failure(f"java ended with status {self._process.returncode}", output)
        self.close()
        return output.decode("utf-8", "replace")

    def ask(self, line: str, answers: int, timeout: float) -> list[str]:
        """Send one line and read the lines of the answer.

        Args:
            line: The request, without line break.
            answers: Number of lines of the answer.
            timeout: Seconds until the program is killed.

        Raises:
            JavaError: If it ends or runs out of time before all lines are read.
        """
        with self._deadline(timeout):
            try:
                self._stdin.write(line.encode("utf-8", "replace") + b"\n")
                self._stdin.flush()
                lines = [self._stdout.readline() for _ in range(answers)]
            except OSError:
                raise self.failure("java ended before it took its input") from None
        if not all(answer.endswith(b"\n") for answer in lines):
            raise self.failure("java ended before it answered")
        return [answer.decode("utf-8", "replace").strip() for answer in lines]

    def failure(self, what: str, output: bytes = b"") -> JavaError:
        """Close the program and return the error to raise.

        Args:
            what: What went wrong, unless the program ran out of time.
            output: Its stdout, where the virtual machine reports that it cannot start.
        """
        if self._expired:
            what = f"java gave no answer within {self._expired:g} s and was stopped; give a longer timeout"
        log = b"" if self._log.closed else self._read_log()
        lines = (log or output).decode("utf-8", "replace").strip().split("\n")
        self.close()
        last = lines[-1].strip()
        return JavaError(f"{what}; it wrote: {last[:300]}" if last else what)

    def close(self) -> None:
        """End the program; harmless when it has ended."""
        self._kill()
        self._process.wait()
        for pipe in (self._stdin, self._stdout, self._log):
            with suppress(OSError):  # the rest of a request, which no one will read
                pipe.close()

    def _read_log(self) -> bytes:
        self._log.seek(0)
        return self._log.read().strip()

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @contextmanager
    def _deadline(self, seconds: float) -> Iterator[None]:
        timer = Timer(seconds, self._expire, [seconds])
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _expire(self, seconds: float) -> None:
        self._expired = seconds
        self._kill()

    def _kill(self) -> None:
        if not self.alive:
            return
        with suppress(ProcessLookupError, PermissionError):  # it ended in the meantime
            if sys.platform == "win32":
                self._process.kill()
            else:
                os.killpg(self._process.pid, signal.SIGKILL)
