# SPDX-License-Identifier: Apache-2.0
"""The audio track of a media file: resampled, mixed down, and aligned with the video."""

from collections.abc import Iterator
from itertools import chain, groupby
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.media.clip import ClipSource, open_clip
from avkit.media.probe import MediaInfo, audio_stream, decode_packet, open_media

#: Weights of a channel in the left and right of a stereo mix; channels that are not listed go to both. The LFE is left
#: out. Source: ITU-R BS.775-4, annex 4, table 2, where centre and surround enter at -3 dB.
_STEREO_WEIGHTS: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (0.5**0.5, 0.5**0.5),
    "SL": (0.5**0.5, 0.0),
    "SR": (0.0, 0.5**0.5),
    "BL": (0.5**0.5, 0.0),
    "BR": (0.0, 0.5**0.5),
    "LFE": (0.0, 0.0),
}


def read_waveform(source: ClipSource, *, partial_ok: bool = False) -> Tensor:
    """Read the audio of a file, mono at 16 kHz; sample 0 belongs to the first frame of its video.

    Stereo is averaged; more channels are mixed by ITU-R BS.775 (left and right in full, centre and surround at -3 dB,
    no LFE) and divided by the sum of the weights, so that nothing clips. Audio that begins after the first frame is
    preceded by silence, audio from before it is cut. Gaps inside the track are not filled.

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
    excess: int | None = None  # samples from before time zero that remain to be cut
    for time, chunk in _iter_resampled(info, rate):
        if excess is None:
            excess = round((info.start - time) * rate) if info.has_video else 0
            if excess < 0:
                yield np.zeros((2, -excess), np.float32)
        cut = min(max(excess, 0), chunk.shape[1])
        excess -= cut
        if cut < chunk.shape[1]:
            yield chunk[:, cut:]


def _iter_resampled(info: MediaInfo, rate: int) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Time stamp in seconds and samples (2, n) of each chunk; only the first time stamp is reliable."""
    from av import AudioResampler

    # a decoder may detect the format late, so each run of frames of one format gets its own resampler
    for _, run in groupby(_iter_decoded(info), key=_format_of):
        first = next(run)
        time = float(first.time) if first.time is not None else info.start
        resampler = AudioResampler(format="fltp", rate=rate)
        weights = _stereo_mix(first.layout)
        for frame in chain([first], run, [None]):
            if frame is not None:
                frame.pts = None  # the resampler counts samples by itself
            for resampled in resampler.resample(frame):
                yield time, weights @ resampled.to_ndarray()


def _format_of(frame: Any) -> tuple[str, str, int]:
    return frame.format.name, frame.layout.name, frame.sample_rate


def _iter_decoded(info: MediaInfo) -> Iterator[Any]:
    """Decoded frames of the audio track in order; damaged packets are left out."""
    import av

    with open_media(info.path) as container:
        packets = container.demux(audio_stream(container))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return
            yield from decode_packet(packet)


def _stereo_mix(layout: Any) -> npt.NDArray[np.float32]:
    """Weights (2, channels) of the mix to stereo; each row sums to 1."""
    weights = np.array([_STEREO_WEIGHTS.get(channel.name, (0.5, 0.5)) for channel in layout.channels], np.float32).T
    total = weights.sum(1, keepdims=True)
    mix: npt.NDArray[np.float32] = np.where(total > 0, weights / np.maximum(total, 1e-9), 1 / weights.shape[1])
    return mix.astype(np.float32)
