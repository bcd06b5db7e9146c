# SPDX-License-Identifier: Apache-2.0
"""Which targets the keys of an annotation provide."""

from collections.abc import Mapping

#: Targets that each key provides; `class_mask` only if all masks of the annotation name their classes.
FIELDS_BY_KEY: dict[str, frozenset[str]] = {
    "masks": frozenset({"mask", "mask_known", "class_mask", "source"}),
    "captions": frozenset({"caption"}),
    "questions": frozenset({"answer", "question_type"}),
    "events": frozenset({"events", "audio_segments", "visual_segments", "video_labels"}),
    "labels": frozenset({"video_labels"}),
    "boxes": frozenset({"boxes", "source"}),
}
#: Targets of sources kept apart, of clips with captions whose masks all name their classes.
SOURCE_FIELDS = frozenset({"source_mask", "source_known", "source_caption"})
#: Targets of a question; a clip by itself has none of them.
QUESTION_FIELDS = FIELDS_BY_KEY["questions"] | {"choices"}


def provided_fields(values: Mapping[str, object | None]) -> set[str]:
    """Targets of the keys whose value is not None."""
    names: set[str] = set()
    for key, value in values.items():
        if value is not None:
            names |= FIELDS_BY_KEY[key]
    return names
