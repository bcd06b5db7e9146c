# SPDX-License-Identifier: Apache-2.0
"""METEOR 1.5 by its Java program: one process serves all calls, since it takes seconds to load its tables.

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
_LINE_BREAKS = re.compile("[\n\r]")
_lock = Lock()
_process: JavaProcess | None = None
_owner = 0  # id of the process that started it: a forked child must not use its parent's pipes


def meteor_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], timeout: float = 120.0
) -> tuple[float, list[float]]:
    """METEOR of a set of captions and of each caption.

    Args:
        predictions: N tokenised captions.
        references: N lists of tokenised references.
        timeout: Seconds to wait for one answer of the program, its start included, before it is stopped.

    Returns:
        The score of the set, from summed statistics and so not the mean; and N scores. All in [0, 1].

    Raises:
        JavaError: If Java is missing, fails or takes too long.
    """
    with _lock:
        requests = [_request(*pair) for pair in zip(predictions, references, strict=True)]
        try:
            answers = _ask_all(_running(), requests, timeout)
        except BaseException:  # an interrupt too: unread answers would be taken for those of the next call
            close()
            raise
    scores = [float(answer) for answer in answers]
    return scores[-1], scores[:-1]


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


def _ask_all(process: JavaProcess, requests: list[str], timeout: float) -> list[str]:
    """Score of each request, then that of the set; equal requests are sent once."""
    statistics = {}
    for request in dict.fromkeys(requests):
        statistics[request] = _ask(process, request, 1, timeout)[0]
    evaluation = " ||| ".join(["EVAL", *(statistics[request] for request in requests)])
    return _ask(process, evaluation, len(requests) + 1, timeout)


def _ask(process: JavaProcess, line: str, answers: int, timeout: float) -> list[str]:
    lines = process.ask(line, answers, timeout)
    for answer in lines:
        if not _NUMBERS.fullmatch(answer):  # a virtual machine that cannot start says so on stdout
            raise process.failure(f"METEOR answered {answer[:200]!r} instead of numbers")
    return lines


def _request(caption: str, references: Sequence[str]) -> str:
    """The line of the official protocol for a caption, which keeps the spaces of tokens such as `1 1/2`."""
    caption = caption.replace("|||", "").replace("  ", " ")
    return _LINE_BREAKS.sub(" ", " ||| ".join(["SCORE", *references, caption]))


atexit.register(close)
