# SPDX-License-Identifier: Apache-2.0
"""Labels of Audacity: start, end and label in each line, separated by tabs; the file has the name of its clip.

Source:
    https://support.audacityteam.org/basics/working-with-labels (exporting labels)
"""

from pathlib import Path

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.times import check_span, read_seconds
from avkit.reading.text import read_text


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """The clip of a label file; a file without a line says that nothing happens.

    Raises:
        DataError: If a line is no label; names file, line and field.
    """
    clip = ClipNotes(str(path), path.stem, values={"events": []})
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip() or line.startswith("\\"):  # frequencies of the label above
            continue
        where = f"{path}, line {number}"
        cells = line.split("\t")
        if len(cells) != 3:
            raise field_error(
                where, "", f"{line[:80]!r} has {len(cells)} fields; a label is start, end and label, separated by tabs."
            )
        start = read_seconds(cells[0], where, "start")
        end = read_seconds(cells[1], where, "end")
        check_span(start, end, where)
        if not cells[2].strip():
            raise field_error(where, "label", "is empty. Name what is heard.")
        clip.add("events", options.event(start, end, cells[2].strip(), "audio"))
    return [clip]
