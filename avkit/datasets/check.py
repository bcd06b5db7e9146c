# SPDX-License-Identifier: Apache-2.0
"""What of a dataset is on disk: which clips are missing, which cannot be read, which features do not fit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.check_features import check_features
from avkit.datasets.check_items import ClipCheck, check_items, unlike_clips
from avkit.datasets.check_media import check_media
from avkit.datasets.check_state import DatasetState, Problem, SplitState, problem_of
from avkit.datasets.clips import ClipDataset
from avkit.datasets.official import AbsentError, Official
from avkit.errors import DataError
from avkit.reading.remote import url_of


@dataclass(frozen=True)
class TaskFields:
    """What a task asks of the data.

    Attributes:
        by_split: Targets that each split must have, by its name.
        required: Targets that a sample must have to be used.
    """

    by_split: Mapping[str, frozenset[str]]
    required: frozenset[str]


def check_dataset(
    cls: type[Official],
    root: str | Path,
    release: str | None = None,
    visual: str | None = None,
    audio: str | None = None,
    *,
    hop: float | None = None,
    silent_ok: bool = False,
    tasks: Mapping[str, TaskFields] | None = None,
    open_files: bool = True,
    on_file: Callable[[], None] | None = None,
) -> DatasetState:
    """Check a dataset on disk, by reading every clip of every split as training reads it.

    Args:
        cls: Its class.
        root: Its folder.
        release: Release of the annotations; the usual one by default.
        visual: Features that are to be read instead of pictures, as in `Official`.
        audio: Features that are to be read instead of sound.
        hop: Seconds per step, as in `Official`.
        silent_ok: Use silence for videos without sound.
        tasks: What the tasks ask that are to be trained, by their names.
        open_files: Whether to open every file; else only names are looked at.
        on_file: Called after each file and each clip.

    Raises:
        ValueError: If release or features are unknown.
        DataError: If no split has an annotation file, or one is damaged.
    """
    state = DatasetState(cls.name, url_of(root) or str(root), release or cls.releases[0], source=cls.source)

    def open_split(split: str) -> Official:
        return cls(
            root,
            split,
            release=release,
            visual=visual,
            audio=audio,
            hop=hop,
            silent_ok=silent_ok,
            find_media=False,
        )

    readers = _open_splits(cls.splits, open_split, state)
    all_checks = []
    for reader in readers:
        present = _check_split(reader, state)
        for name, fields in (tasks or {}).items():
            state.problems += check_task(reader, reader.split, name, fields)
        if open_files:
            problems, faulty_files = check_media(reader.split, present, reader.options, on_file)
            state.problems += problems
            checks = check_items(reader, present, on_file)
            state.problems += item_problems(reader.split, checks, faulty_files)
            all_checks += checks
    state.problems += unlike_problems(all_checks)
    state.problems += check_hops(readers)
    state.problems += _check_shared_videos(readers)
    state.features, problems = check_features(readers, open_files=open_files)
    state.problems += problems
    return state


def _open_splits(splits: Iterable[str], open_split: Callable[[str], Official], state: DatasetState) -> list[Official]:
    """Readers of all splits that can be opened; problems of the others go into the state.

    Raises:
        DataError: If no split can be opened.
    """
    readers: list[Official] = []
    errors: list[DataError] = []
    for split in splits:
        try:
            readers.append(open_split(split))
        except DataError as error:
            errors.append(error)
            state.problems.append(Problem(split, str(error), 0, fatal=not isinstance(error, AbsentError)))
    if readers:
        return readers
    damaged = [str(error) for error in errors if not isinstance(error, AbsentError)]
    if not damaged:
        raise errors[0]
    raise DataError(" Also: ".join(dict.fromkeys(damaged)))


def check_hops(readers: Iterable[ClipDataset]) -> list[Problem]:
    """Stored features of which nobody says how many seconds lie between two rows, each once."""
    faults = {}
    for reader in readers:
        try:
            reader.require_hops()
        except DataError as error:
            faults[str(error)] = Problem("", str(error), 1)
    return list(faults.values())


def check_task(reader: ClipDataset, split: str, name: str, fields: TaskFields) -> list[Problem]:
    """Whether a split has what a task asks of it."""
    missing = sorted(fields.by_split[split] - reader.provides)
    if missing:
        return [Problem(split, f"task {name!r} reads {', '.join(missing)}, which no clip has", 0)]
    try:
        reader.indices(fields.required)
    except DataError as error:
        return [Problem(split, f"task {name!r}: {error}", 0)]
    return []


def item_problems(split: str, checks: Sequence[ClipCheck], reported_files: Sequence[str] = ()) -> list[Problem]:
    """The problems of clips that were read.

    Args:
        split: Their split.
        checks: What reading them brought to light.
        reported_files: Names of files whose faults are reported already.
    """
    names = []
    faults = []
    for check in checks:
        own = [fault for fault in check.faults if not any(_mentions(fault, name) for name in reported_files)]
        if own:
            names.append(check.annotation.id)
            faults += own
    if not names:
        return []
    return [problem_of(split, "clips cannot be read as training reads them", names, faults=faults)]


def unlike_problems(checks: Sequence[ClipCheck]) -> list[Problem]:
    """The problem of clips, of whatever split, that cannot stand in one batch with the others."""
    faults = unlike_clips(checks)
    if not faults:
        return []
    return [
        Problem("", "clips are unlike the others, and cannot stand in one batch with them", len(faults), faults=faults)
    ]


def _mentions(fault: str, file: str) -> bool:
    """Whether a fault is about a file, by its name."""
    return any(form in fault for form in (f"/{file}", f"'{file}'", f" {file} "))


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
