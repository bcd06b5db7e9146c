# SPDX-License-Identifier: Apache-2.0
"""Which answers a question may have, by its words: yes or no, numbers, places, or names of things.

The rules are those of English questions as MUSIC-AVQA, AVQA and avkit's scenes ask them, see `question_kind`. They
serve questions that users ask; official metrics are computed without them.
"""

import re
from collections.abc import Sequence

from avkit.text.tokenizer import split_words

YES_NO = "yes or no"
COUNT = "a number"
PLACE = "a place"
TIME = "a time"
NAME = "a name"


def _words_in(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: First words of questions that are answered with yes or no.
_AUXILIARIES = _words_in(
    "is are was were do does did has have had can could will would should isn't aren't doesn't don't didn't am"
)
_NUMBERS = _words_in("zero one two three four five six seven eight nine ten eleven twelve none several many few dozens")
_MORE_THAN = re.compile(r"(more|less|fewer) than \w+|at least \w+|over \w+")
#: Words of which one makes an answer a place, unless it names a thing, such as a room.
_PLACES = _words_in(
    "left right middle center centre upper lower top bottom indoor indoors outdoor outdoors inside "
    "outside front back behind above below beside between near here there"
)
#: Answers that tell a time.
_TIMES = _words_in("simultaneously together before after first last never always throughout")
#: Most answers of a closed list, such as those of MUSIC-AVQA (42) and of scenes.
_CLOSED_LIST = 100
#: Words before the first word that asks.
_OPENINGS = _words_in("so and but then well please in on at to of from by with the this that video scene clip")
#: Words that ask for a thing.
_NAMING = _words_in("which what who whose")


def question_kind(question: str) -> str:
    """The kind of a question's answers; empty where its words do not tell.

    - `how many`, `what number of`, `count`: a number;
    - `where`, `on which side`, `in what part`: a place;
    - an auxiliary verb first (`is`, `does`, `can` ...): yes or no, unless it offers a choice with `or`;
    - `when`: a time;
    - `which`, `what`, `who`: a name.

    >>> question_kind("How many instruments are heard?")
    'a number'
    >>> question_kind("Does the dog bark?")
    'yes or no'

    Args:
        question: The question.
    """
    words = _words(question)
    text = " ".join(words)
    if re.search(r"\bhow (many|often)\b|\b(what|which) (is the )?number of\b|^count\b", text):
        return COUNT
    if re.search(r"\bwhere\b|\b(which|what) (side|half|part|corner|direction|quarter|position|location)\b", text):
        return PLACE
    if re.search(r"\bwhen (is|are|does|do|did|was|were)\b", text):
        return TIME
    asking = next((word for word in words if word not in _OPENINGS), "")
    if asking in _AUXILIARIES:
        return "" if "or" in words else YES_NO
    if asking in _NAMING:
        return NAME
    return ""


def answer_kind(answer: str) -> str:
    """The kind of an answer: yes or no, a number, a place, a time, or a name, which is whatever is none.

    >>> answer_kind("more than ten"), answer_kind("upper left"), answer_kind("acoustic_guitar")
    ('a number', 'a place', 'a name')
    """
    text = answer.lower().replace("_", " ").strip()
    words = text.split()
    if text in ("yes", "no"):
        return YES_NO
    if text in _NUMBERS or text.isdigit() or _MORE_THAN.fullmatch(text):
        return COUNT
    if words and set(words) <= _PLACES | {"the", "of", "in", "on", "at", "and"} and set(words) & _PLACES:
        return PLACE
    if words and set(words) <= _TIMES:
        return TIME
    return NAME


def fitting_answers(question: str, answers: Sequence[str]) -> list[int]:
    """Indices of the answers that a question may have; all where its kind, or answers of it, are not known.

    - Yes or no is asked for only where both are among the answers.
    - `where` is answered by a place. By a name too if there are no places among the answers, or so many answers that
      they are no closed list: then a place may be called `garden`.
    - `which violin`, where `violin` is an answer, asks for a place or a time, since the name is known.
    - `left or right`, `a dog or a cat` is answered by the kinds of what it offers.

    Args:
        question: The question.
        answers: All answers of the run.
    """
    kinds = [answer_kind(answer) for answer in answers]
    wanted = _wanted_kinds(question, answers, kinds)
    fitting = [index for index, kind in enumerate(kinds) if kind in wanted]
    return fitting or list(range(len(answers)))


def _wanted_kinds(question: str, answers: Sequence[str], kinds: Sequence[str]) -> set[str]:
    kind = question_kind(question)
    if kind == YES_NO and not {"yes", "no"} <= {answer.lower() for answer in answers}:
        return set()
    if kind == NAME and PLACE in kinds and _names_one_of_several(question, answers, kinds):
        return {PLACE, TIME}
    if kind == PLACE and (PLACE not in kinds or len(answers) > _CLOSED_LIST):
        return {PLACE, NAME}
    if kind:
        return {kind}
    return _offered_kinds(_words(question), answers, kinds)


def _names_one_of_several(question: str, answers: Sequence[str], kinds: Sequence[str]) -> bool:
    """Whether a question asks which of some things of one name is meant."""
    text = " ".join(_words(question))
    names = [" ".join(_words(answer)) for answer, kind in zip(answers, kinds, strict=True) if kind == NAME]
    return any(f" which {name} " in f" {text} " for name in names)


def _offered_kinds(words: Sequence[str], answers: Sequence[str], kinds: Sequence[str]) -> set[str]:
    """The kinds of what a question offers with `or`; none where it offers nothing known."""
    kind_of = {" ".join(_words(answer)): kind for answer, kind in zip(answers, kinds, strict=True)}
    offered = set()
    for place, word in enumerate(words):
        if word != "or":
            continue
        for near in words[max(0, place - 2) : place + 3]:
            kind = kind_of.get(near) or answer_kind(near)
            if near in kind_of or kind in (PLACE, COUNT):
                offered.add(kind)
    if offered and "there" in words[:2]:  # is there a dog or a bell
        offered.add(YES_NO)
    return offered


def _words(text: str) -> list[str]:
    """Words of a text in lower case, without signs and without the `'s` of `what's`."""
    words = split_words(text.lower().replace("_", " ").replace("\u2019", "'"))
    return [word.removesuffix("'s") for word in words if any(letter.isalnum() for letter in word)]
