# SPDX-License-Identifier: Apache-2.0
"""The built-in procedural world as a dataset; nothing to download, every target of every task."""

from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.batch import Item, Targets, Vocabulary
from avkit.datasets.base import Dataset, DatasetOptions
from avkit.datasets.scene_features import open_scene_features
from avkit.datasets.scene_names import KINDS, QUESTION_FIELDS, draw_scene, kind_for, scene_name
from avkit.errors import unknown_name
from avkit.features.base import Features
from avkit.scenes import (
    ANSWERS,
    CLASSES,
    SPLITS,
    TARGET_FIELDS,
    WORDS,
    Question,
    Scene,
    render,
    render_frames,
    render_sound,
    scene_questions,
    scene_targets,
)
from avkit.scenes.draws import Draws

#: File that marks a folder of scenes that were written in the layout of another dataset.
MARKER = "avkit-scenes.json"
#: Maximum number of questions of one type about a training scene, so that types with many forms do not dominate.
MAX_PER_TYPE = 2


class Scenes(Dataset):
    """Procedural scenes, see `avkit.scenes`.

    Splits: train 20,000, val 256 and test 256 clips unless `size` says otherwise; no clip is in two of them.
    Classes: the twelve of `avkit.scenes.CLASSES`, in this order.
    Rates: one picture per step of `hop` seconds, taken in its middle; mono sound at 16 kHz.
    Licence: that of avkit, as the clips are its output.

    Which scene belongs to an index depends on the fields asked for, and only those are computed. With `answer` or
    `question_type` among them it is a scene of question answering, selected such that types, and answers within a type,
    are balanced. With `events` alone it is an untrimmed scene, with `source` alone a close-up, since the official
    figures of sound localisation take half of the picture for the source. Otherwise it is a scene of the usual mixture.
    All four exist for any index, and differ.

    Args:
        split: `train`, `val` or `test`.
        size: Number of clips; None for the number above.
        seed: Another seed gives another world. Keep it at 0 for `val` and `test` to compare with others.
        image_size: Height and width of pictures in pixels.
        untrimmed: Clips of 20 to 60 s with many events, without questions, instead of 10 s.
        hop: Seconds per step.
        all_questions: Give all questions that the scene admits, up to `MAX_PER_TYPE`, for training; only the first
            question is balanced.
        visual: Stored features to read instead of pictures: paths of stores joined by `+`, or the features. They are of
            scenes of seed 0, as `avkit extract scenes` makes them.
        audio: Stored features to read instead of sound, likewise.
        root: Folder from which paths of features are looked for too.

    Raises:
        ValueError: If the split is unknown, a size is not positive, or features are named with another seed than 0.
        DataError: If features are missing, or of fewer scenes than the split has.
    """

    name = "scenes"
    how_to_get = "It is built in: 'avkit fit --tasks avs' draws its clips, and 'avkit scenes' writes them to files."
    generated = True
    #: Clips per split.
    SIZES: ClassVar[dict[str, int]] = {"train": 20_000, "val": 256, "test": 256}

    def __init__(
        self,
        split: str = "train",
        size: int | None = None,
        seed: int = 0,
        image_size: int = 96,
        untrimmed: bool = False,
        hop: float = 1.0,
        all_questions: bool = False,
        visual: str | Features | None = None,
        audio: str | Features | None = None,
        root: Path | None = None,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if size is not None and size < 1:
            raise ValueError(f"size={size}: a split has 1 clip or more. Leave it out for {self.SIZES[split]}.")
        self.split = split
        self.size = self.SIZES[split] if size is None else size
        self.seed = seed
        self.image_size = image_size
        self.untrimmed = untrimmed
        self.hop = hop
        self.all_questions = all_questions
        self.features = open_scene_features(visual, audio, root, hop)
        if self.features is not None:
            if seed:
                raise ValueError(f"seed={seed}: stored features are of scenes of seed 0. Leave it out.")
            self.visual = self.features.visual
            self.audio = self.features.audio
            self.features.check_holds(split, self.size, ["untrimmed"] if untrimmed else KINDS)

    @classmethod
    def open(cls, split: str, options: DatasetOptions) -> "Scenes":
        """Open a split; clips of the train split come with all of their questions.

        Training scenes are those of the run's seed, and of seed 0 where stored features are read.

        Raises:
            ValueError: If another hop than that of scenes is asked for.
            DataError: If stored features are missing.
        """
        if options.hop not in (None, 1.0):
            raise ValueError(f"data.hop is {options.hop}; scenes have steps of 1 s. Name other datasets, as llp=0.5.")
        # one world for validation and test, whatever the seed, so that scores of several seeds compare
        stored = bool(options.visual or options.audio)
        seed = options.seed if split == "train" and not stored else 0
        return cls(
            split,
            options.size,
            seed,
            options.image_size,
            all_questions=split == "train",
            visual=options.visual,
            audio=options.audio,
            root=options.root,
        )

    @cached_property
    def provides(self) -> frozenset[str]:
        """Names of the targets an item may carry."""
        fields = frozenset(TARGET_FIELDS)
        return fields if self.untrimmed else fields | QUESTION_FIELDS

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words, each in index order."""
        return Vocabulary(classes=list(CLASSES), answers=list(ANSWERS), words=list(WORDS))

    def __len__(self) -> int:
        """Number of clips."""
        return self.size

    def __getitem__(self, index: int) -> Item:
        """The clip with all of its targets and a question, `item(index)`."""
        return self.item(index)

    def scene(self, index: int, question: bool = False) -> tuple[Scene, Question | None]:
        """The record behind an item, and its question if it is one of question answering.

        Raises:
            IndexError: If there is no such clip.
        """
        kind = "untrimmed" if self.untrimmed else "trimmed"
        return self._draw("question" if question else kind, index)

    def media(self, index: int) -> str:
        """Name of a clip, whatever its kind."""
        return scene_name(self.split, index)

    def stored_name(self, index: int, features: Features, fields: frozenset[str] = frozenset()) -> str:
        """Name under which features of the scene that suits the fields are stored."""
        return scene_name(self.split, index, self._kind(fields))

    def sample_id(self, index: int) -> str:
        """Id of a clip."""
        return self.media(index)

    def item(self, index: int, fields: Collection[str] | None = None) -> Item:
        """One clip with the targets asked for.

        Args:
            index: From 0 to the length of the split.
            fields: Names out of `provides`; None for all of them, with a question where there are any.

        Raises:
            ValueError: If a field is not provided.
            IndexError: If there is no such clip.
        """
        names = self.provides if fields is None else frozenset(fields)
        self._check_fields(names)
        scene, question = self._scene_for(index, names)
        frames, waveform, arrays = self._read(scene, sorted(names - QUESTION_FIELDS))
        targets: Targets = {}
        for name, array in arrays.items():
            targets[name] = torch.from_numpy(array) if isinstance(array, np.ndarray) else array
        text: str | list[str] | None = None
        if question is not None:
            text, question_targets = self._question_texts(scene, question)
            targets |= {name: question_targets[name] for name in names & QUESTION_FIELDS}
        item = Item(
            id=self.media(index),
            duration=scene.duration,
            hop=self.hop,
            frames=None if frames is None else torch.from_numpy(frames),
            waveform=None if waveform is None else torch.from_numpy(waveform),
            text=text,
            targets=targets,
        )
        if self.features is not None:
            stored = scene_name(self.split, index, self._kind(names))
            steps = len(scene.times(self.hop))
            item.visual = self.features.read_visual(stored, steps)
            item.audio = self.features.read_audio(stored, steps)
        return item

    def _read(
        self, scene: Scene, fields: list[str]
    ) -> tuple[NDArray[np.uint8] | None, NDArray[np.float32] | None, dict[str, Any]]:
        """Pictures, sound and targets of a scene; None in place of what is read as stored features."""
        if self.features is None:
            return render(scene, self.image_size, self.hop, fields)
        frames = render_frames(scene, self.image_size, self.hop) if self.visual is None else None
        waveform = render_sound(scene) if self.audio is None else None
        return frames, waveform, scene_targets(scene, self.image_size, self.hop, fields)

    def _check_fields(self, names: frozenset[str]) -> None:
        kind = "untrimmed scenes" if self.untrimmed else "scenes"
        for name in sorted(names):
            if name not in self.provides:
                raise unknown_name(f"field of {kind}", name, self.provides)

    def _scene_for(self, index: int, names: frozenset[str]) -> tuple[Scene, Question | None]:
        """The scene of an index that suits the fields asked for."""
        return self._draw(self._kind(names), index)

    def _draw(self, kind: str, index: int) -> tuple[Scene, Question | None]:
        """The scene of a kind, and its question if it has one."""
        if not 0 <= index < self.size:
            raise IndexError(f"index={index}: the {self.split} split has clips 0 to {self.size - 1}.")
        return draw_scene(kind, self.split, index, self.seed)

    def _kind(self, names: frozenset[str]) -> str:
        """The kind of scene that suits the fields; without any, one of which features are stored."""
        if self.untrimmed:
            return "untrimmed"
        if not names and self.features is not None:
            return self.features.kind(self.split)
        return kind_for(names)

    def _question_texts(self, scene: Scene, first: Question) -> tuple[str | list[str], Targets]:
        """Text and targets of the question `first`, or lists of those of all questions about the scene."""
        if not self.all_questions:
            return first.text, {"answer": first.answer, "question_type": first.type}
        selected = [first]
        questions = scene_questions(scene)
        for k in Draws(scene.texture).sample(len(questions), len(questions)):
            question = questions[k]
            of_type = sum(other.type == question.type for other in selected)
            if question.text != first.text and of_type < MAX_PER_TYPE:
                selected.append(question)
        targets: Targets = {
            "answer": [question.answer for question in selected],
            "question_type": [question.type for question in selected],
        }
        return [question.text for question in selected], targets
