# SPDX-License-Identifier: Apache-2.0
"""Answers to questions by rules over what is heard and where it is: counting, existence, which first, where.

The rules read English questions as MUSIC-AVQA and AVQA ask them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from avkit.systems.zero_shot.observation import Observation
from avkit.systems.zero_shot.sentences import place_of
from avkit.systems.zero_shot.targets import in_category, plain
from avkit.text.question_kinds import COUNT, NAME, PLACE, YES_NO, answer_kind, fitting_answers, question_kind

#: Words of a question that ask about sound.
_SOUND_WORDS = frozenset(
    ["sound", "sounds", "sounding", "hear", "heard", "audible", "play", "playing", "played", "ring", "loud", "noise"]
)
#: Words of a question that ask about the whole clip.
_ALWAYS_WORDS = set(["always", "throughout", "whole", "entire"])
_NUMBER_WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
#: Share of the steps in which `always` is true.
_ALWAYS = 0.9


@dataclass(frozen=True)
class Choice:
    """What the rules answer.

    Attributes:
        answer: One of the answers that may be given.
        rule: Name of the rule; empty where none fits, and the answer is a guess.
    """

    answer: str
    rule: str


def choose_answer(
    question: str, answers: Sequence[str], observation: Observation, ask: Callable[[str], str] | None = None
) -> Choice:
    """The answer to a question: of the vision-language model if there is one and it names an answer, else of the rules.

    Args:
        question: In English.
        answers: All answers that may be given.
        observation: Of the clip.
        ask: Puts a question to a vision-language model.
    """
    allowed = [answers[number] for number in fitting_answers(question, answers)]
    if ask is not None:
        answer = _match(ask(f"{question} Answer with one of: {', '.join(allowed[:60])}."), allowed)
        if answer:
            return Choice(answer, "language model")
    return _by_rules(question, allowed, observation)


def _by_rules(question: str, allowed: Sequence[str], observation: Observation) -> Choice:
    """The answer of the rules, one of those of the question's kind."""
    kinds = {answer_kind(answer) for answer in allowed}
    kind = question_kind(question)
    text, rule = "", ""
    if kind == COUNT and COUNT in kinds:
        text, rule = _count(question, observation), "counting"
    elif kind == YES_NO and YES_NO in kinds:
        text, rule = ("yes" if _exists(question, observation) else "no"), "existence"
    elif PLACE in kinds and kind != NAME:
        text, rule = _place(question, observation), "place"
    if not text:
        text, rule = _name(question, observation, allowed)
    answer = _match(text, allowed)
    return Choice(answer or allowed[0], rule if answer else "")


def mentioned(question: str, observation: Observation) -> list[int]:
    """Numbers of the targets whose name or visible thing a question mentions, the longest names alone."""
    words = f" {' '.join(_singular(word) for word in plain(question).split())} "
    found: dict[int, int] = {}
    for number, target in enumerate(observation.targets):
        for name in {plain(target.name), plain(target.object)} - {""}:
            singular = " ".join(_singular(word) for word in name.split())
            if f" {singular} " in words:
                found[number] = max(found.get(number, 0), len(singular))
    longest = max(found.values(), default=0)
    return [number for number, length in found.items() if length == longest]


def _count(question: str, observation: Observation) -> str:
    """How many of the mentioned target there are, or how many targets are heard."""
    targets = mentioned(question, observation)
    kinds = bool(re.search(r"\b(types?|kinds?)\b", question.lower()))
    if not targets or kinds:
        return _number_word(len(_of_category(question, observation.sounding, observation)))
    most = 0
    for number in targets:
        track = observation.track(number) if number in observation.sounding else None
        if track is not None:
            present = track.counts[track.counts > 0]
            most += int(present.float().median().round())
        elif number in observation.sounding:
            most += 1
    return _number_word(most)


def _exists(question: str, observation: Observation) -> bool:
    """Whether what a question mentions is there: heard if it asks about sound, else heard or seen."""
    targets = mentioned(question, observation)
    words = set(plain(question).split())
    if not targets:
        return bool(_of_category(question, observation.sounding, observation))
    steps = torch.zeros(observation.steps, dtype=torch.bool)
    for number in targets:
        steps |= observation.active[:, number].cpu()
        track = observation.track(number)
        if track is not None and not words & _SOUND_WORDS:
            steps |= (track.scores > 0).cpu()
    if words & _ALWAYS_WORDS:
        return float(steps.float().mean()) >= _ALWAYS
    return bool(steps.any())


def _place(question: str, observation: Observation) -> str:
    """Where the mentioned target is, or the first one, or the one heard best; empty where nothing tells."""
    targets = mentioned(question, observation) or _ranked(question, observation)[:1]
    for number in targets:
        track = observation.track(number)
        if track is not None:
            centre = track.centre(observation.active[:, number].to(track.scores.device))
            if centre is not None:
                return place_of(centre)
    return ""


def _name(question: str, observation: Observation, allowed: Sequence[str]) -> tuple[str, str]:
    """The name of what is heard first, last, on a side, or best; only those that may be answered."""
    ranked = _ranked(question, observation)
    side = next((word for word in plain(question).split() if word in ("left", "right", "middle")), "")
    if side:
        on_side = [number for number in ranked if _side_of(number, observation) == side]
        ranked = on_side or ranked
    for number in ranked:
        target = observation.targets[number]
        for name in (target.name, target.object):
            if name and _match(name, allowed):
                return name, "which"
    return "", ""


def _ranked(question: str, observation: Observation) -> list[int]:
    """Targets that are heard, in the order that a question asks for: by onset, or those heard best first."""
    words = set(plain(question).split())
    sounding = _of_category(question, observation.sounding, observation)
    if "first" in words:
        return sorted(sounding, key=lambda number: observation.onset(number) or 0)
    if "last" in words:
        return sorted(sounding, key=lambda number: -(observation.onset(number) or 0))
    return sounding


def _of_category(question: str, numbers: Sequence[int], observation: Observation) -> list[int]:
    """Targets of the category that a question asks about, such as instruments; all where it names none."""
    for word in plain(question).split():
        kept = [number for number in numbers if in_category(observation.targets[number], _singular(word))]
        if in_category(observation.targets[0], _singular(word)) is not None:
            return kept
    return list(numbers)


def _side_of(number: int, observation: Observation) -> str:
    track = observation.track(number)
    centre = None if track is None else track.centre(observation.active[:, number].to(track.scores.device))
    return "" if centre is None else place_of(centre)


def _match(text: str, allowed: Sequence[str]) -> str:
    """The answer that says a text: the same words, or all words of one in the other."""
    if not text:
        return ""
    wanted = plain(text)
    for answer in allowed:
        if plain(answer) == wanted or _as_number(answer) == wanted:
            return answer
    for answer in allowed:
        words = set(plain(answer).split())
        if words and (words <= set(wanted.split()) or set(wanted.split()) <= words):
            return answer
    return ""


def _as_number(answer: str) -> str:
    """The word of a number that is written in digits."""
    return _number_word(int(answer)) if answer.isdigit() else ""


def _number_word(number: int) -> str:
    return _NUMBER_WORDS[number] if number < len(_NUMBER_WORDS) else "more than ten"


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
