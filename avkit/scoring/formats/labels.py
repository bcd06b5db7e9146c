# SPDX-License-Identifier: Apache-2.0
"""Names of classes as people write them: in other cases, with other separators, or as the official index."""

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches

from avkit.errors import DataError

#: What stands for background, without case and separators.
_BACKGROUND = ("", "background", "bg", "none", "null", "nothing", "noevent")


class ClassNames:
    """The classes of a dataset, found by what people write.

    Args:
        classes: Names in index order.
        title: Name of the dataset in print.
        background: Index of the background, where the dataset has one among its classes.

    Raises:
        ValueError: If two classes differ only in case and separators.
    """

    def __init__(self, classes: Sequence[str], title: str, background: int | None = None) -> None:
        self.title = title
        self.classes = list(classes)
        self._by_letters = {_letters(name): name for name in classes}
        if len(self._by_letters) < len(classes):
            raise ValueError(f"Classes of {title} differ only in case and separators: {', '.join(classes)}.")
        self._by_index: dict[int, str | None] = dict(enumerate(name for name in classes))
        if background is not None:
            names: list[str | None] = list(classes)
            names.insert(background, None)
            self._by_index = dict(enumerate(names))

    def find(self, written: str, where: str) -> str | None:
        """The class that is meant; None for background.

        Raises:
            DataError: If it is none; names the nearest.
        """
        name = self.get(written)
        if name is not None or _letters(written) in _BACKGROUND:
            return name
        if written.strip().isdecimal():
            index = int(written)
            if index in self._by_index:
                return self._by_index[index]
            raise DataError(
                f"{where}: class {index} is none of {self.title}, whose classes are 0 to {len(self._by_index) - 1}."
            )
        near = get_close_matches(written, self.classes, n=1, cutoff=0.4)
        hint = f" The nearest is {near[0]!r}." if near else f" Classes are {', '.join(self.classes[:5])}, ..."
        raise DataError(f"{where}: {written!r} is no class of {self.title}.{hint}")

    def is_background(self, written: str) -> bool:
        """Whether it stands for background."""
        if self.get(written) is not None:
            return False
        is_index = written.strip().isdecimal()
        return _letters(written) in _BACKGROUND or (is_index and self._by_index.get(int(written), "") is None)

    def get(self, written: str) -> str | None:
        """The class of a name; None where it is none."""
        return self._by_letters.get(_letters(written))

    def find_several(self, written: str, where: str) -> list[str]:
        """The classes of one cell, which may be several separated by commas, or none.

        Raises:
            DataError: If one is no class.
        """
        whole = self.get(written)
        parts = [written] if whole is not None else written.split(",")
        names = [self.find(part, where) for part in parts]
        return list(dict.fromkeys(name for name in names if name is not None))


def _letters(name: str) -> str:
    """A name without case and separators."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(character for character in folded if character.isalnum())
