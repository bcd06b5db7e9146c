# SPDX-License-Identifier: Apache-2.0
"""Time stamps that go on where a file's clock restarts or a stamp is damaged, as FFmpeg takes them."""

from dataclasses import dataclass, field
from typing import Any, TypeAlias

#: Shifts of one track: number of the packet from which a shift holds, and seconds to add to its time stamps.
Shifts: TypeAlias = tuple[tuple[int, float], ...]

#: Seconds by which a stamp may go ahead, or back, in formats whose clock may restart; FFmpeg's `dts_delta_threshold`.
_AHEAD = 10.0
_BACK = 0.1
#: Seconds by which a stamp may go back in other formats.
_BACK_ELSEWHERE = 1.0
#: Tracks whose clocks restart together begin again within this many seconds.
_TOGETHER = 0.5


@dataclass
class _Track:
    """What is known of one track while its packets are read.

    Attributes:
        shift: Seconds that are added to time stamps.
        end: Time at which the last packet ends, with its shift.
        lag: Seconds from a packet's decoding to its presentation.
        packets: Number of packets read.
        shifts: Where shifts begin.
    """

    shift: float = 0.0
    end: float | None = None
    lag: float = 0.0
    packets: int = 0
    shifts: list[tuple[int, float]] = field(default_factory=list)


class ClockReader:
    """Finds where the clocks of a file's tracks restart, from all of its packets in order.

    Args:
        restarts: Whether the format's clock may restart, as that of MPEG transport streams.
    """

    def __init__(self, *, restarts: bool) -> None:
        self.restarts = restarts
        self._tracks: dict[int, _Track] = {}
        self._shifts = [0.0]

    def read(self, packet: Any) -> None:
        """Take the next packet, and correct its time stamps."""
        track = self._tracks.setdefault(packet.stream.index, _Track())
        stamp = packet.dts if packet.dts is not None else packet.pts
        if stamp is not None:
            time = float(stamp * packet.time_base)
            if track.end is not None and self._is_jump(time + track.shift - track.end):
                track.shift = self._shift_from(time, track.end)
                track.shifts.append((track.packets, track.shift))
            track.end = time + track.shift + float((packet.duration or 0) * packet.time_base)
        track.packets += 1
        shift_packet(packet, track.shift)
        if self.restarts:
            _mend_presentation(packet, track)

    def shifts(self, stream: Any) -> Shifts:
        """Shifts of a track."""
        track = self._tracks.get(stream.index, _Track())
        return tuple(track.shifts)

    def _is_jump(self, step: float) -> bool:
        if self.restarts:
            return step > _AHEAD or step < -_BACK
        return step < -_BACK_ELSEWHERE

    def _shift_from(self, time: float, end: float) -> float:
        """The shift that lets a track go on at `end`; one that another track, or an earlier part, has where it fits."""
        nearest = min(self._shifts, key=lambda shift: abs(time + shift - end))
        if abs(time + nearest - end) <= _TOGETHER:
            return nearest
        self._shifts.append(end - time)
        return end - time


class Clock:
    """Corrects the time stamps of one track's packets, read again in the same order.

    Args:
        shifts: What `ClockReader` found.
        restarts: As in `ClockReader`.
    """

    def __init__(self, shifts: Shifts, *, restarts: bool) -> None:
        self.shifts = list(shifts)
        self.restarts = restarts
        self._track = _Track()

    def correct(self, packet: Any) -> None:
        """Correct the time stamps of the next packet."""
        track = self._track
        while self.shifts and self.shifts[0][0] <= track.packets:
            _, track.shift = self.shifts.pop(0)
        track.packets += 1
        shift_packet(packet, track.shift)
        if self.restarts:
            _mend_presentation(packet, track)


def shift_packet(packet: Any, seconds: float) -> None:
    """Add seconds to a packet's time stamps."""
    if not seconds:
        return
    ticks = round(seconds / packet.time_base)
    if packet.pts is not None:
        packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks


def _mend_presentation(packet: Any, track: _Track) -> None:
    """Give a packet that would be shown before it is decoded, or long after, the delay of the last good packet."""
    if packet.pts is None or packet.dts is None:
        return
    lag = float((packet.pts - packet.dts) * packet.time_base)
    if -_BACK <= lag <= _AHEAD:
        track.lag = lag
    else:
        packet.pts = packet.dts + round(track.lag / packet.time_base)
