# SPDX-License-Identifier: Apache-2.0
"""ELAN: annotations on tiers, with times in milliseconds, or the times of what they refer to.

Source:
    https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf
"""

from itertools import pairwise
from pathlib import Path
from xml.etree.ElementTree import Element

from avkit.datasets.annotations import field_error
from avkit.datasets.converters.elan_tiers import Span, Spans, sorted_by_parent, spread_over_parents
from avkit.datasets.converters.media_folder import MediaFolder
from avkit.datasets.converters.notes import ClipNotes
from avkit.datasets.converters.options import ImportOptions
from avkit.datasets.converters.times import check_span
from avkit.errors import DataError
from avkit.reading.xml import read_xml

_FORM = "Save it in ELAN as .eaf."
#: Names of tiers that tell the modality of their events.
_MODALITIES = ("audio", "visual")


def read(path: Path, media: MediaFolder, options: ImportOptions) -> list[ClipNotes]:
    """The clip of a file: annotations are events of the class that they name, or captions.

    Raises:
        DataError: If something is of another form; names file, tier and annotation.
    """
    root = read_xml(path, "ANNOTATION_DOCUMENT", _FORM)
    name, origin = _media(path, root, media)
    clip = ClipNotes(str(path), name)
    slots = _slots(path, root)
    tiers = {_attribute(tier, "TIER_ID", str(path)): tier for tier in root.iter("TIER")}
    unknown = sorted((options.captions | options.skip) - tiers.keys())
    if unknown:
        raise DataError(f"{path}: there is no tier {unknown[0]!r}; there are: {', '.join(tiers)}.")
    is_event_file = False
    spans: Spans = {}
    ordered = sorted_by_parent(tiers, path)
    parents = {tier.get("PARENT_REF") for tier_name, tier in ordered if tier_name not in options.skip}
    for tier_name, tier in ordered:
        if tier_name in options.skip and tier_name not in parents:
            continue
        where = f"{path}, tier {tier_name!r}"
        annotations = _annotations(tier, slots, spans, where)
        if tier_name in options.skip:
            continue
        is_caption = tier_name in options.captions
        is_event_file = is_event_file or not is_caption
        for (start, end), text in annotations:
            check_span(start, end, where)
            if not text:
                raise field_error(where, "ANNOTATION_VALUE", f"is empty, of the annotation at {start:g} s.")
            start = round(start + origin, 6)
            end = round(end + origin, 6)
            modality = tier_name.lower() if tier_name.lower() in _MODALITIES else "both"
            if is_caption:
                clip.add("captions", {"start": start, "end": end, "text": text})
            else:
                clip.add("events", options.event(start, end, text, modality))
    if is_event_file:
        clip.values.setdefault("events", [])
    return [clip]


def _media(path: Path, root: Element, media: MediaFolder) -> tuple[str, float]:
    """Name of the media file, the first of those named that is there, and its second at time 0 of the file."""
    header = root.find("HEADER")
    if header is None:
        raise DataError(f"{path} has no HEADER. {_FORM}")
    units = header.get("TIME_UNITS", "milliseconds")
    if units != "milliseconds":
        raise field_error(str(path), "TIME_UNITS", f"{units!r} is not read; times in milliseconds are. {_FORM}")
    descriptors = header.findall("MEDIA_DESCRIPTOR")
    names = []
    for descriptor in descriptors:
        name = descriptor.get("RELATIVE_MEDIA_URL") or _attribute(descriptor, "MEDIA_URL", str(path))
        names.append(name)
        if media.find(name) is not None:
            origin = descriptor.get("TIME_ORIGIN", "0")
            return name, _milliseconds(origin, str(path), "TIME_ORIGIN")
    return (names[0] if names else path.stem), 0.0


def _slots(path: Path, root: Element) -> dict[str, float | None]:
    """Seconds of each time slot; None where ELAN has not aligned it."""
    slots: dict[str, float | None] = {}
    for slot in root.iter("TIME_SLOT"):
        name = _attribute(slot, "TIME_SLOT_ID", str(path))
        value = slot.get("TIME_VALUE")
        slots[name] = None if value is None else _milliseconds(value, f"{path}, time slot {name!r}", "TIME_VALUE")
    return slots


def _annotations(tier: Element, slots: dict[str, float | None], spans: Spans, where: str) -> list[tuple[Span, str]]:
    """Span and text of the annotations of a tier; their spans are added to `spans` under their ids."""
    aligned = [element for child in tier.iter("ANNOTATION") for element in child.findall("ALIGNABLE_ANNOTATION")]
    referring = [element for child in tier.iter("ANNOTATION") for element in child.findall("REF_ANNOTATION")]
    references: list[tuple[str, str]] = []
    for element in aligned:
        ends = [_attribute(element, key, where) for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
        for name in ends:
            if name not in slots:
                raise field_error(where, "TIME_SLOT_REF", f"{name!r} is no time slot of the file.")
        references.append((ends[0], ends[1]))
    times = _fill_in(references, slots, where)
    annotations = []
    for element, (start, end) in zip(aligned, references, strict=True):
        span = (times[start], times[end])
        spans[element.get("ANNOTATION_ID", "")] = span
        annotations.append((span, _text(element)))
    for element, span in spread_over_parents(referring, spans, where):
        annotations.append((span, _text(element)))
    return annotations


def _text(element: Element) -> str:
    return (element.findtext("ANNOTATION_VALUE") or "").strip()


def _fill_in(references: list[tuple[str, str]], slots: dict[str, float | None], where: str) -> dict[str, float]:
    """Seconds of the slots of a tier; those between two annotations that are not aligned lie evenly, as ELAN has it."""
    chains: list[list[str]] = []
    for start, end in references:
        if chains and chains[-1][-1] == start:
            chains[-1].append(end)
        else:
            chains.append([start, end])
    times: dict[str, float] = {}
    for chain in chains:
        aligned = [k for k, name in enumerate(chain) if slots[name] is not None]
        if not aligned or aligned[0] != 0 or aligned[-1] != len(chain) - 1:
            raise field_error(where, "TIME_VALUE", f"an annotation from slot {chain[0]!r} on has no time. {_FORM}")
        for first, last in pairwise(aligned):
            begin = slots[chain[first]]
            finish = slots[chain[last]]
            assert begin is not None
            assert finish is not None
            for k in range(first, last + 1):
                times[chain[k]] = begin + (finish - begin) * (k - first) / (last - first)
    return times


def _attribute(element: Element, key: str, where: str) -> str:
    value = element.get(key)
    if value is None:
        raise DataError(f"{where}: {element.tag} lacks {key}. {_FORM}")
    return value


def _milliseconds(text: str, where: str, field: str) -> float:
    try:
        return int(text) / 1000
    except ValueError as error:
        raise field_error(where, field, f"{text[:40]!r} is no whole number of milliseconds.") from error
