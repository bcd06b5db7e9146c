# SPDX-License-Identifier: Apache-2.0
"""Declarative sentences that TSPM constructs from questions."""

import pytest

from avkit.errors import DataError
from avkit.systems.tspm.prompt_constructor import TEMPLATES, PromptConstructor


def test_all_templates_have_sentences_and_slots_are_filled_in_order():
    construct = PromptConstructor()
    assert len(TEMPLATES) == 33
    assert construct("Is the cello louder than the flute?") == "The cello and the flute are not equally loud."
    assert construct("is the cello on the left louder than the flute on the right") == (
        "The cello on the left and the flute on the right are not equally loud."
    )
    for template in TEMPLATES:
        words = iter(["cello", "left", "flute", "right"])
        question = " ".join(next(words) if word.startswith("<") else word for word in template.split())
        assert construct.from_template(question) is not None, template
        assert "<" not in construct(question)
        assert "{" not in construct(question)


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        ("Is there a dog in the garden?", "There is a dog in the garden."),
        ("How many things make a sound?", "There are things that make a sound."),
        ("How many dogs are there?", "There are dogs."),
        ("Which thing sounds first?", "One thing sounds first."),
        ("What happened in the video?", "Something happened in the video."),
        ("Where is the drum hidden?", "The drum is hidden."),
        ("Does the dog bark", "The dog bark."),
        ("Is the left thing louder than the right one?", "The left thing and the right one are not equally loud."),
        ("Was the dog asleep at noon?", "The dog was asleep at noon."),
        ("Bark!", "Bark!."),
        ("", ""),
    ],
)
def test_other_questions_follow_rules(question, sentence):
    assert PromptConstructor()(question) == sentence


def test_sentences_come_from_a_table_too(tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text("question_template,declarative_prompt\nWhere is the <LL> thing?,The <LL> thing is {seen}.\n")
    construct = PromptConstructor.load(table)
    assert construct("Where is the loudest thing?") == "The loudest thing is {seen}."
    table.write_text("question_template\nWhere?\n")
    with pytest.raises(DataError, match="columns question_template and declarative_prompt"):
        PromptConstructor.load(table)
    with pytest.raises(DataError, match="has none to fill them"):
        PromptConstructor({"Where?": "At <Place>."})
    with pytest.raises(DataError, match=r"cannot be read: .*does not exist"):
        PromptConstructor.load(tmp_path / "none.csv")
    odd = PromptConstructor({"Where?": "In {a} set}.", "Is it <A>?": "{0.__class__}, {0}, {7}"})
    assert odd("Where?") == "In {a} set}."
    assert odd("Is it blue?") == "{0.__class__}, blue, blue"
