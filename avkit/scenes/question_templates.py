# SPDX-License-Identifier: Apache-2.0
"""Forms of questions of the nine MUSIC-AVQA types, each with the scenes in which to search for each answer.

A question is asked only where its answer is beyond doubt: times differ by two seconds or more, positions are clearly in
one quarter, sounds clearly differ in loudness. `Template.casts` names, for every answer, the casts of the scenes to
search; they are chosen so that the number of visible things says nothing about an answer that depends on the sound.

Types: Li et al., "Learning to Answer Questions in Dynamic Audio-Visual Scenarios", CVPR 2022, table 1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avkit.scenes import question_rules as rules
from avkit.scenes.captioning import pattern_words
from avkit.scenes.question_rules import QUARTERS, Rule
from avkit.scenes.sampling import Cast
from avkit.scenes.world import CLASSES, Scene


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its MUSIC-AVQA type such as "Audio Counting", and its answer."""

    type: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Template:
    """One form of question.

    Attributes:
        type: One of the nine types.
        pattern: The question; `{a}` and `{b}` stand for names of classes.
        rule: Yields, for each question that a scene admits, the names by field of the pattern, and the answer.
        casts: Casts of the scenes to search, by answer.
    """

    type: str
    pattern: str
    rule: Rule
    casts: Mapping[str, Sequence[Cast]]

    def questions(self, scene: Scene) -> list[Question]:
        """All questions of this form about the scene."""
        return [Question(self.type, self.pattern.format(**names), answer) for names, answer in self.rule(scene)]


def _same_casts(answers: Sequence[str], casts: Sequence[Cast]) -> dict[str, Sequence[Cast]]:
    return dict.fromkeys(answers, casts)


_YES_NO = ("no", "yes")
_QUARTERS = (*QUARTERS[0], *QUARTERS[1])
TEMPLATES = (
    Template(
        "Audio Counting",
        "how many different sounds are heard",
        rules.count_sounds,
        {
            "one": [(1, 0, 0), (1, 1, 0), (1, 2, 0)],
            "two": [(1, 0, 1), (1, 1, 1), (1, 2, 1)],
            "three": [(1, 0, 2), (2, 0, 1), (2, 1, 1)],
        },
    ),
    Template(
        "Audio Comparative",
        "does the {a} sound longer than the {b}",
        rules.sounds_longer,
        _same_casts(_YES_NO, [(1, 0, 1), (2, 0, 0), (1, 1, 1), (2, 1, 0)]),
    ),
    Template(
        "Audio Comparative",
        "is the {a} louder than the {b}",
        rules.is_louder,
        _same_casts(_YES_NO, [(1, 0, 1), (2, 0, 0), (1, 1, 1), (2, 1, 0)]),
    ),
    Template(
        "Visual Counting",
        "how many things are seen",
        rules.count_visible,
        {
            "one": [(1, 0, 0), (1, 0, 1)],
            "two": [(1, 1, 0), (1, 1, 1)],
            "three": [(1, 2, 0), (1, 2, 1)],
            "four": [(1, 3, 0), (2, 2, 0)],
        },
    ),
    Template(
        "Visual Location",
        "where is the {a}",
        rules.where_visible,
        _same_casts(_QUARTERS, [(1, 1, 0), (1, 1, 1), (1, 2, 0)]),
    ),
    Template(
        "Audio-Visual Existential",
        "is one of the sounds made by a thing never seen",
        rules.any_sound_off_screen,
        {
            "no": [(2, 0, 0), (2, 1, 0)],
            "yes": [(1, 1, 1), (1, 2, 1)],
        },
    ),
    Template(
        "Audio-Visual Existential",
        "does the {a} in view make a sound",
        rules.makes_sound,
        _same_casts(_YES_NO, [(1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 1, 0)]),
    ),
    Template(
        "Audio-Visual Counting",
        "how many things in view make a sound",
        rules.count_sounding_visible,
        {
            "zero": [(0, 2, 2)],
            "one": [(1, 1, 1)],
            "two": [(2, 0, 0)],
        },
    ),
    Template(
        "Audio-Visual Location",
        "where is the thing that makes the sound",
        rules.where_sounding,
        _same_casts(_QUARTERS, [(1, 2, 0), (1, 3, 0)]),
    ),
    Template(
        "Audio-Visual Comparative",
        "is the sounding thing on the left of the silent one",
        rules.sounding_is_left,
        _same_casts(_YES_NO, [(1, 1, 0), (1, 1, 1)]),
    ),
    Template(
        "Audio-Visual Comparative",
        "is the left thing louder than the right one",
        rules.left_is_louder,
        _same_casts(_YES_NO, [(2, 0, 0), (2, 0, 1)]),
    ),
    Template(
        "Audio-Visual Temporal",
        "which thing in view sounds first",
        rules.sounds_first,
        _same_casts(CLASSES, [(2, 1, 0), (2, 1, 1), (2, 2, 0), (3, 1, 0)]),
    ),
)

#: The nine types in the order of the MUSIC-AVQA tables.
MUSIC_AVQA_TYPES = list(dict.fromkeys(template.type for template in TEMPLATES))
#: Answers of each type, in alphabetical order.
ANSWERS_BY_TYPE = {template.type: sorted(template.casts) for template in TEMPLATES}
#: All answers, in alphabetical order.
ANSWERS = sorted(set().union(*ANSWERS_BY_TYPE.values()))
#: Every word that a question can have, in alphabetical order.
QUESTION_WORDS = sorted(pattern_words(template.pattern for template in TEMPLATES) | set(CLASSES))
