# SPDX-License-Identifier: Apache-2.0
"""Your own videos: a JSON Lines file that names each clip and what is known about it."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.batch import FIELDS, SAMPLE_RATE, Item, Vocabulary
from avkit.datasets.manifest_lines import Line, read_lines
from avkit.datasets.manifest_pixels import COLOURED, pixel_values, value_of
from avkit.datasets.manifest_schema import GIVES, SCHEMA, SPLITS, json_schema
from avkit.errors import DataError, unknown_name
from avkit.media import decode
from avkit.scenes.truth import box_maps
from avkit.words import count_words

__all__ = ["GIVES", "SCHEMA", "SPLITS", "Line", "Manifest", "json_schema", "read_lines"]

_Read = TypeVar("_Read", decode.Clip, dict[str, Tensor])


class Manifest:
    """Clips listed in a JSON Lines file; `docs/manifest.md` describes every key.

    A sample is a clip, or a clip with one of its questions. Samples run in the order of the file: each clip first, then
    its questions, with ids such as `clip#1`. `indices` picks those that carry what a task reads, so that one file
    serves all tasks, and a clip is never repeated for its questions unless the answers are asked for.

    Pictures are squeezed to a square, as the official code of AVSBench does, taken from the middle of each step; masks
    follow with nearest-neighbour sampling. Decoded clips and masks stay in memory, the longest unused go first.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it; by default the folder of the file.
        split: `train`, `val` or `test`; lines without a split belong to all three.
        picture: Side of pictures and masks in pixels.
        hop: Seconds per step.
        max_steps: Read this many steps from the start of each clip at most.
        silent_ok: Use silence for videos that have no sound.
        vocabulary: Names to use instead of the file's own, such as those that a model was trained with.
        memory: Decoded clips and masks to keep, in bytes, per loader process.

    Attributes:
        lines: The checked lines of this split.
        samples: Index into `lines` and question number, None for the clip by itself.

    Raises:
        DataError: At the first fault in the file, naming line and field, or if no line belongs to `split`.
    """

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        split: str = "train",
        picture: int = 96,
        hop: float = 1.0,
        max_steps: int | None = None,
        silent_ok: bool = False,
        vocabulary: Vocabulary | None = None,
        memory: int = 512 * 2**20,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if picture < 1 or not hop > 0 or (max_steps is not None and max_steps < 1):
            raise ValueError(f"picture is {picture}, hop {hop}, max_steps {max_steps}; each must be greater than 0.")
        self.path, self.split, self.picture, self.hop, self.max_steps = Path(path), split, picture, hop, max_steps
        self.silent_ok = silent_ok
        every = read_lines(self.path, Path(root) if root is not None else self.path.parent)
        self.lines = [line for line in every if line.data.get("split", split) == split]
        if not self.lines:
            raise DataError(
                f"{path}: no line belongs to split {split!r}, only to {sorted({line.data['split'] for line in every})}."
            )
        self.samples: list[tuple[int, int | None]] = [
            (i, q) for i, line in enumerate(self.lines) for q in (None, *range(len(line.data.get("questions", ()))))
        ]
        self._train = [line for line in every if line.data.get("split", "train") == "train"] or every
        self._vocabulary = vocabulary
        self._cache = _Cache(memory)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def provides(self) -> frozenset[str]:
        """Target fields that occur in this split; class masks only if every line with masks names classes."""
        found: frozenset[str] = frozenset().union(*(line.fields for line in self.lines))
        unnamed = any("mask" in line.fields and "class_mask" not in line.fields for line in self.lines)
        return found - {"class_mask"} if unnamed else found

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words of the train lines, each sorted; of all lines where none is for training."""
        if self._vocabulary is not None:
            return self._vocabulary
        questions = [q for line in self._train for q in line.data.get("questions", ())]
        texts = [q["question"] for q in questions] + [c["text"] for line in self._train for c in line.captions]
        return Vocabulary(
            classes=sorted(set().union(*(line.classes for line in self._train))),
            answers=sorted({q["answer"] for q in questions}),
            words=count_words(texts),
        )

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Samples that carry all of `fields`: questions where an answer is among them, else clips.

        Raises:
            ValueError: If a field is not in `FIELDS`.
            DataError: If no sample carries them.
        """
        for name in fields - FIELDS.keys():
            raise unknown_name("field", name, FIELDS)
        asks = bool(fields & GIVES["questions"])
        found = [
            i for i, (k, q) in enumerate(self.samples) if (q is not None) == asks and fields <= self.lines[k].fields
        ]
        if not found:
            raise self._lacking(fields)
        return found

    def item(self, index: int, fields: frozenset[str] | None = None) -> Item:
        """Read one sample; its frames and sound are shared with later calls, so do not write into them.

        Args:
            index: Place in `samples`.
            fields: Targets to read; by default all that the sample carries. Masks may be asked of a line without any:
                no step of them is then known.

        Raises:
            IndexError: If `index` is not below the number of samples.
            MediaError: If a media file cannot be read.
            DataError: If the line lacks a field, or contradicts its media file.
        """
        number, q = self.samples[index]
        line = self.lines[number]
        carried = line.fields - (GIVES["questions"] if q is None else frozenset())
        fields = carried if fields is None else fields
        unknown = (fields & GIVES["masks"]) - carried if "mask" not in carried else frozenset()
        if not fields - unknown <= carried:
            raise line.fault(
                "",
                f"sample {index} does not give {sorted(fields - carried)}. Take samples from 'indices'.",
            )
        clip = self._clip(line)
        makers: dict[str, Callable[[Line, decode.Clip], dict[str, Any]]] = {
            "masks": self._masks,
            "captions": self._captions,
            "events": self._events,
            "boxes": self._boxes,
        }
        targets: dict[str, Any] = {}
        for key, make in makers.items():
            # masks and boxes both tell the source: boxes, which come last, where there are both
            wanted = fields if key in line.data else fields - {"source"}
            if wanted & GIVES[key] - unknown:
                targets |= make(line, clip)
        targets |= self._unknown_masks(clip) if unknown else {}
        question = line.data["questions"][q] if q is not None else {}
        targets |= {"answer": question.get("answer"), "question_type": question.get("type", "Other")}
        limit = math.inf if self.max_steps is None else self.max_steps * self.hop
        return Item(
            id=line.data["id"] if q is None else f"{line.data['id']}#{q + 1}",
            duration=min(clip.duration, limit),
            hop=self.hop,
            frames=clip.frames,
            waveform=clip.waveform,
            text=question.get("question"),
            targets={name: targets[name] for name in sorted(fields)},
        )

    def _lacking(self, fields: frozenset[str]) -> DataError:
        """The error for fields that no line of the split carries, or none carries together."""
        for name in sorted(fields - self.provides):
            keys = [repr(key) for key, given in GIVES.items() if name in given]
            if not keys:
                return DataError(
                    f"A manifest has no key that gives the field {name!r}. Leave out the task that reads it."
                )
            more = " whose masks all have 'classes'" if name == "class_mask" and "mask" in self.provides else ""
            return DataError(
                f"{self.path}: no line of split {self.split!r} has {' or '.join(keys)}{more}, "
                f"which gives the field {name!r}. Add it to a line, or leave out the task that reads it."
            )
        return DataError(
            f"{self.path}: no line of split {self.split!r} gives {sorted(fields)} together. Put their keys on one line."
        )

    def _clip(self, line: Line) -> decode.Clip:
        """The decoded clip; frames and waveform are shared with later calls."""
        data = line.data
        source = line.root / data.get("video", data.get("picture", ""))
        audio = line.root / data["audio"] if "audio" in data else None
        key = (source, audio, data.get("start", 0), data.get("end"))

        def read() -> decode.Clip:
            if "start" in data or "end" in data:
                return self._read_span(line, source, audio)
            clip = decode.read_clip(source, hop=self.hop, size=self.picture, audio=audio, silent_ok=self.silent_ok)
            return self._cut(clip)

        return self._cache.get(key, read)

    def _read_span(self, line: Line, source: Path, audio: Path | None) -> decode.Clip:
        """The part of a file from `start` to `end`."""
        info = decode.probe(source)
        length = decode.probe(audio).duration if info.is_image and audio is not None else info.duration
        start, end = line.data.get("start", 0), line.data.get("end", length)
        if start >= length or end > length + self.hop / 2:
            name = "start" if start >= length else "end"
            raise line.fault(name, f"the file lasts {length:.2f} s; give a span within it, not {start} to {end} s.")
        duration = float(min(end, length) - start)
        times = [start + time for time in decode.step_times(duration, self.hop)]
        # one step as long as all that is wanted: sound of exactly that length, silent where there is none
        until = start + len(times) * self.hop
        whole = decode.read_clip(
            source, hop=until, size=self.picture, audio=audio, silent_ok=self.silent_ok, steps=1, offset=0
        )
        frames = decode.read_frames(source, times, size=self.picture, info=info)
        waveform = whole.waveform[-round(len(times) * self.hop * SAMPLE_RATE) :].clone()
        return self._cut(replace(whole, frames=frames, waveform=waveform, duration=duration, hop=self.hop))

    def _cut(self, clip: decode.Clip) -> decode.Clip:
        if self.max_steps is not None and clip.steps > self.max_steps:
            clip.frames = clip.frames[: self.max_steps].clone()
            clip.waveform = clip.waveform[: round(self.max_steps * self.hop * SAMPLE_RATE)].clone()
        return clip

    def _step(self, line: Line, clip: decode.Clip, key: str, k: int) -> int:
        """The step of one mask or box; it may lie beyond those that `max_steps` keeps."""
        entry = line.data[key][k]
        time: float = entry["time"] if "time" in entry else entry["step"] * self.hop
        if time >= max(clip.duration, clip.steps * self.hop):
            name = "time" if "time" in entry else "step"
            raise line.fault(
                f"{key}[{k}].{name}", f"{entry[name]} is beyond the clip, which lasts {clip.duration:.2f} s."
            )
        # 0.3 s at a hop of 0.1 s is step 3, whatever the floating point says
        return math.floor(time / self.hop + 1e-6)

    def _masks(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        """The mask nearest to the middle of each step, where its picture was taken."""

        def read() -> dict[str, Tensor]:
            size = (clip.steps, self.picture, self.picture)
            out = {
                "mask": torch.zeros(size, dtype=torch.uint8),
                "mask_known": torch.zeros(clip.steps, dtype=torch.bool),
            }
            out |= {"class_mask": torch.zeros(size, dtype=torch.uint8)} if "class_mask" in line.fields else {}
            for step, k in self._nearest(line, clip):
                mask, classes = self._read_mask(line, clip, k)
                out["mask"][step], out["mask_known"][step] = torch.from_numpy(mask), True
                if "class_mask" in out:
                    out["class_mask"][step] = torch.from_numpy(classes)
            return out

        found = self._cache.get((line.data["id"], "masks"), read)
        return {**found, "source": found["mask"].float()}

    def _unknown_masks(self, clip: decode.Clip) -> dict[str, Any]:
        """Masks of a clip that has none."""
        empty = torch.zeros((clip.steps, self.picture, self.picture), dtype=torch.uint8)
        known = torch.zeros(clip.steps, dtype=torch.bool)
        return {"mask": empty, "class_mask": empty, "mask_known": known, "source": empty.float()}

    def _nearest(self, line: Line, clip: decode.Clip) -> Iterator[tuple[int, int]]:
        """Step and number of the mask to use, for each step that has one."""
        best: dict[int, tuple[float, int]] = {}
        for k, mask in enumerate(line.data["masks"]):
            step = self._step(line, clip, "masks", k)
            middle = (step + 0.5) * self.hop
            best[step] = min(best.get(step, (math.inf, k)), (abs(mask.get("time", middle) - middle), k))
        return ((step, k) for step, (_, k) in best.items() if step < clip.steps)

    def _read_mask(self, line: Line, clip: decode.Clip, k: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Sounding or not, and class index + 1 or 0, of one PNG at the size of the pictures."""
        entry, field = line.data["masks"][k], f"masks[{k}].file"
        values = pixel_values(line.root / entry["file"], line, field)
        (h, w), (height, width) = values.shape, clip.source_size
        if abs(math.log((w / h) / (width / height))) > 0.02:
            raise line.fault(
                field,
                f"{entry['file']!r} is {w} x {h} pixels and its picture {width} x {height}; "
                "give a mask of the same shape.",
            )
        named = {value_of(text): name for text, name in entry.get("classes", {}).items()}
        if len(self.vocabulary.classes) > 255 and named:
            count = len(self.vocabulary.classes)
            raise line.fault(field, f"{count} classes do not fit into 'class_mask', which takes 255. Use fewer names.")
        if named:
            self._check_values(values, named, line, field)
        small = values[np.ix_(*((np.arange(self.picture) * 2 + 1) * n // (2 * self.picture) for n in values.shape))]
        classes = np.zeros(small.shape, np.uint8)
        for value, name in named.items():
            classes[small == value] = 0 if name is None else self._class(name, line, f"masks[{k}].classes") + 1
        if named:
            return (classes > 0).astype(np.uint8), classes
        wanted = entry.get("foreground", "nonzero")
        sounding = small != 0 if wanted == "nonzero" else np.isin(small, [value_of(v) for v in wanted])
        return sounding.astype(np.uint8), classes

    def _check_values(self, values: NDArray[np.int64], named: dict[int, str | None], line: Line, field: str) -> None:
        found, counts = np.unique(values, return_counts=True)
        for value, count in zip(found.tolist(), counts.tolist(), strict=True):
            if value != 0 and value not in named:
                text = f"{value}" if value <= 65535 else f"#{value - COLOURED:06x}"
                raise line.fault(
                    field,
                    f"{count} pixels have the value {text}, which 'classes' does not name. "
                    f'Add "{text}" with its class, or with null for background.',
                )

    def _captions(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        out = [""] * clip.steps
        for k, caption in enumerate(line.captions):
            for step in np.flatnonzero(self._covered(line, clip, caption, f"captions[{k}]")):
                out[step] = caption["text"]
        return {"caption": out}

    def _events(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        """Segments per modality, labels of the clip, and the spans both heard and seen."""
        events, classes = line.data.get("events", []), len(self.vocabulary.classes)
        segments = {name: torch.zeros(clip.steps, classes, dtype=torch.uint8) for name in ("audio", "visual")}
        labels = torch.zeros(classes, dtype=torch.uint8)
        spans: dict[str, list[tuple[float, float, int]]] = {"audio": [], "visual": [], "both": []}
        for k, event in enumerate(events):
            index, modality = self._class(event["label"], line, f"events[{k}].label"), event.get("modality", "both")
            steps = torch.from_numpy(self._covered(line, clip, event, f"events[{k}]"))
            labels[index] = 1
            for name in segments:
                if modality in (name, "both"):
                    segments[name][steps, index] = 1
            spans[modality].append((event.get("start", 0), event.get("end", math.inf), index))
        for label in line.data.get("labels", ()):
            labels[self._class(label, line, "labels")] = 1
        end = clip.steps * self.hop
        met = [(max(a, c), min(b, d), i) for a, b, i in spans["audio"] for c, d, j in spans["visual"] if i == j]
        both = sorted((a, min(b, clip.duration, end), i) for a, b, i in (*spans["both"], *met) if a < min(b, end))
        return {
            "audio_segments": segments["audio"],
            "visual_segments": segments["visual"],
            "video_labels": labels,
            "events": torch.tensor(both, dtype=torch.float32).reshape(-1, 3),
        }

    def _boxes(self, line: Line, clip: decode.Clip) -> dict[str, Any]:
        rows: dict[int, list[list[float]]] = {}
        for k, entry in enumerate(line.data["boxes"]):
            rows.setdefault(self._step(line, clip, "boxes", k), []).append(entry["box"])
        out = torch.full((clip.steps, max(map(len, rows.values())), 4), math.nan)
        for step, boxes in rows.items():
            if step < clip.steps:
                out[step, : len(boxes)] = torch.tensor(boxes, dtype=torch.float32)
        return {"boxes": out, "source": torch.from_numpy(box_maps(out.numpy(), self.picture))}

    def _covered(self, line: Line, clip: decode.Clip, entry: dict[str, Any], field: str) -> NDArray[np.bool_]:
        """Steps, bool (T,), whose middle lies in a span; the one around the span's own middle if it holds none."""
        start, end = entry.get("start", 0), min(entry.get("end", math.inf), max(clip.duration, clip.steps * self.hop))
        if start >= end:
            raise line.fault(f"{field}.start", f"{start} s is beyond the clip, which lasts {clip.duration:.2f} s.")
        middles = (np.arange(clip.steps) + 0.5) * self.hop
        hit: NDArray[np.bool_] = (middles >= start) & (middles < end)
        if not hit.any():
            hit = np.arange(clip.steps) == int((start + end) / 2 / self.hop)
        return hit

    def _class(self, name: str, line: Line, field: str) -> int:
        try:
            return self.vocabulary.classes.index(name)
        except ValueError:
            raise line.fault(
                field, f"{unknown_name('class', name, self.vocabulary.classes)} Classes are those of the train lines."
            ) from None


class _Cache:
    """Results of slow reads, up to a number of bytes; the longest unused go first."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self.kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Any, read: Callable[[], _Read]) -> _Read:
        """What is kept under `key`, or else what `read` returns."""
        if key not in self.kept:
            value = read()
            tensors = list(value.values()) if isinstance(value, dict) else [value.frames, value.waveform]
            size = sum(t.untyped_storage().nbytes() for t in tensors)
            if size > self.limit:
                return value
            self.kept[key] = value, size
            self.size += size
            while self.size > self.limit:
                self.size -= self.kept.popitem(last=False)[1][1]
        self.kept.move_to_end(key)
        kept: _Read = self.kept[key][0]
        return kept
