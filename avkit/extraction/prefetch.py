# SPDX-License-Identifier: Apache-2.0
"""Clips decoded ahead of the networks, in processes of their own whose death costs one clip and never the run."""

import os
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from threading import Thread

import torch

from avkit.extraction.sources import Clips, Decoded

#: Clips that each process is ahead.
_AHEAD = 4
_clips: Clips  # of a decoder process


def decoded(data: Clips, workers: int) -> Iterator[Decoded]:
    """Clips as decoder processes hand them over, in order.

    A clip at which a process dies twice, as a damaged file may bring about, comes with that as its fault: after a
    death the clips that were under way are decoded again, one at a time.

    Args:
        data: The clips.
        workers: Processes; 0 decodes in this one.
    """
    if not workers:
        yield from (data[index] for index in range(len(data)))
        return
    first = alone = 0  # clips before `alone` are decoded one at a time
    while first < len(data):
        careful = first < alone
        part = range(first, alone if careful else len(data))
        try:
            for clip in _in_processes(data, part, *((1, 1) if careful else (workers, workers * _AHEAD))):
                first += 1
                yield clip
        except BrokenProcessPool:
            if careful:
                yield Decoded(data.sources[first].name, fault="its decoder crashed; the file is damaged.")
                first += 1
            else:
                alone = min(len(data), first + workers * _AHEAD)


def _in_processes(data: Clips, indices: range, workers: int, ahead: int) -> Iterator[Decoded]:
    # not forked from this process: its threads and locks would be copied in whatever state they are in
    context = get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload([__name__])
    waiting: deque[Future[Decoded]] = deque()
    pool = ProcessPoolExecutor(min(workers, len(indices)), context, _begin, (data,))
    try:
        for index in indices:
            waiting.append(pool.submit(_decode, index))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(data: Clips) -> None:
    global _clips
    _clips = data
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is interrupted, and ends this
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _decode(index: int) -> Decoded:
    return _clips[index]
