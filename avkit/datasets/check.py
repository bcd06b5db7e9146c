# SPDX-License-Identifier: Apache-2.0
"""What of a dataset is on disk: which clips are missing, which files cannot be read, which features do not fit."""

from collections.abc import Callable, Sequence
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.check_features import check_features
from avkit.datasets.check_media import check_media
from avkit.datasets.check_state import DatasetState, Problem, SplitState, problem_of
from avkit.datasets.inputs import ReadOptions
from avkit.datasets.official import AbsentError, Official
from avkit.errors import DataError


def check_dataset(
    cls: type[Official],
    root: str | Path,
    release: str | None = None,
    visual: str | None = None,
    audio: str | None = None,
    *,
    open_files: bool = True,
    on_file: Callable[[], None] | None = None,
) -> DatasetState:
    """Check a dataset on disk.

    Args:
        cls: Its class.
        root: Its folder.
        release: Release of the annotations; the usual one by default.
        visual: Features that are to be read instead of pictures, as in `Official`.
        audio: Features that are to be read instead of sound.
        open_files: Whether to open every file; else only names are looked at.
        on_file: Called after each file.

    Raises:
        ValueError: If release or features are unknown.
        DataError: If no split has an annotation file, or one is damaged.
    """
    state = DatasetState(cls.name, str(root), release or cls.releases[0], source=cls.source)
    readers: list[Official] = []
    errors: list[DataError] = []
    for split in cls.splits:
        try:
            readers.append(cls(root, split, release=release, visual=visual, audio=audio, find_media=False))
        except DataError as error:
            errors.append(error)
            state.problems.append(Problem(split, str(error), 0, fatal=not isinstance(error, AbsentError)))
    if not readers:
        raise errors[0]
    for reader in readers:
        present = _check_split(reader, state)
        if open_files:
            state.problems += check_media(reader.split, present, reader.options, on_file)
    state.problems += _check_shared_videos(readers)
    state.features, problems = check_features(readers, open_files=open_files)
    state.problems += problems
    return state


def check_annotations(
    annotations: list[Annotation], name: str, root: str | Path, on_file: Callable[[], None] | None = None
) -> DatasetState:
    """Check the media of a list of clips, such as a manifest, whose lines have been checked as they were read.

    Args:
        annotations: The clips.
        name: Name of the dataset.
        root: Folder of their media.
        on_file: Called after each file.
    """
    state = DatasetState(name, str(root), "", [SplitState("all", len(annotations), None, len(annotations))])
    state.problems = check_media("all", annotations, ReadOptions(), on_file)
    return state


def _check_split(reader: Official, state: DatasetState) -> list[Annotation]:
    """Add a split to the result; returns the clips whose media are present."""
    split = reader.split
    present = []
    clips_by_lack: dict[str, list[str]] = {}
    for annotation in reader.annotations:
        lack = reader.locate(annotation)
        if lack:
            clips_by_lack.setdefault(lack, []).append(annotation.id)
        else:
            present.append(annotation)
    official = reader.counts.get(state.release, {}).get(split)
    missing = {lack: len(clips) for lack, clips in clips_by_lack.items()}
    state.splits.append(SplitState(split, reader.total, official, len(present), missing))
    for lack, clips in clips_by_lack.items():
        state.problems.append(problem_of(split, f"clips lack {lack}", clips))
    if official is not None and official != reader.total:
        what = f"{reader.total} samples are listed, the official release {state.release!r} has {official}"
        state.problems.append(Problem(split, what, abs(official - reader.total), fatal=False))
    return present


def _check_shared_videos(readers: Sequence[Official]) -> list[Problem]:
    """Videos that are in more than one split, other than in parts of the test split."""
    splits_of: dict[str, set[str]] = {}
    for reader in readers:
        for annotation in reader.annotations:
            splits_of.setdefault(annotation.media, set()).add(reader.split)
    val_is_test = _is_same_list(readers)
    names = []
    for name, splits in splits_of.items():
        is_expected = val_is_test and splits == {"val", "test"}
        is_test = all(split.startswith("test") for split in splits)
        if len(splits) > 1 and not is_expected and not is_test:
            names.append(name)
    if not names:
        return []
    what = "videos are in more than one split, as the official lists have them"
    return [problem_of("", what, sorted(names), fatal=False)]


def _is_same_list(readers: Sequence[Official]) -> bool:
    """Whether val and test are one list."""
    ids = {reader.split: [annotation.id for annotation in reader.annotations] for reader in readers}
    return "val" in ids and ids["val"] == ids.get("test")
