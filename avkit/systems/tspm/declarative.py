# SPDX-License-Identifier: Apache-2.0
"""Statements made of questions: what TSPM's prompt constructor looks for in a video instead of the question itself.

A statement says what a picture would show if it mattered to the question, since pictures are compared with captions.
"""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from avkit.errors import DataError

#: Sentence of each of MUSIC-AVQA's 33 question templates; `{0}` and `{1}` are what fills its slots, in order.
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

_SLOT, _PLACE = re.compile(r"<[A-Za-z]+\d*>"), re.compile(r"\{(\d+)\}")
#: What may fill the slots; whatever else does, a slot takes any words.
_BE, _DO = r"(?:is|are|was|were)", r"(?:do|does|did|can|could|will|would|has|have|had)"
#: Rules for other questions, the first that fits counts: what they look like, and the statement.
_RULES: tuple[tuple[str, str], ...] = (
    (rf"({_BE}) there (.+)", r"There \1 \2"),
    (rf"how (?:many|much) (.+?) ({_BE}) there(.*)", r"There \2 \1\3"),
    (r"how (?:many|much) (\S+) (.+)", r"There are \1 that \2"),
    (r"how (?:many|much) (.+)", r"There are \1"),
    (rf"(?:what|who) ({_BE}) (.+)", r"There \1 \2"),
    (rf"(?:where|when|why|how|how long|how often) ({_BE}) ((?:the|a|an|this|that|these|those) \S+)(.*)", r"\2 \1\3"),
    (rf"(?:where|when|why|how|how long|how often) {_DO} (.+)", r"\1"),
    (r"(?:which|what kind of|what type of) (.+)", r"One \1"),
    (r"(?:what|who) (.+)", r"Something \1"),
    (rf"({_BE}) ((?:the|a|an|this|that|these|those) \S+) (.+)", r"\2 \1 \3"),
    (rf"({_BE}) (\S+) (.+)", r"\2 \1 \3"),
    (rf"{_DO} (.+)", r"\1"),
)


class Declarations:
    """Makes a statement of a question: by its template where it has one, else by rules of grammar.

    Args:
        templates: Statement of each question template; slots are `<Name>` in questions, and `<Name>` or `{number}` in
            statements, filled in order; where a statement has more, the last fills them too.

    Example:
        >>> Declarations()("Is the cello louder than the flute?")
        'The cello and the flute are not equally loud.'
        >>> Declarations()("Where is the dog barking?")
        'The dog is barking.'
    """

    def __init__(self, templates: Mapping[str, str] = TEMPLATES) -> None:
        self._templates = [(_pattern(question), _numbered(said)) for question, said in templates.items()]
        for question, said in templates.items():
            if _PLACE.search(_numbered(said)) and not _SLOT.search(question):
                raise DataError(
                    f"The statement {said!r} has slots, and its question {question!r} has none to fill them."
                )

    @classmethod
    def load(cls, path: str | Path | None) -> "Declarations":
        """From a CSV file with columns `question_template` and `declarative_prompt`; ours where there is none.

        Raises:
            DataError: If the file cannot be read, or lacks a column.
        """
        if not path:
            return cls()
        import csv

        try:
            with Path(path).open(encoding="utf-8-sig", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"Prompts {path} cannot be read as CSV: {error}.") from error
        wanted = ("question_template", "declarative_prompt")
        if not rows or any(not row.get(name) for row in rows for name in wanted):
            raise DataError(f"Prompts {path} need the columns {' and '.join(wanted)}, filled in every row.")
        return cls({row[wanted[0]].strip(): row[wanted[1]].strip() for row in rows})

    def find(self, question: str) -> str | None:
        """The statement of a question by its template, or None where it has none."""
        text = _plain(question)
        for pattern, said in self._templates:
            if match := pattern.fullmatch(text):
                return _filled(said, match.groups())
        return None

    def __call__(self, question: str) -> str:
        """The statement of a question; a question that no rule fits is its own."""
        found = self.find(question)
        if found is not None:
            return found
        text = _plain(question).rstrip("?").strip()
        text = text[:1].lower() + text[1:]
        for pattern, said in _RULES:
            match = re.fullmatch(pattern, text, re.IGNORECASE)
            if match:
                text = match.expand(said)
                break
        text = " ".join(text.split())
        return f"{text[:1].upper()}{text[1:]}." if text else question


def _plain(question: str) -> str:
    return " ".join(question.replace("\uff1f", "?").split())


def _pattern(template: str) -> re.Pattern[str]:
    """What a template's questions look like, with a group for each slot; the mark at the end may be missing."""
    parts = _SLOT.split(_plain(template).rstrip("?").strip())
    return re.compile(r"(.+?)".join(map(re.escape, parts)) + r"\s*\??", re.IGNORECASE)


def _numbered(said: str) -> str:
    """A statement with numbers for slots."""
    count = itertools.count()
    return _SLOT.sub(lambda _: f"{{{next(count)}}}", said)


def _filled(said: str, words: tuple[str, ...]) -> str:
    return _PLACE.sub(lambda place: words[min(int(place[1]), len(words) - 1)], said)
