# SPDX-License-Identifier: Apache-2.0
"""The built-in procedural world as a dataset; nothing to download, every target of every task."""

from collections.abc import Collection
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from avkit.batch import SAMPLE_RATE, Item, Vocabulary
from avkit.datasets.base import Dataset, DatasetOptions
from avkit.errors import unknown_name
from avkit.scenes import (
    ANSWERS,
    CLASSES,
    SPLITS,
    TARGET_FIELDS,
    WORDS,
    Question,
    Scene,
    render,
    sample_question,
    sample_scene,
    scene_questions,
)
from avkit.scenes.draws import Draws

QUESTION_FIELDS = frozenset({"answer", "question_type"})

#: Most questions of one type about a training scene, so that types with many forms do not drown the others.
ASKED_PER_TYPE = 2


class Scenes(Dataset):
    """Procedural scenes, see `avkit.scenes`.

    Splits: train 20,000, val 256 and test 256 clips unless `size` says otherwise; no clip is in two of them.
    Classes: the twelve of `avkit.scenes.CLASSES`, in this order.
    Rates: one picture per step of `hop` seconds, taken in its middle; mono sound at 16 kHz.
    Licence: that of avkit, as the clips are its output.

    An item is asked for by the fields wanted, and only those are computed. With `answer` or `question_type` among them
    it is an item of question answering: its scene is searched such that types, and answers within a type, are balanced.
    With `events` alone it is an untrimmed scene, with `source` alone a close-up, since the official figures of sound
    localisation take half of the picture for the source. Otherwise it is a scene of the usual mixture. All four are
    made for any index, and differ.

    Args:
        split: `train`, `val` or `test`.
        size: Number of clips; None for the number above.
        seed: Another seed gives another world. Keep it at 0 for `val` and `test` to compare with others.
        image_size: Height and width of pictures in pixels.
        untrimmed: Clips of 20 to 60 s with many events, without questions, instead of 10 s.
        hop: Seconds per step.
        all_questions: Ask all that the scene admits, up to `ASKED_PER_TYPE`, for training; balance holds for the first
            question alone.

    Raises:
        ValueError: If the split is unknown, or a size is not positive.
    """

    name = "scenes"
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
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        if size is not None and size < 1:
            raise ValueError(f"size={size}: a split has 1 clip or more. Leave it out for {self.SIZES[split]}.")
        self.split = split
        self.seed = seed
        self.image_size = image_size
        self.untrimmed = untrimmed
        self.hop = hop
        self.all_questions = all_questions
        self.size = self.SIZES[split] if size is None else size

    @classmethod
    def open(cls, split: str, options: DatasetOptions) -> "Scenes":
        """Open a split; clips of the train split come with all of their questions."""
        return cls(split, options.size, options.seed, options.image_size, all_questions=split == "train")

    @cached_property
    def provides(self) -> frozenset[str]:
        """Names of the targets an item may carry."""
        fields = frozenset(TARGET_FIELDS)
        return fields if self.untrimmed else fields | QUESTION_FIELDS

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words, each in index order."""
        return Vocabulary(classes=list(CLASSES), answers=list(ANSWERS), words=list(WORDS))

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Every scene carries every field."""
        return list(range(self.size))

    def __len__(self) -> int:
        """Number of clips."""
        return self.size

    def __getitem__(self, index: int) -> Item:
        """The clip with all of its truth and a question, `item(index)`."""
        return self.item(index)

    def scene(self, index: int, question: bool = False) -> tuple[Scene, Question | None]:
        """The record behind an item, and its question if it is one of question answering.

        Raises:
            IndexError: If there is no such clip.
        """
        if not 0 <= index < self.size:
            raise IndexError(f"index={index}: the {self.split} split has clips 0 to {self.size - 1}.")
        if question:
            return sample_question(index, self.split, self.seed)
        return sample_scene(index, self.split, self.seed, self.untrimmed), None

    def media(self, index: int) -> str:
        """Name of a clip, under which features of it are stored."""
        return f"scenes-{self.split}-{index:06d}"

    def item(self, index: int, fields: Collection[str] | None = None) -> Item:
        """One clip with the targets wanted.

        Args:
            index: From 0 to the length of the split.
            fields: Names out of `provides`; None for all of them, with a question where there are any.

        Raises:
            ValueError: If a field is not provided.
        """
        wanted = frozenset(self.provides if fields is None else fields)
        for name in sorted(wanted):
            if name not in self.provides:
                raise unknown_name(f"field of {'untrimmed ' * self.untrimmed}scenes", name, self.provides)
        if wanted in ({"events"}, {"source"}) and not self.untrimmed:
            long = "events" in wanted
            scene, question = sample_scene(index, self.split, self.seed, untrimmed=long, close=not long), None
        else:
            scene, question = self.scene(index, bool(wanted & QUESTION_FIELDS))
        frames, sound, truth = render(scene, self.image_size, self.hop, sorted(wanted - QUESTION_FIELDS))
        targets: dict[str, Any] = {
            name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in truth.items()
        }
        asked = self._asked(scene, question) if question is not None else {}
        targets |= {name: asked[name] for name in wanted & QUESTION_FIELDS}
        return Item(
            id=self.media(index),
            duration=len(sound) / SAMPLE_RATE,
            hop=self.hop,
            frames=torch.from_numpy(frames),
            waveform=torch.from_numpy(sound),
            text=asked.get("text"),
            targets=targets,
        )

    def _asked(self, scene: Scene, question: Question) -> dict[str, Any]:
        """Text, answer and type of the question, or of it and all others that the scene admits."""
        if not self.all_questions:
            return {"text": question.text, "answer": question.answer, "question_type": question.type}
        every, others = [question], scene_questions(scene)
        for other in (others[i] for i in Draws(scene.texture).sample(len(others), len(others))):
            if other.text != question.text and sum(q.type == other.type for q in every) < ASKED_PER_TYPE:
                every.append(other)
        return {
            "text": [q.text for q in every],
            "answer": [q.answer for q in every],
            "question_type": [q.type for q in every],
        }
