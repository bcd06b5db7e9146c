# SPDX-License-Identifier: Apache-2.0
"""The built-in scenes: procedural clips with exact targets for every task.

Things of twelve classes drift or rest in front of a textured wall. Each class has its own glyph and its own timbre. A
thing may be visible and sounding, visible and silent, or sounding off screen; when it is visible and when it sounds are
independent. A thing in view changes in radius and brightness with a loudness of its own; if it sounds, that is the
loudness of its sound. So of two things of one class, of which one sounds, the sounding one moves with the sound.
Class, position, size, colour, order, pitch and rhythm are drawn independently of each other: only the shape tells the
class of a thing in view, only the timbre the class of a sound, and nothing in the pictures tells which things sound.

Ten-second scenes have one to four things and spans in whole seconds, so that labels of one-second steps are exact.
Close-ups show two huge things for ten seconds, of which one sounds: for sound localisation, whose official metrics take
half of the picture for the source. Untrimmed scenes of 20 to 60 s have spans in tenths of a second; a step has the
state of its middle. Pictures are taken in the middle of each step.

>>> scene = sample_scene(7, "val")
>>> frames, sound, targets = render(scene, size=96, hop=1.0)
>>> frames.shape, sound.shape, targets["mask"].shape
((10, 3, 96, 96), (160000,), (10, 96, 96))
"""

from avkit.scenes.captioning import CAPTION_WORDS, scene_captions
from avkit.scenes.picture import render_frames
from avkit.scenes.question_templates import ANSWERS, MUSIC_AVQA_TYPES, QUESTION_WORDS, Question
from avkit.scenes.questions import sample_question, scene_questions
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
