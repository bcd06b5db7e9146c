# SPDX-License-Identifier: Apache-2.0
"""What the right answer to a task looks like: a clip of the scenes over time, drawn as reports draw answers."""

from io import BytesIO
from pathlib import Path

from PIL import Image

from avkit.answers import Scope, StepGrid
from avkit.batch import Batch
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.report.figure import THEMES
from avkit.report.records import Result
from avkit.report.timeline import timeline
from avkit.tasks import find_task

#: Pixels of the frames that are drawn.
_SIZE = 192
#: Number of the validation scene that shows best what a task asks.
_SCENES = {"ra_ssu": 9, "ave": 28, "avvp": 39, "ssl": 2, "avs": 9, "avqa": 8, "davel": 1}


def task_pictures(name: str, result: Result) -> dict[str, bytes]:
    """A time line of a task's answer as WebP by the name of its file, one for each theme of a page."""
    return {f"{name}-{theme}.webp": _smaller(timeline(result, theme)) for theme in THEMES}


def true_result(name: str) -> Result:
    """The true answers of a task to a clip of the validation scenes, as a prediction would be shown."""
    task = find_task(name)
    scenes = Scenes("val", image_size=_SIZE)
    fields = frozenset((*task.targets, *task.optional)) & scenes.provides
    return _result(name, collate([scenes.item(_SCENES.get(name, 0), fields)], name), scenes)


def _result(name: str, batch: Batch, scenes: Scenes) -> Result:
    """What is true of the one clip of a batch."""
    assert batch.frames is not None
    grid = StepGrid(batch.hop, int(batch.valid[0].sum()), float(batch.duration[0]))
    vocabulary = scenes.vocabulary
    question = "" if batch.text is None else batch.text[0]
    scope = Scope(name, grid, vocabulary.classes, vocabulary.answers, question)
    answers = [kind.read_target(batch, 0, scope) for kind in find_task(name).answers]
    return Result(
        source=Path(f"{batch.id[0]}.mp4"),
        duration=grid.end,
        hop=batch.hop,
        tasks=[name],
        answers=[answer for answer in answers if answer is not None],
        waveform=None if batch.waveform is None else batch.waveform[0].numpy(),
        frames=batch.frames[0].numpy(),
    )


def _smaller(png: bytes) -> bytes:
    """A picture as WebP, a quarter as long."""
    buffer = BytesIO()
    with Image.open(BytesIO(png)) as image:
        image.convert("RGB").save(buffer, "WEBP", quality=80, method=4)
    return buffer.getvalue()
