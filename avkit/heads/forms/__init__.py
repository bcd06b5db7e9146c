# SPDX-License-Identifier: Apache-2.0
"""The forms in which a sequence of tokens writes an answer, by name and in the order of their tokens."""

from avkit.heads.forms.base import Form, Item
from avkit.heads.forms.events import DenseEventForm, EventForm, ParsingForm
from avkit.heads.forms.places import BoxForm, MaskForm
from avkit.heads.forms.texts import AnswerForm, CaptionForm

FORMS: dict[str, type[Form]] = {
    "events": EventForm,
    "parsing": ParsingForm,
    "dense": DenseEventForm,
    "boxes": BoxForm,
    "masks": MaskForm,
    "caption": CaptionForm,
    "answer": AnswerForm,
}

__all__ = ["FORMS", "Form", "Item"]
