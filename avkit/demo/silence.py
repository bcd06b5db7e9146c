# SPDX-License-Identifier: Apache-2.0
"""What a model answers when the sound is taken away, and how that differs from what it answers with it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from avkit.answers import Answer, Caption, Choice, ClassMask, Heat, Mask, TimedAnswer
from avkit.batch import SAMPLE_RATE
from avkit.errors import count_of
from avkit.media.write import write_wave

#: Name under which answers without sound stand beside the others.
IN_SILENCE = "in silence"
#: Correlation from which two heat maps are called alike.
_ALIKE = 0.95


def write_silence(path: Path, duration: float) -> Path:
    """Write a silent sound file of a length in seconds."""
    return write_wave(path, np.zeros(max(1, round(duration * SAMPLE_RATE)), dtype=np.float32))


def describe_changes(answers: Sequence[Answer], silent: Sequence[Answer]) -> list[str]:
    """A sentence per answer about what is left of it without sound."""
    sentences = []
    for answer in answers:
        other = _counterpart(answer, silent)
        if other is None:
            sentences.append(f"{answer.task}: no {answer.kind.replace('_', ' ')} in silence.")
        else:
            sentences.append(f"{answer.task}: {_compare(answer, other)}.")
    return sentences


def _counterpart(answer: Answer, silent: Sequence[Answer]) -> Answer | None:
    """The answer to the same question in silence."""
    for other in silent:
        if type(other) is not type(answer) or other.task != answer.task:
            continue
        if isinstance(answer, Choice) and isinstance(other, Choice) and other.question != answer.question:
            continue
        return other
    return None


def _compare(answer: Answer, other: Answer) -> str:
    """What is left of an answer."""
    if isinstance(answer, TimedAnswer) and isinstance(other, TimedAnswer):
        return _compare_events(answer, other)
    if isinstance(answer, Choice) and isinstance(other, Choice):
        if answer.answer == other.answer:
            return f'"{answer.question}" is answered by {answer.answer!r} in silence too'
        return f'"{answer.question}" is answered by {other.answer!r} in silence, not by {answer.answer!r}'
    if isinstance(answer, Caption) and isinstance(other, Caption):
        pairs = list(zip(answer.texts, other.texts, strict=False))
        same = sum(text == silent for text, silent in pairs)
        return f"{same} of {count_of(len(pairs), 'caption')} stay the same in silence"
    if isinstance(answer, Mask | ClassMask) and isinstance(other, Mask | ClassMask):
        return _compare_masks(answer, other)
    if isinstance(answer, Heat) and isinstance(other, Heat):
        return _compare_heat(answer, other)
    same_json = answer.to_json() == other.to_json()
    return f"the {answer.kind.replace('_', ' ')} {'stays the same' if same_json else 'changes'} in silence"


def _compare_events(answer: TimedAnswer, other: TimedAnswer) -> str:
    """How much of the time of events is covered by the same events in silence."""
    silent = other.events()
    total = 0.0
    kept = 0.0
    for event in answer.events():
        total += event.end - event.start
        for candidate in silent:
            if (candidate.name, candidate.modality) == (event.name, event.modality):
                kept += max(0.0, min(event.end, candidate.end) - max(event.start, candidate.start))
    new = {event.name for event in silent} - {event.name for event in answer.events()}
    added = f"; {', '.join(sorted(new))} only in silence" if new else ""
    if not total:
        return f"no events with sound{added or ', none in silence'}"
    return f"{100 * min(1.0, kept / total):.0f} % of the time of its events is left in silence{added}"


def _compare_masks(answer: Mask | ClassMask, other: Mask | ClassMask) -> str:
    """How much of the masks is the same in silence."""
    own = _labels(answer)
    silent = _labels(other)
    union = int(((own > 0) | (silent > 0)).sum())
    if not union:
        return "no masks, with sound and in silence"
    same = int(((own == silent) & (own > 0)).sum())
    return f"masks with sound and in silence overlap by {100 * same / union:.0f} %"


def _labels(answer: Mask | ClassMask) -> np.ndarray:
    """Label maps, integers (T, H, W), 0 for background."""
    if isinstance(answer, ClassMask):
        return np.asarray(answer.maps).astype(np.int64)
    return (np.asarray(answer.maps) >= 0.5).astype(np.int64)


def _compare_heat(answer: Heat, other: Heat) -> str:
    """Whether heat maps look alike: the mean correlation over steps."""
    own = answer.maps.reshape(len(answer.maps), -1).astype(np.float64)
    silent = other.maps.reshape(len(other.maps), -1).astype(np.float64)
    own = own - own.mean(axis=1, keepdims=True)
    silent = silent - silent.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(own, axis=1) * np.linalg.norm(silent, axis=1)
    correlation = float((np.sum(own * silent, axis=1) / np.maximum(norms, 1e-12)).mean())
    likeness = "nearly the same" if correlation >= _ALIKE else "another one"
    return f"the heat in silence is {likeness} (correlation {correlation:.2f})"
