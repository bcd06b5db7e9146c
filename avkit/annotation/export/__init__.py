# SPDX-License-Identifier: Apache-2.0
"""Labels written as files: ours, and those of other tools; half-labelled clips are refused by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from avkit.annotation.folder import Folder
from avkit.annotation.labels import ClipLabels, read_labels
from avkit.errors import AvkitError, DataError, count_of, unknown_name

#: What each format is, and where it is written, as `module:function`.
FORMATS: Mapping[str, tuple[str, str]] = {
    "avkit": ("a manifest with masks; clips of avkit build get masks and captions.jsonl in their places", "ours:write"),
    "coco": ("COCO JSON of videos with run-length masks, with a picture per step", "coco:write"),
    "avsbench-s4": ("AVSBench S4: the first 5 s of clips with one object", "avsbench:write_s4"),
    "avsbench-ms3": ("AVSBench MS3: the first 5 s of clips", "avsbench:write_ms3"),
    "avsbench-avss": ("AVSBench-semantic: the first 5 or 10 s of clips", "avsbench:write_avss"),
    "label-studio": ("Label Studio JSON: spans, sentences and boxes (it has no masks in videos)", "label_studio:write"),
    "cvat": ("CVAT for video 1.1: masks of tracks, a file per clip", "cvat:write"),
}
#: Clips that a message names.
_SHOWN = 5


@dataclass(frozen=True)
class ExportOptions:
    """How labels are written.

    Attributes:
        out: File or folder to write; None for the usual place of the format.
        partial: Write what there is of half-labelled clips: the steps in which every sounding object has its mask.
        overwrite: Replace what lies there, though something else wrote it.
        split: Split of all clips, for layouts that need one; by default their own, or one that is drawn.
    """

    out: Path | None = None
    partial: bool = False
    overwrite: bool = False
    split: str | None = None


@dataclass
class Exported:
    """What was written.

    Attributes:
        out: The file or folder.
        clips: Number of clips in it.
        notes: What a reader must know, a sentence each.
    """

    out: Path
    clips: int
    notes: list[str] = field(default_factory=list)


Writer = Callable[[Folder, list[ClipLabels], ExportOptions], Exported]


def export_labels(folder: Folder, name: str, options: ExportOptions) -> Exported:
    """Write the labels of a folder in a format.

    Clips that nobody has touched, and those whose sound and picture do not match, are left out and counted.

    Raises:
        ValueError: If the format is not known.
        DataError: If clips are half labelled and `partial` is False, if none is labelled, or if a file is in the way.
    """
    if name not in FORMATS:
        raise unknown_name("format", name, FORMATS)
    labels, notes = _labelled_clips(folder, partial=options.partial)
    module, _, function = FORMATS[name][1].partition(":")
    writer: Writer = vars(import_module(f"avkit.annotation.export.{module}"))[function]
    exported = writer(folder, labels, options)
    exported.notes = [*notes, *exported.notes]
    return exported


def _labelled_clips(folder: Folder, *, partial: bool) -> tuple[list[ClipLabels], list[str]]:
    """Clips that are to be written, and notes on those that are not."""
    labelled = []
    half: list[str] = []
    untouched = 0
    unlike = 0
    for clip in folder.clips.values():
        if not folder.store.items(clip.number):
            untouched += 1
            continue
        try:
            labels = read_labels(folder, clip)
        except AvkitError as error:
            half.append(f"{clip.name}: {error}")
            continue
        gaps = labels.gaps()
        if labels.is_untouched and not labels.proposals:
            untouched += 1
        elif labels.match == "no":
            unlike += 1
        elif not gaps:
            labelled.append(labels)
        else:
            half.append(f"{clip.name} ({'; '.join(gaps[:3])})")
            if partial and labels.objects and labels.known_steps():
                labelled.append(labels)
    if half and not partial:
        more = ", ..." if len(half) > _SHOWN else ""
        raise DataError(
            f"{count_of(len(half), 'clip is', 'clips are')} half labelled: {', '.join(half[:_SHOWN])}{more}. Finish "
            "them, or write what there is with --partial."
        )
    if not labelled:
        raise DataError(
            f"No clip of {folder.root} is labelled, so there is nothing to write. Start with 'avkit annotate'."
        )
    notes = []
    if untouched:
        notes.append(f"{count_of(untouched, 'clip')} without labels left out")
    if unlike:
        notes.append(f"{count_of(unlike, 'clip')} left out: sound and picture do not match")
    if half:
        notes.append(f"half labelled, written as far as they are: {', '.join(half[:_SHOWN])}")
    return labelled, notes
