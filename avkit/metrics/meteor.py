# SPDX-License-Identifier: Apache-2.0
"""METEOR 1.5, which is a Java program: one process serves all calls, since it takes seconds to load its tables.

Source:
    salaniz/pycocoevalcap at commit ad63453cfab5, `meteor/meteor.py`: options `-l en -norm` and the line protocol.
"""

import atexit
import os
import re
from collections.abc import Sequence
from threading import Lock

from avkit.metrics.java import JavaProcess, find_jar

_NUMBERS = re.compile(r"[-+0-9.eE ]+|NaN")
_lock = Lock()
_process: JavaProcess | None = None
_owner = 0  # a forked child must not talk through its parent's pipes


def meteor_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], timeout: float = 120.0
) -> tuple[float, list[float]]:
    """METEOR of a set of captions and of each caption.

    Args:
        predictions: N tokenised captions.
        references: N lists of tokenised references.
        timeout: Seconds for one answer of the program, its start included, until it is stopped.

    Returns:
        The score of the set, from summed statistics and so not the mean; and N scores. All in [0, 1].

    Raises:
        JavaError: If Java is missing, fails or takes too long.
    """
    with _lock:
        pairs = zip(predictions, references, strict=True)
        requests = [" ||| ".join(["SCORE", *map(_one_line, refs), _one_line(caption)]) for caption, refs in pairs]
        try:
            process = _running()
            known = {request: _ask(process, request, 1, timeout)[0] for request in dict.fromkeys(requests)}
            statistics = [known[request] for request in requests]
            scores = _ask(process, " ||| ".join(["EVAL", *statistics]), len(statistics) + 1, timeout)
        except BaseException:  # an interrupt too: unread answers would be taken for those of the next call
            close()
            raise
    *each, total = map(float, scores)
    return total, each


def close() -> None:
    """End the program, if this process has started it; the next call starts it again."""
    global _process
    if _process is not None and _owner == os.getpid():
        _process.close()
    _process = None


def _running() -> JavaProcess:
    global _process, _owner
    if _process is None or _owner != os.getpid() or not _process.alive:
        close()
        jar = find_jar("meteor", "meteor-1.5.jar")
        _process = JavaProcess("-Xmx2G", "-jar", jar, "-", "-", "-stdio", "-l", "en", "-norm")
        _owner = os.getpid()
    return _process


def _ask(process: JavaProcess, line: str, answers: int, timeout: float) -> list[str]:
    lines = process.ask(line, answers, timeout)
    wrong = next((answer for answer in lines if not _NUMBERS.fullmatch(answer)), None)
    if wrong is not None:  # a virtual machine that cannot start says so on stdout
        raise process.failure(f"METEOR answered {wrong[:200]!r} instead of numbers")
    return lines


def _one_line(tokens: str) -> str:
    return " ".join(tokens.replace("|||", " ").split())


atexit.register(close)
