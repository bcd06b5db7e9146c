# SPDX-License-Identifier: Apache-2.0
"""Media files for tests, written with PyAV alone: numbered pictures, tones, and every oddity a user may bring."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

#: Bars of the number in a numbered picture.
BITS = 8
#: Display matrices by degrees counterclockwise, as (a, b, c, d) of the track header; `mirror` flips left and right.
MATRICES = {0: (1, 0, 0, 1), 90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), 270: (0, 1, -1, 0), "mirror": (-1, 0, 0, 1)}


def numbered_picture(number, height=48, width=64):
    """A picture with `number` as black and white bars in its upper half, red at the lower left, blue at the right."""
    bits = [(number >> k) & 1 for k in range(BITS)]
    picture = np.zeros((height, width, 3), np.uint8)
    columns = np.arange(width) * BITS // width
    picture[: height // 2] = 255 * np.array(bits, np.uint8)[columns][None, :, None]
    picture[height // 2 :, : width // 2, 0] = 255
    picture[height // 2 :, width // 2 :, 2] = 255
    return picture


def read_number(picture):
    """The number shown in a picture (H, W, 3)."""
    height, width = picture.shape[:2]
    centres = ((np.arange(BITS) + 0.5) * width / BITS).astype(int)
    return int(((picture[height // 4, centres].mean(-1) > 128) << np.arange(BITS)).sum())


def tone(seconds, rate, hertz=440.0, amplitude=0.5):
    """A sine (samples,), float32, beginning at phase zero."""
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_clip(
    path,
    times=None,
    fps=10,
    pictures=None,
    sound=None,
    rate=16_000,
    layout="mono",
    sound_at=0.0,
    codec="libx264",
    sound_codec="aac",
    sample_aspect_ratio=None,
    options=None,
    **muxer,
):
    """Write a file with numbered pictures at `times` (seconds) and `sound` (channels, samples), either may be None."""
    path = Path(path)
    with av.open(str(path), "w", **muxer) as container:
        packets = []
        if times is not None:
            pictures = pictures or [numbered_picture(k) for k in range(len(times))]
            packets += _encode_pictures(container, times, fps, pictures, codec, sample_aspect_ratio, options or {})
        if sound is not None:
            packets += _encode_sound(container, np.atleast_2d(sound), rate, layout, sound_at, sound_codec)
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def write_wav(path, sound, rate=16_000, layout="mono"):
    """Write 16-bit PCM; `sound` is (channels, samples) in [-1, 1]."""
    return write_clip(path, sound=sound, rate=rate, layout=layout, sound_codec="pcm_s16le")


def turn(path, degrees):
    """Write a rotation into the first track header of an MP4; its matrix lies 40 bytes behind the box name."""
    data = bytearray(Path(path).read_bytes())
    a, b, c, d = MATRICES[degrees]
    start = data.index(b"tkhd") + 44
    one = 1 << 16
    data[start : start + 36] = struct.pack(">9i", a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    Path(path).write_bytes(data)
    return path


def cut(path, share):
    """Keep only the first part of a file, as a broken download does."""
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: int(len(data) * share)])
    return path


def _encode_pictures(container, times, fps, pictures, codec, sample_aspect_ratio, options):
    stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options)
    stream.height, stream.width = pictures[0].shape[:2]
    stream.pix_fmt = {"ffv1": "bgr0"}.get(codec, "yuv420p")
    tick = Fraction(1, 1000)
    stream.codec_context.time_base = tick
    if sample_aspect_ratio is not None:
        stream.codec_context.sample_aspect_ratio = Fraction(sample_aspect_ratio)
    packets = []
    for time, picture in zip(times, pictures, strict=True):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = round(time / tick), tick
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _encode_sound(container, sound, rate, layout, start, codec):
    stream = container.add_stream(codec, rate=rate)
    stream.layout = layout
    packed = codec == "pcm_s16le"
    samples = np.round(sound.T * 32767).astype(np.int16).reshape(1, -1) if packed else sound.astype(np.float32)
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="s16" if packed else "fltp", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, round(start * rate), Fraction(1, rate)
    return stream.encode(frame) + stream.encode(None)
