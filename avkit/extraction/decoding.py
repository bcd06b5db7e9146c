# SPDX-License-Identifier: Apache-2.0
"""Decoding of clips into the inputs of encoders, once for all streams."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.utils.data import Dataset

from avkit.batch import SAMPLE_RATE
from avkit.datasets.media_reader import crop_middle
from avkit.datasets.scene_names import pictures_named, sound_named
from avkit.errors import AvkitError, DataError, UnreachableError
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
        inputs: By stream: frames, uint8 (T, 3, H, W), log-mel examples (T, 96, 64), or windows of samples (T, n).
        error: Why the clip cannot be read; empty where it can.
        may_pass: Whether that was a failure of storage, so that reading it again may help.
    """

    name: str
    inputs: dict[str, Tensor] = field(default_factory=dict)
    error: str = ""
    may_pass: bool = False


@dataclass(frozen=True)
class InputForm:
    """What an encoder takes of a clip.

    Attributes:
        side: Side of the square that frames are resized to where their stream has no `resize`.
        takes_samples: Of sound: whether rows are the samples of a window, and not log-mel examples.
        spare_frames: Of windows of frames: frames that a clip needs beyond its last window.
    """

    side: int = 0
    takes_samples: bool = False
    spare_frames: int = 0


def is_failure_of_storage(error: BaseException | None) -> bool:
    """Whether reading again may help: a disk or network failed, and the file is not known to be missing or damaged."""
    while error is not None:
        if isinstance(error, UnreachableError):
            return True
        if isinstance(error, OSError) and error.errno is not None:  # those of decoders have no number
            return not isinstance(error, FileNotFoundError)
        error = error.__cause__
    return False


class SourceDataset(Dataset[EncoderInputs]):
    """Clips decoded for some streams; streams that take the same input share it.

    Args:
        sources: Clips to read.
        streams: Streams of frames and audio.
        forms: What each stream's encoder takes, by the stream's name.
    """

    def __init__(
        self, sources: Sequence[MediaSource], streams: Sequence[FeatureStream], forms: dict[str, InputForm]
    ) -> None:
        self.sources = sources
        self.streams = streams
        self.forms = forms

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> EncoderInputs:
        try:
            return self.decode(index)
        except (AvkitError, OSError, ValueError) as error:
            return EncoderInputs(self.sources[index].name, error=str(error), may_pass=is_failure_of_storage(error))

    def decode(self, index: int) -> EncoderInputs:
        """A clip by its number.

        Raises:
            AvkitError: If its files are missing or damaged.
        """
        source = self.sources[index]
        return EncoderInputs(source.name, self.read(source))

    def read(self, source: MediaSource) -> dict[str, Tensor]:
        """Inputs of a clip by stream.

        Raises:
            AvkitError: If the clip's files are missing or damaged.
        """
        clip = _OpenScene(source) if source.drawn else _OpenFiles(source)
        inputs: dict[str, Tensor] = {}
        inputs_by_key: dict[Hashable, Tensor] = {}
        for stream in self.streams:
            key = self._input_key(stream)
            if key not in inputs_by_key:
                inputs_by_key[key] = self._read_stream(clip, stream)
            inputs[stream.name] = inputs_by_key[key]
        return inputs

    def _read_stream(self, clip: "_OpenClip", stream: FeatureStream) -> Tensor:
        form = self.forms[stream.name]
        if stream.of == "sound":
            return clip.read_samples(stream) if form.takes_samples else clip.read_mel_examples(stream)
        return clip.read_frames(stream, form)

    def _input_key(self, stream: FeatureStream) -> Hashable:
        """A key that two streams share if they take the same input."""
        form = self.forms[stream.name]
        if stream.of == "sound":
            return stream.of, stream.hop, stream.window, form.takes_samples
        side = 0 if stream.resize else form.side
        size = (stream.resize, stream.crop, side)
        if stream.keep == "window":
            return stream.of, size, stream.fps, stream.window_frames + form.spare_frames
        return stream.of, size, stream.hop


class _OpenClip(ABC):
    """One clip, whose parts are read once."""

    def __init__(self, source: MediaSource) -> None:
        self.source = source

    @property
    @abstractmethod
    def waveform(self) -> Tensor:
        """Audio of the clip, (samples,), 16 kHz."""

    def read_frames(self, stream: FeatureStream, form: InputForm) -> Tensor:
        """Frames of a stream, uint8 (T, 3, H, W): one per step, or, for windows, as many per second as it says."""
        hop = stream.hop
        least = 1
        if stream.keep == "window":
            hop = 1 / stream.fps
            least = stream.window_frames + form.spare_frames
        frames = self._frames(stream, form.side, hop, least)
        return _crop_centre(frames, stream.crop) if stream.crop else frames

    @abstractmethod
    def _frames(self, stream: FeatureStream, side: int, hop: float, least: int) -> Tensor:
        """A frame every `hop` seconds, `least` at least, before they are cropped, (T, 3, H, W)."""

    def read_mel_examples(self, stream: FeatureStream) -> Tensor:
        """Log-mel examples of VGGish, one per step, (T, 96, 64)."""
        waveform = self.waveform
        frames_per_hop = round(stream.hop * SAMPLE_RATE / STRIDE)
        steps = self._count_sound_steps(stream)
        samples = (steps - 1) * frames_per_hop * STRIDE + EXAMPLE_SAMPLES
        mel = log_mel(decode.pad_or_trim(waveform, samples))
        rows = torch.arange(steps)[:, None] * frames_per_hop + torch.arange(EXAMPLE_FRAMES)
        return mel[rows]

    def read_samples(self, stream: FeatureStream) -> Tensor:
        """Samples of each step's window, (T, n)."""
        steps = self._count_sound_steps(stream)
        window = round(stream.window * SAMPLE_RATE)
        starts = (torch.arange(steps, dtype=torch.float64) * stream.hop * SAMPLE_RATE).round().long()
        waveform = decode.pad_or_trim(self.waveform, int(starts[-1]) + window)
        return waveform[starts[:, None] + torch.arange(window)]

    def _count_sound_steps(self, stream: FeatureStream) -> int:
        """Steps of a stream of sound: those of the clip where its length is fixed, else the windows that fit."""
        if self.source.seconds:
            return decode.count_steps(self.source.seconds, stream.hop)
        if self.source.drawn:
            return decode.count_steps(len(self.waveform) / SAMPLE_RATE, stream.hop)
        seconds = len(self.waveform) / SAMPLE_RATE
        return max(1, int((seconds - stream.window) / stream.hop + 1e-6) + 1)


class _OpenScene(_OpenClip):
    """A built-in scene, which is drawn in the size that a stream asks for."""

    @cached_property
    def waveform(self) -> Tensor:
        return torch.from_numpy(sound_named(self.source.name))

    def _frames(self, stream: FeatureStream, side: int, hop: float, least: int) -> Tensor:
        frames = torch.from_numpy(pictures_named(self.source.name, stream.resize or side, hop))
        missing = least - len(frames)
        return torch.cat([frames, frames[-1:].expand(missing, -1, -1, -1)]) if missing > 0 else frames


class _OpenFiles(_OpenClip):
    """A clip in files, each opened once."""

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
        elif source.video is not None and source.silent_ok and not self.video.info.has_audio:
            waveform = torch.zeros(round((source.seconds or self.video.info.duration) * SAMPLE_RATE))
        elif source.video is not None:
            waveform = decode.read_waveform(self.video)
        else:
            raise DataError(f"{source.name} has no sound.")
        if source.start is not None:
            end = None if source.end is None else round(source.end * SAMPLE_RATE)
            return waveform[round(source.start * SAMPLE_RATE) : end]
        if source.centred and source.seconds:
            return crop_middle(waveform, round(source.seconds * SAMPLE_RATE))
        if source.fit_sound and source.video is not None and not source.seconds:
            samples = round(self.video.info.duration * SAMPLE_RATE)
            if abs(len(waveform) - samples) > SAMPLE_RATE:
                return decode.pad_or_trim(waveform, samples)
        return waveform

    def _frames(self, stream: FeatureStream, side: int, hop: float, least: int) -> Tensor:
        if self.source.frames is not None:
            return self._frames_of_images(self.source.frames, stream, side, hop, least)
        return self._frames_of_video(stream, side, hop, least)

    def _frames_of_images(
        self, listed: str | Sequence[str], stream: FeatureStream, side: int, hop: float, least: int
    ) -> Tensor:
        source = self.source
        files = image_files.list_image_files(source.root, listed)
        steps = decode.count_steps(source.seconds, hop) if source.seconds else len(files)
        size = _target_size(image_size(files[0]), stream, side)
        frames, _ = image_files.read_image_files(files, max(steps, least), size, source.offset)
        return frames

    def _frames_of_video(self, stream: FeatureStream, side: int, hop: float, least: int) -> Tensor:
        """Frames of a video; the last one is repeated where there are fewer than a window needs."""
        source = self.source
        info = self.video.info
        info.require(video=True)
        start = source.start or 0.0
        seconds = source.seconds or info.duration
        if source.end is not None:
            seconds = source.end - start
        count = max(least, decode.count_steps(seconds, hop))
        times = [start + (step + source.offset) * hop for step in range(count)]
        size = _target_size(info.size or (side, side), stream, side)
        return decode.read_frames(self.video, times, size=size)


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
