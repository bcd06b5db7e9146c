# SPDX-License-Identifier: Apache-2.0
"""Tiers of ELAN that depend on others: their annotations have the times of the annotations that they refer to."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias
from xml.etree.ElementTree import Element

from avkit.datasets.annotations import field_error
from avkit.errors import DataError

#: Start and end in seconds.
Span: TypeAlias = tuple[float, float]
#: Spans of annotations by their ids.
Spans: TypeAlias = dict[str, Span]


def sorted_by_parent(tiers: dict[str, Element], path: Path) -> list[tuple[str, Element]]:
    """Tiers with their names, each after the one that it depends on, else in the order of the file.

    Raises:
        DataError: If one depends on a tier that is not there, or on itself.
    """
    ordered: dict[str, Element] = {}
    for name in tiers:
        chain: list[str] = []
        parent: str | None = name
        while parent is not None and parent not in ordered:
            if parent not in tiers or parent in chain:
                depends = "itself" if parent in chain else f"{parent!r}, which is no tier of the file"
                raise DataError(f"{path}, tier {chain[-1]!r} depends on {depends}. Save it in ELAN as .eaf.")
            chain.append(parent)
            parent = tiers[parent].get("PARENT_REF")
        for tier in reversed(chain):
            ordered[tier] = tiers[tier]
    return list(ordered.items())


def spread_over_parents(elements: Sequence[Element], spans: Spans, where: str) -> list[tuple[Element, Span]]:
    """Spans of annotations that refer to others: that of the parent, in equal parts where several refer to one.

    ELAN shows them so. Their order is that of PREVIOUS_ANNOTATION, which each but the first names.

    Args:
        elements: The `REF_ANNOTATION`s of a tier.
        spans: Spans by id, to which those of the elements are added.
        where: File and tier, for messages.

    Raises:
        DataError: If one refers to an annotation that is not there, or their order has a gap.
    """
    children: dict[str, list[Element]] = {}
    for element in elements:
        children.setdefault(element.get("ANNOTATION_REF", ""), []).append(element)
    spread = []
    for parent, group in children.items():
        if parent not in spans:
            raise field_error(where, "ANNOTATION_REF", f"{parent!r} is no annotation of a tier that it depends on.")
        start, end = spans[parent]
        step = (end - start) / len(group)
        for k, element in enumerate(_in_order(group, where)):
            span = (start + k * step, start + (k + 1) * step)
            spans[element.get("ANNOTATION_ID", "")] = span
            spread.append((element, span))
    return sorted(spread, key=lambda pair: pair[1])


def _in_order(group: Sequence[Element], where: str) -> list[Element]:
    """Annotations that refer to one parent, each after its predecessor."""
    after = {element.get("PREVIOUS_ANNOTATION"): element for element in group}
    ordered: list[Element] = []
    element = after.get(None)
    while element is not None and len(ordered) < len(group):
        ordered.append(element)
        element = after.get(element.get("ANNOTATION_ID"))
    if len(ordered) != len(group) or element is not None:
        raise field_error(where, "PREVIOUS_ANNOTATION", "does not name each annotation's predecessor. Save it again.")
    return ordered
