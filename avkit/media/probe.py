# SPDX-License-Identifier: Apache-2.0
"""Opening media files, and what is known of one before it is decoded.

Time zero of a file is the moment its first picture is shown; of a file without pictures, its first sample.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from avkit.errors import MediaError
from avkit.media.image import load_picture

#: Formats whose header states the duration; elsewhere it is an estimate that proves nothing about a cut.
_STATES_DURATION = ("mov", "matroska", "avi", "wav", "flac", "asf")
#: A file that ends before this share of its stated duration was cut off.
_WHOLE = 0.9


@dataclass(frozen=True)
class MediaInfo:
    """Facts of one file, found by reading its packets and decoding one picture.

    Attributes:
        path: The file.
        duration: Seconds from time zero to the end of the longest track, as present in the file; 0 for a still picture.
        declared: Seconds that the header states, or None where it states nothing reliable.
        start: Time stamp of time zero, in seconds of the file's own clock.
        end: Time stamp of the end of the longest track, likewise.
        fps: Pictures per second on average; 0 without a moving picture.
        size: Height and width in pixels, upright and with square pixels, or None.
        rotation: Degrees by which the stored picture is turned counterclockwise to be upright: 0, 90, 180 or 270.
        has_video: Whether there is a picture, moving or still; cover art of music does not count.
        has_audio: Whether there is a sound track.
        is_image: Whether it is a still picture.
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

    @property
    def is_cut(self) -> bool:
        """Whether the file ends well before the duration it states."""
        # MP4 states how long it lasts, Matroska at which time stamp it ends
        return self.declared is not None and max(self.duration, self.end) < _WHOLE * self.declared

    def require(self, video: bool = False, audio: bool = False, partial_ok: bool = False) -> None:
        """Refuse a file that lacks what is asked for.

        Raises:
            MediaError: If a track is missing, no picture decodes, or the file is cut off and `partial_ok` is False.
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
                "(--silent_ok on the command line) to use silence, or give the sound as a file of its own."
            )
        if self.is_cut and not partial_ok:
            raise MediaError(
                f"{self.path} is cut off: it states {self.declared:.2f} s and ends at {self.end:.2f} s. "
                "Download or copy it again, or pass partial_ok=True to use what is there."
            )


def probe(path: str | Path) -> MediaInfo:
    """Read the facts of a media file.

    Args:
        path: A video, sound or picture file in any format FFmpeg knows.

    Raises:
        MediaError: If the file is missing, empty, cut off at its index, or not a media file.
    """
    path = Path(path)
    with open_media(path) as container:
        name = container.format.name
        video, audio = picture_stream(container), sound_stream(container)
        if (video is None and audio is None) or name == "tty":
            raise MediaError(_not_media(path))
        if is_image := name.endswith("_pipe") or name == "image2":
            return MediaInfo(path, 0.0, None, 0.0, 0.0, 0.0, load_picture(path).shape[:2], 0, True, False, is_image)
        first, last = _scan(container, video, audio)
        start = _start(first, video or audio)
        end = max(start, last)
        stated = container.duration if name.split(",")[0] in _STATES_DURATION else None
        return MediaInfo(
            path=path,
            duration=end - start,
            declared=stated / 1e6 if stated else None,
            start=start,
            end=end,
            fps=frame_rate(video) if video is not None else 0.0,
            size=upright_size(first, video) if first is not None else None,
            rotation=_rotation(orientation(first)) if first is not None else 0,
            has_video=video is not None,
            has_audio=audio is not None,
            is_image=False,
        )


def open_media(path: str | Path) -> Any:
    """A file as an open PyAV container; use it in a `with` statement.

    Raises:
        MediaError: If it cannot be opened, with the reason.
    """
    import av

    path = Path(path)
    if not path.exists():
        raise MediaError(f"{path} does not exist. Check the spelling of the path.")
    if path.is_dir():
        raise MediaError(f"{path} is a folder. Pass one media file.")
    if path.stat().st_size == 0:
        raise MediaError(f"{path} is empty (0 bytes). Download or export it again.")
    try:
        # "file:" keeps a colon in a name from being read as a protocol
        return av.open(f"file:{path}")
    except av.error.InvalidDataError as error:
        raise MediaError(_not_media(path)) from error
    except av.error.FFmpegError as error:
        raise MediaError(f"{path} cannot be opened: {error.strerror}.") from error


def picture_stream(container: Any) -> Any:
    """The first video stream that is not cover art, or None."""
    from av.stream import Disposition

    found = (s for s in container.streams.video if Disposition.attached_pic not in s.disposition)
    return next(found, None)


def sound_stream(container: Any) -> Any:
    """The first audio stream, or None."""
    return next(iter(container.streams.audio), None)


def frame_rate(stream: Any) -> float:
    """Pictures per second; 25 where the file does not tell."""
    return float(stream.average_rate or stream.guessed_rate or 25)


def orientation(frame: Any) -> tuple[int, int, int, int]:
    """The signs a, b, c, d of a frame's display matrix: a stored point (x, y) is shown at (ax + cy, bx + dy).

    Source:
        ISO/IEC 14496-12, track header matrix; multiples of 90 degrees and mirrors, other angles are rounded to these.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    m = np.frombuffer(data, np.int32)[:9].reshape(3, 3)[:2, :2].astype(float)
    keep = np.eye(2) if abs(m[0, 0]) >= abs(m[0, 1]) else np.eye(2)[::-1]
    a, b, c, d = (np.sign(m) * keep).astype(int).ravel().tolist()
    return a, b, c, d


def upright_size(frame: Any, stream: Any) -> tuple[int, int]:
    """Height and width of a decoded frame as it is to be shown: upright, pixels made square by stretching the width."""
    height, width = frame.height, max(1, round(frame.width * float(stream.sample_aspect_ratio or 1)))
    return (width, height) if orientation(frame)[0] == 0 else (height, width)


def _rotation(signs: tuple[int, int, int, int]) -> int:
    a, b, _, _ = signs
    return round(math.degrees(-math.atan2(b, a))) % 360


def _scan(container: Any, video: Any, audio: Any) -> tuple[Any, float]:
    """The first picture that decodes, and the time stamp at which the last packet of either track ends, in seconds."""
    import av

    first, ends, unstamped = None, [-math.inf], 0
    try:
        for packet in container.demux([s for s in (video, audio) if s is not None]):
            if packet.stream is video and first is None:
                first = next(iter(decode_packet(packet)), None)
            stamp = packet.pts if packet.pts is not None else packet.dts
            if packet.size and stamp is not None:
                ends.append(float((stamp + _length(packet)) * packet.time_base))
            elif packet.size and packet.stream is video:  # raw streams carry no time stamps
                unstamped += 1
                ends.append(unstamped / frame_rate(video))
    except av.error.FFmpegError:
        pass  # the bytes end here; `is_cut` judges how much is missing
    return first, max(ends)


def decode_packet(packet: Any) -> list[Any]:
    """Frames of a packet; none where its bytes are damaged."""
    import av

    try:
        return list(packet.decode())
    except av.error.FFmpegError:
        return []


def _length(packet: Any) -> float:
    """Duration of a packet in units of its time base."""
    if packet.duration:
        return float(packet.duration)
    return 1 / frame_rate(packet.stream) / packet.time_base if packet.stream.type == "video" else 0.0


def _start(first: Any, stream: Any) -> float:
    if first is not None and first.time is not None:
        return float(first.time)
    return float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0


def _not_media(path: Path) -> str:
    """Why FFmpeg finds nothing to read: an MP4 whose index never got written, or another kind of file."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp":
        return (
            f"{path} is a cut off MP4: its index (the 'moov' box, written last) is missing, so nothing of it can be "
            "read. Download or record it again."
        )
    return f"{path} is not a media file: neither picture nor sound is found in it. Pass a video, sound or picture file."
