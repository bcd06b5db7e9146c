# SPDX-License-Identifier: Apache-2.0
"""Targets by field name, from what a line says of its clip."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.datasets.annotations import Line
from avkit.datasets.pixels import COLOURED, pixel_values, value_of
from avkit.errors import unknown_name
from avkit.scenes.targets import box_maps


@dataclass(frozen=True)
class Grid:
    """The steps of a clip.

    Attributes:
        steps: Number of steps T.
        hop: Seconds per step.
        duration: Length of the clip in seconds.
        offset: Seconds from the start of the clip to the start of step 0; features that look ahead have one.
        size: Height and width of the video in pixels, or None where only features are read.
        cut: Second at which reading stops before the clip ends.
    """

    steps: int
    hop: float
    duration: float
    offset: float = 0.0
    size: tuple[int, int] | None = None
    cut: float = math.inf

    @property
    def end(self) -> float:
        """Second at which both the clip and its last step have ended."""
        return max(self.duration, self.steps * self.hop + self.offset)

    @property
    def middles(self) -> NDArray[np.float64]:
        """Middle of each step in seconds, (T,)."""
        return np.asarray((np.arange(self.steps) + 0.5) * self.hop + self.offset, np.float64)


class Truth:
    """Makes targets of lines.

    Args:
        classes: Names of classes in index order.
        image_size: Height and width of masks.
    """

    def __init__(self, classes: list[str], image_size: int) -> None:
        self.classes, self.image_size = {name: k for k, name in enumerate(classes)}, image_size

    def captions(self, line: Line, grid: Grid) -> dict[str, Any]:
        """`caption`."""
        out = [""] * grid.steps
        for k, caption in enumerate(line.captions):
            for step in np.flatnonzero(_covered(line, grid, caption, f"captions[{k}]")):
                out[step] = f"{out[step]} and {caption['text']}" if out[step] else caption["text"]
        return {"caption": out}

    def events(self, line: Line, grid: Grid) -> dict[str, Any]:
        """Segments per modality, labels of the clip, and the spans both heard and seen."""
        events, classes = line.data.get("events", []), len(self.classes)
        segments = {name: torch.zeros(grid.steps, classes, dtype=torch.uint8) for name in ("audio", "visual")}
        labels = torch.zeros(classes, dtype=torch.uint8)
        spans: dict[str, list[tuple[float, float, int]]] = {"audio": [], "visual": [], "both": []}
        for k, event in enumerate(events):
            index, modality = self._class(event["label"], line, f"events[{k}].label"), event.get("modality", "both")
            steps = torch.from_numpy(_covered(line, grid, event, f"events[{k}]"))
            labels[index] = 1
            for name in segments:
                if modality in (name, "both"):
                    segments[name][steps, index] = 1
            spans[modality].append((event.get("start", 0), event.get("end", math.inf), index))
        for label in line.data.get("labels", ()):
            labels[self._class(label, line, "labels")] = 1
        end = min(grid.cut, grid.end if grid.offset else grid.steps * grid.hop)
        met = [(max(a, c), min(b, d), i) for a, b, i in spans["audio"] for c, d, j in spans["visual"] if i == j]
        both = sorted((a, min(b, grid.duration, end), i) for a, b, i in (*spans["both"], *met) if a < min(b, end))
        return {
            "audio_segments": segments["audio"],
            "visual_segments": segments["visual"],
            "video_labels": labels,
            "events": torch.tensor(both, dtype=torch.float32).reshape(-1, 3),
        }

    def boxes(self, line: Line, grid: Grid) -> dict[str, Any]:
        """`boxes`, and the source they enclose."""
        rows: dict[int, list[list[float]]] = {}
        for k, entry in enumerate(line.data["boxes"]):
            rows.setdefault(_step(line, grid, "boxes", k), []).append(entry["box"])
        out = torch.full((grid.steps, max([0, *map(len, rows.values())]), 4), math.nan)
        for step, boxes in rows.items():
            if step < grid.steps:
                out[step, : len(boxes)] = torch.tensor(boxes, dtype=torch.float32)
        return {"boxes": out, "source": torch.from_numpy(box_maps(out.numpy(), self.image_size))}

    def masks(self, line: Line, grid: Grid) -> dict[str, Tensor]:
        """The mask nearest to the middle of each step, where its picture was taken."""
        size = (grid.steps, self.image_size, self.image_size)
        out = {
            "mask": torch.zeros(size, dtype=torch.uint8),
            "mask_known": torch.zeros(grid.steps, dtype=torch.bool),
        }
        out |= {"class_mask": torch.zeros(size, dtype=torch.uint8)} if "class_mask" in line.fields else {}
        for step, k in _nearest(line, grid):
            mask, classes = self._mask(line, grid, k)
            out["mask"][step], out["mask_known"][step] = torch.from_numpy(mask), True
            if "class_mask" in out:
                out["class_mask"][step] = torch.from_numpy(classes)
        return out

    def no_masks(self, grid: Grid) -> dict[str, Any]:
        """Masks of a clip that has none."""
        empty = torch.zeros((grid.steps, self.image_size, self.image_size), dtype=torch.uint8)
        known = torch.zeros(grid.steps, dtype=torch.bool)
        return {"mask": empty, "class_mask": empty, "mask_known": known, "source": empty.float()}

    def _mask(self, line: Line, grid: Grid, k: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Sounding or not, and class index + 1 or 0, of one PNG at the size of the pictures."""
        entry, field = line.data["masks"][k], f"masks[{k}].file"
        values = pixel_values(line.root / entry["file"], line, field)
        h, w = values.shape
        if grid.size is not None and abs(math.log((w / h) / (grid.size[1] / grid.size[0]))) > 0.02:
            raise line.fault(
                field,
                f"{entry['file']!r} is {w} x {h} pixels and its picture {grid.size[1]} x {grid.size[0]}; "
                "give a mask of the same shape.",
            )
        named = {value_of(text): name for text, name in entry.get("classes", {}).items()}
        if len(self.classes) > 255 and named:
            raise line.fault(
                field, f"{len(self.classes)} classes do not fit into 'class_mask', which takes 255. Use fewer names."
            )
        if named:
            _check_values(values, named, line, field)
        centres = np.arange(self.image_size) * 2 + 1
        small = values[np.ix_(centres * h // (2 * self.image_size), centres * w // (2 * self.image_size))]
        classes = np.zeros(small.shape, np.uint8)
        for value in np.unique(small).tolist():
            name = named.get(value)
            classes[small == value] = 0 if name is None else self._class(name, line, f"masks[{k}].classes") + 1
        if named:
            return (classes > 0).astype(np.uint8), classes
        wanted = entry.get("foreground", "nonzero")
        sounding = small != 0 if wanted == "nonzero" else np.isin(small, [value_of(v) for v in wanted])
        return sounding.astype(np.uint8), classes

    def _class(self, name: str, line: Line, field: str) -> int:
        try:
            return self.classes[name]
        except KeyError:
            raise line.fault(
                field, f"{unknown_name('class', name, self.classes)} Classes are those of the train lines."
            ) from None


def _step(line: Line, grid: Grid, key: str, k: int) -> int:
    """The step of one mask or box; it may lie beyond those that are read."""
    entry = line.data[key][k]
    time: float = entry["time"] if "time" in entry else entry["step"] * grid.hop
    if time >= grid.end:
        name = "time" if "time" in entry else "step"
        raise line.fault(f"{key}[{k}].{name}", f"{entry[name]} is beyond the clip, which lasts {grid.duration:.2f} s.")
    # 0.3 s at a hop of 0.1 s is step 3, whatever the floating point says
    return math.floor(time / grid.hop + 1e-6)


def _nearest(line: Line, grid: Grid) -> Iterator[tuple[int, int]]:
    """Step and number of the mask to use, for each step that has one."""
    best: dict[int, tuple[float, int]] = {}
    for k, mask in enumerate(line.data["masks"]):
        step = _step(line, grid, "masks", k)
        middle = (step + 0.5) * grid.hop
        best[step] = min(best.get(step, (math.inf, k)), (abs(mask.get("time", middle) - middle), k))
    return ((step, k) for step, (_, k) in best.items() if step < grid.steps)


def _covered(line: Line, grid: Grid, entry: dict[str, Any], field: str) -> NDArray[np.bool_]:
    """Steps, bool (T,), whose middle lies in a span; the one around the span's own middle if it holds none."""
    start, end = entry.get("start", 0), min(entry.get("end", math.inf), grid.end)
    if start >= end:
        raise line.fault(f"{field}.start", f"{start} s is beyond the clip, which lasts {grid.duration:.2f} s.")
    hit: NDArray[np.bool_] = (grid.middles >= start) & (grid.middles < end)
    if not hit.any():
        hit = np.arange(grid.steps) == int(((start + end) / 2 - grid.offset) / grid.hop)
    return hit


def _check_values(values: NDArray[np.int64], named: dict[int, str | None], line: Line, field: str) -> None:
    found, counts = np.unique(values, return_counts=True)
    for value, count in zip(found.tolist(), counts.tolist(), strict=True):
        if value != 0 and value not in named:
            text = f"{value}" if value <= 65535 else f"#{value - COLOURED:06x}"
            raise line.fault(
                field,
                f"{count} pixels have the value {text}, which 'classes' does not name. "
                f'Add "{text}" with its class, or with null for background.',
            )
