# SPDX-License-Identifier: Apache-2.0
"""Answers to questions are of the kind that the question asks for."""

import gzip
import json
import re

import pytest
import torch
from conftest import SHARED

from avkit.answers import Choice, Scope, StepGrid
from avkit.batch import Prediction
from avkit.inference.question_kinds import keep_to_kind
from avkit.scenes.question_templates import ANSWERS, CLASSES, TEMPLATES
from avkit.text.question_kinds import answer_kind, fitting_answers, question_kind

OFFICIAL = SHARED / "data" / "real" / "annotations" / "music_avqa"
THINGS = ["cello", "violin"]
NUMBERS = ["zero", "one", "two", "ten", "more than ten"]
PLACES = ["left", "right", "middle", "indoor", "outdoor"]
MUSIC = [*THINGS, *NUMBERS, *PLACES, "yes", "no", "simultaneously"]


def answers_to(question, answers=ANSWERS):
    return {answers[index] for index in fitting_answers(question, answers)}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.pattern)
def test_scenes_questions_keep_their_answers(template):
    for name in CLASSES[:3]:
        allowed = answers_to(template.pattern.format(a=name, b="bell"))
        assert set(template.casts) <= allowed < set(ANSWERS)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Is there a dog?", "yes or no"),
        ("DOES THE DOG BARK", "yes or no"),
        ("In this video, can you hear a horn?", "yes or no"),
        ("isn't it loud?", "yes or no"),
        ("How many dogs bark?", "a number"),
        ("What is the number of instruments?", "a number"),
        ("Where is the loudest instrument?", "a place"),
        ("On which side is the drum?", "a place"),
        ("what's on the left?", "a name"),
        ("Which instrument comes first?", "a name"),
        ("Who sings?", "a name"),
        ("When does the dog bark?", "a time"),
        ("tell me more", ""),
        ("¿cuántos perros?", ""),
        ("?", ""),
    ],
)
def test_kinds_of_questions(question, kind):
    assert question_kind(question) == kind


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Yes", "yes or no"),
        ("more than ten", "a number"),
        ("17", "a number"),
        ("upper left", "a place"),
        ("in the middle", "a place"),
        ("simultaneously", "a time"),
        ("acoustic_guitar", "a name"),
        ("no dog", "a name"),
        ("", "a name"),
    ],
)
def test_kinds_of_answers(answer, kind):
    assert answer_kind(answer) == kind


def test_choices_that_a_question_offers():
    assert answers_to("is it on the left or the right?", MUSIC) == set(PLACES)
    assert answers_to("is it a cello or a violin?", MUSIC) == set(THINGS)
    assert answers_to("is there a cello or a violin?", MUSIC) == {*THINGS, "yes", "no"}
    assert answers_to("are there two or three?", MUSIC) >= {"two", "zero", "more than ten"}
    assert answers_to("is it loud or quiet?", MUSIC) == set(MUSIC)


def test_which_of_several_things_of_one_name():
    assert answers_to("Which violin makes the sound first?", MUSIC) == {*PLACES, "simultaneously"}
    assert answers_to("Which instrument makes the sound first?", MUSIC) == set(THINGS)


def test_answers_of_other_lists():
    assert answers_to("is it loud?", ["loud", "quiet"]) == {"loud", "quiet"}, "no yes and no there"
    assert answers_to("where is it?", ["park", "street", "yes", "no", "2"]) == {"park", "street"}
    places = [f"place {number}" for number in range(200)]
    assert answers_to("where is it?", [*places, "left", "no", "two"]) == {*places, "left"}
    assert answers_to("how many?", ["a", "b"]) == {"a", "b"}, "an answer there must be"


def test_scores_are_kept_to_the_kind():
    scores = torch.randn(2, len(ANSWERS))
    prediction = Prediction("avqa", ["a", "b"], {"answer": ["bee", "bee"], "answer_logits": scores.clone()})
    questions = ["is there a dog?", "tell me"]
    kept = keep_to_kind(prediction, questions, ANSWERS)
    assert kept["answer"][0] in ("yes", "no")
    assert kept["answer"][1] == ANSWERS[int(scores[1].argmax())]
    assert torch.equal(prediction["answer_logits"], scores), "the prediction itself is unchanged"
    assert torch.equal(kept["answer_logits"][1], scores[1])
    choice = Choice.from_values(kept.values, 0, Scope("avqa", StepGrid(1, 1, 1), (), ANSWERS, questions[0]))
    assert set(choice.scores) == {"yes", "no"}
    assert sum(choice.scores.values()) == pytest.approx(1, abs=1e-3)
    assert choice.answer_kind == "yes or no"
    assert Choice.from_json(choice.to_json()) == choice
    record = choice.to_json()
    del record["answer_kind"]  # written by an avkit of before
    assert Choice.from_json(record).answer_kind == ""


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official questions of MUSIC-AVQA are not here")
def test_no_official_answer_is_left_out():
    answers = [line.strip() for line in (OFFICIAL / "answers42.txt").read_text().splitlines()]
    count = 0
    cached = {}
    for path in sorted(OFFICIAL.rglob("*.json.gz")):
        for row in json.loads(gzip.decompress(path.read_bytes())):
            text = row["question_content"]
            for value in re.findall(r"[\w ]+", row.get("templ_values") or ""):
                text = re.sub(r"<[^>]+>", value, text, count=1)
            if text not in cached:
                cached[text] = answers_to(text, answers)
            answer = row["anser"]
            if answer in answers:
                assert answer in cached[text], text
                assert len(cached[text]) < len(answers), text
                count += 1
    assert count > 80_000
