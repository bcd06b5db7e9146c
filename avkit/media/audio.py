# SPDX-License-Identifier: Apache-2.0
"""The audio track of a media file: resampled, mixed down, and aligned with the video."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.errors import MediaError
from avkit.media.clip import ClipSource, open_clip
from avkit.media.container import audio_stream, decode_packet, open_media
from avkit.media.probe import MediaInfo
from avkit.reading.boundary import file_errors

#: Weights of a channel in the left and right of a stereo mix; channels that are not listed go to both. The LFE is left
#: out, as far as the standard goes, which is 5.1.
#: Source: ITU-R BS.775-4, annex 4, table 2, where centre and surround enter at -3 dB.
_STEREO_WEIGHTS: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (0.5**0.5, 0.5**0.5),
    "SL": (0.5**0.5, 0.0),
    "SR": (0.0, 0.5**0.5),
    "BL": (0.5**0.5, 0.0),
    "BR": (0.0, 0.5**0.5),
}
#: Channels of the largest layout of the standard.
_STANDARD_CHANNELS = 6
#: Seconds by which a time stamp may differ from the samples before it, as the `min_hard_comp` of FFmpeg's resampler.
_TOLERANCE = 0.1


def read_waveform(source: ClipSource, *, partial_ok: bool = False) -> Tensor:
    """Read the audio of a file, mono at 16 kHz; sample 0 belongs to the first frame of its video.

    Stereo is averaged; more channels are mixed by ITU-R BS.775 (left and right in full, centre and surround at -3 dB,
    no LFE) and divided by the sum of the weights, so that nothing clips; of more than six channels none is left out.
    Audio lies by its time stamps: it is preceded by silence where it begins after the first frame, audio from before it
    is cut, and missing packets are silence.

    Args:
        source: Video or audio file.
        partial_ok: Use what is present of a file that is cut off.

    Returns:
        float32 (samples,), in [-1, 1].

    Raises:
        MediaError: If the file has no audio, cannot be read, or is cut off and `partial_ok` is False.
    """
    info = open_clip(source).audio_info
    info.require(audio=True, partial_ok=partial_ok)
    chunks = [np.zeros(0, np.float32)]
    for chunk in iter_audio(info, SAMPLE_RATE):
        chunks.append(chunk.mean(0))
    return torch.from_numpy(np.concatenate(chunks)).clamp_(-1, 1)


def pad_or_trim(waveform: Tensor, samples: int) -> Tensor:
    """Cut a waveform (n,) to (samples,), or pad it with silence at its end."""
    missing = max(0, samples - len(waveform))
    return torch.nn.functional.pad(waveform[:samples], (0, missing))


def iter_audio(info: MediaInfo, rate: int) -> Iterator[npt.NDArray[np.float32]]:
    """Read the audio of a file in chunks.

    Args:
        info: Facts of the file.
        rate: Samples per second.

    Yields:
        Left and right channel, float32 (2, n); the first sample lies at time zero of the file.
    """
    zero: float | None = None  # time stamp of time zero
    position = 0  # samples since time zero that were yielded; below 0 where the track begins before it
    for time, chunk in _iter_resampled(info, rate):
        if zero is None:
            zero = info.start if info.has_video else time
            position = min(0, round((time - zero) * rate))
        ahead = round((time - zero) * rate) - position
        if ahead > _TOLERANCE * rate or (position == 0 and ahead > 0):
            yield from _silence(ahead, rate)
            position += ahead
        elif ahead < -_TOLERANCE * rate:  # these samples lie before what was yielded
            chunk = chunk[:, -ahead:]
        cut = min(max(-position, 0), chunk.shape[1])
        position += chunk.shape[1]
        if cut < chunk.shape[1]:
            yield chunk[:, cut:]


def _silence(samples: int, rate: int) -> Iterator[npt.NDArray[np.float32]]:
    """Silent left and right channel, at most a second at a time."""
    for start in range(0, samples, rate):
        yield np.zeros((2, min(rate, samples - start)), np.float32)


def _iter_resampled(info: MediaInfo, rate: int) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Time stamp in seconds and samples (2, n) of each chunk."""
    from av import AudioResampler

    # a decoder may detect the format late, and packets may be missing, so each run of frames gets its own resampler
    with file_errors(info.path, "has sound that cannot be read", "Export it again.", MediaError):
        for _, run in groupby(_number_runs(info), key=lambda entry: entry.run):
            first = next(run)
            # samples of all channels side by side: more than eight planes would be read past their end
            resampler = AudioResampler(format="flt", rate=rate)
            weights = _stereo_mix(first.frame.layout)
            done = 0
            for frame in chain([first.frame], (entry.frame for entry in run), [None]):
                if frame is not None:
                    frame.pts = None  # the resampler counts samples by itself
                for resampled in resampler.resample(frame):
                    samples = resampled.to_ndarray().reshape(-1, weights.shape[1])
                    yield first.time + done / rate, weights @ samples.T
                    done += len(samples)


@dataclass
class _DecodedAudio:
    """A decoded frame.

    Attributes:
        frame: The frame.
        time: Time stamp in seconds; where it has none, the end of the frame before.
        run: Number of the run of frames that it belongs to: of one format, one after the other without a gap.
    """

    frame: Any
    time: float
    run: int


def _number_runs(info: MediaInfo) -> Iterator[_DecodedAudio]:
    """Decoded frames with the number of their run."""
    run = 0
    current: tuple[str, str, int] | None = None
    start = info.start
    seconds = 0.0  # of the frames of this run
    for frame in _iter_decoded(info):
        time = float(frame.time) if frame.time is not None else start + seconds
        is_gap = abs(time - start - seconds) > _TOLERANCE
        if current != _format_of(frame) or is_gap:
            run += current is not None
            current = _format_of(frame)
            start = time
            seconds = 0.0
        seconds += frame.samples / frame.sample_rate
        yield _DecodedAudio(frame, time, run)


def _format_of(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _iter_decoded(info: MediaInfo) -> Iterator[Any]:
    """Decoded frames of the audio track in order; damaged packets are left out."""
    import av

    with open_media(info.path) as container:
        stream = audio_stream(container)
        clock = info.clock(stream)
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return
            if packet.size:
                clock.correct(packet)
            yield from decode_packet(packet)


def _stereo_mix(layout: Any) -> npt.NDArray[np.float32]:
    """Weights (2, channels) of the mix to stereo; each row sums to 1."""
    listed = []
    for channel in layout.channels:
        is_left_out = channel.name == "LFE" and len(layout.channels) <= _STANDARD_CHANNELS
        listed.append((0.0, 0.0) if is_left_out else _STEREO_WEIGHTS.get(channel.name, (0.5, 0.5)))
    weights = np.array(listed, np.float32).T
    total = weights.sum(1, keepdims=True)
    mix: npt.NDArray[np.float32] = np.where(total > 0, weights / np.maximum(total, 1e-9), 1 / weights.shape[1])
    return mix.astype(np.float32)
