# SPDX-License-Identifier: Apache-2.0
"""The encoders of a recipe on one device, fed with clips in batches across clips."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from avkit import __version__
from avkit.batch import SAMPLE_RATE
from avkit.encoders import build_audio_encoder, build_video_encoder, build_visual_encoder, build_window_encoder
from avkit.encoders.base import (
    AudioEncoder,
    Encoder,
    RowAudioEncoder,
    VideoEncoder,
    VisualEncoder,
    VisualFeatures,
    WindowEncoder,
)
from avkit.errors import DataError
from avkit.extraction.decoding import EncoderInputs, InputForm
from avkit.extraction.recipe import FeatureStream
from avkit.extraction.weights_hash import weights_hash
from avkit.features.base import FeatureFacts

#: Side of the square for encoders that take frames of any size.
_USUAL_SIDE = 224


@dataclass(frozen=True)
class ClipFeatures:
    """Features of one clip and one stream.

    Attributes:
        stream: Name of the stream.
        name: Name of the clip.
        values: float32 (T, ...).
    """

    stream: str
    name: str
    values: NDArray[np.float32]


@dataclass
class StreamGroup:
    """An encoder, the streams that store some of its output, and the inputs that wait for a full batch.

    Attributes:
        encoder: The encoder.
        streams: The streams; all take the same input.
        weights: Hash of the encoder's weights.
        waiting: Inputs that have not been encoded yet, one tensor per clip.
        names: Name of the clip of each tensor.
    """

    encoder: Encoder
    streams: list[FeatureStream]
    weights: str
    waiting: list[Tensor] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        """Number of frames or rows of sound that wait."""
        return sum(map(len, self.waiting))

    @property
    def network(self) -> nn.Module:
        """What encodes a batch of inputs: of encoders of sound that have one, the network that takes a row per step."""
        return self.encoder.network if isinstance(self.encoder, RowAudioEncoder) else self.encoder

    def encode(self, batch: Tensor) -> Tensor | VisualFeatures:
        """Encode a batch of inputs, one step each."""
        if isinstance(self.encoder, AudioEncoder) and not isinstance(self.encoder, RowAudioEncoder):
            return self.encoder(batch, 1, batch.shape[1] / SAMPLE_RATE)[:, 0]
        output: Tensor | VisualFeatures = self.network(batch)
        return output


class FeatureExtractor:
    """Runs the encoders of some streams on one device.

    Args:
        streams: Streams of frames and audio.
        device: Where encoders run; on a GPU in bfloat16.
        batch_size: Frames or log-mel examples at a time.
    """

    def __init__(self, streams: Sequence[FeatureStream], device: torch.device, batch_size: int = 64) -> None:
        self.streams = list(streams)
        self.device = device
        self.batch_size = batch_size
        by_encoder: dict[Hashable, list[FeatureStream]] = {}
        for stream in self.streams:
            by_encoder.setdefault(_encoder_key(stream), []).append(stream)
        self.groups = [self._build_group(group) for group in by_encoder.values()]

    def _build_group(self, streams: list[FeatureStream]) -> StreamGroup:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # random weights are the same in every run and every worker
            encoder = build_encoder(streams[0])
        encoder.eval().requires_grad_(False).to(self.device)
        group = StreamGroup(encoder, streams, "")
        group.weights = weights_hash(group.network.state_dict())
        return group

    def input_forms(self) -> dict[str, InputForm]:
        """What each stream's encoder takes, by the stream's name."""
        forms: dict[str, InputForm] = {}
        for group in self.groups:
            for stream in group.streams:
                forms[stream.name] = _input_form(group.encoder)
        return forms

    def facts(self, dataset: str) -> dict[str, FeatureFacts]:
        """How each stream's features are made; `dataset` is the name of the dataset that the clips are of."""
        facts: dict[str, FeatureFacts] = {}
        for group in self.groups:
            for stream in group.streams:
                facts[stream.name] = replace(stream_facts(stream), dataset=dataset, weights=group.weights)
        return facts

    def feed(self, clip: EncoderInputs) -> Iterator[ClipFeatures]:
        """Take the inputs of a clip; yields features of the clips whose batches are full."""
        for group in self.groups:
            group.waiting.append(clip.inputs[group.streams[0].name])
            group.names.append(clip.name)
            if group.rows >= self.batch_size:
                yield from self._encode_waiting(group)

    def flush(self) -> Iterator[ClipFeatures]:
        """Yield features of all clips that still wait."""
        for group in self.groups:
            if group.waiting:
                yield from self._encode_waiting(group)

    @torch.inference_mode()
    def _encode_waiting(self, group: StreamGroup) -> Iterator[ClipFeatures]:
        if isinstance(group.encoder, VideoEncoder):
            yield from self._encode_clips(group, group.encoder)
        elif isinstance(group.encoder, WindowEncoder):
            yield from self._encode_windows(group, group.encoder)
        else:
            yield from self._encode_rows(group)
        group.waiting = []
        group.names = []

    def _encode_clips(self, group: StreamGroup, encoder: VideoEncoder) -> Iterator[ClipFeatures]:
        """Encode each clip as a whole."""
        for name, frames in zip(group.names, group.waiting, strict=True):
            with self._autocast():
                values = to_float32(encoder(frames.to(self.device)))
            for stream in group.streams:
                yield ClipFeatures(stream.name, name, values)

    def _encode_windows(self, group: StreamGroup, encoder: WindowEncoder) -> Iterator[ClipFeatures]:
        """Encode each clip window by window, as many windows at a time as hold a batch of frames."""
        stream = group.streams[0]
        at_once = max(1, self.batch_size // stream.window_frames)
        for name, frames in zip(group.names, group.waiting, strict=True):
            with self._autocast():
                prepared = encoder.prepare(frames.to(self.device))
            first = torch.arange(0, len(prepared) - stream.window_frames + 1, stream.hop_frames)
            rows = first[:, None] + torch.arange(stream.window_frames)
            outputs = []
            for part in rows.split(at_once):
                with self._autocast():
                    outputs.append(to_float32(encoder(prepared[part.to(prepared.device)])))
            for stored in group.streams:
                yield ClipFeatures(stored.name, name, np.concatenate(outputs))

    def _encode_rows(self, group: StreamGroup) -> Iterator[ClipFeatures]:
        """Encode frames, or rows of sound, in batches across clips."""
        rows = torch.cat(group.waiting)
        outputs: dict[str, list[NDArray[np.float32]]] = {stream.name: [] for stream in group.streams}
        for start in range(0, len(rows), self.batch_size):
            batch = rows[start : start + self.batch_size].to(self.device, non_blocking=True)
            with self._autocast():
                output = group.encode(batch)
            for stream in group.streams:
                outputs[stream.name].append(to_float32(_output_of(stream, output)))
        for stream in group.streams:
            joined = np.concatenate(outputs[stream.name])
            first = 0
            for name, inputs in zip(group.names, group.waiting, strict=True):
                yield ClipFeatures(stream.name, name, joined[first : first + len(inputs)])
                first += len(inputs)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


def to_float32(x: Tensor) -> NDArray[np.float32]:
    """Features as float32 on the CPU."""
    values: NDArray[np.float32] = x.float().cpu().numpy()
    return values


def _encoder_key(stream: FeatureStream) -> Hashable:
    """A key that two streams share if they use the same encoder with the same input."""
    of_frames = stream.keep in ("frame", "patches", "tokens", "sources")
    source = (stream.of, stream.hop, stream.window, stream.fps, stream.resize, stream.crop)
    return stream.encoder, stream.weights, of_frames or stream.keep, source


def build_encoder(stream: FeatureStream) -> Encoder:
    """The encoder of a stream of frames or audio, with its weights.

    Raises:
        DataError: If it is one of sound that cannot be run row by row.
        AvkitError: If a library is missing, or its weights cannot be read.
    """
    if stream.of == "sound":
        audio = build_audio_encoder(stream.encoder, stream.weights)
        if not audio.by_rows:
            raise DataError(
                f"Stream {stream.name!r}: sound is extracted window by window, with vggish, yamnet, clap or another, "
                f"not {stream.encoder!r}."
            )
        return audio
    if stream.keep == "clip":
        return build_video_encoder(stream.encoder, stream.weights)
    if stream.keep == "window":
        return build_window_encoder(stream.encoder, stream.weights)
    return build_visual_encoder(stream.encoder, stream.weights)


@cache
def stream_width(stream: FeatureStream) -> int:
    """Width of a stream's features, of an encoder that is built without memory for its weights."""
    with torch.device("meta"):
        encoder = build_encoder(replace(stream, weights=None))
    return encoder.width


def _input_form(encoder: Encoder) -> InputForm:
    if isinstance(encoder, RowAudioEncoder):
        return InputForm(takes_samples=encoder.takes_samples)
    if isinstance(encoder, AudioEncoder):
        return InputForm(takes_samples=True)
    if isinstance(encoder, WindowEncoder):
        return InputForm(_USUAL_SIDE, spare_frames=encoder.spare_frames)
    if isinstance(encoder, VisualEncoder) and encoder.input_size is not None:
        return InputForm(encoder.input_size[0])
    return InputForm(_USUAL_SIDE)


def _output_of(stream: FeatureStream, output: Tensor | VisualFeatures) -> Tensor:
    """The part of an encoder's output that a stream stores."""
    if isinstance(output, Tensor):
        return output
    if stream.keep == "sources":
        if output.sources is None:
            raise DataError(
                f"Stream {stream.name!r}: encoder {stream.encoder!r} merges no tokens, so it has no sources. Keep "
                "patches, or take an encoder that merges, such as vit_large_tome14."
            )
        return output.sources
    if stream.keep == "tokens":
        return torch.cat([output.frame[:, None], output.patches], 1)
    return output.patches if stream.keep == "patches" else output.frame


def stream_facts(stream: FeatureStream) -> FeatureFacts:
    """How a stream's features are made, without dataset and weights."""
    facts = FeatureFacts(encoder=stream.encoder, hop=stream.hop, made_by=f"avkit {__version__}")
    if stream.keep == "clip":
        facts = replace(facts, hop=0.0)  # tokens of a clip are not steps
    if stream.of == "sound":
        return replace(facts, window=stream.window)
    if stream.keep == "window":
        return replace(facts, window=stream.window, fps=stream.fps)
    if stream.keep != "frame":
        facts = replace(facts, encoder=f"{stream.encoder} {stream.keep}")
    if stream.resize:
        facts = replace(facts, crop=stream.crop / stream.resize)
    return replace(facts, fps=1 / stream.hop)
