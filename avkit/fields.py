# SPDX-License-Identifier: Apache-2.0
"""Fields: the targets that a dataset may provide and a task may use, each declared once."""

from dataclasses import dataclass

from avkit.errors import unknown_name


@dataclass(frozen=True)
class Field:
    """One kind of target. Its record decides how clips are cropped and batched.

    Attributes:
        name: Key in `Item.targets` and `Batch.targets`.
        doc: Type, shape and meaning of one clip's value.
        rank: Number of axes of one clip's value; 0 for text and other values that are no tensors.
        per_step: The first axis, or the list, has one entry per step: it is cropped with the clip.
        per_question: A clip with several questions has one value for each.
        spans: Rows are spans of time that begin with start and end in seconds: shifted with the clip, and kept as a
            list in a batch, because padding would be read as a span.
        ragged_axis: An axis whose length differs from clip to clip, padded in a batch: with NaN where values are
            floats, else with 0.
    """

    name: str
    doc: str
    rank: int
    per_step: bool = False
    per_question: bool = False
    spans: bool = False
    ragged_axis: int | None = None


#: Every declared field by name.
FIELDS: dict[str, Field] = {}


def declare(field: Field) -> Field:
    """Add a field, such as one that a task from outside avkit needs.

    Raises:
        ValueError: If another field of that name is declared already.
    """
    if FIELDS.get(field.name, field) != field:
        raise ValueError(
            f"Field {field.name!r} is declared already, as {FIELDS[field.name].doc!r}. Choose another name for "
            f"{field.doc!r}."
        )
    FIELDS[field.name] = field
    return field


def find_field(name: str) -> Field:
    """The field of a name.

    Raises:
        ValueError: If none is declared.
    """
    if name not in FIELDS:
        error = unknown_name("field", name, FIELDS)
        raise ValueError(f"{error} A field from outside avkit is declared with avkit.fields.declare(Field(...)).")
    return FIELDS[name]


declare(Field("mask", "uint8 (T, H, W), 1 where a visible source sounds, else 0", rank=3, per_step=True))
declare(Field("mask_known", "bool (T,), whether the step has an annotated mask", rank=1, per_step=True))
declare(
    Field(
        "class_mask",
        "uint8 (T, H, W), 0 for background, k + 1 for a visible, sounding source of class k",
        rank=3,
        per_step=True,
    )
)
declare(
    Field(
        "instance_mask",
        "uint8 (T, H, W), 0 for background, i + 1 for object i, sounding or not",
        rank=3,
        per_step=True,
    )
)
declare(
    Field(
        "boxes",
        "float32 (T, N, 4), x1 y1 x2 y2 in [0, 1] of each object, NaN where it is not visible",
        rank=3,
        per_step=True,
        ragged_axis=1,
    )
)
declare(
    Field(
        "source",
        "float32 (T, H, W) in [0, 1], how strongly each pixel counts as the source of the sound; 0 where unknown",
        rank=3,
        per_step=True,
    )
)
declare(
    Field(
        "caption",
        "T strings, which source sounds in each step and how; empty where the step has no caption",
        rank=0,
        per_step=True,
    )
)
declare(
    Field(
        "source_mask",
        "uint8 (T, K, H, W), 1 where source k of K is visible and sounds, else 0; `mask` is where any of them does",
        rank=4,
        per_step=True,
        ragged_axis=1,
    )
)
declare(
    Field(
        "source_known",
        "bool (T, K), whether the step has an annotated mask of source k; False where a clip has fewer sources",
        rank=2,
        per_step=True,
        ragged_axis=1,
    )
)
declare(
    Field(
        "source_caption",
        "T lists of K strings, what source k sounds like and does in each step; empty where nothing is said of it",
        rank=0,
        per_step=True,
    )
)
declare(Field("audio_segments", "uint8 (T, K), classes audible in each step", rank=2, per_step=True))
declare(Field("visual_segments", "uint8 (T, K), classes visible in each step", rank=2, per_step=True))
declare(Field("video_labels", "uint8 (K,), classes audible or visible anywhere in the clip", rank=1))
declare(
    Field(
        "events",
        "float32 (N, 3), start in s, end in s and class index of each event both audible and visible",
        rank=2,
        spans=True,
    )
)
declare(Field("answer", "string, the answer to the item's question", rank=0, per_question=True))
declare(
    Field(
        "choices",
        "strings, the answers to choose from where a question has a few of its own; empty ones are none",
        rank=0,
    )
)
declare(Field("question_type", "string, such as 'Audio-Visual Counting'", rank=0, per_question=True))
