# SPDX-License-Identifier: Apache-2.0
"""Entries of a file put together by the sample that they are of."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from avkit.errors import DataError, FileError
from avkit.scoring.formats.ids import SampleIds


class Identified(Protocol):
    """An entry of a file."""

    @property
    def where(self) -> str:
        """File and line."""

    @property
    def id(self) -> str:
        """Id of the sample as it is written."""


Entry = TypeVar("Entry", bound=Identified)


@dataclass
class EntriesByClip(Generic[Entry]):
    """Entries by sample.

    Attributes:
        entries: Those of each sample, in the order of the file.
        errors: For each id that means no sample, once.
    """

    entries: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    errors: list[FileError] = field(default_factory=list)

    def eventless(self, ids: SampleIds) -> list[str]:
        """Samples without an entry that are meant to be without events.

        None where fewer than half of the list have an entry: the file is of another list then, or of a part of it, and
        samples without an entry are missing.
        """
        if 2 * len(self.entries) < len(ids):
            return []
        return [name for name in ids if name not in self.entries]


def group_by_clip(entries: Iterable[Entry], ids: SampleIds) -> EntriesByClip[Entry]:
    """Entries by the sample that they are of; those of other splits are left out."""
    clips: EntriesByClip[Entry] = EntriesByClip()
    meant: dict[str, str | None] = {}
    for entry in entries:
        if entry.id not in meant:
            try:
                meant[entry.id] = ids.find(entry.id, entry.where)
            except DataError as error:
                meant[entry.id] = None
                clips.errors.append(FileError(str(error)))
        name = meant[entry.id]
        if name is not None:
            clips.entries[name].append(entry)
    return clips
