# SPDX-License-Identifier: Apache-2.0
"""Names of classes and answers as people write them: white space at their edges, and names that nearly equal."""

import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any


def strip_names(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line of a manifest whose classes and answers have no white space at their edges.

    Args:
        line: A line that fits the schema of manifests.
    """
    values = dict(line)
    if "labels" in values:
        values["labels"] = [label.strip() for label in values["labels"]]
    if "events" in values:
        values["events"] = [{**event, "label": event["label"].strip()} for event in values["events"]]
    if "questions" in values:
        values["questions"] = [{**entry, "answer": entry["answer"].strip()} for entry in values["questions"]]
    if "sources" in values:
        values["sources"] = [{**entry, "label": entry["label"].strip()} for entry in values["sources"]]
    if "masks" in values:
        values["masks"] = [_strip_classes(mask) for mask in values["masks"]]
    return values


def _strip_classes(mask: Mapping[str, Any]) -> dict[str, Any]:
    values = dict(mask)
    if "classes" in values:
        values["classes"] = {value: name and name.strip() for value, name in values["classes"].items()}
    return values


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case, accents' encoding, separators or a plural s, each group sorted."""
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(_plain(name), set()).add(name)
    return [sorted(group) for group in groups.values() if len(group) > 1]


def _plain(name: str) -> str:
    """A name without what people vary by mistake."""
    folded = unicodedata.normalize("NFKC", name).casefold()
    letters = "".join(character for character in folded if character.isalnum())
    if len(letters) > 3 and letters.endswith("s"):
        letters = letters[:-1]
    return letters or folded
