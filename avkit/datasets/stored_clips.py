# SPDX-License-Identifier: Apache-2.0
"""Which clips have stored features, found before any of them is read."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.inputs import ReadOptions
from avkit.errors import DataError, count_of
from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures

#: Examples of clips that an error names.
_SHOWN = 3
#: How clips without features can be left out.
LEAVE_OUT = "leave such clips out with --data.allow_missing true (allow_missing=True in Python)"


class ClipsWithoutFeaturesError(DataError):
    """Clips of a dataset are not in the stored features that are to be read.

    Args:
        problem: Where how many clips are missing, as sentences.
        paths: The files or folders of the features.
    """

    def __init__(self, problem: str, paths: Sequence[Path]) -> None:
        super().__init__(f"{problem} Extract them with 'avkit extract', or {LEAVE_OUT}.")
        self.problem = problem
        self.paths = list(paths)


def check_clips_are_stored(dataset: str, split: str, annotations: Sequence[Annotation], options: ReadOptions) -> None:
    """Refuse clips that are not in the stored features that are to be read.

    Args:
        dataset: Name of the dataset, for messages.
        split: Name of the split.
        annotations: Its clips.
        options: Names the features.

    Raises:
        ClipsWithoutFeaturesError: With every file or folder of features that lacks some, how many, and the first few.
    """
    problems = []
    paths = []
    for features in _parts(options):
        missing = [annotation.media or annotation.id for annotation in annotations if not _has(features, annotation)]
        if missing:
            names = ", ".join(map(repr, list(dict.fromkeys(missing))[:_SHOWN]))
            more = ", ..." if len(missing) > _SHOWN else ""
            paths.append(features.path)
            problems.append(
                f"{features.path} has no features of {count_of(len(missing), 'clip')} of {len(annotations)} in split "
                f"{split!r} of {dataset}: {names}{more}."
            )
    if problems:
        raise ClipsWithoutFeaturesError(" ".join(problems), paths)


def lack_of_features(annotation: Annotation, options: ReadOptions) -> str:
    """Which features a clip lacks, such as `visual features`; empty if none."""
    for features, lack in ((options.visual, "visual features"), (options.audio, "audio features")):
        if features is not None and not _has(features, annotation):
            return lack
    return ""


def _has(features: Features, annotation: Annotation) -> bool:
    return annotation.id in features.names or annotation.media in features.names


def _parts(options: ReadOptions) -> Iterator[Features]:
    """Features that are to be read, each file or folder by itself."""
    for features in (options.visual, options.audio):
        if isinstance(features, ConcatenatedFeatures):
            yield from features.parts
        elif features is not None:
            yield features
