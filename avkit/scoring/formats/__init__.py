# SPDX-License-Identifier: Apache-2.0
"""Files of predictions in the forms that other people write; a name is resolved when it is asked for."""

from pathlib import Path

from avkit.errors import file_error, unknown_name
from avkit.outside import import_part
from avkit.scoring.formats.base import Format
from avkit.scoring.truth import Truth

#: Name on the command line, and where the format is. The first that knows a file reads it, the surest ones first.
FORMATS: dict[str, str] = {
    "tspm": "avkit.scoring.formats.answers:ResultLines",
    "activitynet": "avkit.scoring.formats.activitynet:ActivityNet",
    "answers": "avkit.scoring.formats.answers:AnswersJson",
    "ave-table": "avkit.scoring.formats.ave:LabelTable",
    "avvp-table": "avkit.scoring.formats.avvp:ModalityTable",
    "boxes": "avkit.scoring.formats.boxes:Boxes",
    "heat-maps": "avkit.scoring.formats.heat_maps:HeatMaps",
    "ra-ssu-folder": "avkit.scoring.formats.regions:RegionFolder",
    "mask-folder": "avkit.scoring.formats.masks:MaskFolder",
    "captions": "avkit.scoring.formats.captions:Captions",
    "avkit": "avkit.scoring.formats.avkit:AvkitLines",
}


def find_format(name: str) -> type[Format]:
    """The class of a format.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in FORMATS and ":" not in name:
        raise unknown_name("format", name, FORMATS)
    return import_part("format", FORMATS.get(name, name), Format)


def detect_format(path: Path, truth: Truth) -> type[Format]:
    """The format of a file or folder, of those that are for the task.

    Raises:
        FileError: If no format knows it.
    """
    names = []
    for name in FORMATS:
        kind = find_format(name)
        if kind.tasks and truth.task.name not in kind.tasks:
            continue
        names.append(name)
        if kind.detect(path):
            return kind
    raise file_error(
        path,
        f"is no file of predictions for {truth.task.name} that avkit knows",
        f"Name its form with --format: {', '.join(names)}.",
    )
