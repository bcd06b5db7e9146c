# SPDX-License-Identifier: Apache-2.0
"""What features are made of: clips of a dataset, or videos of a folder, each decoded for all streams at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from avkit.batch import SAMPLE_RATE
from avkit.datasets.annotations import Line
from avkit.datasets.clips import middle
from avkit.datasets.official import Official
from avkit.errors import AvkitError, DataError
from avkit.extraction.recipe import Stream
from avkit.media import decode, image_files
from avkit.media.image import image_size
from avkit.media.mel import EXAMPLE_FRAMES, EXAMPLE_SAMPLES, STRIDE, log_mel

_VIDEOS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv", ".m4v")


@dataclass(frozen=True)
class Source:
    """One clip to be read.

    Attributes:
        name: Name in the store.
        root: Folder of the paths.
        data: Where pictures and sound are, by the keys of a line: `video`, `frames`, `audio`.
        seconds: Length where the dataset fixes it; None to follow the file.
        moment: Place within each step at which its picture is taken.
        centred: Whether the sound is the middle of its file.
    """

    name: str
    root: Path
    data: dict[str, Any] = field(hash=False)
    seconds: float | None = None
    moment: float = 0.5
    centred: bool = False


def sources_of(cls: type[Official], root: str | Path, release: str | None = None) -> tuple[list[Source], int]:
    """The clips of all splits of a dataset, each medium once, and how many more have no media on disk.

    Raises:
        DataError: If no split can be read.
    """
    found: dict[str, Source] = {}
    absent: set[str] = set()
    faults: list[DataError] = []
    for split in cls.splits:
        try:
            reader = cls(root, split, release=release, media=False)
        except DataError as error:
            faults.append(error)
            continue
        for line in reader.lines:
            if line.media in found:
                continue
            if reader.locate(line) not in ("", "masks") and "boxes" not in line.data:
                absent.add(line.media)
                continue
            found[line.media] = _source(reader, line)
    if not found and not absent:
        raise faults[0]
    return list(found.values()), len(absent - found.keys())


def _source(reader: Official, line: Line) -> Source:
    steps = line.data.get("steps", reader.steps)
    places: dict[str, Any] = {
        key: line.data[key] for key in ("video", "frames", "audio", "start", "end") if key in line.data
    }
    seconds = steps * reader.hop if steps else None
    return Source(line.media, line.root, places, seconds, reader.moment, reader.centred)


def sources_in(folder: str | Path) -> list[Source]:
    """The videos of a folder, named by their files.

    Raises:
        DataError: If it holds none, or two of one name.
    """
    root = Path(folder)
    paths = (
        sorted(p for p in root.iterdir() if p.suffix.lower() in _VIDEOS and p.name[0] != ".") if root.is_dir() else []
    )
    if not paths:
        raise DataError(f"{folder} is no folder with videos ({', '.join(_VIDEOS)}).")
    names = [p.stem for p in paths]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DataError(f"{folder} has two videos called {twice!r}. Names must differ before the ending.")
    return [Source(p.stem, root, {"video": p.name}) for p in paths]


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder and of all folders in it, by their paths.

    Raises:
        DataError: If there is none.
    """
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _VIDEOS and p.name[0] != "." and p.is_file())
    if not found:
        raise DataError(f"{folder} has no videos ({', '.join(_VIDEOS)}), and no folder in it has.")
    return found


@dataclass
class Decoded:
    """A clip as its streams' networks take it, or why it cannot be.

    Attributes:
        name: Name in the store.
        inputs: By stream: pictures uint8 (T, 3, H, W), or log-mel examples (T, 96, 64).
        fault: What is wrong; empty where nothing is.
    """

    name: str
    inputs: dict[str, Tensor] = field(default_factory=dict)
    fault: str = ""


class Clips(Dataset[Decoded]):
    """Clips decoded for some streams; streams that take the same pictures share them.

    Args:
        sources: What to read.
        streams: What it is read for, pictures and sound alone.
        sides: Side of the square that a stream's network takes, for streams that squeeze pictures.
    """

    def __init__(self, sources: Sequence[Source], streams: Sequence[Stream], sides: dict[str, int]) -> None:
        self.sources, self.streams, self.sides = sources, streams, sides

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Decoded:
        source = self.sources[index]
        try:
            return Decoded(source.name, self._inputs(source))
        except (AvkitError, OSError, ValueError) as error:
            return Decoded(source.name, fault=str(error))

    def _inputs(self, source: Source) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        shared: dict[Any, Tensor] = {}
        for stream in self.streams:
            key = self.key(stream)
            if key not in shared:
                shared[key] = self._sound(source, stream) if stream.of == "sound" else self._pictures(source, stream)
            out[stream.name] = shared[key]
        return out

    def key(self, stream: Stream) -> tuple[Any, ...]:
        """What makes two streams take the same input."""
        if stream.of == "sound":
            return stream.of, stream.hop, stream.window
        return stream.of, stream.hop, stream.resize, stream.crop, 0 if stream.crop else self.sides[stream.name]

    def _pictures(self, source: Source, stream: Stream) -> Tensor:
        data, side = source.data, self.sides[stream.name]
        if "frames" in data:
            files = image_files.list_image_files(source.root, data["frames"])
            steps = decode.count_steps(source.seconds, stream.hop) if source.seconds else len(files)
            height, width = image_size(files[0])
            pictures, _ = image_files.read_image_files(
                files, steps, _target((height, width), stream, side), source.moment
            )
        else:
            clip = decode.open_clip(source.root / data["video"])
            info = clip.info
            info.require(video=True)
            start = data.get("start", 0.0)
            seconds = data["end"] - start if "end" in data else source.seconds or info.duration
            times = [start + t for t in decode.step_times(seconds, stream.hop, source.moment)]
            target = _target(info.size or (side, side), stream, side)
            pictures = decode.read_frames(clip, times, size=target)
        return _centre(pictures, stream.crop) if stream.crop else pictures

    def _sound(self, source: Source, stream: Stream) -> Tensor:
        data = source.data
        if "audio" not in data and "video" not in data:
            raise DataError(f"{source.name} has no sound.")
        waveform = decode.read_waveform(source.root / data.get("audio", data.get("video", "")))
        if "start" in data:
            waveform = waveform[round(data["start"] * SAMPLE_RATE) : round(data["end"] * SAMPLE_RATE)]
        elif source.centred and source.seconds:
            waveform = middle(waveform, round(source.seconds * SAMPLE_RATE))
        first = round(stream.hop * SAMPLE_RATE / STRIDE)  # spectra from one example to the next
        if source.seconds:
            steps = decode.count_steps(source.seconds, stream.hop)
        else:
            steps = max(1, int((len(waveform) / SAMPLE_RATE - stream.window) / stream.hop + 1e-6) + 1)
        samples = (steps - 1) * first * STRIDE + EXAMPLE_SAMPLES
        mel = log_mel(decode.pad_or_trim(waveform, samples))
        rows = torch.arange(steps)[:, None] * first + torch.arange(EXAMPLE_FRAMES)
        return mel[rows]


def _target(size: tuple[int, int], stream: Stream, side: int) -> tuple[int, int]:
    """Height and width to resize to: the shorter side to `resize`, or a square."""
    if not stream.resize:
        return side, side
    scale = stream.resize / min(size)
    height, width = (max(stream.resize, round(n * scale)) for n in size)
    return height, width


def _centre(pictures: Tensor, side: int) -> Tensor:
    top, left = ((n - side) // 2 for n in pictures.shape[-2:])
    return pictures[..., top : top + side, left : left + side].contiguous()


def text_of(cls: type[Official], root: str | Path, stream: Stream, release: str | None = None) -> dict[str, str]:
    """Sentences by name in the store: questions by their ids, or classes by their names.

    Raises:
        DataError: If the dataset has none.
    """
    out: dict[str, str] = {}
    for split in cls.splits:
        try:
            reader = cls(root, split, release=release, media=False)
        except DataError:
            continue
        if stream.texts == "classes":
            out |= {name: name.replace("_", " ") for name in reader.vocabulary.classes}
        for line in reader.lines if stream.texts == "questions" else ():
            out |= {q.get("id", line.data["id"]): q["question"] for q in line.data.get("questions", ())}
            if "text" in line.data:
                out[line.data["id"]] = line.data["text"]
    if not out:
        raise DataError(f"{cls.title} has no {stream.texts} to make text features of.")
    return {name: stream.template.format(text) for name, text in out.items()}


def as_numbers(x: Tensor) -> np.ndarray[Any, Any]:
    """Features as float32 on the CPU."""
    return x.float().cpu().numpy()
