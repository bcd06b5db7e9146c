# SPDX-License-Identifier: Apache-2.0
"""The files of a prediction for one clip: result.json, masks, timeline.png and report.html."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.files import write_file
from avkit.report.files import render, strict_json
from avkit.report.images import Labels, fit_labels, heat_picture, jpeg_uri, picture, png, png_uri, warm
from avkit.report.overlay import step_labels
from avkit.report.records import Array, Result
from avkit.report.timeline import sounding_area, timeline

_MAX_FRAMES = 60  # in report.html: more would make it too heavy for a phone
_IMAGE_WIDTH = 480


def save_result(folder: Path, result: Result) -> dict[str, Path]:
    """Write what was predicted for one clip.

    Record, timeline and page are made before the first file is written, so that a failure there leaves an earlier
    result whole; each file replaces its predecessor at once, and result.json comes last. Mask files of an earlier,
    longer result are removed.

    | file | content |
    |---|---|
    | `masks/00000.png` ... | one per step, at source size, 8 bit: 255 where something visible sounds, else 0 |
    | `class_masks/00000.png` ... | one per step, at source size, 8 bit: 0 background, k + 1 for class k |
    | `heat/00000.png` ... | one per step, at source size, 8 bit: from 0 to 255 at the likeliest source of the sound |
    | `timeline.png` | the clip over time |
    | `report.html` | all of it on one page that needs no other file |
    | `result.json` | see below |

    result.json holds `format` ("avkit result"), `version` (1), `source`, `duration` and `hop` in seconds, `size`
    [height, width] in pixels or null, `tasks`, `class_names`, and

    - `steps`: for each step `start` and `end` in seconds; `caption` or null; `mask` or null, with `file`, `area` (share
      of the picture) and `box` [x1, y1, x2, y2] in [0, 1] around all that sounds, null where nothing does; `classes`,
      null or a list with `name`, `area` and `box` of each class present, and `class_file`;
      `source`, [x, y] in [0, 1], the likeliest place that the sound comes from, or null, and `heat_file`.
    - `sounding`: [start, end] of each stretch of steps where something visible sounds.
    - `captions`: `start`, `end` and `text`, equal neighbours joined.
    - `events`: `task`, `modality` (heard, seen or both), `name`, `start`, `end` and `score` or null.
    - `answers`: `question`, `answer`, `scores`, the probability of the best few, and `chosen`, start, end and weight of
      the steps that the answer was made of, where a model chooses some.
    - `notes` and `provenance`.

    Args:
        folder: Where to write; made when absent.
        result: What was predicted.

    Returns:
        Path by name: `result`, `timeline`, `report`, and the folders of pictures where there are any.
    """
    light, dark = timeline(result), timeline(result, "dark")
    record = strict_json(_record(result))
    page = render(
        "result.html.j2",
        result=result,
        name=Path(result.source).name,
        timeline={"light": png_uri(light), "dark": png_uri(dark)},
        frames=_frames(result),
    )
    paths: dict[str, Path] = {}
    for name, masks in {"masks": result.masks, "class_masks": result.class_mask}.items():
        count = 0 if masks is None else _write_masks(folder / name, masks, result)
        _remove_masks(folder / name, count)
        paths |= {name: folder / name} if masks is not None else {}
    count = 0 if result.heat is None else len(result.heat)
    for step in range(count):
        assert result.heat is not None
        write_file(folder / "heat" / f"{step:05d}.png", png(heat_picture(result.heat[step], result.size)))
    _remove_masks(folder / "heat", count)
    paths |= {"heat": folder / "heat"} if count else {}
    paths["timeline"] = write_file(folder / "timeline.png", light)
    paths["report"] = write_file(folder / "report.html", page)
    paths["result"] = write_file(folder / "result.json", record)
    return paths


def _write_masks(folder: Path, masks: Array, result: Result) -> int:
    """Write one picture per step and return how many; one at a time, for a film at source size fills the memory."""
    for step in range(len(masks)):
        labels = mask_labels(masks, result, step)
        image = labels if masks is result.class_mask else (labels > 0) * 255
        write_file(folder / f"{step:05d}.png", png(image.astype(np.uint8)))
    return len(masks)


def mask_labels(masks: Array, result: Result, step: int) -> Labels:
    """The label map of a step at source size."""
    assert result.size is not None  # it is taken from the masks at the latest
    return fit_labels(masks[step], result.size)


def _remove_masks(folder: Path, steps: int) -> None:
    """Remove the masks of an earlier result from step `steps` on, and nothing else."""
    for path in folder.glob("*.png"):
        if re.fullmatch(r"\d{5}", path.stem) and int(path.stem) >= steps:
            path.unlink()


def _record(result: Result) -> dict[str, Any]:
    return {
        "format": "avkit result",
        "version": 1,
        "source": result.source,
        "duration": result.duration,
        "hop": result.hop,
        "size": result.size,
        "tasks": result.tasks,
        "class_names": result.class_names,
        "steps": [step_record(result, step) for step in range(result.steps)],
        "sounding": _sounding(result),
        "captions": [{"start": a, "end": b, "text": t} for a, b, t in result.captions_merged()],
        "events": result.events,
        "answers": result.answers,
        "notes": result.notes,
        "provenance": result.provenance,
    }


def step_record(result: Result, step: int) -> dict[str, Any]:
    """What result.json holds of a step."""
    start, end = result.span(step)
    mask = None if result.masks is None else mask_labels(result.masks, result, step)
    classes = None if result.class_mask is None else mask_labels(result.class_mask, result, step)
    return {
        "start": start,
        "end": end,
        "caption": result.captions[step] if result.captions is not None else None,
        "mask": None if mask is None else {"file": f"masks/{step:05d}.png", **_region(mask > 0)},
        "classes": None if classes is None else _classes(result, classes),
        "class_file": None if classes is None else f"class_masks/{step:05d}.png",
        "source": None if result.heat is None else _peak(result.heat[step]),
        "heat_file": None if result.heat is None else f"heat/{step:05d}.png",
    }


def _peak(heat: Array) -> list[float]:
    """Middle of the hottest cell, x and y in [0, 1]."""
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return [round((float(column) + 0.5) / heat.shape[1], 4), round((float(row) + 0.5) / heat.shape[0], 4)]


def _classes(result: Result, labels: Labels) -> list[dict[str, Any]]:
    return [{"name": result.class_names[k - 1], **_region(labels == k)} for k in np.unique(labels).tolist() if k]


def _region(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Share of the picture and enclosing box of a mask."""
    height, width = mask.shape
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return {"area": 0.0, "box": None}
    box = [columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height]
    return {"area": round(float(mask.mean()), 6), "box": [round(float(x), 6) for x in box]}


def _sounding(result: Result) -> list[list[float]] | None:
    """Start and end of each stretch of steps with a mask."""
    area = sounding_area(result)
    if area is None:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], area > 0, [0]])))
    return [[result.span(int(a))[0], result.span(int(b) - 1)[1]] for a, b in edges.reshape(-1, 2)]


def _frames(result: Result) -> list[dict[str, Any]]:
    """The frames that report.html shows, evenly chosen where there are many."""
    if result.frames is None:
        return []
    steps = np.unique(np.linspace(0, len(result.frames) - 1, min(len(result.frames), _MAX_FRAMES)).astype(int))
    return [_frame(result, int(step)) for step in steps]


def _frame(result: Result, step: int) -> dict[str, Any]:
    assert result.frames is not None
    image = result.frames[step].transpose(1, 2, 0)
    if result.heat is not None:
        image = warm(image, result.heat[step])
    labels = step_labels(result, step, image.shape[:2])
    present = [] if labels is None or result.class_mask is None else [int(k) for k in np.unique(labels) if k]
    return {
        "uri": jpeg_uri(picture(image, _IMAGE_WIDTH, labels)),
        "label": "{:g} to {:g} s".format(*result.span(step)),
        "classes": ", ".join(result.class_names[k - 1] for k in present),
        "caption": result.captions[step] if result.captions else "",
    }
