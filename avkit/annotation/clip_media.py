# SPDX-License-Identifier: Apache-2.0
"""What the page shows of a clip: pictures of steps, waveform, spectrogram, and a copy that a browser can play."""

import io
import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avkit.annotation.folder import open_video
from avkit.batch import SAMPLE_RATE
from avkit.media import decode
from avkit.media.container import audio_stream, open_media, video_stream

#: What browsers of today play without plugins: ends of names, and codecs by FFmpeg's names.
_CONTAINERS = (".mp4", ".m4v", ".mov", ".webm")
_VIDEO_CODECS = ("h264", "vp8", "vp9", "av1")
_AUDIO_CODECS = ("aac", "mp3", "opus", "vorbis", "flac")
_PIXELS = ("yuv420p", "yuvj420p")
#: Rows and longest side in columns of a spectrogram's picture.
_BANDS = 128
_MAX_COLUMNS = 2000
#: Samples of a window of the spectrogram, 32 ms.
_WINDOW = 512
#: Decibels below the loudest that are shown black.
_RANGE = 70.0
#: Pictures of one clip are decoded together up to this many; of longer clips those around the wanted one.
_AT_ONCE = 32
#: Pixels whose colour is nearest: anchors of the spectrogram's colours from silent to loud.
_COLOURS = np.array([[0, 0, 4], [60, 15, 112], [147, 38, 103], [221, 81, 58], [252, 165, 10], [252, 255, 164]], float)


def can_play(path: Path) -> bool:
    """Whether browsers play a video as it is.

    Raises:
        MediaError: If it cannot be read.
    """
    if path.suffix.lower() not in _CONTAINERS:
        return False
    with open_media(path) as container:
        video = video_stream(container)
        audio = audio_stream(container)
        if video is None or video.codec_context.name not in (*_VIDEO_CODECS, "libdav1d"):
            return False
        if video.codec_context.pix_fmt not in _PIXELS:
            return False
        return audio is None or audio.codec_context.name in (*_AUDIO_CODECS, "mp3float")


def make_playable(path: Path, copy: Path) -> Path:
    """Write a copy of a video that browsers play; the video stays as it is.

    Raises:
        MediaError: If it cannot be read.
    """
    clip = open_video(path)
    return decode.write_video(copy, decode.iter_frames(clip), clip.info.fps or 25.0, clip, quick=True)


def step_frames(path: Path, steps: Sequence[int], hop: float, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) of some steps, taken in their middles as readers do.

    Raises:
        MediaError: If the video cannot be read.
    """
    times = [(step + 0.5) * hop for step in steps]
    return decode.read_frames(open_video(path), times, size=size).permute(0, 2, 3, 1).numpy()


def step_picture(path: Path, step: int, hop: float, size: tuple[int, int], steps: int) -> bytes:
    """The picture of a step as a JPEG.

    Raises:
        MediaError: If the video cannot be read.
    """
    first = step - step % _AT_ONCE
    facts = path.stat()
    with _lock_of(path):  # a page asks for all steps at once, and they are decoded together
        pictures = _pictures(path, first, min(_AT_ONCE, steps - first), hop, size, facts.st_mtime_ns)
    return pictures[step - first]


@lru_cache(maxsize=64)
def _lock_of(path: Path) -> threading.Lock:
    return threading.Lock()


@lru_cache(maxsize=32)
def _pictures(path: Path, first: int, count: int, hop: float, size: tuple[int, int], changed: int) -> tuple[bytes, ...]:
    from PIL import Image

    pictures = []
    for frame in step_frames(path, range(first, first + count), hop, size):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=90)
        pictures.append(file.getvalue())
    return tuple(pictures)


def waveform_peaks(waveform: NDArray[np.float32], columns: int) -> list[list[float]]:
    """Least and greatest value of the sound in each of some parts of equal length."""
    if not len(waveform):
        return [[0.0, 0.0] for _ in range(columns)]
    edges = np.linspace(0, len(waveform), columns + 1).astype(int)[:-1].clip(0, len(waveform) - 1)
    low = np.minimum.reduceat(waveform, edges)
    high = np.maximum.reduceat(waveform, edges)
    return [[round(float(a), 4), round(float(b), 4)] for a, b in zip(low, high, strict=True)]


def read_sound(path: Path) -> NDArray[np.float32]:
    """The sound of a video at 16 kHz, (samples,), zeros where it has none.

    Raises:
        MediaError: If it cannot be read.
    """
    clip = open_video(path)
    samples = max(1, round(clip.duration * SAMPLE_RATE))
    if not clip.info.has_audio:
        return np.zeros(samples, np.float32)
    return decode.pad_or_trim(decode.read_waveform(clip), samples).numpy()


def spectrogram_picture(waveform: NDArray[np.float32]) -> bytes:
    """A spectrogram as a PNG: time to the right, frequency upwards on the mel scale, loud is bright."""
    from PIL import Image

    columns = int(np.clip(len(waveform) / SAMPLE_RATE * 100, 1, _MAX_COLUMNS))
    starts = np.linspace(0, max(0, len(waveform) - _WINDOW), columns).astype(int)
    padded = np.pad(waveform, (0, max(0, _WINDOW - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[starts] * np.hanning(_WINDOW)
    power = np.abs(np.fft.rfft(windows)) ** 2 @ _mel_bands().T
    level = 10 * np.log10(power + 1e-10)
    level = ((level - level.max() + _RANGE) / _RANGE).clip(0, 1).T[::-1]
    if power.max() < 1e-6:
        level = np.zeros_like(level)
    place = level * (len(_COLOURS) - 1)
    colours = [np.interp(place, np.arange(len(_COLOURS)), _COLOURS[:, channel]) for channel in range(3)]
    file = io.BytesIO()
    Image.fromarray(np.stack(colours, -1).round().astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@lru_cache(maxsize=1)
def _mel_bands() -> NDArray[np.float64]:
    """Triangles on the mel scale, (bands, frequencies); each reaches one frequency at least."""
    frequencies = np.linspace(0, SAMPLE_RATE / 2, _WINDOW // 2 + 1)
    mel = 2595 * np.log10(1 + frequencies / 700)
    centres = np.linspace(mel[1], mel[-1], _BANDS)
    width = np.maximum(centres[1] - centres[0], np.interp(centres, mel[1:], np.diff(mel)))
    return np.asarray((1 - np.abs(mel - centres[:, None]) / width[:, None]).clip(0), np.float64)
