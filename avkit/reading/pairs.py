# SPDX-License-Identifier: Apache-2.0
"""Two files that belong together: a checkpoint, and its weights as safetensors with a mark of that checkpoint.

They are two writes, and a process may be killed between them. The checkpoint is written first and counts.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path

from avkit.errors import file_error
from avkit.reading.boundary import file_errors
from avkit.reading.checksums import crc32

#: Name among the facts of the weights under which the mark of their checkpoint stands.
MARK = "checkpoint"


def mark_of(checkpoint: Path) -> str:
    """A checksum of a checkpoint's content, made of those in its directory; empty if it is missing or cut."""
    if not zipfile.is_zipfile(checkpoint):
        return ""
    with file_errors(checkpoint, "cannot be read as a checkpoint"), zipfile.ZipFile(checkpoint) as archive:
        parts = [f"{_inner_name(info)} {info.file_size} {info.CRC}\n".encode() for info in archive.infolist()]
    return f"{crc32(*parts):08x}"


def _inner_name(info: zipfile.ZipInfo) -> str:
    """A part's name without the first folder, which torch names after the file."""
    return info.filename.partition("/")[2]


def is_of(facts: Mapping[str, str], checkpoint: Path) -> bool:
    """Whether weights with these facts are of a checkpoint, as far as both can tell."""
    stated = facts.get(MARK, "")
    return not stated or mark_of(checkpoint) in ("", stated)


def check_pair(weights: Path, facts: Mapping[str, str]) -> None:
    """Refuse weights that are of another checkpoint than the one beside them.

    Raises:
        FileError: If they are; says how they are written again.
    """
    checkpoint = weights.with_suffix(".ckpt")
    if not is_of(facts, checkpoint):
        raise file_error(
            weights,
            f"is of an earlier checkpoint than {checkpoint.name} beside it: training was killed between writing one "
            "and the other",
            f"Write it again: avkit test {weights.parent.parent}",
        )
