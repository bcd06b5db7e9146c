# SPDX-License-Identifier: Apache-2.0
"""Pictures of a video at stated times: upright, RGB, decoded once and in order."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.media.image import Picture, load_picture
from avkit.media.probe import (
    MediaInfo,
    decode_packet,
    frame_rate,
    open_media,
    orientation,
    picture_stream,
    probe,
    upright_size,
)

#: A frame counts as shown this many seconds early, so that rounding of time stamps does not pick its predecessor.
_EARLY = 1e-6


def read_frames(
    path: str | Path,
    times: Sequence[float] | None = None,
    *,
    rate: float = 1.0,
    offset: float = 0.5,
    size: int | tuple[int, int] | None = None,
    partial_ok: bool = False,
    info: MediaInfo | None = None,
) -> Tensor:
    """The pictures shown at given times.

    A frame is shown from its own time stamp until the next one's, the last one for ever, so that variable frame rates
    and times beyond the end need no special care. Memory holds two decoded frames besides the result.

    Args:
        path: Video or still picture.
        times: Seconds from the first picture, T of them in any order; by default one per step of `1 / rate` seconds.
        rate: Pictures per second where `times` is None: picture k is taken at `(k + offset) / rate`.
        offset: Place within the step, in [0, 1]; 0.5 is its middle.
        size: Height and width to resize to, one number for both, or None for the video's own size.
        partial_ok: Use what is there of a file that is cut off.
        info: What `probe` said of the file, where the caller knows it.

    Returns:
        uint8 (T, 3, H, W), RGB, upright, square pixels.

    Raises:
        MediaError: If the file has no picture, cannot be read, or is cut off and `partial_ok` is False.
        ValueError: If `rate` or `size` is not positive.
    """
    info = info or probe(path)
    info.require(video=True, partial_ok=partial_ok)
    target = _target(size)
    if times is None:
        times = step_times(info.duration, 1 / _positive("rate", rate), offset)
    if info.is_image:
        return torch.from_numpy(_resize(load_picture(path), target)).permute(2, 0, 1).expand(len(times), -1, -1, -1)
    order = np.argsort(times, kind="stable")
    pictures = _shown_at([times[i] for i in order], info, target)
    out: Tensor | None = None
    for place, picture in zip(order, pictures, strict=True):
        if out is None:
            out = torch.empty((len(times), 3, *picture.shape[:2]), dtype=torch.uint8)
        out[place] = torch.from_numpy(picture).permute(2, 0, 1)
    return out if out is not None else torch.empty((0, 3, *(target or info.size or (0, 0))), dtype=torch.uint8)


def iter_frames(path: str | Path, size: int | tuple[int, int] | None = None) -> Iterator[tuple[float, Picture]]:
    """Every picture of a video in order of showing.

    Args:
        path: Video.
        size: As in `read_frames`; None keeps the video's own size.

    Yields:
        Time in seconds from the first picture, and the picture, uint8 (H, W, 3), RGB, upright, square pixels.

    Raises:
        MediaError: If the file has no picture or cannot be read. What is there of a cut off file is yielded.
    """
    info = probe(path)
    info.require(video=True, partial_ok=True)
    target = _target(size)
    if info.is_image:
        yield 0.0, _resize(load_picture(path), target)
        return
    for time, frame, stream in _decode(info):
        target = target or upright_size(frame, stream)
        yield time, _render(frame, target)


def iter_shown(
    path: str | Path, times: Sequence[float], size: int | tuple[int, int] | None = None
) -> Iterator[Picture]:
    """The pictures shown at rising times, one by one; what `read_frames` gives, without holding them all.

    Args:
        path: Video.
        times: Seconds from the first picture, ascending.
        size: As in `read_frames`.

    Yields:
        Pictures, uint8 (H, W, 3), RGB, upright, square pixels.

    Raises:
        MediaError: If the file has no picture or cannot be read.
    """
    info = probe(path)
    info.require(video=True)
    yield from _shown_at(times, info, _target(size))


def step_times(duration: float, hop: float, offset: float = 0.5) -> list[float]:
    """Moments at which pictures are taken: `(k + offset) * hop` for each of `count_steps` steps, in seconds."""
    return [(k + offset) * hop for k in range(count_steps(duration, hop))]


def count_steps(duration: float, hop: float) -> int:
    """Number of steps of a clip: its duration in hops, rounded to the nearest, half to even, at least one."""
    return max(1, round(duration / _positive("hop", hop)))


def _shown_at(times: Sequence[float], info: MediaInfo, target: tuple[int, int] | None) -> Iterator[Picture]:
    """One picture per time, times ascending; a frame is converted only if it is shown at one of them."""
    waiting = 0
    shown, picture = None, None
    for time, frame, stream in _decode(info):
        while shown is not None and waiting < len(times) and times[waiting] + _EARLY < time:
            picture = _render(shown, target) if picture is None else picture
            yield picture
            waiting += 1
        if waiting == len(times):
            return
        target = target or upright_size(frame, stream)
        shown, picture = frame, None
    if shown is not None:
        picture = _render(shown, target)
        for _ in times[waiting:]:
            yield picture


def _decode(info: MediaInfo) -> Iterator[tuple[float, Any, Any]]:
    """Time in seconds from the first picture, frame and stream, in order of showing; damaged packets are left out."""
    import av

    with open_media(info.path) as container:
        stream = picture_stream(container)
        stream.thread_type = "AUTO"
        step = 1 / frame_rate(stream)
        last: float | None = None
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return
            for frame in decode_packet(packet):
                time = frame.time - info.start if frame.time is not None else (-step if last is None else last) + step
                last = time if last is None else max(time, last)
                yield last, frame, stream


def _render(frame: Any, target: tuple[int, int] | None) -> Picture:
    """A decoded frame as RGB, resized and turned upright."""
    a, b, c, d = orientation(frame)
    if target is None:
        target = (frame.width, frame.height) if a == 0 else (frame.height, frame.width)
    height, width = target[::-1] if a == 0 else target
    picture = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
    if a == 0:  # rows and columns change places, then each axis takes the sign of what lands on it
        picture, a, d = picture.swapaxes(0, 1), c, b
    return np.ascontiguousarray(picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def resize(picture: Picture, size: int | tuple[int, int] | None) -> Picture:
    """A picture squeezed to height and width, one number for both; itself where None."""
    return _resize(picture, _target(size))


def _resize(picture: Picture, target: tuple[int, int] | None) -> Picture:
    from av import VideoFrame

    return picture if target is None else _render(VideoFrame.from_ndarray(picture, format="rgb24"), target)


def _target(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"size is {size}; give a positive side in pixels, (height, width), or None for the own size.")
    return height, width


def _positive(name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(f"{name} is {value}; it must be greater than 0.")
    return value
