# SPDX-License-Identifier: Apache-2.0
"""How annotation files are converted."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ImportOptions:
    """Options of `avkit import`.

    Attributes:
        media: Folder of the media files; that of the annotation file by default.
        fps: Frames per second at which frames are numbered; the video's own by default, where that is safe.
        first_frame: Number of the first frame, where pictures are numbered in their names.
        hop: Seconds of a step. Boxes and masks are kept once per step, from the frame nearest to its middle.
        split: Split of all lines; drawn later if None.
        modality: Modality of all events that do not say theirs; by the format if None.
        label: Attribute that names the class, where there are several.
        captions: Tiers, label controls or attributes whose texts are captions.
        skip: Kinds of shapes, tiers, controls, attributes and columns to leave out.
        box_only: What becomes of objects with a box alone in a picture in which others have masks: `fill` makes a mask
            of the box, `background` counts them as background, `drop` leaves out the masks of that picture; an error
            if None.
        columns: Column of each name of ours, where a table has others.
    """

    media: Path | None = None
    fps: float | None = None
    first_frame: int = 0
    hop: float = 1.0
    split: str | None = None
    modality: str | None = None
    label: str | None = None
    captions: frozenset[str] = frozenset()
    skip: frozenset[str] = frozenset()
    box_only: str | None = None
    columns: tuple[tuple[str, str], ...] = ()

    def event(self, start: float, end: float, label: str, modality: str = "both") -> dict[str, "str | float | None"]:
        """An event as a manifest has it."""
        return {"start": start, "end": end, "label": label, "modality": self.modality or modality}
