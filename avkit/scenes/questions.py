# SPDX-License-Identifier: Apache-2.0
"""Questions about a scene, and the search for a scene that has a wanted answer."""

from dataclasses import replace

from avkit.errors import unknown_name
from avkit.scenes.draws import Draws
from avkit.scenes.question_templates import ANSWERS_BY_TYPE, MUSIC_AVQA_TYPES, TEMPLATES, Question
from avkit.scenes.sampling import sample_scene
from avkit.scenes.world import CLASSES, SPLITS, Scene


def scene_questions(scene: Scene) -> list[Question]:
    """All questions that the scene admits, in the order of `TEMPLATES`."""
    questions = []
    for template in TEMPLATES:
        questions += template.questions(scene)
    return questions


def sample_question(index: int, split: str = "train", seed: int = 0) -> tuple[Scene, Question]:
    """Search a scene that admits a question with the type and answer that are next in turn.

    Types take turns, and within a type its answers, so that any run of indices is balanced.

    Args:
        index: Any number from 0; the scene carries it, but differs from `sample_scene(index)`.
        split: One of `world.SPLITS`.
        seed: As in `sample_scene`.

    Raises:
        ValueError: If the split is unknown or a number is negative.
        RuntimeError: If there is no such scene, which means that a template and its casts contradict each other.
    """
    if split not in SPLITS:
        raise unknown_name("split", split, SPLITS)
    draws = Draws(seed, SPLITS.index(split), index)
    turn, type_number = divmod(index, len(MUSIC_AVQA_TYPES))
    question_type = MUSIC_AVQA_TYPES[type_number]
    answers = ANSWERS_BY_TYPE[question_type]
    answer = answers[turn % len(answers)]
    templates = [template for template in TEMPLATES if template.type == question_type]
    template = templates[draws.integer(0, len(templates))]
    casts = template.casts[answer]
    for attempt in range(1, 10_000):
        scene = sample_scene(index, split, seed, casts=casts, attempt=attempt)
        questions = template.questions(scene)
        if questions and answer in CLASSES:
            # classes are interchangeable: shifting all of them keeps the mixture of scenes and saves the search
            scene = _shift_classes(scene, CLASSES.index(answer) - CLASSES.index(questions[0].answer))
            questions = template.questions(scene)
        matching = [question for question in questions if question.answer == answer]
        if matching:
            return scene, matching[draws.integer(0, len(matching))]
    raise RuntimeError(f"No scene has {template.pattern!r} with the answer {answer!r} among the casts {casts}.")


def _shift_classes(scene: Scene, by: int) -> Scene:
    things = [replace(thing, kind=(thing.kind + by) % len(CLASSES)) for thing in scene.things]
    return replace(scene, things=tuple(things))
