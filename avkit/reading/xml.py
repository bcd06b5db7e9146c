# SPDX-License-Identifier: Apache-2.0
"""XML files of others: no document types, no entities, no unlikely depth."""

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from avkit.errors import file_error
from avkit.reading.boundary import file_errors
from avkit.reading.text import read_text

#: Characters of a file.
_MAX_CHARACTERS = 2**28
#: Levels of elements in elements.
_MAX_DEPTH = 50


def read_xml(path: str | Path, root: str, form: str) -> Element:
    """The outermost element of an XML file.

    Args:
        path: The file.
        root: Name that the element must have.
        form: What the file should be, as a sentence, for messages.

    Raises:
        FileError: If it is no XML, has another outermost element, declares a document type or entities, which can ask
            for any memory and open other files, or is too large or too deep.
    """
    path = Path(path)
    text = read_text(path)
    if len(text) > _MAX_CHARACTERS:
        raise file_error(path, f"has {len(text)} characters, and {_MAX_CHARACTERS} are read", "Split it.")
    for word in ("<!DOCTYPE", "<!ENTITY"):
        if word in text:
            line = text[: text.index(word)].count("\n") + 1
            raise file_error(path, f"declares {word!r} in line {line}, which is refused", f"Remove it. {form}")
    with file_errors(path, "is no whole XML", form):
        element = ElementTree.fromstring(text)
    if element.tag != root:
        raise file_error(path, f"has the outermost element {element.tag[:80]!r} and not {root!r}", form)
    level = [element]
    for _ in range(_MAX_DEPTH):
        level = [child for parent in level for child in parent]
    if level:
        raise file_error(path, f"has elements nested more than {_MAX_DEPTH} deep", form)
    return element
