# SPDX-License-Identifier: Apache-2.0
"""Facts of a media file, read before it is decoded.

Time zero of a file is the time stamp of its first frame; of a file without video, that of its first audio sample.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from avkit.errors import MediaError
from avkit.media.clock import Clock, ClockReader, Shifts
from avkit.media.container import (
    audio_stream,
    decode_packet,
    is_picture,
    not_media,
    open_media,
    video_stream,
)
from avkit.media.image import load_image
from avkit.reading.copies import local_copy

#: Formats whose header states the duration; that of other formats is an estimate, too rough to show that a file is cut.
_STATES_DURATION = ("mov", "matroska", "avi", "wav", "flac", "asf")
#: Seconds that any file may last, and the fewest bytes of a second of a longer one: a still picture and silence.
_SHORT = 60.0
_MIN_BYTES_PER_SECOND = 25
#: Bytes of a second where the header states a much shorter duration.
_USUAL_BYTES_PER_SECOND = 2000
#: A file that ends before this share of its stated duration is cut off.
_WHOLE = 0.9


@dataclass(frozen=True)
class MediaInfo:
    """Facts of one media file, from its packets and one decoded frame.

    Attributes:
        path: The file.
        duration: Seconds from time zero to the end of the longest track, as present in the file; 0 for a still image.
        declared: Seconds that the header states, or None where it states none that is reliable.
        start: Time stamp of time zero in the file, in seconds.
        end: Time stamp of the end of the longest track, in seconds.
        fps: Frames per second on average; 0 without a video track.
        size: Height and width in pixels, upright and with square pixels, or None.
        rotation: Degrees by which stored frames are turned counterclockwise to be upright: 0, 90, 180 or 270.
        has_video: Whether there is a video track or a still image; cover art of music does not count.
        has_audio: Whether there is an audio track.
        is_image: Whether the file is a still image.
        restarts: Whether the format's clock may restart, as that of MPEG transport streams.
        shifts: Where the clocks of tracks restart, by the index of the track.
    """

    path: Path
    duration: float
    declared: float | None
    start: float
    end: float
    fps: float
    size: tuple[int, int] | None
    rotation: int
    has_video: bool
    has_audio: bool
    is_image: bool
    restarts: bool = False
    shifts: Mapping[int, Shifts] = field(default_factory=dict)

    def clock(self, stream: Any) -> Clock:
        """What corrects the time stamps of a track."""
        return Clock(self.shifts.get(stream.index, ()), restarts=self.restarts)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends well before the duration it states."""
        # MP4 states how long it lasts, Matroska at which time stamp it ends
        return self.declared is not None and max(self.duration, self.end) < _WHOLE * self.declared

    def require(self, *, video: bool = False, audio: bool = False, partial_ok: bool = False) -> None:
        """Raise an error if a required track is missing or the file is cut off.

        Args:
            video: Whether a video track or a still image is required.
            audio: Whether an audio track is required.
            partial_ok: Whether a file may be cut off.

        Raises:
            MediaError: If a track is missing, no frame decodes, or the file is cut off and `partial_ok` is False.
        """
        if video and not self.has_video:
            raise MediaError(f"{self.path} has no video track. Pass a file with a picture: a video, or a JPEG or PNG.")
        if video and self.size is None:
            raise MediaError(
                f"{self.path} has a video track, but no picture of it can be decoded: the file is damaged. "
                "Download or export it again."
            )
        if audio and not self.has_audio:
            raise MediaError(
                f"{self.path} has no audio track. avkit needs sound and picture; pass silent_ok=True "
                "(--silent_ok of avkit predict, --data.silent_ok true of avkit fit) to use silence, or give "
                "the sound as a file of its own."
            )
        if self.is_cut and not partial_ok:
            raise MediaError(
                f"{self.path} is cut off: it states {self.declared:.2f} s and ends at {self.end:.2f} s. "
                "Download or copy it again, or pass partial_ok=True to use what is there."
            )


def probe(path: str | Path) -> MediaInfo:
    """Read the facts of a media file.

    Args:
        path: A video, audio or image file in any format of FFmpeg.

    Raises:
        MediaError: If the file is missing, empty, cut off at its index, or not a media file.
    """
    path = Path(path)
    with local_copy(path) as here:
        if here.is_file() and is_picture(path):  # FFmpeg would look for a sequence of pictures
            return _image_info(path)
        with open_media(path) as container:
            video = video_stream(container)
            audio = audio_stream(container)
            if video is None and audio is None:
                raise not_media(path)
            info = _track_info(path, container, video, audio)
        _check_duration(info, here.stat().st_size)
    return info


def _track_info(path: Path, container: Any, video: Any, audio: Any) -> MediaInfo:
    """Facts of a file with tracks."""
    from av.format import Flags

    restarts = Flags.ts_discont in Flags(container.format.flags)
    clock = ClockReader(restarts=restarts)
    first, last = _scan(container, video, audio, clock)
    start = _start(first, video or audio)
    end = max(start, last)
    declared: float | None = None
    if container.format.name.split(",")[0] in _STATES_DURATION and container.duration:
        declared = container.duration / 1e6
    info = MediaInfo(
        path=path,
        duration=end - start,
        declared=declared,
        start=start,
        end=end,
        fps=0.0,
        size=None,
        rotation=0,
        has_video=video is not None,
        has_audio=audio is not None,
        is_image=False,
        restarts=restarts,
        shifts={stream.index: clock.shifts(stream) for stream in (video, audio) if stream is not None},
    )
    if video is not None:
        info = replace(info, fps=frame_rate(video))
    if first is not None:
        info = replace(info, size=upright_size(first, video), rotation=_rotation(orientation(first)))
    return info


def _check_duration(info: MediaInfo, size: int) -> None:
    """Refuse time stamps that reach further than the bytes of a file can."""
    limit = max(_SHORT, size / _MIN_BYTES_PER_SECOND)
    if info.declared is not None and info.duration > _SHORT + 2 * info.declared:
        limit = max(_SHORT, size / _USUAL_BYTES_PER_SECOND)
    if info.duration > limit:
        stated = "" if info.declared is None else f"its header states {info.declared:.2f} s, "
        raise MediaError(
            f"{info.path} is damaged: {stated}its time stamps reach to {info.duration:.2f} s, which is more than its "
            f"{size} bytes can hold. Download or export it again."
        )


def has_tracks(path: str | Path) -> tuple[bool, bool]:
    """Whether a file has pictures, and whether it has sound, by its header alone.

    Raises:
        MediaError: As `probe`.
    """
    with open_media(path, whole=False) as container:
        return video_stream(container) is not None, audio_stream(container) is not None


def _image_info(path: Path) -> MediaInfo:
    height, width = load_image(path).shape[:2]
    return MediaInfo(
        path=path,
        duration=0.0,
        declared=None,
        start=0.0,
        end=0.0,
        fps=0.0,
        size=(height, width),
        rotation=0,
        has_video=True,
        has_audio=False,
        is_image=True,
    )


def frame_rate(stream: Any) -> float:
    """Frames per second; 25 where the file does not state it."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def orientation(frame: Any) -> tuple[int, int, int, int]:
    """Signs a, b, c, d of a frame's display matrix: a stored point (x, y) is displayed at (ax + cy, bx + dy).

    Source:
        ISO/IEC 14496-12, track header matrix; multiples of 90 degrees and mirrors; other angles are rounded to these.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(data, np.int32)[:9].reshape(3, 3)[:2, :2].astype(float)
    nonzero = np.eye(2)
    if abs(matrix[0, 0]) < abs(matrix[0, 1]):  # rows and columns change places
        nonzero = nonzero[::-1]
    a, b, c, d = (np.sign(matrix) * nonzero).astype(int).ravel().tolist()
    return a, b, c, d


def upright_size(frame: Any, stream: Any) -> tuple[int, int]:
    """Height and width at which a decoded frame is displayed: upright, pixels made square by stretching the width."""
    height = frame.height
    width = max(1, round(frame.width * float(stream.sample_aspect_ratio or 1)))
    swaps_axes = orientation(frame)[0] == 0
    return (width, height) if swaps_axes else (height, width)


def _rotation(signs: tuple[int, int, int, int]) -> int:
    a, b, _, _ = signs
    return round(math.degrees(-math.atan2(b, a))) % 360


def _scan(container: Any, video: Any, audio: Any, clock: ClockReader) -> tuple[Any, float]:
    """The first frame that decodes, and the time stamp at which the last packet of either track ends, in seconds."""
    import av

    first = None
    ends = [-math.inf]
    unstamped = 0
    try:
        for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
            if packet.size:
                clock.read(packet)
            if packet.stream is video and first is None:
                first = next(iter(decode_packet(packet)), None)
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size and stamp is not None:
                ends.append(float((stamp + _length(packet)) * packet.time_base))
            elif packet.size and packet.stream is video:  # raw streams carry no time stamps
                unstamped += 1
                ends.append(unstamped / frame_rate(video))
    except av.error.FFmpegError:
        pass  # the file ends here; `is_cut` tells whether much of it is missing
    return first, max(ends)


def _length(packet: Any) -> float:
    """Duration of a packet in units of its time base."""
    if packet.duration:
        return float(packet.duration)
    if packet.stream.type == "video":
        return 1 / frame_rate(packet.stream) / packet.time_base
    return 0.0


def _start(first: Any, stream: Any) -> float:
    if first is not None and first.time is not None:
        return float(first.time)
    if stream.start_time is not None:
        return float(stream.start_time * stream.time_base)
    return 0.0
