# SPDX-License-Identifier: Apache-2.0
"""Decoding of clips into the inputs of encoders, once for all streams."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from avkit.batch import SAMPLE_RATE
from avkit.datasets.media_reader import crop_middle
from avkit.errors import AvkitError, DataError
from avkit.extraction.recipe import FeatureStream
from avkit.extraction.sources import MediaSource
from avkit.media import decode, image_files
from avkit.media.image import image_size
from avkit.media.mel import EXAMPLE_FRAMES, EXAMPLE_SAMPLES, STRIDE, log_mel


@dataclass
class EncoderInputs:
    """A clip as the encoders of its streams take it, or why it cannot be read.

    Attributes:
        name: Name of the clip in the store.
        inputs: By stream: frames, uint8 (T, 3, H, W), or log-mel examples (T, 96, 64).
        error: Why the clip cannot be read; empty where it can.
    """

    name: str
    inputs: dict[str, Tensor] = field(default_factory=dict)
    error: str = ""


class SourceDataset(Dataset[EncoderInputs]):
    """Clips decoded for some streams; streams that take the same input share it.

    Args:
        sources: Clips to read.
        streams: Streams of frames and audio.
        sides: Side of the square that a stream's encoder takes, for streams without `resize`.
    """

    def __init__(self, sources: Sequence[MediaSource], streams: Sequence[FeatureStream], sides: dict[str, int]) -> None:
        self.sources = sources
        self.streams = streams
        self.sides = sides

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> EncoderInputs:
        source = self.sources[index]
        try:
            return EncoderInputs(source.name, self.read(source))
        except (AvkitError, OSError, ValueError) as error:
            return EncoderInputs(source.name, error=str(error))

    def read(self, source: MediaSource) -> dict[str, Tensor]:
        """Inputs of a clip by stream.

        Raises:
            AvkitError: If the clip's files are missing or damaged.
        """
        files = _OpenSource(source)
        inputs: dict[str, Tensor] = {}
        inputs_by_key: dict[Hashable, Tensor] = {}
        for stream in self.streams:
            key = self._input_key(stream)
            if key not in inputs_by_key:
                inputs_by_key[key] = self._read_stream(files, stream)
            inputs[stream.name] = inputs_by_key[key]
        return inputs

    def _read_stream(self, files: "_OpenSource", stream: FeatureStream) -> Tensor:
        if stream.of == "sound":
            return files.read_mel_examples(stream)
        return files.read_frames(stream, self.sides[stream.name])

    def _input_key(self, stream: FeatureStream) -> Hashable:
        """A key that two streams share if they take the same input."""
        if stream.of == "sound":
            return stream.of, stream.hop, stream.window
        side = 0 if stream.crop else self.sides[stream.name]
        return stream.of, stream.hop, stream.resize, stream.crop, side


class _OpenSource:
    """The files of one clip, each opened once."""

    def __init__(self, source: MediaSource) -> None:
        self.source = source

    @cached_property
    def video(self) -> decode.Clip:
        if self.source.video is None:
            raise DataError(f"{self.source.name} has no video.")
        return decode.open_clip(self.source.root / self.source.video)

    @cached_property
    def waveform(self) -> Tensor:
        """Audio of the clip, (samples,), 16 kHz."""
        source = self.source
        if source.audio is not None:
            waveform = decode.read_waveform(source.root / source.audio)
        elif source.video is not None:
            waveform = decode.read_waveform(self.video)
        else:
            raise DataError(f"{source.name} has no sound.")
        if source.start is not None:
            end = None if source.end is None else round(source.end * SAMPLE_RATE)
            return waveform[round(source.start * SAMPLE_RATE) : end]
        if source.centred and source.seconds:
            return crop_middle(waveform, round(source.seconds * SAMPLE_RATE))
        return waveform

    def read_frames(self, stream: FeatureStream, side: int) -> Tensor:
        """Frames of a stream, uint8 (T, 3, H, W); `side` is that of the square where the stream has no `resize`."""
        if self.source.frames is not None:
            frames = self._frames_of_images(self.source.frames, stream, side)
        else:
            frames = self._frames_of_video(stream, side)
        return _crop_centre(frames, stream.crop) if stream.crop else frames

    def _frames_of_images(self, listed: str | Sequence[str], stream: FeatureStream, side: int) -> Tensor:
        source = self.source
        files = image_files.list_image_files(source.root, listed)
        steps = decode.count_steps(source.seconds, stream.hop) if source.seconds else len(files)
        size = _target_size(image_size(files[0]), stream, side)
        frames, _ = image_files.read_image_files(files, steps, size, source.offset)
        return frames

    def _frames_of_video(self, stream: FeatureStream, side: int) -> Tensor:
        source = self.source
        info = self.video.info
        info.require(video=True)
        start = source.start or 0.0
        seconds = source.seconds or info.duration
        if source.end is not None:
            seconds = source.end - start
        times = [start + time for time in decode.step_times(seconds, stream.hop, source.offset)]
        size = _target_size(info.size or (side, side), stream, side)
        return decode.read_frames(self.video, times, size=size)

    def read_mel_examples(self, stream: FeatureStream) -> Tensor:
        """Log-mel examples of VGGish, one per step, (T, 96, 64)."""
        waveform = self.waveform
        frames_per_hop = round(stream.hop * SAMPLE_RATE / STRIDE)
        if self.source.seconds:
            steps = decode.count_steps(self.source.seconds, stream.hop)
        else:
            seconds = len(waveform) / SAMPLE_RATE
            steps = max(1, int((seconds - stream.window) / stream.hop + 1e-6) + 1)
        samples = (steps - 1) * frames_per_hop * STRIDE + EXAMPLE_SAMPLES
        mel = log_mel(decode.pad_or_trim(waveform, samples))
        rows = torch.arange(steps)[:, None] * frames_per_hop + torch.arange(EXAMPLE_FRAMES)
        return mel[rows]


def _target_size(size: tuple[int, int], stream: FeatureStream, side: int) -> tuple[int, int]:
    """Height and width to resize to: the shorter side to `resize`, or a square."""
    if not stream.resize:
        return side, side
    scale = stream.resize / min(size)
    height = max(stream.resize, round(size[0] * scale))
    width = max(stream.resize, round(size[1] * scale))
    return height, width


def _crop_centre(frames: Tensor, side: int) -> Tensor:
    top = (frames.shape[-2] - side) // 2
    left = (frames.shape[-1] - side) // 2
    return frames[..., top : top + side, left : left + side].contiguous()
