# SPDX-License-Identifier: Apache-2.0
"""Decoding ahead of the encoders in processes of their own; a process that dies costs one clip and not the run."""

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from threading import Thread

import torch

from avkit.errors import DataError
from avkit.extraction import parent_watch
from avkit.extraction.decoding import EncoderInputs, SourceDataset

#: Clips that each process decodes ahead.
_AHEAD = 4
#: A clip is set aside when so many processes have died that decoded it alone.
_MAX_DEATHS = 2
#: Starts that may fail one after another, and seconds between them: a process that was killed needs a while to be gone.
_MAX_FAILED_STARTS = 100
_START_PAUSE = 0.1
#: The clips, in a decoder process.
_dataset: SourceDataset


class _StarterGoneError(Exception):
    """The process that starts decoders is gone, or about to be."""


def iter_decoded(dataset: SourceDataset, workers: int) -> Iterator[EncoderInputs]:
    """Decode clips in processes, and yield them in order.

    After a process has died, the clips that were being decoded are decoded again, one at a time. The clip at which a
    process dies twice then, because the file is damaged or somebody killed it, comes with an error. Once is not enough:
    who kills several processes may also hit the one that was started in place of the first.

    Args:
        dataset: The clips.
        workers: Processes; 0 decodes in this one.

    Raises:
        DataError: If no process can be started.
    """
    if not workers:
        for index in range(len(dataset)):
            yield dataset[index]
        return
    first = 0
    careful_until = 0  # clips before this one are decoded one at a time
    deaths: Counter[int] = Counter()  # by clip, of processes that decoded it alone
    failed_starts = 0  # since the last clip
    while first < len(dataset):
        careful = first < careful_until
        try:
            if careful:
                decoded = _decode_in_processes(dataset, range(first, careful_until), workers=1, ahead=1)
            else:
                decoded = _decode_in_processes(dataset, range(first, len(dataset)), workers, workers * _AHEAD)
            for clip in decoded:
                first += 1
                failed_starts = 0
                yield clip
        except _StarterGoneError as e:
            failed_starts += 1
            if failed_starts == _MAX_FAILED_STARTS:
                raise DataError(f"Processes that decode cannot be started ({e}). Try --workers 0.") from e
            time.sleep(_START_PAUSE)
        except BrokenProcessPool:
            if not careful:
                careful_until = min(len(dataset), first + workers * _AHEAD)
                continue
            deaths[first] += 1
            if deaths[first] == _MAX_DEATHS:
                name = dataset.sources[first].name
                yield EncoderInputs(name, error="its decoder ended twice: the file crashes it, or somebody killed it.")
                first += 1


def _decode_in_processes(dataset: SourceDataset, indices: range, workers: int, ahead: int) -> Iterator[EncoderInputs]:
    # a fork of this process would copy its threads' locks in whatever state they are in
    context = get_context("forkserver" if os.name == "posix" else "spawn")
    if os.name == "posix":
        context.set_forkserver_preload([parent_watch.__name__, __name__])
        _start_server()
    waiting: deque[Future[EncoderInputs]] = deque()
    pool = ProcessPoolExecutor(min(workers, len(indices)), context, _start_process, (dataset,))
    try:
        for index in indices:
            waiting.append(_submit(pool, index))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BaseException:  # the extraction ends: what is being decoded is not waited for
        for process in list((pool._processes or {}).values()):
            process.kill()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _start_server() -> None:
    """Start the process that starts others, if it does not run, such that Ctrl-C does not reach it while it imports."""
    from multiprocessing import forkserver, resource_tracker  # which Windows does not have

    resource_tracker.ensure_running()  # its start, which the other's start includes, ends the blocking of signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # which processes inherit
    try:
        with parent_watch.named_parent():
            forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _submit(pool: ProcessPoolExecutor, index: int) -> "Future[EncoderInputs]":
    """Have a process decode a clip.

    Raises:
        BrokenProcessPool: If a process has died.
        _StarterGoneError: If the process that starts them has.
    """
    try:
        return pool.submit(_decode, index)
    except (OSError, EOFError) as e:  # of the connection to it
        raise _StarterGoneError(str(e) or type(e).__name__) from e


def _start_process(dataset: SourceDataset) -> None:
    global _dataset
    _dataset = dataset
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles the interrupt, and ends this process
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _decode(index: int) -> EncoderInputs:
    return _dataset[index]
