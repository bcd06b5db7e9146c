# SPDX-License-Identifier: Apache-2.0
"""How masks, masks of classes and heat maps are drawn and stored."""

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from avkit.answers import ClassMask, Heat, Mask, StepMaps
from avkit.answers.encoding import Record
from avkit.files import write_file
from avkit.report.figure import MAX_LISTED, Bar, Theme, TimelineRow, bars_row, thumbnails_row
from avkit.report.images import Labels, Pixels, fit_labels, heat_picture, picture, png, warm
from avkit.report.records import Array, Example, Result
from avkit.report.renderers.base import Renderer, Sample

if TYPE_CHECKING:
    from matplotlib.axes import Axes

M = TypeVar("M", bound=StepMaps)

_TINTED = "Tinted: what sounds and is visible."


class MapsRenderer(Renderer[M]):
    """Maps per step, each stored as a picture in a folder."""

    #: Folder of the pictures, and its name among the written paths.
    folder: ClassVar[str]

    @abstractmethod
    def picture(self, answer: M, step: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """The picture of a step that is stored, uint8 (H, W) at the source's size."""

    def file(self, step: int) -> str:
        """Path of the picture of a step."""
        return f"{self.folder}/{step:05d}.png"

    def write_files(self, folder: Path, answers: Sequence[M], result: Result) -> dict[str, Path]:
        """Write one picture per step; one at a time, because a film at its own size fills the memory."""
        paths = {}
        count = 0
        for answer in answers[:1]:
            count = len(answer.maps)
            for step in range(count):
                write_file(folder / self.file(step), png(self.picture(answer, step, result.size)))
            paths[self.folder] = folder / self.folder
        remove_pictures(folder / self.folder, count)
        return paths


class MaskRenderer(MapsRenderer[Mask]):
    """Masks are tinted, and the share of the picture that sounds is drawn over time."""

    rank = 1
    legend = _TINTED
    folder = "masks"

    def picture(self, answer: Mask, step: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """255 where something visible sounds, else 0."""
        labels = fit_labels(answer.maps[step], size or answer.picture_size)
        return ((labels > 0) * 255).astype(np.uint8)

    def regions(self, answer: Mask, step: int, size: tuple[int, int]) -> Labels:
        """What sounds."""
        return fit_labels(answer.maps[step], size)

    def area(self, answer: Mask) -> NDArray[np.float64]:
        """Share of pixels that are likelier to sound than not."""
        return np.asarray((answer.maps >= 0.5).mean(axis=(1, 2)))

    def timeline_rows(self, answers: Sequence[Mask], result: Result, theme: Theme) -> list[TimelineRow]:
        """The share of the picture that sounds."""
        return [area_row(self.area(answers[0]), result, theme)]

    def step_record(self, answer: Mask, step: int, size: tuple[int, int] | None) -> Record:
        """File, area and box of the step's mask."""
        labels = fit_labels(answer.maps[step], size or answer.picture_size)
        return {"mask": {"file": self.file(step), **region_record(labels > 0)}}

    def drawn_on_frames(self, answer: Mask) -> bool:
        """Masks are tinted."""
        return True

    def fill_example(self, example: Example, sample: Sample[Mask]) -> None:
        """Tint predicted masks and outline true ones."""
        if not example.images:
            return
        example.masks = sample.predicted.maps[sample.steps]
        if sample.silent is not None:
            example.silent_masks = sample.silent.maps[sample.steps]
        if sample.true is not None:
            example.truth_masks = sample.true.maps[sample.steps]


class ClassMaskRenderer(MapsRenderer[ClassMask]):
    """Classes are tinted in their colours, in place of a mask, and drawn as bars over time."""

    rank = 2
    legend = _TINTED
    folder = "class_masks"

    def picture(self, answer: ClassMask, step: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """0 for background, k + 1 for class k."""
        return fit_labels(answer.maps[step], size or answer.picture_size).astype(np.uint8)

    def regions(self, answer: ClassMask, step: int, size: tuple[int, int]) -> Labels:
        """The class of each pixel."""
        return fit_labels(answer.maps[step], size)

    def region_names(self, answer: ClassMask) -> Sequence[str]:
        """Names of classes."""
        return answer.names

    def area(self, answer: ClassMask) -> NDArray[np.float64]:
        """Share of pixels that have a class."""
        return np.asarray((answer.maps > 0).mean(axis=(1, 2)))

    def timeline_rows(self, answers: Sequence[ClassMask], result: Result, theme: Theme) -> list[TimelineRow]:
        """A line per class; above it the share of the picture that sounds, unless a mask shows it."""
        answer = answers[0]
        rows = []
        if result.first(Mask) is None:
            rows.append(area_row(self.area(answer), result, theme))
        present = [int(k) for k in np.unique(answer.maps) if k][:MAX_LISTED]
        if present:
            names = [answer.names[k - 1] for k in present]
            rows.append(bars_row(names, _class_bars(answer, present, result)))
        return rows

    def step_record(self, answer: ClassMask, step: int, size: tuple[int, int] | None) -> Record:
        """Name, area and box of each class in the step, and the file."""
        labels = fit_labels(answer.maps[step], size or answer.picture_size)
        classes = []
        for k in np.unique(labels).tolist():
            if k:
                classes.append({"name": answer.names[k - 1], **region_record(labels == k)})
        return {"classes": classes, "class_file": self.file(step)}

    def record(self, answers: Sequence[ClassMask]) -> Record:
        """Names of classes."""
        return {"class_names": answers[0].names}


class HeatRenderer(MapsRenderer[Heat]):
    """Heat maps glow on the frames."""

    rank = 0
    legend = "Glowing: what the sound goes with."
    folder = "heat"

    def picture(self, answer: Heat, step: int, size: tuple[int, int] | None) -> NDArray[np.uint8]:
        """From 0 at the coldest to 255 at the hottest."""
        return heat_picture(answer.maps[step], size)

    def glow(self, answer: Heat, step: int) -> Array:
        """The heat map of the step."""
        return np.asarray(answer.maps[step])

    def timeline_rows(self, answers: Sequence[Heat], result: Result, theme: Theme) -> list[TimelineRow]:
        """Frames with the heat map on them."""
        if result.frames is None:
            return []

        def make(step: int) -> Pixels:
            image = result.picture(step)
            assert image is not None
            return warm(picture(image, 200), answers[0].maps[step])

        return [thumbnails_row(result, theme, make, "source")]

    def step_record(self, answer: Heat, step: int, size: tuple[int, int] | None) -> Record:
        """The likeliest place of the source, and the file."""
        heat = answer.maps[step]
        row, column = np.unravel_index(int(heat.argmax()), heat.shape)
        x = (float(column) + 0.5) / heat.shape[1]
        y = (float(row) + 0.5) / heat.shape[0]
        return {"source": [round(x, 4), round(y, 4)], "heat_file": self.file(step)}

    def drawn_on_frames(self, answer: Heat) -> bool:
        """Heat maps glow."""
        return True

    def fill_example(self, example: Example, sample: Sample[Heat]) -> None:
        """Glowing heat maps, and the outline of true sources."""
        if not example.images:
            return
        example.heats = sample.predicted.maps[sample.steps]
        example.heats_mean = "what the sound goes with"
        if sample.silent is not None:
            example.silent_heats = sample.silent.maps[sample.steps]
        if sample.true is not None:
            example.truth_masks = sample.true.maps[sample.steps] > 0


def area_row(area: NDArray[np.float64], result: Result, theme: Theme) -> TimelineRow:
    """The share of the picture that sounds, (T,) in [0, 1], over time."""
    edges = step_edges(result)

    def draw(axis: "Axes") -> None:
        axis.stairs(100 * area, edges, fill=True, color=theme["accent"], alpha=0.35)
        axis.stairs(100 * area, edges, color=theme["accent"], baseline=None)
        axis.set_ylim(0, max(5.0, 115 * float(np.nan_to_num(area).max())))
        axis.set_ylabel("sounding\narea, %")

    return TimelineRow(0.8, draw)


def region_record(mask: NDArray[np.bool_]) -> Record:
    """Share of the picture and enclosing box [x1, y1, x2, y2] in [0, 1] of a mask (H, W)."""
    height, width = mask.shape
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return {"area": 0.0, "box": None}
    box = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    return {"area": round(float(mask.mean()), 6), "box": [round(float(x), 6) for x in box]}


def step_edges(result: Result) -> NDArray[np.float64]:
    """Starts of all steps and the end of the clip, (T + 1,) in seconds."""
    starts = [result.span(step)[0] for step in range(result.steps)]
    return np.array([*starts, result.duration])


def _class_bars(answer: ClassMask, present: Sequence[int], result: Result) -> list[Bar]:
    """The steps in which each class is visible."""
    bars = []
    for line, k in enumerate(present):
        bars.append(Bar(line, step_bars((answer.maps == k).any(axis=(1, 2)), result), k))
    return bars


def step_bars(present: NDArray[np.bool_], result: Result) -> list[tuple[float, float]]:
    """Start and length in seconds of each step in which something is present, bool (T,)."""
    edges = step_edges(result)
    steps = np.flatnonzero(present)
    starts = edges[steps]
    return list(zip(starts.tolist(), (edges[steps + 1] - starts).tolist(), strict=True))


def remove_pictures(folder: Path, first: int) -> None:
    """Remove the pictures of an earlier, longer result from step `first` on, and nothing else."""
    for path in folder.glob("*.png"):
        if re.fullmatch(r"\d{5}", path.stem) and int(path.stem) >= first:
            path.unlink()
