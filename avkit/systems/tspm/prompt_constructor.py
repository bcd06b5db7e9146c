# SPDX-License-Identifier: Apache-2.0
"""TSPM's prompt constructor: turns a question into a declarative sentence, with which pictures are compared.

The sentence says what a picture shows that matters to the question: CLIP was trained to match pictures and captions.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from avkit.errors import DataError
from avkit.systems.tspm.statements import read_statements

#: Declarative sentence of each of MUSIC-AVQA's 33 question templates; `{0}` and `{1}` stand for its slots, in order.
TEMPLATES: dict[str, str] = {
    "Is this sound from the instrument in the video?": "An instrument in the picture makes this sound.",
    "Is the <Object> in the video always playing?": "Somebody plays the {0}.",
    "Is there a voiceover?": "A voice is heard that nobody in the picture speaks with.",
    "How many instruments are sounding in the video?": "Instruments are being played.",
    "How many types of musical instruments sound in the video?": "Instruments of different kinds are being played.",
    "How many instruments in the video did not sound from beginning to end?": "An instrument is silent.",
    "How many sounding <Object> in the video?": "A {0} is being played.",
    "Where is the <LL> instrument?": "One instrument is the {0}.",
    "Is the <FL> sound coming from the <LR> instrument?": "The {0} sound comes from the instrument on the {1}.",
    "Which is the musical instrument that sounds at the same time as the <Object>?": (
        "Another instrument is played together with the {0}."
    ),
    "What is the <LR> instrument of the <FL> sounding instrument?": (
        "An instrument stands {0} of the one that sounds {1}."
    ),
    "Is the instrument on the <LR> more rhythmic than the instrument on the <LR>?": (
        "The instruments on the {0} and on the {1} are played in different rhythms."
    ),
    "Is the instrument on the <LR> louder than the instrument on the <LR>?": (
        "The instruments on the {0} and on the {1} are not equally loud."
    ),
    "Is the <Object> on the <LR> more rhythmic than the <Object> on the <LR>?": (
        "The {0} on the {1} and the {2} on the {3} are played in different rhythms."
    ),
    "Is the <Object> on the <LR> louder than the <Object> on the <LR>?": (
        "The {0} on the {1} and the {2} on the {3} are not equally loud."
    ),
    "Where is the <FL> sounding instrument?": "The instrument that sounds {0} is played.",
    "Which <Object> makes the sound <FL>?": "The {0} that sounds {1} is played.",
    "What is the <TH> instrument that comes in?": "The {0} instrument comes in.",
    "Which instrument makes sounds <BA> the <Object>?": "An instrument is played {0} the {1}.",
    "Is there a <Object> in the entire video?": "There is a {0} in the picture.",
    "Are there <Object> and <Object> instruments in the video?": "There are a {0} and a {1} in the picture.",
    "How many types of musical instruments appeared in the entire video?": "Instruments of different kinds are seen.",
    "How many <Object> are in the entire video?": "There is a {0} in the picture.",
    "Where is the performance?": "Musicians perform at a place.",
    "What is the instrument on the <LR> of <Object>?": "An instrument stands {0} of the {1}.",
    "What kind of musical instrument is it?": "There is an instrument in the picture.",
    "What kind of instrument is the <LRer> instrument?": "There is an instrument on the {0}.",
    "Is there a <Object> sound?": "A {0} is heard.",
    "Are there <Object> and <Object> sound?": "A {0} and a {1} are heard.",
    "How many musical instruments were heard throughout the video?": "Instruments are heard.",
    "Is the <Object> more rhythmic than the <Object>?": "The {0} and the {1} are played in different rhythms.",
    "Is the <Object> louder than the <Object>?": "The {0} and the {1} are not equally loud.",
    "Is the <Object> playing longer than the <Object>?": "The {0} and the {1} are not played equally long.",
}

#: A slot of a question template, such as `<Object>`, and a numbered slot of a sentence, such as `{0}`.
_SLOT = re.compile(r"<[A-Za-z]+\d*>")
_NUMBERED_SLOT = re.compile(r"\{(\d+)\}")
#: Verbs that begin a question: forms of "be", and auxiliaries.
_BE = r"(?:is|are|was|were)"
_AUXILIARY = r"(?:do|does|did|can|could|will|would|has|have|had)"
_DETERMINED = r"(?:the|a|an|this|that|these|those) \S+"
_ADVERB = r"(?:where|when|why|how|how long|how often)"
#: Rules for questions without a template: a pattern of the question and the sentence. The first that matches is used.
_RULES: tuple[tuple[str, str], ...] = (
    (rf"({_BE}) there (.+)", r"There \1 \2"),
    (rf"how (?:many|much) (.+?) ({_BE}) there(.*)", r"There \2 \1\3"),
    (r"how (?:many|much) (\S+) (.+)", r"There are \1 that \2"),
    (r"how (?:many|much) (.+)", r"There are \1"),
    (rf"(?:what|who) ({_BE}) (.+)", r"There \1 \2"),
    (rf"{_ADVERB} ({_BE}) ({_DETERMINED})(.*)", r"\2 \1\3"),
    (rf"{_ADVERB} {_AUXILIARY} (.+)", r"\1"),
    (r"(?:which|what kind of|what type of) (.+)", r"One \1"),
    (r"(?:what|who) (.+)", r"Something \1"),
    (rf"({_BE}) ({_DETERMINED}) (.+)", r"\2 \1 \3"),
    (rf"({_BE}) (\S+) (.+)", r"\2 \1 \3"),
    (rf"{_AUXILIARY} (.+)", r"\1"),
)


class PromptConstructor:
    """Turns a question into a declarative sentence: by its template where it has one, else by rules of grammar.

    Args:
        templates: Sentence by question template. Slots are `<Name>` in questions. In sentences they are `{number}`,
            filled with the words of the question's slot of that number, or `<Name>`, filled with those of the
            question's slots of that name in order, whatever number follows the name. Slots beyond those of the
            question repeat the last words.
        by_id: Sentence by id of the question, which counts before its template.
        path: File that they are from; empty for avkit's own.

    Raises:
        DataError: If a sentence has slots and its question has none.

    Example:
        >>> PromptConstructor()("Is the cello louder than the flute?")
        'The cello and the flute are not equally loud.'
        >>> PromptConstructor()("Where is the dog barking?")
        'The dog is barking.'
    """

    def __init__(
        self, templates: Mapping[str, str] = TEMPLATES, by_id: Mapping[str, str] = MappingProxyType({}), path: str = ""
    ) -> None:
        self.by_id = by_id
        self.path = path
        #: Pattern of the questions of each template, and its sentence with numbered slots.
        self._templates: list[tuple[re.Pattern[str], str]] = []
        for question, sentence in templates.items():
            numbered = _number_slots(sentence, _slot_names(question))
            if _NUMBERED_SLOT.search(numbered) and not _SLOT.search(question):
                raise DataError(
                    f"The declarative prompt {sentence!r} has slots, and its question {question!r} has none to fill "
                    "them."
                )
            self._templates.append((_question_pattern(question), numbered))

    @classmethod
    def load(cls, path: str | Path | None) -> "PromptConstructor":
        """From a file of sentences, see `avkit.systems.tspm.statements`; `TEMPLATES` without a file.

        Raises:
            DataError: If the file cannot be read, or lacks a column.
        """
        if not path:
            return cls()
        statements = read_statements(path)
        return cls(statements.by_template, statements.by_id, str(path))

    def check_covers(self, questions: Mapping[str, str]) -> None:
        """Refuse questions that a file has no sentence for, which would get one by rules of grammar.

        Args:
            questions: Questions of the data by their ids.

        Raises:
            DataError: If there are some; of another release, for example.
        """
        if not self.path:
            return
        fits_template: dict[str, bool] = {}
        missing = []
        for name, question in questions.items():
            if question not in fits_template:
                fits_template[question] = self.from_template(question) is not None
            if not fits_template[question] and self._sentence_of(name) is None:
                missing.append(name)
        if missing:
            raise DataError(
                f"{self.path} has no sentence for {len(missing)} of {len(questions)} questions of the data, such as "
                f"{missing[0]!r}, {questions[missing[0]]!r}. Take the file of these data and their release, add what "
                "is missing, or leave the option prompts out, for avkit's own sentences."
            )

    def _sentence_of(self, name: str | None) -> str | None:
        """The sentence of a question by its id; ids of questions that stand twice end in `#` and a number."""
        if name is None:
            return None
        return self.by_id.get(name, self.by_id.get(name.split("#")[0]))

    def from_template(self, question: str) -> str | None:
        """The sentence of a question by its template, or None where no template matches."""
        text = _fold(question)
        for pattern, sentence in self._templates:
            if match := pattern.fullmatch(text):
                return _fill(sentence, match.groups())
        return None

    def __call__(self, question: str, name: str | None = None) -> str:
        """The sentence of a question; a question that no template or rule matches is repeated as a sentence.

        Args:
            question: The question.
            name: Its id, where it has one.
        """
        sentence = self._sentence_of(name)
        if sentence is None:
            sentence = self.from_template(question)
        if sentence is None:
            sentence = _apply_rules(question)
        return sentence


def _apply_rules(question: str) -> str:
    """The sentence by the first rule that matches, with a capital and a full stop."""
    text = _fold(question).rstrip("?").strip()
    text = text[:1].lower() + text[1:]
    for pattern, sentence in _RULES:
        if match := re.fullmatch(pattern, text, re.IGNORECASE):
            text = match.expand(sentence)
            break
    text = " ".join(text.split())
    return f"{text[:1].upper()}{text[1:]}." if text else question


def _fold(question: str) -> str:
    """A question with single blanks and ASCII question marks."""
    return " ".join(question.replace("\uff1f", "?").split())


def _question_pattern(template: str) -> re.Pattern[str]:
    """Pattern of a template's questions, with a group for each slot; the question mark may be missing."""
    parts = _SLOT.split(_fold(template).rstrip("?").strip())
    return re.compile(r"(.+?)".join(map(re.escape, parts)) + r"\s*\??", re.IGNORECASE)


def _slot_names(template: str) -> list[str]:
    """Names of the slots of a template in order, without numbers at their ends."""
    return [slot.strip("<>").rstrip("0123456789") for slot in _SLOT.findall(template)]


def _number_slots(sentence: str, names: Sequence[str]) -> str:
    """A sentence whose slots `<Name>` are `{0}`, `{1}` and so on, the number of the question's slot that fills each.

    Args:
        sentence: The sentence.
        names: Names of the question's slots in order.
    """
    used: Counter[str] = Counter()

    def number(slot: re.Match[str]) -> str:
        name = _slot_names(slot[0])[0]
        places = [place for place, other in enumerate(names) if other == name] or list(range(len(names)))
        used[name] += 1
        place = places[min(used[name], len(places)) - 1] if places else 0
        return f"{{{place}}}"

    return _SLOT.sub(number, sentence)


def _fill(sentence: str, words: tuple[str, ...]) -> str:
    """A sentence with numbered slots filled; the last word also fills slots beyond the number of words."""
    return _NUMBERED_SLOT.sub(lambda slot: words[min(int(slot[1]), len(words) - 1)], sentence)
