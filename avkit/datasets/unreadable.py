# SPDX-License-Identifier: Apache-2.0
"""Clips whose files are there but hold nothing to read: empty or damaged files, videos without sound or picture."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.inputs import ReadOptions
from avkit.errors import MediaError
from avkit.media.probe import has_tracks

#: Number of threads that open files.
_THREADS = 8


def unreadable_clips(annotations: Sequence[Annotation], options: ReadOptions) -> dict[str, str]:
    """Which clips cannot be read, and what they lack, by id; only the headers of files are read.

    Args:
        annotations: Clips whose files are there.
        options: How they are read.
    """
    tracks = cache(_tracks)
    with ThreadPoolExecutor(_THREADS) as pool:
        lacks = list(pool.map(lambda annotation: _lack(annotation, options, tracks), annotations))
    return {annotation.id: lack for annotation, lack in zip(annotations, lacks, strict=True) if lack}


def _lack(annotation: Annotation, options: ReadOptions, tracks: Callable[[Path], tuple[bool, bool]]) -> str:
    """What a clip lacks; empty if nothing."""
    if options.visual is None and annotation.frames is None:
        name = annotation.video or annotation.picture
        if name is not None and not tracks(annotation.root / name)[0]:
            return f"a picture in {name!r}"
    if options.audio is None and not options.silent_ok:
        name = annotation.audio or annotation.video
        if name is not None and not tracks(annotation.root / name)[1]:
            return f"sound in {name!r}"
    return ""


def _tracks(path: Path) -> tuple[bool, bool]:
    """Whether a file has pictures, and whether it has sound."""
    try:
        return has_tracks(path)
    except MediaError:
        return False, False
