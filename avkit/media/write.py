# SPDX-License-Identifier: Apache-2.0
"""Writing a video that any player opens, H.264 and AAC in MP4, and plain sound."""

import wave
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from avkit.batch import SAMPLE_RATE
from avkit.files import atomic
from avkit.media.image import Picture
from avkit.media.probe import MediaInfo, probe
from avkit.media.sound import iter_sound

#: Ticks per second of the written pictures: a multiple of every usual frame rate.
_TICKS = 90_000
_SOUND_RATE = 48_000
#: Constant rate factor of x264: 18 cannot be told from the source, 23 is its default.
_QUALITY = "20"


def write_video(
    path: str | Path,
    frames: Iterable[Picture | tuple[float, Picture]],
    fps: float,
    sound_from: str | Path | None = None,
    quick: bool = False,
) -> Path:
    """Write pictures, and the sound of another file, as an MP4.

    The file appears under its name only when it is complete. Sound is written in stereo at 48 kHz.

    Args:
        path: File to write, replaced if it exists.
        frames: Pictures, uint8 (H, W, 3), RGB, all of one size; or pairs of time in seconds and picture, as
            `iter_frames` yields them, which keep a variable frame rate. Odd sizes are padded by one row or column,
            because H.264 with colour at half resolution takes even ones.
        fps: Pictures per second where no times are given; a hint to the encoder where they are.
        sound_from: File whose sound is taken over from time zero on; its picture is not used. Without an audio track
            the video is silent.
        quick: Encode sound in a quarter of the time, a little worse.

    Returns:
        The path written.

    Raises:
        ValueError: If `fps` is not positive, there is no picture, or pictures are not uint8 (H, W, 3) of one size.
        MediaError: If `sound_from` cannot be read.
    """
    if not fps > 0:
        raise ValueError(f"fps is {fps}; give the pictures per second, greater than 0.")
    path = Path(path)
    with atomic(path) as part:
        _encode(part, _timed(frames, fps), fps, sound_from, quick)
    return path


def write_wave(path: str | Path, sound: npt.NDArray[np.float32], rate: int = SAMPLE_RATE) -> Path:
    """Write sound (samples,) in [-1, 1] as a WAV of 16 bits, mono; it appears under its name only when complete."""
    path = Path(path)
    with atomic(path) as part, wave.open(str(part), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(sound, -1, 1) * 32767).round().astype("<i2").tobytes())
    return path


def _encode(
    path: Path, frames: Iterator[tuple[int, Picture]], fps: float, sound_from: str | Path | None, quick: bool
) -> None:
    import av

    first = next(frames, None)
    if first is None:
        raise ValueError("There is no picture to write; `frames` is empty.")
    source = probe(sound_from) if sound_from is not None else None
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        picture = _add_picture(container, first[1].shape, fps)
        sound = _sound_packets(container, source, quick) if source is not None and source.has_audio else iter(())
        written = 0.0  # seconds of sound, kept level with the picture so that players need not buffer
        for pts, image in chain([first], frames):
            while written < pts / _TICKS and (step := next(sound, None)) is not None:
                written, packets = step
                container.mux(packets)
            container.mux(picture.encode(_video_frame(image, pts, first[1].shape)))
        container.mux(picture.encode(None))
        for _, packets in sound:
            container.mux(packets)


def _add_picture(container: Any, shape: tuple[int, ...], fps: float) -> Any:
    codec = _codec()
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
    stream.height, stream.width = shape[0] + shape[0] % 2, shape[1] + shape[1] % 2
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = Fraction(1, _TICKS)
    if codec == "libx264":
        stream.options = {"crf": _QUALITY, "preset": "veryfast"}
    else:
        stream.bit_rate = round(0.2 * fps * shape[0] * shape[1])
    return stream


def _codec() -> str:
    """H.264 where this build of FFmpeg can write it, else MPEG-4 part 2, which every build can."""
    import av

    return "libx264" if "libx264" in av.codecs_available else "mpeg4"


def _timed(frames: Iterable[Picture | tuple[float, Picture]], fps: float) -> Iterator[tuple[int, Picture]]:
    """Ticks, strictly rising, and picture."""
    last = -1
    for index, frame in enumerate(frames):
        time, picture = frame if isinstance(frame, tuple) else (index / fps, frame)
        last = max(round(time * _TICKS), last + 1)
        yield last, picture


def _video_frame(picture: Picture, pts: int, shape: tuple[int, ...]) -> Any:
    from av import VideoFrame

    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.shape != shape:
        raise ValueError(
            f"A picture is {picture.dtype} {picture.shape}, the first one has shape {shape}; "
            "give uint8 (height, width, 3), all of one size."
        )
    height, width, _ = shape
    even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    frame.pts, frame.time_base = pts, Fraction(1, _TICKS)
    return frame


def _sound_packets(container: Any, source: MediaInfo, quick: bool) -> Iterator[tuple[float, list[Any]]]:
    """Adds the sound track at once; then yields encoded packets and the seconds of sound encoded so far."""
    stream = container.add_stream("aac", rate=_SOUND_RATE)
    stream.layout = "stereo"
    stream.options = {"aac_coder": "fast"} if quick else {}
    return _encode_sound(stream, iter_sound(source, _SOUND_RATE))


def _encode_sound(stream: Any, chunks: Iterator[npt.NDArray[np.float32]]) -> Iterator[tuple[float, list[Any]]]:
    from av import AudioFrame

    done = 0
    for chunk in chunks:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = _SOUND_RATE, done, Fraction(1, _SOUND_RATE)
        done += frame.samples
        yield done / _SOUND_RATE, stream.encode(frame)
    yield done / _SOUND_RATE, stream.encode(None)
