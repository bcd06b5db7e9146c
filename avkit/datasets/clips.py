# SPDX-License-Identifier: Apache-2.0
"""Lines to items: pictures, sound or stored features of each clip, and the targets that its line gives."""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from avkit.batch import SAMPLE_RATE, Item, Vocabulary
from avkit.datasets.annotations import ASKED, GIVES, Line
from avkit.datasets.base import Dataset
from avkit.datasets.targets import Grid, Truth
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features
from avkit.features.combined import average_rows
from avkit.fields import FIELDS
from avkit.media import decode, image_files

_Kept = TypeVar("_Kept", bound="Seen | dict[str, Tensor]")

#: Seconds by which a clip may be shorter than the benchmark says before that is an error: codecs end in whole frames.
_SHORT = 1.0


@dataclass
class Seen:
    """What is read of a clip: its grid of steps, and pictures, sound or features on it, as in `avkit.batch.Item`."""

    grid: Grid
    frames: Tensor | None = None
    waveform: Tensor | None = None
    visual: Tensor | None = None
    audio: Tensor | None = None


class ClipDataset(Dataset):
    """Clips on disk, whatever they were listed in.

    A sample is a clip, or a clip with one of its questions. Samples run in the order of the lines: each clip first,
    then its questions, with ids such as `clip#1` unless the questions have ids of their own. `indices` picks those that
    carry what a task reads, so that one list serves all tasks.

    Pictures are squeezed to a square, as the official code of AVSBench does, taken from the middle of each step; masks
    follow with nearest-neighbour sampling. What was read stays in memory, the longest unused goes first.

    Args:
        lines: What is known of the clips of one split.
        vocabulary: Classes, answers and words.
        image_size: Side of pictures and masks in pixels.
        hop: Seconds per step.
        steps: Steps of every clip; None to follow each clip's length.
        max_steps: Read this many steps from the start of each clip at most.
        silent_ok: Use silence for videos that have no sound.
        short_ok: Hold the last picture, and be silent, where a clip is shorter than `steps`.
        visual: Stored features to read instead of pictures.
        audio: Stored features to read instead of sound.
        memory: What was read is kept up to this many bytes, per loader process.

    Attributes:
        samples: Index into `lines` and question number, None for the clip by itself.
    """

    #: Whether samples are questions alone.
    asks = False
    #: Whether the sound of a still picture is the middle of its sound file.
    centred = False
    #: Place within a step at which its picture is taken, from 0 to 1.
    moment = 0.5

    def __init__(
        self,
        lines: list[Line],
        vocabulary: Vocabulary,
        image_size: int = 96,
        hop: float = 1.0,
        steps: int | None = None,
        max_steps: int | None = None,
        silent_ok: bool = False,
        short_ok: bool = False,
        visual: Features | None = None,
        audio: Features | None = None,
        memory: int = 512 * 2**20,
    ) -> None:
        if image_size < 1 or not hop > 0 or (max_steps is not None and max_steps < 1):
            raise ValueError(
                f"image_size is {image_size}, hop {hop}, max_steps {max_steps}; each must be greater than 0."
            )
        self.lines, self.image_size, self.hop, self.steps, self.max_steps = lines, image_size, hop, steps, max_steps
        self.silent_ok, self.short_ok, self.visual, self.audio = silent_ok, short_ok, visual, audio
        self._vocabulary = vocabulary
        self.samples: list[tuple[int, int | None]] = [
            (i, q)
            for i, line in enumerate(lines)
            for q in (*(() if self.asks else (None,)), *range(len(line.data.get("questions", ()))))
        ]
        self._cache = _Cache(memory)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words, the same for every split."""
        return self._vocabulary

    @cached_property
    def provides(self) -> frozenset[str]:
        """Target fields that occur in this split; class masks only if every line with masks names classes."""
        found: frozenset[str] = frozenset().union(*(line.fields for line in self.lines))
        unnamed = any("mask" in line.fields and "class_mask" not in line.fields for line in self.lines)
        return found - {"class_mask"} if unnamed else found

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Samples that carry all of `fields`: questions where an answer is among them, else clips.

        Raises:
            ValueError: If a field is not in `FIELDS`.
            DataError: If no sample carries them.
        """
        for name in fields - FIELDS.keys():
            raise unknown_name("field", name, FIELDS)
        asks = bool(fields & ASKED) or self.asks
        found = [
            i for i, (k, q) in enumerate(self.samples) if (q is not None) == asks and fields <= self.lines[k].fields
        ]
        if not found:
            raise self._lacking(fields)
        return found

    def media(self, index: int) -> str:
        """Name under which features of a sample's clip are stored."""
        return self.lines[self.samples[index][0]].media

    def item(self, index: int, fields: frozenset[str] | None = None) -> Item:
        """Read one sample; its frames and sound are shared with later calls, so do not write into them.

        Args:
            index: Place in `samples`.
            fields: Targets to read; by default all that the sample carries. Masks may be asked of a line without any:
                no step of them is then known.

        Raises:
            IndexError: If `index` is not below the number of samples.
            MediaError: If a media file cannot be read.
            DataError: If the line lacks a field, or contradicts its media file, or features do not fit.
        """
        number, q = self.samples[index]
        line = self.lines[number]
        carried = line.fields - (ASKED if q is None else frozenset())
        fields = carried if fields is None else fields
        unknown = (fields & GIVES["masks"]) - carried if "mask" not in carried else frozenset()
        if not fields - unknown <= carried:
            raise line.fault(
                "",
                f"sample {index} does not give {sorted(fields - carried)}. Take samples from 'indices'.",
            )
        seen = self._seen(line)
        question = line.data["questions"][q] if q is not None else {}
        targets = self._targets(line, seen.grid, fields, unknown)
        targets |= {"answer": question.get("answer"), "question_type": question.get("type", "Other")}
        targets |= {"choices": question.get("choices")}
        grid = seen.grid
        limit = math.inf if self.max_steps is None else self.max_steps * grid.hop
        return Item(
            id=self._id(line, q),
            duration=min(grid.duration, limit),
            hop=grid.hop,
            offset=grid.offset,
            frames=seen.frames,
            waveform=seen.waveform,
            visual=seen.visual,
            audio=seen.audio,
            text=question.get("question", line.data.get("text")),
            targets={name: targets[name] for name in sorted(fields)},
        )

    def _id(self, line: Line, q: int | None) -> str:
        name: str = line.data["id"]
        return name if q is None else line.data["questions"][q].get("id", f"{name}#{q + 1}")

    def _targets(self, line: Line, grid: Grid, fields: frozenset[str], unknown: frozenset[str]) -> dict[str, Any]:
        truth = Truth(self.vocabulary.classes, self.image_size)
        makers: dict[str, Callable[[Line, Grid], dict[str, Any]]] = {
            "masks": self._masks,
            "captions": truth.captions,
            "events": truth.events,
            "boxes": self._boxes,
        }
        targets: dict[str, Any] = {}
        for key, make in makers.items():
            # masks and boxes both tell the source: boxes, which come last, where there are both
            wanted = fields if key in line.data else fields - {"source"}
            if wanted & GIVES[key] - unknown:
                targets |= make(line, grid)
        return targets | (truth.no_masks(grid) if unknown else {})

    def _masks(self, line: Line, grid: Grid) -> dict[str, Any]:
        truth = Truth(self.vocabulary.classes, self.image_size)
        found = self._cache.get((line.data["id"], "masks"), lambda: truth.masks(line, grid))
        return {**found, "source": found["mask"].float()}

    def _boxes(self, line: Line, grid: Grid) -> dict[str, Any]:
        return Truth(self.vocabulary.classes, self.image_size).boxes(line, grid)

    def _lacking(self, fields: frozenset[str]) -> DataError:
        """The error for fields that no line carries, or none carries together."""
        missing = sorted(fields - self.provides)
        what = f"no clip gives {', '.join(missing)}" if missing else f"no clip gives {sorted(fields)} together"
        return DataError(f"{what[0].upper()}{what[1:]}. Leave out the task that reads it.")

    def _seen(self, line: Line) -> Seen:
        data = line.data
        stored = tuple(self._name(features, line) for features in (self.visual, self.audio) if features is not None)
        key = (
            line.media,
            *stored,
            *(str(data.get(k)) for k in ("video", "picture", "frames", "audio", "start", "end")),
        )
        return self._cache.get(key, lambda: self._read(line))

    def _read(self, line: Line) -> Seen:
        """Features where they are stored, pictures and sound where not, on one grid."""
        visual, audio = self._stored(self.visual, line), self._stored(self.audio, line)
        if visual is None and audio is None:
            return self._cut(self._raw(line, None, True, True))
        grid = self._grid(line, visual, audio)
        visual, audio = (x if x is None else fit_rows(x, grid.steps, line) for x in (visual, audio))
        if visual is not None and audio is not None:
            return self._cut(Seen(grid, visual=_patches(visual), audio=torch.from_numpy(audio)))
        raw = self._raw(line, grid, visual is None, audio is None)
        seen = replace(raw, grid=replace(grid, size=raw.grid.size))
        if visual is not None:
            return self._cut(replace(seen, visual=_patches(visual)))
        assert audio is not None
        return self._cut(replace(seen, audio=torch.from_numpy(audio)))

    def _stored(self, features: Features | None, line: Line) -> Any:
        """Features of a clip; None where pictures or sound are read instead."""
        if features is None:
            return None
        return features.read(self._name(features, line))

    @staticmethod
    def _name(features: Features, line: Line) -> str:
        """The name under which a clip's features are stored: files by row know it by its id, others by its medium."""
        name: str = line.data["id"]
        return name if name in features.names else line.media

    def _grid(self, line: Line, visual: Any, audio: Any) -> Grid:
        """Steps of stored features: the dataset's own number, or else as many as there are."""
        facts = next(f.facts for f in (self.visual, self.audio) if f is not None)
        if (fixed := self._fixed(line)) is not None:
            return Grid(fixed, self.hop, fixed * self.hop)
        hop, offset = (facts.hop, facts.offset) if facts.hop else (self.hop, 0.0)
        steps = min(len(x) for x in (visual, audio) if x is not None)
        return Grid(steps, hop, float(line.data.get("duration", steps * hop + offset)), offset)

    def _fixed(self, line: Line) -> int | None:
        """Steps that a clip has by its dataset, or None."""
        return line.data.get("steps", self.steps)

    def _raw(self, line: Line, grid: Grid | None, picture: bool, sound: bool) -> Seen:
        """Pictures and sound from media files, on a grid that is given or follows from the file."""
        data = line.data
        if "frames" in data:
            return self._stills(line, grid, picture, sound)
        source = line.root / data.get("video", data.get("picture", ""))
        audio = line.root / data["audio"] if "audio" in data else None
        if "start" in data or "end" in data:
            clip = self._span(line, source, audio)
        else:
            steps, hop = (grid.steps, grid.hop) if grid is not None else (self._fixed(line), self.hop)
            clip = decode.read_clip(
                decode.open_clip(source, audio),
                hop,
                self.image_size,
                silent_ok=self.silent_ok,
                steps=steps,
                offset=self.moment,
                decode_frames=picture,
            )
            self._long_enough(line, clip.duration)
        fixed = self._fixed(line)
        duration = line.data.get("duration", clip.duration) if fixed is None else fixed * self.hop
        made = Grid(clip.steps, clip.hop, duration, size=clip.source_size)
        return Seen(made, clip.frames if picture else None, clip.waveform if sound else None)

    def _stills(self, line: Line, grid: Grid | None, picture: bool, sound: bool) -> Seen:
        """Pictures that lie as files, and the sound beside them."""
        data, fixed, waveform = line.data, self._fixed(line), None
        if sound or (grid is None and fixed is None):
            waveform = decode.read_waveform(line.root / data.get("audio", data.get("video", "")))
            if self.centred and fixed:
                waveform = middle(waveform, round(fixed * self.hop * SAMPLE_RATE))
            self._long_enough(line, len(waveform) / SAMPLE_RATE)
        duration = fixed * self.hop if fixed is not None else len(waveform) / SAMPLE_RATE if waveform is not None else 0
        grid = grid or Grid(fixed or decode.count_steps(duration, self.hop), self.hop, duration)
        pictures, size = None, None
        if picture:
            files = image_files.list_image_files(line.root, data["frames"])
            pictures, size = image_files.read_image_files(files, grid.steps, self.image_size, self.moment)
        fitted = (
            decode.pad_or_trim(waveform, round(grid.steps * grid.hop * SAMPLE_RATE)) if waveform is not None else None
        )
        return Seen(replace(grid, size=size), pictures, fitted if sound else None)

    def _long_enough(self, line: Line, duration: float) -> None:
        """Refuse a file that is much shorter than its clip should be."""
        fixed = self._fixed(line)
        wanted = fixed * self.hop if fixed is not None else line.data.get("duration", 0)
        if not self.short_ok and duration < wanted - _SHORT:
            raise line.fault(
                "",
                f"its file lasts {duration:.2f} s and its labels {wanted:g} s. Download it again, or "
                "pass allow_missing=True to hold its last picture as the official code does.",
            )

    def _span(self, line: Line, source: Path, audio: Path | None) -> decode.DecodedClip:
        """The part of a file from `start` to `end`."""
        clip = decode.open_clip(source, audio)
        length = clip.duration
        start, end = line.data.get("start", 0), line.data.get("end", length)
        if start >= length or end > length + self.hop / 2:
            name = "start" if start >= length else "end"
            raise line.fault(name, f"the file lasts {length:.2f} s; give a span within it, not {start} to {end} s.")
        duration = float(min(end, length) - start)
        times = [start + time for time in decode.step_times(duration, self.hop)]
        # one step as long as all that is wanted: sound of exactly that length, silent where there is none
        until = start + len(times) * self.hop
        whole = decode.read_clip(clip, until, self.image_size, silent_ok=self.silent_ok, steps=1, offset=0)
        pictures = decode.read_frames(clip, times, size=self.image_size)
        waveform = whole.waveform[-round(len(times) * self.hop * SAMPLE_RATE) :].clone()
        return replace(whole, frames=pictures, waveform=waveform, duration=duration, hop=self.hop)

    def _cut(self, seen: Seen) -> Seen:
        """The first `max_steps` steps."""
        grid = seen.grid
        if self.max_steps is None or grid.steps <= self.max_steps:
            return seen
        part = {name: getattr(seen, name) for name in ("frames", "visual", "audio")}
        rate = round(self.max_steps * grid.hop * SAMPLE_RATE)
        return Seen(
            replace(grid, steps=self.max_steps, cut=self.max_steps * grid.hop + 2 * grid.offset),
            waveform=seen.waveform[:rate].clone() if seen.waveform is not None else None,
            **{name: x[: self.max_steps].clone() if x is not None else None for name, x in part.items()},
        )


def fit_rows(x: Any, steps: int, line: Line) -> Any:
    """Features (T', ...) as one row per step: means of groups where there are several rows per step.

    Raises:
        DataError: If the number of rows is no multiple of the number of steps.
    """
    if len(x) % steps and not steps < len(x) <= steps + 2:
        raise line.fault("", f"its features have {len(x)} rows where {steps} steps need one row or several each.")
    if len(x) % steps:  # one or two windows more than the clip is taken to last
        return x[:steps]
    return average_rows(x, steps)


def middle(waveform: Tensor, samples: int) -> Tensor:
    """So many samples from the middle of a sound, which is repeated first where it is shorter."""
    if 0 < len(waveform) < samples:
        waveform = waveform.repeat(-(-samples // len(waveform)))
    start = (len(waveform) - samples) // 2 if len(waveform) > samples else 0
    return waveform[start : start + samples]


def _patches(x: Any) -> Tensor:
    """Visual features as (T, P, D), from vectors (T, D), patches, or maps with channels first or last."""
    if x.ndim == 2:
        x = x[:, None]
    elif x.ndim == 4:
        x = (
            x.reshape(*x.shape[:2], -1).transpose(0, 2, 1)
            if x.shape[2] == x.shape[3]
            else x.reshape(len(x), -1, x.shape[-1])
        )
    return torch.from_numpy(np.ascontiguousarray(x))


class _Cache:
    """Results of slow reads, up to a number of bytes; the longest unused go first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self.kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Any, read: Callable[[], _Kept]) -> _Kept:
        """What is kept under `key`, or else what `read` returns."""
        if key not in self.kept:
            value = read()
            parts = value.values() if isinstance(value, dict) else vars(value).values()
            size = sum(x.untyped_storage().nbytes() for x in parts if isinstance(x, Tensor))
            if size > self.limit:
                return value
            self.kept[key] = value, size
            self.size += size
            while self.size > self.limit:
                self.size -= self.kept.popitem(last=False)[1][1]
        self.kept.move_to_end(key)
        kept: _Kept = self.kept[key][0]
        return kept
