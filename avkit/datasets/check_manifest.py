# SPDX-License-Identifier: Apache-2.0
"""Checking a manifest: every line, and every clip as training reads it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.base import DatasetOptions
from avkit.datasets.check import TaskFields, check_hops, check_task, item_problems, unlike_problems
from avkit.datasets.check_items import ClipCheck, check_items
from avkit.datasets.check_state import DatasetState, Problem, SplitState, problem_of
from avkit.datasets.faults import Faults
from avkit.datasets.manifest import Manifest
from avkit.datasets.manifest_lines import read_manifest
from avkit.datasets.manifest_schema import SPLITS
from avkit.datasets.pixels import mask_levels
from avkit.datasets.splits import split_lines, too_few_error
from avkit.errors import AvkitError, DataError
from avkit.reading.remote import is_file, read_ends

#: Bytes that are compared at the start of files of one size, to tell copies.
_COMPARED_BYTES = 2**20


def check_manifest(
    options: DatasetOptions,
    tasks: Mapping[str, TaskFields] | None = None,
    *,
    open_files: bool = True,
    on_file: Callable[[], None] | None = None,
) -> DatasetState:
    """Check a manifest.

    Args:
        options: The manifest, and how it is read, as training has them.
        tasks: What the tasks ask that are to be trained, by their names.
        open_files: Whether to read every clip; else only the lines are checked.
        on_file: Called after each clip.

    Raises:
        ValueError: If no manifest is named.
        DataError: If the file cannot be read or is empty.
    """
    if options.manifest is None:
        raise ValueError("Name the file with --manifest.")
    root = options.root or options.manifest.parent
    state = DatasetState("manifest", str(root), "")
    line_faults = Faults(collect=True)
    lines = read_manifest(options.manifest, root, line_faults, {} if options.allow_missing else None)
    if line_faults.errors:
        texts = [str(error) for error in line_faults.errors]
        what = "faults in lines"
        state.problems.append(Problem("", what, len(texts), faults=texts))
    try:
        by_split, _ = split_lines(lines, options.splits, options.manifest)
    except DataError as error:
        state.problems.append(Problem("", str(error), 0))
        by_split = {}
    readers = _open_splits(options, state, by_split)
    checks = []
    for reader in readers:
        checks += _check_split(reader, state, tasks or {}, line_faults.errors, open_files=open_files, on_file=on_file)
    state.problems += unlike_problems(checks)
    state.problems += check_hops(readers)
    if readers:
        state.problems += [Problem("", note, 0, fatal=False) for note in readers[0].notes]
    if open_files:
        state.problems += _check_copies(by_split)
    return state


def _open_splits(
    options: DatasetOptions, state: DatasetState, by_split: Mapping[str, Sequence[Annotation]]
) -> list[Manifest]:
    """A reader for each split; splits without lines, or whose features cannot be opened, are faults."""
    readers = []
    used = [split for split in SPLITS if by_split.get(split)]
    empty = [split for split in SPLITS if split not in used]
    if empty and by_split:
        lines = [line for split in used for line in by_split[split]]
        text = str(too_few_error(str(options.manifest), empty, lines))
        state.problems.append(Problem(", ".join(empty), text, 0, fatal=used != ["test"]))
    for split in used or SPLITS:
        try:
            readers.append(Manifest.open(split, options, faults=Faults(collect=True)))
        except AvkitError as error:
            if not by_split and readers == []:
                continue  # clips in two splits, which is said already
            state.problems.append(Problem(split, str(error), 0))
    return readers


def _check_split(
    reader: Manifest,
    state: DatasetState,
    tasks: Mapping[str, TaskFields],
    line_errors: Sequence[AvkitError],
    *,
    open_files: bool,
    on_file: Callable[[], None] | None,
) -> list[ClipCheck]:
    """Add a split to the result; returns what reading its clips brought to light."""
    split = reader.split
    count = len(reader.annotations)
    listed = count + len(reader.missing)
    state.splits.append(SplitState(split, listed, None, count, dict.fromkeys(reader.missing.values(), 1)))
    for name, fields in tasks.items():
        state.problems += check_task(reader, split, name, fields)
    with_events = [annotation for annotation in reader.annotations if annotation.events is not None]
    if with_events and not any(annotation.events for annotation in with_events):
        what = "no clip has an event, so tasks that look for events have no figure there"
        state.problems.append(Problem(split, what, 0, fatal=False))
    if not open_files:
        return []
    checks = check_items(reader, on_clip=on_file)
    absent = [name for error in line_errors for name in _absent_files(error)]
    state.problems += item_problems(split, checks, absent)
    state.problems += _check_levels(split, reader.annotations)
    state.problems += _check_sources(split, reader.annotations)
    return checks


def _absent_files(error: AvkitError) -> list[str]:
    """Names of files that the fault of a line says are not there, as messages of readers quote them."""
    text = str(error)
    if "does not exist under root" not in text:
        return []
    return [text.split(": ", 1)[1].split(" does not exist")[0].strip("'\"")]


def _check_levels(split: str, annotations: Sequence[Annotation]) -> list[Problem]:
    """Masks of several grey levels of which all count as sounding, because nothing says which do."""
    faults = []
    for annotation in annotations:
        for k, mask in enumerate(annotation.masks or ()):
            if mask.classes is not None or mask.foreground is not None:
                continue
            levels = mask_levels(annotation.root / mask.file)
            if len(levels) > 1:
                shown = ", ".join(map(str, levels[:5])) + (", ..." if len(levels) > 5 else "")
                faults.append(f"{annotation.where}, field 'masks[{k}]': {mask.file!r} has the values {shown}")
    if not faults:
        return []
    what = "masks have several values and neither 'classes' nor 'foreground', so every value but 0 counts as sounding"
    return [Problem(split, what, len(faults), fatal=False, faults=faults)]


def _check_sources(split: str, annotations: Sequence[Annotation]) -> list[Problem]:
    """Sources that no mask of their clip shows, in clips with masks."""
    faults = []
    for annotation in annotations:
        if annotation.sources is None or not annotation.masks:
            continue
        drawn: set[int] = set()
        for mask in annotation.masks:
            drawn.update(mask_levels(annotation.root / mask.file))
        for k, entry in enumerate(annotation.sources):
            if entry.source not in drawn:
                faults.append(
                    f"{annotation.where}, field 'sources[{k}]': no mask has a pixel of {entry.source}, {entry.label!r}"
                )
    if not faults:
        return []
    what = "sources are in no mask of their clip, so nothing is learned about where they are"
    return [Problem(split, what, len(faults), fatal=False, faults=faults)]


def _check_copies(by_split: Mapping[str, Sequence[Annotation]]) -> list[Problem]:
    """Files of different names and the same content that are in more than one split."""
    places: dict[tuple[int, str], dict[str, set[str]]] = {}
    digests: dict[Path, tuple[int, str]] = {}
    for split, lines in by_split.items():
        for line in lines:
            path = line.root / (line.video or line.picture or "")
            if not is_file(path):
                continue
            if path not in digests:
                digests[path] = _digest(path)
            places.setdefault(digests[path], {}).setdefault(path.resolve().name, set()).add(split)
    names = []
    for files in places.values():
        splits = set().union(*files.values())
        if len(files) > 1 and len(splits) > 1:
            names.append(" = ".join(sorted(files)))
    if not names:
        return []
    return [problem_of("", "videos are copies of each other and in more than one split", names, fatal=False)]


def _digest(path: Path) -> tuple[int, str]:
    """Size of a file, and a hash of its start and end."""
    size, content = read_ends(path, _COMPARED_BYTES)
    return size, hashlib.sha256(content).hexdigest()
