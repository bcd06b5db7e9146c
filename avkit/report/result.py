# SPDX-License-Identifier: Apache-2.0
"""The files of a prediction for one clip: result.json, masks, timeline.png and report.html."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avkit.answers import Answer
from avkit.answers.encoding import Record
from avkit.files import write_file
from avkit.report.files import plain, render, sealed_json, seconds, trusted_html
from avkit.report.gallery import THUMBNAIL
from avkit.report.images import Pixels, jpeg, jpeg_uri, picture, png_as_jpeg_uri, warm
from avkit.report.records import Result
from avkit.report.renderers.base import Renderer
from avkit.report.renderers.table import (
    all_renderers,
    frame_legends,
    group_answers,
    sounding_area,
    step_glow,
    step_regions,
    step_subtitle,
)
from avkit.report.timeline import timeline

_MAX_FRAMES = 40  # in report.html: more would make it too heavy for a phone
#: Width in pixels of pictures in report.html.
IMAGE_WIDTH = 400
_THUMBNAIL_WIDTH = 320

#: Keys of a step in result.json that are null unless an answer fills them.
_STEP_KEYS = ("caption", "mask", "classes", "class_file", "source", "heat_file")

AnswerGroup = tuple[Renderer[Any], list[Answer]]


def save_result(folder: Path, result: Result) -> dict[str, Path]:
    """Write what was predicted for one clip.

    Record, timeline and page are made before the first file is written, so that a failure there leaves an earlier
    result whole; each file replaces its predecessor at once, and result.json comes last. Mask files of an earlier,
    longer result are removed.

    | file | content |
    |---|---|
    | `masks/00000.png` ... | one per step, at source size, 8 bit: 255 where something visible sounds, else 0 |
    | `class_masks/00000.png` ... | one per step, at source size, 8 bit: 0 background, k + 1 for class k |
    | `sources/00000.png` ... | one per step, at source size, 8 bit: 0 background, k for source k |
    | `heat/00000.png` ... | one per step, at source size, 8 bit: from 0 to 255 at the likeliest source of the sound |
    | `prompt_heat/0_plain/00000.png` ... | per question and step, 8 bit: the sound's attention |
    | `prompt_heat/0_prompted/00000.png` ... | the same weighed by the question |
    | `timeline.png` | the clip over time |
    | `report.html` | all of it on one page that needs no other file |
    | `thumbnail.jpg` | the picture in the middle, for the index of many results |
    | `result.json` | see below |

    result.json holds `format` ("avkit result"), `version` (1), `source`, `duration` and `hop` in seconds, `size`
    [height, width] in pixels or null, `tasks`, `class_names`, and

    - `steps`: for each step `start` and `end` in seconds; `caption` or null; `mask` or null, with `file`, `area` (share
      of the picture) and `box` [x1, y1, x2, y2] in [0, 1] around all that sounds, null where nothing does; `classes`,
      null or a list with `name`, `area` and `box` of each class present, and `class_file`;
      `sources`, only where a model keeps them apart, a list with `source` (its number), `caption`, `area` and `box`
      of each, and `source_file`, a PNG of their numbers;
      `source`, [x, y] in [0, 1], the likeliest place that the sound comes from, or null, and `heat_file`.
    - `sounding`: [start, end] of each stretch of steps where something visible sounds.
    - `captions`: `start`, `end` and `text`, equal neighbours joined.
    - `events`: `task`, `modality` (heard, seen or both), `name`, `start`, `end` and `score`, a probability or
      null.
    - `answers`: `question`, `answer`, `scores`, the probability of the best few, and `chosen`, start, end and weight of
      the steps that the answer was made of, where a model chooses some; `kept_to`, the kind of answers that a question
      asks for, if others were left out.
    - `gates`, only where the model has some: `task`, and `audio` and `visual`, how much each step matters.
    - `beside`, only where another run is shown too: `run`, its name, and its `events` and other lists as above.
    - `prompt_heat`, only if there is one: for each `question` by step the hottest place [x, y] of the sound's attention
      without (`plain`) and with (`prompted`) the question's weights, the step's `weight`, and both files.
    - `warning`, what a reader must know before any answer, or null; `domains`, what the run was trained on, by task:
      `scenes` (drawn shapes), `official` or `own`.
    - `notes` and `provenance`.
    - `other_answers`, only if there are some: texts, numbers, and answers of kinds from outside avkit, with `kind`,
      `task` and what they hold, see `avkit.answers.Answer.to_json`.

    Args:
        folder: Where to write; made when absent.
        result: What was predicted.

    Returns:
        Path by name: `result`, `timeline`, `report`, and the folders of pictures where there are any.
    """
    groups = group_answers(result.answers)
    light = timeline(result)
    small = _thumbnail(result)
    record = sealed_json(_record(result, groups))
    page = render("result.html.j2", **_page_values(result, groups, light))
    answers_of = dict(groups)
    paths: dict[str, Path] = {}
    for renderer in sorted(all_renderers(), key=lambda renderer: renderer.rank):
        paths |= renderer.write_files(folder, answers_of.get(renderer, []), result)
    if small is not None:
        write_file(folder / THUMBNAIL, small)
    paths["timeline"] = write_file(folder / "timeline.png", light)
    paths["report"] = write_file(folder / "report.html", page)
    paths["result"] = write_file(folder / "result.json", record)
    return paths


def result_record(result: Result) -> Record:
    """What result.json would hold, in the types that JSON knows; see `save_result`."""
    record: Record = plain(_record(result, group_answers(result.answers)))
    return record


def _record(result: Result, groups: Sequence[AnswerGroup]) -> Record:
    """What result.json holds."""
    filled = _filled({"class_names": [], "captions": [], "events": [], "answers": []}, groups)
    if result.beside:
        filled["beside"] = {"run": result.beside_name, **_filled({}, group_answers(result.beside))}
    return {
        "format": "avkit result",
        "version": 1,
        "source": result.source,
        "duration": result.duration,
        "hop": result.hop,
        "size": result.size,
        "tasks": result.tasks,
        "class_names": filled.pop("class_names"),
        "steps": [step_record(result, step) for step in range(result.steps)],
        "sounding": _sounding(result),
        **filled,
        "warning": result.warning or None,
        "domains": result.domains,
        "notes": result.notes,
        "provenance": result.provenance,
    }


def _filled(record: Record, groups: Sequence[AnswerGroup]) -> Record:
    """A record with what renderers add to it; lists under the same key are put one after the other."""
    for renderer, answers in groups:
        for name, value in renderer.record(answers).items():
            record[name] = record[name] + value if name in record else value
    return record


def step_record(result: Result, step: int) -> Record:
    """What result.json holds of a step."""
    start, end = result.span(step)
    record: Record = {"start": start, "end": end, **dict.fromkeys(_STEP_KEYS)}
    for renderer, answers in group_answers(result.answers):
        for answer in answers:
            record |= renderer.step_record(answer, step, result.size)
    return record


def _sounding(result: Result) -> list[list[float]] | None:
    """Start and end of each stretch of steps with a mask."""
    area = sounding_area(result)
    if area is None:
        return None
    edges = np.flatnonzero(np.diff(np.concatenate([[0], area > 0, [0]])))
    stretches = []
    for first, after in edges.reshape(-1, 2).tolist():
        stretches.append([result.span(first)[0], result.span(after - 1)[1]])
    return stretches


def _page_values(result: Result, groups: Sequence[AnswerGroup], light: bytes) -> Record:
    """What the template of report.html shows."""
    above = []
    below = []
    for renderer, answers in groups:
        block = trusted_html(renderer.page_block(answers, result))
        if renderer.above_timeline:
            above.append(block)
        else:
            below.append(block)
    beside = []
    for renderer, answers in group_answers(result.beside):
        beside.append(trusted_html(renderer.page_block(answers, result)))
    frames = _frames(result)
    return {
        "result": result,
        "name": Path(result.source).name,
        "timeline": png_as_jpeg_uri(light),
        "blocks_above": above,
        "blocks_below": below,
        "blocks_beside": beside,
        "frames": frames,
        "legends": _legends(result, len(frames)),
    }


def _legends(result: Result, shown: int) -> list[str]:
    """What is drawn on the frames of the page, and that some steps are not shown."""
    legends = frame_legends(result)
    if shown < result.steps and sounding_area(result) is not None:
        legends.append(f"{shown} of {result.steps} steps are shown; all masks are in result.json and its folder.")
    return legends


def page_steps(result: Result) -> list[int]:
    """The steps whose frames report.html shows, evenly chosen where there are many."""
    if result.frames is None:
        return []
    count = len(result.frames)
    return sorted(set(np.linspace(0, count - 1, min(count, _MAX_FRAMES)).astype(int).tolist()))


def drawn_picture(result: Result, step: int) -> Pixels | None:
    """The picture of a step with regions tinted and heat glowing; None without pictures."""
    image = result.picture(step)
    if image is None:
        return None
    heat = step_glow(result, step)
    if heat is not None:
        image = warm(image, heat)
    regions = step_regions(result, step, image.shape[:2])
    return picture(image, IMAGE_WIDTH, None if regions is None else regions.labels)


def _thumbnail(result: Result) -> bytes | None:
    """A small picture of the middle of the clip, as JPEG file; None without pictures."""
    steps = page_steps(result)
    if not steps:
        return None
    image = drawn_picture(result, steps[len(steps) // 2])
    return None if image is None else jpeg(picture(image, _THUMBNAIL_WIDTH))


def _frames(result: Result) -> list[dict[str, str]]:
    """The frames that report.html shows."""
    frames = []
    for step in page_steps(result):
        image = drawn_picture(result, step)
        if image is not None:
            frames.append(_frame(result, step, image))
    return frames


def _frame(result: Result, step: int, image: Pixels) -> dict[str, str]:
    """A picture with what is written under it."""
    start, end = result.span(step)
    regions = step_regions(result, step, image.shape[:2])
    names = [] if regions is None else [regions.names[k - 1] for k in regions.present()]
    return {
        "uri": jpeg_uri(image),
        "label": f"{seconds(start)} to {seconds(end)} s",
        "classes": ", ".join(names),
        "caption": step_subtitle(result, step),
    }
