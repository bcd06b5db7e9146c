# SPDX-License-Identifier: Apache-2.0
"""Writing videos, H.264 and AAC in MP4, and audio as WAV."""

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
from avkit.media.audio import iter_audio
from avkit.media.clip import ClipSource, open_clip
from avkit.media.image import ImageArray
from avkit.media.probe import MediaInfo

#: Ticks per second of the time stamps of written frames: a multiple of all usual frame rates.
_TICKS = 90_000
_AUDIO_RATE = 48_000
#: Constant rate factor of x264: 18 is visually lossless, 23 is its default.
_QUALITY = "20"


def write_video(
    path: str | Path,
    frames: Iterable[ImageArray | tuple[float, ImageArray]],
    fps: float,
    audio_from: ClipSource | None = None,
    *,
    quick: bool = False,
) -> Path:
    """Write frames, and the audio of another file, as an MP4.

    The file appears under its name only when it is complete. Audio is written in stereo at 48 kHz.

    Args:
        path: File to write, replaced if it exists.
        frames: Frames, uint8 (H, W, 3), RGB, all of one size; or pairs of time in seconds and frame, as `iter_frames`
            yields them, which keep a variable frame rate. Odd sizes are padded by one row or column, because H.264
            with colour at half resolution takes even ones.
        fps: Frames per second where no times are given; otherwise a hint to the encoder.
        audio_from: File or clip whose audio is copied from time zero on; without an audio track the video is silent.
        quick: Encode audio in a quarter of the time, in slightly lower quality.

    Returns:
        The path written.

    Raises:
        ValueError: If `fps` is not positive, there is no frame, or frames are not uint8 (H, W, 3) of one size.
        MediaError: If `audio_from` cannot be read.
    """
    if not fps > 0:
        raise ValueError(f"fps is {fps}; give the pictures per second, greater than 0.")
    path = Path(path)
    with atomic(path) as part:
        _encode(part, _timed(frames, fps), fps, audio_from, quick=quick)
    return path


def write_wave(path: str | Path, waveform: npt.NDArray[np.float32], rate: int = SAMPLE_RATE) -> Path:
    """Write a waveform (samples,) in [-1, 1] as WAV, 16 bit mono; the file appears only when it is complete."""
    path = Path(path)
    with atomic(path) as part, wave.open(str(part), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes((np.clip(waveform, -1, 1) * 32767).round().astype("<i2").tobytes())
    return path


def _encode(
    path: Path, frames: Iterator[tuple[int, ImageArray]], fps: float, audio_from: ClipSource | None, *, quick: bool
) -> None:
    import av

    first = next(frames, None)
    if first is None:
        raise ValueError("There is no picture to write; `frames` is empty.")
    audio: MediaInfo | None = None
    if audio_from is not None:
        audio = open_clip(audio_from).audio_info
    shape = first[1].shape
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        video = _add_video(container, shape, fps)
        audio_packets: Iterator[tuple[float, list[Any]]] = iter(())
        if audio is not None and audio.has_audio:
            audio_packets = _encode_audio(_add_audio(container, quick=quick), iter_audio(audio, _AUDIO_RATE))
        audio_seconds = 0.0  # audio is written as far as video is, so that players need not buffer
        for pts, image in chain([first], frames):
            while audio_seconds < pts / _TICKS and (step := next(audio_packets, None)) is not None:
                audio_seconds, packets = step
                container.mux(packets)
            container.mux(video.encode(_video_frame(image, pts, shape)))
        container.mux(video.encode(None))
        for _, packets in audio_packets:
            container.mux(packets)


def _add_video(container: Any, shape: tuple[int, ...], fps: float) -> Any:
    codec = _codec()
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001))
    stream.height = shape[0] + shape[0] % 2
    stream.width = shape[1] + shape[1] % 2
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

    if "libx264" in av.codecs_available:
        return "libx264"
    return "mpeg4"


def _timed(frames: Iterable[ImageArray | tuple[float, ImageArray]], fps: float) -> Iterator[tuple[int, ImageArray]]:
    """Time stamp in ticks, strictly ascending, and frame."""
    last = -1
    for index, frame in enumerate(frames):
        time, image = frame if isinstance(frame, tuple) else (index / fps, frame)
        last = max(round(time * _TICKS), last + 1)
        yield last, image


def _video_frame(image: ImageArray, pts: int, shape: tuple[int, ...]) -> Any:
    from av import VideoFrame

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape != shape:
        raise ValueError(
            f"A picture is {image.dtype} {image.shape}, the first one has shape {shape}; "
            "give uint8 (height, width, 3), all of one size."
        )
    height, width, _ = shape
    even = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24")
    frame.pts = pts
    frame.time_base = Fraction(1, _TICKS)
    return frame


def _add_audio(container: Any, *, quick: bool) -> Any:
    stream = container.add_stream("aac", rate=_AUDIO_RATE)
    stream.layout = "stereo"
    if quick:
        stream.options = {"aac_coder": "fast"}
    return stream


def _encode_audio(stream: Any, chunks: Iterator[npt.NDArray[np.float32]]) -> Iterator[tuple[float, list[Any]]]:
    """Encode audio; yields the seconds encoded so far and the packets of one chunk."""
    from av import AudioFrame

    samples = 0
    for chunk in chunks:
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(chunk), format="fltp", layout="stereo")
        frame.sample_rate = _AUDIO_RATE
        frame.pts = samples
        frame.time_base = Fraction(1, _AUDIO_RATE)
        samples += frame.samples
        yield samples / _AUDIO_RATE, stream.encode(frame)
    yield samples / _AUDIO_RATE, stream.encode(None)
