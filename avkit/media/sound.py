# SPDX-License-Identifier: Apache-2.0
"""The sound track of any media file: resampled, mixed down, and aligned with the picture."""

from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.media.probe import MediaInfo, decode_packet, open_media, probe, sound_stream

#: Shares of a loudspeaker channel in the left and right of a stereo mix; others go to both. The LFE is left out.
#: Source: ITU-R BS.775-4, annex 4, table 2, where centre and surround enter at -3 dB.
_STEREO_SHARES: dict[str, tuple[float, float]] = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FC": (0.5**0.5, 0.5**0.5),
    "SL": (0.5**0.5, 0.0),
    "SR": (0.0, 0.5**0.5),
    "BL": (0.5**0.5, 0.0),
    "BR": (0.0, 0.5**0.5),
    "LFE": (0.0, 0.0),
}


def read_waveform(path: str | Path, *, partial_ok: bool = False, info: MediaInfo | None = None) -> Tensor:
    """The sound of a file, mono at 16 kHz, starting where its picture starts.

    Stereo is averaged; more channels are mixed by ITU-R BS.775 (left and right in full, centre and surround at -3 dB,
    no LFE) and divided by the sum of the weights, so that nothing clips. Sound that begins after the first picture is
    preceded by silence, sound from before it is cut. Gaps inside the track are not filled.

    Args:
        path: Video or sound file.
        partial_ok: Use what is there of a file that is cut off.
        info: What `probe` said of the file, where the caller knows it.

    Returns:
        float32 (samples,), in [-1, 1].

    Raises:
        MediaError: If the file has no sound, cannot be read, or is cut off and `partial_ok` is False.
    """
    info = info or probe(path)
    info.require(audio=True, partial_ok=partial_ok)
    chunks = [chunk.mean(0) for chunk in iter_sound(info, SAMPLE_RATE)]
    return torch.from_numpy(np.concatenate(chunks) if chunks else np.zeros(0, np.float32)).clamp_(-1, 1)


def iter_sound(info: MediaInfo, rate: int) -> Iterator[npt.NDArray[np.float32]]:
    """The sound in pieces, float32 (2, n), left and right at `rate` Hz, aligned with time zero of the file."""
    excess: int | None = None  # samples from before time zero that remain to be cut
    for time, chunk in _resampled(info, rate):
        if excess is None:
            excess = round((info.start - time) * rate) if info.has_video else 0
            if excess < 0:
                yield np.zeros((2, -excess), np.float32)
        cut = min(max(excess, 0), chunk.shape[1])
        excess -= cut
        if cut < chunk.shape[1]:
            yield chunk[:, cut:]


def _resampled(info: MediaInfo, rate: int) -> Iterator[tuple[float, npt.NDArray[np.float32]]]:
    """Time stamp in seconds and samples (2, n) of each piece; only the first time stamp is to be relied on."""
    from av import AudioResampler

    # a decoder may find out late what it decodes, so each run of equal frames gets a resampler of its own
    for _, run in groupby(_decoded(info), key=lambda f: (f.format.name, f.layout.name, f.sample_rate)):
        first = next(run)
        time = float(first.time) if first.time is not None else info.start
        resampler, weights = AudioResampler(format="fltp", rate=rate), _mix(first.layout)
        for frame in chain([first], run, [None]):
            if frame is not None:
                frame.pts = None  # the resampler counts samples by itself
            for piece in resampler.resample(frame):
                yield time, weights @ piece.to_ndarray()


def _decoded(info: MediaInfo) -> Iterator[Any]:
    """Frames of the sound track in order; damaged packets are left out."""
    import av

    with open_media(info.path) as container:
        packets = container.demux(sound_stream(container))
        while True:
            try:
                packet = next(packets)
            except (StopIteration, av.error.FFmpegError):
                return
            yield from decode_packet(packet)


def _mix(layout: Any) -> npt.NDArray[np.float32]:
    """Weights (2, channels) of the mix to stereo, each row summing to 1."""
    shares = np.array([_STEREO_SHARES.get(channel.name, (0.5, 0.5)) for channel in layout.channels], np.float32).T
    total = shares.sum(1, keepdims=True)
    mix: npt.NDArray[np.float32] = np.where(total > 0, shares / np.maximum(total, 1e-9), 1 / shares.shape[1])
    return mix.astype(np.float32)
