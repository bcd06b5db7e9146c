# SPDX-License-Identifier: Apache-2.0
"""The contract of a form of files of predictions."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from avkit.errors import FileError
from avkit.scoring.predictions import PlacedRecord
from avkit.scoring.truth import Truth


class Format(ABC):
    """A form in which people write predictions."""

    #: Name on the command line.
    name: ClassVar[str]
    #: What it is, in one line.
    title: ClassVar[str]
    #: Names of the tasks that it can hold predictions of; empty for all.
    tasks: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def detect(cls, path: Path) -> bool:
        """Whether a file or folder has this form, by its first bytes or names of files; never an error."""

    @classmethod
    def task_options(cls, truth: Truth) -> Mapping[str, object]:
        """Options of the task with which files of this form are scored, see `Truth.with_options`.

        A form that holds a part of what a task asks, such as masks without captions, leaves the rest out of the score;
        one that the usual protocol cannot score names another. By default none.
        """
        return {}

    @classmethod
    @abstractmethod
    def read(cls, path: Path, truth: Truth) -> Iterator[PlacedRecord | FileError]:
        """The predictions of a file in its order.

        Args:
            path: The file or folder.
            truth: The samples that are scored: their ids, the names of classes, the number of steps.

        Yields:
            For each sample its place in the file, and the record that `Task.prediction` reads, with `id` as it is
            written or as `truth.ids` has it; an error where one entry cannot be read and others can.

        Raises:
            FileError: If the file cannot be read.
        """
