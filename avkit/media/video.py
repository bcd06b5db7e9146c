# SPDX-License-Identifier: Apache-2.0
"""Frames of a video at given times: upright, RGB, decoded once and in order."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.errors import MediaError
from avkit.media.clip import ClipSource, open_clip
from avkit.media.container import decode_packet, open_media, video_stream
from avkit.media.image import ImageArray, load_image
from avkit.media.probe import MediaInfo, frame_rate, orientation, upright_size

#: A frame counts as shown this many seconds early, so that rounding of time stamps does not select its predecessor.
_EARLY = 1e-6


def read_frames(
    source: ClipSource,
    times: Sequence[float] | None = None,
    *,
    rate: float = 1.0,
    offset: float = 0.5,
    size: int | tuple[int, int] | None = None,
    partial_ok: bool = False,
) -> Tensor:
    """Read the frames shown at given times.

    A frame is shown from its own time stamp to that of the next frame, the last frame without end, so variable frame
    rates and times beyond the end need no special care. Besides the result, memory holds two decoded frames.

    Args:
        source: Video or still image.
        times: Seconds from the first frame, T of them in any order; by default one per step of `1 / rate` seconds.
        rate: Frames per second where `times` is None: frame k is taken at `(k + offset) / rate`.
        offset: Place within the step, in [0, 1]; 0.5 is its middle.
        size: Height and width to resize to, one number for both, or None for the video's own size.
        partial_ok: Use what is present of a file that is cut off.

    Returns:
        uint8 (T, 3, H, W), RGB, upright, square pixels.

    Raises:
        MediaError: If the file has no video, cannot be read, or is cut off and `partial_ok` is False.
        ValueError: If `rate` or `size` is not positive.
    """
    info = open_clip(source).info
    info.require(video=True, partial_ok=partial_ok)
    target = _height_and_width(size)
    if times is None:
        times = step_times(info.duration, 1 / _positive("rate", rate), offset)
    if info.is_image:
        image = _resize(load_image(info.path), target)
        return torch.from_numpy(image).permute(2, 0, 1).expand(len(times), -1, -1, -1)
    if not len(times):
        return torch.empty((0, 3, *(target or info.size or (0, 0))), dtype=torch.uint8)
    return _read_in_any_order(times, info, target)


def _read_in_any_order(times: Sequence[float], info: MediaInfo, target: tuple[int, int] | None) -> Tensor:
    """Decode the frames in order of time, and return them in the order of `times`."""
    order = np.argsort(times, kind="stable")
    images = _iter_at([times[index] for index in order], info, target)
    frames: Tensor | None = None
    for index, image in zip(order, images, strict=True):
        if frames is None:
            frames = torch.empty((len(times), 3, *image.shape[:2]), dtype=torch.uint8)
        frames[index] = torch.from_numpy(image).permute(2, 0, 1)
    assert frames is not None
    return frames


def iter_frames(source: ClipSource, size: int | tuple[int, int] | None = None) -> Iterator[tuple[float, ImageArray]]:
    """Read every frame of a video in display order.

    Args:
        source: Video.
        size: As in `read_frames`; None keeps the video's own size.

    Yields:
        Time in seconds from the first frame, and the frame, uint8 (H, W, 3), RGB, upright, square pixels.

    Raises:
        MediaError: If the file has no video or cannot be read. Of a file that is cut off, what is present is yielded.
    """
    info = open_clip(source).info
    info.require(video=True, partial_ok=True)
    target = _height_and_width(size)
    if info.is_image:
        yield 0.0, _resize(load_image(info.path), target)
        return
    for time, frame, stream in _decode(info):
        if target is None:
            target = upright_size(frame, stream)
        yield time, _render(frame, target)


def iter_frames_at(
    source: ClipSource, times: Sequence[float], size: int | tuple[int, int] | None = None
) -> Iterator[ImageArray]:
    """Read the frames shown at ascending times, one by one; the same frames as `read_frames`, without holding them all.

    Args:
        source: Video.
        times: Seconds from the first frame, ascending.
        size: As in `read_frames`.

    Yields:
        Frames, uint8 (H, W, 3), RGB, upright, square pixels.

    Raises:
        MediaError: If the file has no video or cannot be read.
    """
    info = open_clip(source).info
    info.require(video=True)
    yield from _iter_at(times, info, _height_and_width(size))


def step_times(duration: float, hop: float, offset: float = 0.5) -> list[float]:
    """Times at which frames are taken, in seconds: `(k + offset) * hop` for each of `count_steps` steps."""
    return [(step + offset) * hop for step in range(count_steps(duration, hop))]


def count_steps(duration: float, hop: float) -> int:
    """Number of steps of a clip: its duration in hops, rounded to the nearest, half to even, at least one."""
    return max(1, round(duration / _positive("hop", hop)))


def resize(image: ImageArray, size: int | tuple[int, int] | None) -> ImageArray:
    """Resize an image to height and width, one number for both, without keeping its shape; None keeps the image."""
    return _resize(image, _height_and_width(size))


def _iter_at(times: Sequence[float], info: MediaInfo, target: tuple[int, int] | None) -> Iterator[ImageArray]:
    """One frame per time, times ascending; a frame is converted to RGB only if it is shown at one of the times."""
    done = 0
    frame: Any = None  # the frame shown at the moment, and its RGB image once it was needed
    image: ImageArray | None = None
    for time, next_frame, stream in _decode(info):
        while frame is not None and done < len(times) and times[done] + _EARLY < time:
            if image is None:
                image = _render(frame, target)
            yield image
            done += 1
        if done == len(times):
            return
        if target is None:
            target = upright_size(next_frame, stream)
        frame = next_frame
        image = None
    if frame is None:
        raise MediaError(f"{info.path} is damaged: no picture of it can be decoded. Download or export it again.")
    image = _render(frame, target)
    for _ in times[done:]:
        yield image


def _decode(info: MediaInfo) -> Iterator[tuple[float, Any, Any]]:
    """Time in seconds from the first frame, frame and stream, in display order; damaged packets are left out."""
    import av

    with open_media(info.path) as container:
        stream = video_stream(container)
        stream.thread_type = "AUTO"
        step = 1 / frame_rate(stream)
        last = -step
        earliest = -np.inf
        clock = info.clock(stream)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return
            if packet.size:
                clock.correct(packet)
            for frame in decode_packet(packet):
                time = last + step if frame.time is None else frame.time - info.start
                last = max(time, earliest)
                earliest = last
                yield last, frame, stream


def _render(frame: Any, target: tuple[int, int] | None) -> ImageArray:
    """A decoded frame as RGB, resized and turned upright."""
    a, b, c, d = orientation(frame)
    swaps_axes = a == 0
    height, width = (frame.height, frame.width)  # before rows and columns change places
    if target is not None:
        height, width = target[::-1] if swaps_axes else target
    image = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC").to_ndarray()
    if swaps_axes:  # rows and columns change places, then each axis takes the sign of what lands on it
        image = image.swapaxes(0, 1)
        row_sign, column_sign = b, c
    else:
        row_sign, column_sign = d, a
    if row_sign < 0:
        image = image[::-1]
    if column_sign < 0:
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _resize(image: ImageArray, target: tuple[int, int] | None) -> ImageArray:
    from av import VideoFrame

    if target is None:
        return image
    return _render(VideoFrame.from_ndarray(image, format="rgb24"), target)


def _height_and_width(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
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
