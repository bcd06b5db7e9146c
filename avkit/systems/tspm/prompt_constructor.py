# SPDX-License-Identifier: Apache-2.0
"""TSPM's prompt constructor: turns a question into a declarative sentence, with which pictures are compared.

The sentence says what a picture shows that matters to the question: CLIP was trained to match pictures and captions.
"""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from avkit.errors import DataError, FileError
from avkit.reading.text import read_text, table_rows

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
_COLUMNS = ("question_template", "declarative_prompt")
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
        templates: Sentence by question template. Slots are `<Name>` in questions, and `<Name>` or `{number}` in
            sentences, filled in order; where a sentence has more slots than its question, the last filling is repeated.

    Raises:
        DataError: If a sentence has slots and its question has none.

    Example:
        >>> PromptConstructor()("Is the cello louder than the flute?")
        'The cello and the flute are not equally loud.'
        >>> PromptConstructor()("Where is the dog barking?")
        'The dog is barking.'
    """

    def __init__(self, templates: Mapping[str, str] = TEMPLATES) -> None:
        #: Pattern of the questions of each template, and its sentence with numbered slots.
        self._templates: list[tuple[re.Pattern[str], str]] = []
        for question, sentence in templates.items():
            numbered = _number_slots(sentence)
            if _NUMBERED_SLOT.search(numbered) and not _SLOT.search(question):
                raise DataError(
                    f"The declarative prompt {sentence!r} has slots, and its question {question!r} has none to fill "
                    "them."
                )
            self._templates.append((_question_pattern(question), numbered))

    @classmethod
    def load(cls, path: str | Path | None) -> "PromptConstructor":
        """From a CSV file with columns `question_template` and `declarative_prompt`; `TEMPLATES` without a file.

        Raises:
            DataError: If the file cannot be read, or lacks a column.
        """
        if not path:
            return cls()
        try:
            rows = [cells for _, cells in table_rows(read_text(path), str(path))]
        except FileError as error:
            raise DataError(f"Prompts {path} cannot be read as CSV: {error}.") from error
        titles = rows[0] if rows else []
        if not rows[1:] or not set(_COLUMNS) <= set(titles):
            raise _lacks_columns(path)
        sentences = {}
        places = [titles.index(column) for column in _COLUMNS]
        for cells in filter(None, rows[1:]):
            if len(cells) <= max(places) or not all(cells[place] for place in places):
                raise _lacks_columns(path)
            question, sentence = (cells[place].strip() for place in places)
            sentences[question] = sentence
        return cls(sentences)

    def from_template(self, question: str) -> str | None:
        """The sentence of a question by its template, or None where no template matches."""
        text = _fold(question)
        for pattern, sentence in self._templates:
            if match := pattern.fullmatch(text):
                return _fill(sentence, match.groups())
        return None

    def __call__(self, question: str) -> str:
        """The sentence of a question; a question that no template or rule matches is repeated as a sentence."""
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


def _number_slots(sentence: str) -> str:
    """A sentence with `{0}`, `{1}` and so on for its slots `<Name>`."""
    numbers = itertools.count()
    return _SLOT.sub(lambda _: f"{{{next(numbers)}}}", sentence)


def _fill(sentence: str, words: tuple[str, ...]) -> str:
    """A sentence with numbered slots filled; the last word also fills slots beyond the number of words."""
    return _NUMBERED_SLOT.sub(lambda slot: words[min(int(slot[1]), len(words) - 1)], sentence)


def _lacks_columns(path: str | Path) -> DataError:
    return DataError(f"Prompts {path} need the columns {' and '.join(_COLUMNS)}, filled in every row.")
