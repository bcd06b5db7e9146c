# SPDX-License-Identifier: Apache-2.0
"""Which media files cannot be read, and which end before their labels."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from avkit.datasets.annotations import Annotation
from avkit.datasets.check_state import Problem, problem_of
from avkit.datasets.inputs import ReadOptions
from avkit.errors import MediaError
from avkit.media.decode import probe
from avkit.media.image import load_image

#: Number of threads that open files.
_THREADS = 8
#: Seconds by which a file may end before its labels.
_SHORTFALL = 1.0
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".png")


def check_media(
    split: str, annotations: Iterable[Annotation], options: ReadOptions, on_file: Callable[[], None] | None
) -> tuple[list[Problem], list[str]]:
    """Open all files of some clips.

    Args:
        split: Their split, for the problems.
        annotations: The clips.
        options: How they are read, which says how long they are.
        on_file: Called after each file.

    Returns:
        The problems, and the names of all files that have one.
    """
    durations: dict[Path, float] = {}
    for annotation in annotations:
        for path, duration in _expected_durations(annotation, options).items():
            durations[path] = max(duration, durations.get(path, 0.0))
    damaged = {}
    short = {}
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, (kind, text) in zip(durations, pool.map(_find_fault, durations, durations.values()), strict=True):
            if kind == "damaged":
                damaged[path.name] = text
            if kind == "short":
                short[path.name] = text
            if on_file is not None:
                on_file()
    problems = []
    if damaged:
        problems.append(problem_of(split, "files cannot be read", list(damaged), faults=list(damaged.values())))
    if short:
        what = "files end more than a second before their labels"
        problems.append(problem_of(split, what, list(short), faults=list(short.values())))
    return problems, [*damaged, *short]


def _expected_durations(annotation: Annotation, options: ReadOptions) -> dict[Path, float]:
    """The files of a clip, each with the seconds that it should last; 0 for any length."""
    steps = options.steps_of(annotation)
    duration = 0.0
    if annotation.duration is not None:
        duration = annotation.duration
    elif steps and not options.centred_audio:
        duration = steps * options.hop
    durations = {}
    for name in (annotation.video, annotation.audio, annotation.picture):
        if name is not None:
            durations[annotation.root / name] = duration
    if isinstance(annotation.frames, list):
        for name in annotation.frames:
            durations[annotation.root / name] = 0.0
    for mask in annotation.masks or ():
        durations[annotation.root / mask.file] = 0.0
    return durations


def _find_fault(path: Path, duration: float) -> tuple[Literal["", "damaged", "short"], str]:
    """What is wrong with a file that should last some seconds, and the same in words."""
    try:
        if path.suffix.lower() in _IMAGE_ENDINGS:
            load_image(path)
            return "", ""
        info = probe(path)
        info.require()
    except (MediaError, OSError) as error:
        return "damaged", str(error)
    if info.duration < duration - _SHORTFALL:
        return "short", f"{path} lasts {info.duration:.2f} s and its labels {duration:g} s. Download it again."
    return "", ""
