# SPDX-License-Identifier: Apache-2.0
"""Signs of life between processes: one that is stopped, or whose machine is gone, ends the others within a minute.

A collective waits for a process that hangs as long as its timeout says, half an hour with gloo. A timeout of a minute
would end a long validation of the first process, and slow loading, too. So a thread of each process tells the first one
that it is alive, whatever the process is doing, and how far it has come. Where all are alive and none moves, the
first one says where each of them is, since one of them may never come to the collective that the others wait in.
"""

import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread
from types import TracebackType

from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not in its list of names

#: Seconds without a sign of life after which a process counts as lost.
SILENCE = 30.0
#: Seconds in which no process has come any further, after which the first one says where each of them is.
STALL = 60.0
#: Signs of life in that time.
_BEATS = 30
#: What the first process finds of one that has left in good order.
_DONE = b"done"


class Heartbeat:
    """The signs of life of one process, while the block runs, and its watch over others.

    The first process watches all others, each from its first sign on; the others watch the first one. They may leave
    the block at different times. A process to which no connection can be made is not watched.

    Args:
        rank: Number of this process.
        count: Processes in all.
        address: Where the first one can be reached.
        share_port: Gives all processes the first one's port; takes 0 in the others.
        on_lost: Called once, in a thread, with the rank of a process that is lost while this one is in the block.
        silence: Seconds without a sign of life after which a process counts as lost.
        position: What this process is at; called in a thread.
        on_stall: Called in a thread of the first process, with what each process is at, when they are at different
            places and none has moved for a while; once for each such while.
        stall: Seconds of that while.
    """

    def __init__(
        self,
        rank: int,
        count: int,
        address: str,
        share_port: Callable[[int], int],
        on_lost: Callable[[int], None],
        silence: float = SILENCE,
        position: Callable[[], str] = str,
        on_stall: Callable[[dict[int, str]], None] | None = None,
        stall: float = STALL,
    ) -> None:
        self.rank = rank
        self.others = [0] if rank else list(range(1, count))
        self.on_lost = on_lost
        self.silence = silence
        self.position = position
        self.on_stall = on_stall
        self.stall = stall
        self.positions: dict[int, str] = {}
        self._ends = Event()
        self._heard: dict[int, float] = {}
        patience = timedelta(seconds=silence)
        self.store: TCPStore | None = None
        if not rank:
            self.store = TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=patience)
        port = share_port(self.store.port if self.store is not None else 0)
        if rank:
            try:
                self.store = TCPStore(address, port, is_master=False, timeout=patience)
            except RuntimeError:  # no further port is open between the machines
                self.store = None

    def __enter__(self) -> "Heartbeat":
        """Begin."""
        if self.store is not None:
            for work in (self._listen if not self.rank else self._beat, self._watch):
                Thread(target=work, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; after an error without leaving in good order, so that nobody waits for this process."""
        self._ends.set()
        if self.rank and self.store is not None and kind is None:
            Thread(target=self._say_done, args=(self.store,), daemon=True).start()

    def _say_done(self, store: TCPStore) -> None:
        try:
            store.set(_key(self.rank), _DONE.decode())
        except RuntimeError:  # the first one has ended
            return

    def _beat(self) -> None:
        """Tell the first process again and again; its answer is its own sign of life."""
        assert self.store is not None
        number = 0
        self._heard[0] = time.monotonic()
        while not self._ends.wait(self.silence / _BEATS):
            number += 1
            try:
                self.store.set(_key(self.rank), f"{number} {self.position()}")
                self.store.get(_key(self.rank))  # is answered, unlike `set`
            except RuntimeError:
                return  # the watch ends this process, unless it ends by itself meanwhile
            self._heard[0] = time.monotonic()

    def _listen(self) -> None:
        """Note which processes have told something new, and where they are."""
        assert self.store is not None
        last: dict[int, bytes] = {}
        moved = _Movement(self.stall)
        while not self._ends.wait(self.silence / _BEATS):
            for rank in self.others:
                if not self.store.check([_key(rank)]):
                    continue
                sign = self.store.get(_key(rank))
                if sign == _DONE:
                    self._heard.pop(rank, None)
                    self.positions.pop(rank, None)
                elif last.get(rank) != sign:
                    self._heard[rank] = time.monotonic()
                    self.positions[rank] = sign.decode().partition(" ")[2]
                last[rank] = sign
            self.positions[0] = self.position()
            if moved.has_stalled(self.positions) and self.on_stall is not None:
                self.on_stall(dict(self.positions))

    def _watch(self) -> None:
        while not self._ends.wait(self.silence / _BEATS):
            for rank, last_sign in list(self._heard.items()):
                if time.monotonic() - last_sign > self.silence and not self._ends.is_set():
                    self._ends.set()
                    self.on_lost(rank)
                    return


class _Movement:
    """Whether processes move.

    Args:
        patience: Seconds without a movement that make a stall.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self._last: dict[int, str] = {}
        self._since = time.monotonic()
        self._told = False

    def has_stalled(self, positions: dict[int, str]) -> bool:
        """Whether processes at different places have not moved for long; true once, until they move again.

        Args:
            positions: Where each of them is now.
        """
        if positions != self._last:
            self._last = dict(positions)
            self._since = time.monotonic()
            self._told = False
        together = len(set(positions.values())) <= 1
        if together or self._told or time.monotonic() - self._since < self.patience:
            return False
        self._told = True
        return True


def _key(rank: int) -> str:
    return f"alive/{rank}"
