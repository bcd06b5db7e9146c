# SPDX-License-Identifier: Apache-2.0
"""The built-in world: procedural clips with exact truth for every task.

Things of twelve classes drift or rest before a textured wall. Each class has its own glyph and its own timbre. A thing
may be seen and heard, seen and silent, or heard from out of view; when it is seen and when it is heard are independent.
A thing that is in view moves in size and brightness with a loudness of its own; if it sounds, that is the loudness of
its sound. So of two things of one class, of which one sounds, the sounding one is known by moving with the sound.
Class, place, size, colour, order, pitch and rhythm are drawn independently of each other: nothing but its shape tells
the class of a thing in view, nothing but its timbre the class of a sound, and nothing in the pictures who sounds.

Ten-second scenes have one to four things and spans in whole seconds, so that labels of one-second steps are exact.
Close-ups show two huge things for ten seconds, of which one sounds: for sound localisation, whose official figures take
half of the picture for the source. Untrimmed scenes of 20 to 60 s have spans in tenths of a second; a step has the
state of its middle. Pictures are taken in the middle of each step.

>>> scene = sample_scene(7, "val")
>>> frames, sound, labels = render(scene, size=96, hop=1.0)
>>> frames.shape, sound.shape, labels["mask"].shape
((10, 3, 96, 96), (160000,), (10, 96, 96))
"""

from avkit.scenes.captioning import CAPTION_WORDS, scene_captions
from avkit.scenes.picture import render_frames
from avkit.scenes.questions import ANSWERS, MUSIC_AVQA_TYPES, QUESTION_WORDS, Question, sample_question, scene_questions
from avkit.scenes.sampling import sample_scene
from avkit.scenes.sound import render_sound
from avkit.scenes.targets import TARGET_FIELDS, render, scene_targets
from avkit.scenes.world import (
    BACKGROUNDS,
    CLASSES,
    COLOURS,
    PITCHES,
    RHYTHMS,
    SIZES,
    SPLITS,
    Scene,
    Thing,
    swap_scene_sound,
    track,
)

#: Every word of captions and questions, in alphabetical order.
WORDS = sorted({*CAPTION_WORDS, *QUESTION_WORDS})

__all__ = [
    "ANSWERS",
    "BACKGROUNDS",
    "CAPTION_WORDS",
    "CLASSES",
    "COLOURS",
    "MUSIC_AVQA_TYPES",
    "PITCHES",
    "QUESTION_WORDS",
    "RHYTHMS",
    "SIZES",
    "SPLITS",
    "TARGET_FIELDS",
    "WORDS",
    "Question",
    "Scene",
    "Thing",
    "render",
    "render_frames",
    "render_sound",
    "sample_question",
    "sample_scene",
    "scene_captions",
    "scene_questions",
    "scene_targets",
    "swap_scene_sound",
    "track",
]
