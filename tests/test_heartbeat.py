# SPDX-License-Identifier: Apache-2.0
"""Processes that give no sign of life end the others; those that leave in good order, or work for long, do not."""

import threading
import time
from contextlib import ExitStack

from avkit.training.heartbeat import Heartbeat

SILENCE = 0.6


def make_pair(lost):
    """The first process and another, in one process; each notes whom it has lost."""
    ports = []

    def of(rank):
        def share_port(port):
            ports.append(port)
            return ports[0]

        return Heartbeat(rank, 2, "127.0.0.1", share_port, lambda gone: lost.append((rank, gone)), SILENCE)

    return of(0), of(1)


def watched_pair(places, stalls):
    """The first process and another that are where `places` says; what the first one says about stalls."""
    ports = []

    def of(rank):
        def share_port(port):
            ports.append(port)
            return ports[0]

        return Heartbeat(
            rank, 2, "127.0.0.1", share_port, print, 3, lambda: places[rank], on_stall=stalls.append, stall=0.5
        )

    return of(0), of(1)


def wait_for(lost):
    until = time.monotonic() + 10 * SILENCE
    while not lost and time.monotonic() < until:
        time.sleep(0.01)
    return lost


def test_long_work_is_no_silence():
    lost = []
    with ExitStack() as stack:
        for heartbeat in make_pair(lost):
            stack.enter_context(heartbeat)
        time.sleep(3 * SILENCE)
    assert lost == []


def test_the_others_may_leave_first():
    lost = []
    first, other = make_pair(lost)
    with first:
        with other:
            time.sleep(SILENCE / 3)
        time.sleep(3 * SILENCE)
    assert lost == []


def test_the_first_ends_when_another_is_silent(monkeypatch):
    lost = []
    first, other = make_pair(lost)
    monkeypatch.setattr(other, "_watch", lambda: None)
    with first, other:
        time.sleep(SILENCE / 3)
        other._ends.set()  # as if it were stopped
        assert wait_for(lost) == [(0, 1)]


class Stopped:
    """A store that answers until it is stopped."""

    def __init__(self):
        self.event = threading.Event()
        self.ends = threading.Event()

    def set(self, key, value):
        """Take a sign of life."""

    def get(self, key):
        if self.event.is_set():
            self.ends.wait(20)
        return b""


def test_another_ends_when_the_first_does_not_answer():
    lost = []
    _, other = make_pair(lost)
    other.store = store = Stopped()
    with other:
        time.sleep(2 * SILENCE)
        assert lost == []
        store.event.set()
        assert wait_for(lost) == [(1, 0)]
        store.ends.set()


def test_an_error_is_no_good_order():
    lost = []
    first, other = make_pair(lost)
    with first:
        other.__enter__()
        time.sleep(SILENCE / 3)
        other.__exit__(KeyError, KeyError(), None)
        assert wait_for(lost) == [(0, 1)]


def test_a_process_that_others_wait_for_is_told_of_once():
    places, stalls = ["training, epoch 1, batch 8", "training, epoch 1, batch 7"], []
    first, other = watched_pair(places, stalls)
    with first, other:
        assert wait_for(stalls) == [{0: "training, epoch 1, batch 8", 1: "training, epoch 1, batch 7"}]
        time.sleep(1.2)
        assert len(stalls) == 1
        places[:] = ["test, batch 2", "test, batch 1"]
        time.sleep(1.2)
    assert stalls[1:] == [{0: "test, batch 2", 1: "test, batch 1"}]


def test_processes_at_one_place_have_not_stalled():
    stalls = []
    first, other = watched_pair(["between two stages"] * 2, stalls)
    with first, other:
        time.sleep(1.5)
    assert stalls == []
