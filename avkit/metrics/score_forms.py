# SPDX-License-Identifier: Apache-2.0
"""Scores told apart by their form.

The convention of all metrics: scores are `logits` (before the sigmoid or softmax), `probabilities` (in [0, 1]) or
`labels` (decided: 0 and 1, or a class per entry). Where the difference moves a number, a metric takes `form`, and
refuses values that are not what it was told, or may be more than one thing.
"""

from typing import Literal

import torch
from torch import Tensor

from avkit.errors import unknown_name

Form = Literal["logits", "probabilities", "labels"]
FORMS = ("logits", "probabilities", "labels")

#: How far probabilities may lie outside [0, 1] by rounding.
_ROUNDING = 1e-6
#: Logits inside [0, 1] that spread wider than this are taken for probabilities.
_SPREAD = 0.5


def check_form(form: str | None) -> None:
    """Raise ValueError unless `form` is one of `FORMS` or None."""
    if form is not None and form not in FORMS:
        raise unknown_name("form", form, FORMS)


def check_binary_scores(name: str, scores: Tensor, form: Form | None) -> Form:
    """The form of scores of something that is there or not, such as a pixel of a mask.

    Without `form` negative values show that scores are logits, whole numbers and flags that they are labels; anything
    else could be two things, and is refused.

    Args:
        name: What they are, for errors.
        scores: Of any shape.
        form: What they are said to be.

    Raises:
        ValueError: If values are NaN, or not what `form` says, or may be more than one thing.
    """
    if not scores.is_floating_point():
        return _check_labels(name, scores, form)
    if not scores.numel():
        return form or "probabilities"
    low, high = (float(end) for end in torch.aminmax(scores.detach()))
    if low != low or high != high:
        raise ValueError(f"{name} hold NaN; look at the loss of the run, it has probably diverged.")
    inside = low >= -_ROUNDING and high <= 1 + _ROUNDING
    values = f"{name} go from {low:.4g} to {high:.4g}"
    if form is None and low < -_ROUNDING:
        return "logits"
    if form is None and inside:
        raise ValueError(
            f"{values}: they may be probabilities or logits, which are scored differently. Make the metric with "
            "form='probabilities' or form='logits'; the masks of a prediction are probabilities."
        )
    if form is None:
        raise ValueError(
            f"{values}: they are neither probabilities, which lie in [0, 1], nor plainly logits, of which some are "
            "negative. Divide by the scale, or say form='logits'."
        )
    if form == "probabilities" and not inside:
        raise ValueError(f"{values}, outside of [0, 1]; they are said to be probabilities. Logits take form='logits'.")
    if form == "logits" and inside and high - low > _SPREAD:
        raise ValueError(
            f"{values}, as probabilities do; they are said to be logits. Say form='probabilities'; if they are logits, "
            "give their sigmoid as probabilities."
        )
    if form == "labels" and not bool(((scores == 0) | (scores == 1)).all()):
        raise ValueError(f"{values} and are not all 0 or 1; they are said to be labels. Say form='probabilities'.")
    return form


def _check_labels(name: str, scores: Tensor, form: Form | None) -> Form:
    if form == "logits":
        raise ValueError(
            f"{name} are {scores.dtype}; give float scores before the sigmoid, or say form='labels' for decided masks."
        )
    if scores.numel() and scores.dtype != torch.bool:
        low, high = (int(end) for end in torch.aminmax(scores))
        if low < 0 or high > 1:
            raise ValueError(f"{name} are {scores.dtype} from {low} to {high}; labels are 0 and 1, such as mask > 0.")
    return "labels"


def to_probabilities(scores: Tensor, form: Form) -> Tensor:
    """Float32 probabilities of scores whose form is checked."""
    return scores.float().sigmoid() if form == "logits" else scores.float()


def check_class_scores(name: str, scores: Tensor, form: Form | None) -> None:
    """Check scores of classes (..., K), of which the highest counts and so logits and probabilities are alike.

    Raises:
        ValueError: If a score is NaN, one is no probability where they are said to be, or scores that are no floats are
            not one-hot, so that more than one class or none is the highest.
    """
    if not scores.is_floating_point():
        ones = (scores != 0).sum(-1)
        if scores.numel() and (int(scores.max()) != 1 or not bool((ones == 1).all())):
            raise ValueError(
                f"{name} is {scores.dtype} and not one-hot; give float scores of every class, or one class per entry."
            )
        return
    if bool(scores.isnan().any()):
        raise ValueError(f"{name} has NaN; what has no highest score has no class.")
    if form == "probabilities" and not bool(((scores >= -_ROUNDING) & (scores <= 1 + _ROUNDING)).all()):
        raise ValueError(f"{name} has values outside of [0, 1]; they are said to be probabilities.")


def check_ranking(name: str, scores: Tensor) -> None:
    """Check scores of which only the order counts, of any range.

    Raises:
        ValueError: If they are flags, which have no order, or not finite.
    """
    if scores.dtype == torch.bool:
        raise ValueError(f"{name} are bool, of which all true ones are equal; give scores, high where it is likely.")
    if not bool(scores.isfinite().all()):
        raise ValueError(f"{name} has values that are not finite; the median of such a map is undefined.")
