# SPDX-License-Identifier: Apache-2.0
"""Audio-visual question answering (MUSIC-AVQA, AVQA): accuracy by question type, by modality and overall.

Both releases of the questions (9,185 and 9,129 in the test split) are scored alike; report which one was used.

Source:
    GeWu-Lab/MUSIC-AVQA at commit cc8809514a2e and GeWu-Lab/TSPM at commit 0106ce4127b8, function `test` of each.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from avkit.metrics.base import ScoreMetric
from avkit.metrics.inputs import ArrayLike, clip_names, scores_or_names, to_labels
from avkit.metrics.intervals import Floats
from avkit.metrics.score_forms import Form, check_class_scores, check_form

#: The nine question types by modality, in the order of the published tables.
QUESTION_TYPES: dict[str, tuple[str, ...]] = {
    "Audio": ("Counting", "Comparative"),
    "Visual": ("Counting", "Location"),
    "Audio-Visual": ("Existential", "Counting", "Location", "Comparative", "Temporal"),
}


def _names_of(modality: str) -> list[str]:
    """Names of the types of a modality, such as `Audio Counting`."""
    return [f"{modality} {kind}" for kind in QUESTION_TYPES[modality]]


#: The eight question types of AVQA, in index order.
AVQA_TYPES = ("Which", "Come From", "Happening", "Where", "Why", "Before Next", "When", "Used For")

_MUSIC_NAMES = [*_names_of("Audio"), *_names_of("Visual"), *_names_of("Audio-Visual")]
_NAMES = [*_MUSIC_NAMES, *AVQA_TYPES]
_ROW = {name: row for row, name in enumerate(_NAMES)}
#: Row of questions of any other type: they count in the overall accuracy alone.
_OTHER = len(_NAMES)
#: Stands for the number of answers where it is not known.
_OPEN = 2**31


def question_type(text: str | Sequence[str]) -> str:
    """The plain name of a question type, those of MUSIC-AVQA and AVQA as they are spelled there.

    Examples:
        >>> question_type('["Audio-Visual", "Counting"]')
        'Audio-Visual Counting'

    Args:
        text: `Audio-Visual Counting`, its two parts, or the JSON list of them that the official annotation holds in a
            string.

    Raises:
        ValueError: If a text that opens with a bracket is not a JSON list of strings.
    """
    if isinstance(text, np.ndarray):
        text = list(text.reshape(-1))
    if not isinstance(text, str):
        parts = [str(part) for part in text] if isinstance(text, list | tuple) else []
        if not parts:
            raise TypeError(f"Question type {text!r} is no text; give e.g. 'Audio Counting'.")
        return _known_spelling(" ".join(parts))
    if not text.lstrip().startswith("["):
        return _known_spelling(text)
    try:
        name = " ".join(json.loads(text))
    except (ValueError, TypeError):
        raise ValueError(
            f"Question type {text!r} is no list of strings. Give e.g. 'Audio Counting' or '[\"Audio\", \"Counting\"]'."
        ) from None
    return _known_spelling(name)


def _known_spelling(name: str) -> str:
    """The name; that of a known type where it differs from one by capitals, spaces or hyphens alone."""
    return _SPELLINGS.get(_letters(name), name)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


_SPELLINGS = {_letters(name): name for name in _NAMES}


def answer_rows(correct: Tensor, types: Sequence[str]) -> Tensor:
    """What each question adds to the counts of its type.

    Args:
        correct: bool (B,), whether each question is answered correctly.
        types: Question type of each, see `question_type`.

    Returns:
        int64 (B, 18, 2), correct answers and questions of MUSIC-AVQA's nine types in table order, of AVQA's eight, and
        of all other types.
    """
    kinds = torch.tensor([_ROW.get(question_type(t), _OTHER) for t in types], dtype=torch.long, device=correct.device)
    of_type = torch.nn.functional.one_hot(kinds, _OTHER + 1)
    return torch.stack([of_type * correct.long()[:, None], of_type], 2)


def accuracies(counts: Tensor) -> dict[str, float]:
    """Accuracies from counts of correct answers and questions.

    The average of a modality is pooled over its questions; it is not the mean of its types.

    Args:
        counts: int64 (18, 2), see `answer_rows`, summed.

    Returns:
        Fractions in [0, 1] by name: the nine types of MUSIC-AVQA, `Audio Avg`, `Visual Avg`, `Audio-Visual Avg` each
        after its types; where there are questions of AVQA's types, its eight types, in place of those unless there are
        questions of both; `Overall`; and `Macro`, the mean of the known types that have questions. NaN without
        questions.
    """
    rows = dict(zip([*_NAMES, "other"], counts.tolist(), strict=True))
    has_avqa = any(rows[name][1] for name in AVQA_TYPES)
    accuracy: dict[str, float] = {}
    if not has_avqa or any(rows[name][1] for name in _MUSIC_NAMES):
        accuracy |= _music_accuracies(rows)
    if has_avqa:
        accuracy |= {name: _ratio([rows[name]]) for name in AVQA_TYPES}
    of_types = [_ratio([rows[name]]) for name in _NAMES if rows[name][1]]
    accuracy["Overall"] = _ratio(list(rows.values()))
    accuracy["Macro"] = sum(of_types) / len(of_types) if of_types else float("nan")
    return accuracy


def _music_accuracies(rows: Mapping[str, list[int]]) -> dict[str, float]:
    """Accuracy of each type of MUSIC-AVQA, and of each modality after its types."""
    accuracy: dict[str, float] = {}
    for modality in QUESTION_TYPES:
        rows_of_modality = []
        for name in _names_of(modality):
            accuracy[name] = _ratio([rows[name]])
            rows_of_modality.append(rows[name])
        accuracy[f"{modality} Avg"] = _ratio(rows_of_modality)
    return accuracy


class AnswerAccuracy(ScoreMetric):
    """Accuracy of answers, as published for MUSIC-AVQA and AVQA; see `accuracies` for the names.

    The published tables show percent; values here are fractions.

    Examples:
        >>> metric = AnswerAccuracy(classes=["no", "yes"])
        >>> metric.update(["yes", "no"], ["yes", "yes"], ["Audio-Visual Existential"] * 2)
        >>> metric.compute()["Overall"]
        0.5

    Args:
        classes: The answers in index order, for answers that are given in words.
        form: What scores are, `logits`, `probabilities` or `labels`. The highest counts, so it need not be said; what
            is said is checked.
        **kwargs: For `torchmetrics.Metric`.
    """

    counted = "questions"
    #: Correct answers and questions of each type, int64 (18, 2), see `answer_rows`.
    counts: Tensor

    def __init__(self, *, classes: Sequence[str] | None = None, form: Form | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_form(form)
        self.classes = classes
        self.form: Form | None = form
        self.add_state("counts", default=torch.zeros(_OTHER + 1, 2, dtype=torch.long), dist_reduce_fx="sum")
        self.add_blocks(2 * (_OTHER + 1))

    def update(
        self,
        scores: ArrayLike,
        target: ArrayLike,
        types: Sequence[str],
        clips: Sequence[str] | None = None,
    ) -> None:
        """Add questions.

        Args:
            scores: Score of every answer, float (B, answers); the highest is the answer, the first one on ties. Or the
                given answers, integers or words (B,).
            target: The correct answers, indices or words (B,); -1 for one outside the vocabulary: wrong.
            types: Question type of each, see `question_type`.
            clips: Names of the clips that are asked about, for the interval of `Macro`, see `ScoreMetric.add_clips`.

        Raises:
            ValueError: If lengths differ, a score is NaN or a target is not an index of `scores`.
            TypeError: If something is no array of numbers or words of `classes`.
        """
        if isinstance(types, str):
            raise TypeError(f"types is the text {types!r}; give a list with the type of each question.")
        given = scores_or_names(scores, self.classes, "answer")
        true = to_labels("target", target, self.classes, "answer").to(given.device)
        labels = given.ndim == 1 and self.form in (None, "labels")
        fits = labels or (given.ndim == 2 and given.shape[1] > 0 and self.form != "labels")
        if not fits or true.ndim != 1 or not len(given) == len(true) == _length(types):
            raise ValueError(
                f"scores of shape {tuple(given.shape)}, target of shape {tuple(true.shape)} and {_length(types)} types"
                "; give scores (B, answers), or as labels answers (B,), target (B,) and a list of B types."
            )
        names = clip_names(clips, len(true))
        if not labels:
            check_class_scores("scores", given, self.form)
        answers = given if labels else given.max(1).indices if len(given) else true
        size = _OPEN if labels else given.shape[1]
        for name, indices in (("scores", answers), ("target", true)):
            _check_answers(name, indices, len(self.classes) if labels and self.classes else size)
        rows = answer_rows((answers == true) & (true >= 0), types)
        self.counts += rows.sum(0)
        self.add_clips(rows.flatten(1), names)

    def compute(self) -> dict[str, float]:
        """Fractions in [0, 1] by name, see `accuracies`."""
        return accuracies(self.counts)

    def shares(self) -> Mapping[str, tuple[float, int]]:
        """Correct answers and questions of all figures but `Macro`."""
        rows = dict(zip([*_NAMES, "other"], self.counts.tolist(), strict=True))
        parts = {name: [name] for name in _NAMES}
        for modality in QUESTION_TYPES:
            parts[f"{modality} Avg"] = _names_of(modality)
        parts["Overall"] = list(rows)
        shares = {}
        for figure, names in parts.items():
            correct = sum(rows[name][0] for name in names)
            questions = sum(rows[name][1] for name in names)
            if questions:
                shares[figure] = (float(correct), questions)
        return shares

    def sizes(self) -> Mapping[str, int]:
        """Questions of the known types, which `Macro` is the mean of; none for figures without questions."""
        return {"Macro": int(self.counts[:_OTHER, 1].sum()), "": 0}

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn clips with their questions."""
        correct, asked = sums[:, 1:].reshape(-1, _OTHER + 1, 2).transpose(2, 1, 0)
        figures = {"Overall": correct.sum(0) / asked.sum(0)}
        for modality in QUESTION_TYPES:
            rows = [_ROW[name] for name in _names_of(modality)]
            figures[f"{modality} Avg"] = correct[rows].sum(0) / asked[rows].sum(0)
        for name, row in _ROW.items():
            figures[name] = correct[row] / asked[row]
        known = asked[:_OTHER] > 0
        accuracy = np.where(known, correct[:_OTHER] / asked[:_OTHER], 0.0)
        figures["Macro"] = accuracy.sum(0) / known.sum(0)
        return figures


def _check_answers(name: str, indices: Tensor, size: int) -> None:
    """Raise ValueError unless indices (B,) are those of answers, or -1."""
    if indices.ndim != 1 or indices.is_floating_point() or bool(((indices < -1) | (indices >= size)).any()):
        values = sorted(set(indices.flatten().tolist()))[:8]
        raise ValueError(
            f"{name} is {indices.dtype} with values {values}; give integers from 0 to {size - 1}, or -1 for an answer "
            "outside the vocabulary."
        )


def _length(types: object) -> int:
    """How many types there are; -1 for what is no list."""
    return len(types) if isinstance(types, list | tuple) or (isinstance(types, np.ndarray) and types.ndim) else -1


def _ratio(rows: list[list[int]]) -> float:
    """Correct answers over questions of some rows of counts."""
    correct = 0
    questions = 0
    for row in rows:
        correct += row[0]
        questions += row[1]
    return correct / questions if questions else float("nan")
