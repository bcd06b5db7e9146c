# SPDX-License-Identifier: Apache-2.0
"""The contract of a dataset: what loaders and commands ask of every reader, and how a reader is opened."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from avkit.batch import Item, Vocabulary
from avkit.datasets.splits import SplitFacts, SplitOptions
from avkit.features.base import Features
from avkit.outside import PartError, line_of
from avkit.reading.remote import is_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class DatasetOptions:
    """What a run says about its data; a dataset takes from it what it needs, see `Dataset.open`.

    Attributes:
        root: Folder of one dataset, or one with a folder for each, called by its name.
        manifest: A JSON Lines file of clips, for the dataset `manifest`.
        release: Release of the annotations; the usual one where None.
        visual: Stored features to read instead of pictures: a released name, a feature store, or a folder of `.npy`.
        audio: Stored features to read instead of sound, likewise.
        allow_missing: Leave out clips that are not on disk instead of raising an error.
        image_size: Height and width of pictures and masks in pixels.
        size: Number of clips, for datasets that generate them.
        seed: Seed of datasets that generate their clips.
        hop: Seconds per step where the dataset leaves it open, and between two rows of features that do not say it.
        silent_ok: Use silence for videos without sound.
        splits: How clips are split where the dataset does not say it.
        vocabulary: Names that a run was trained with, for datasets that have no names of their own.
    """

    root: Path | None = None
    manifest: Path | None = None
    release: str | None = None
    visual: str | None = None
    audio: str | None = None
    allow_missing: bool = False
    image_size: int = 96
    size: int | None = None
    seed: int = 0
    hop: float | None = None
    silent_ok: bool = False
    splits: SplitOptions = field(default_factory=SplitOptions)
    vocabulary: Vocabulary | None = None


class Dataset(ABC):
    """Samples of one split: clips, or pairs of a clip and a question.

    A subclass gives `provides`, `vocabulary`, `__len__` and `item`. The other members have defaults that hold where
    all samples carry the same targets and every clip is on disk.

    Attributes:
        visual: Stored features that are read instead of pictures, or None.
        audio: Stored features that are read instead of sound, or None.
        missing: What is missing of each clip that was left out, by the id of its sample.
        untrimmed: Whether clips are long, of different lengths, and hold several events.
        split_facts: How the splits were made, where the dataset does not say it; else None.
    """

    #: Name on the command line; empty for a dataset from outside avkit, which is named `package.module:Class`.
    name: ClassVar[str] = ""

    #: How to come by what `avkit get` does not download, and what to ask its authors, as sentences.
    how_to_get: ClassVar[str] = ""

    #: Whether clips are generated, as many as are asked for, so that their number is no size of the data.
    generated: ClassVar[bool] = False

    #: Seconds per step where nothing else is asked for.
    default_hop: ClassVar[float] = 1.0

    visual: Features | None = None
    audio: Features | None = None
    missing: Mapping[str, str] = MappingProxyType({})
    untrimmed: bool = False
    split_facts: SplitFacts | None = None

    @property
    def listed_split(self) -> str:
        """Name of the official list that the samples are of, where it is that of another split; else empty."""
        return ""

    @property
    def official_count(self) -> int | None:
        """Number of samples of the official list of this split, whatever lies on disk; None where there is no list."""
        return None

    @property
    def annotation_files(self) -> Sequence[Path]:
        """Files that say which clips there are and what is true of them, without masks; by default none."""
        return ()

    @property
    def mask_files(self) -> Mapping[str, Path]:
        """Files of masks by their path below the root; by default none."""
        return {}

    @property
    def notes(self) -> Sequence[str]:
        """What a reader of figures must know of the data, one sentence each."""
        return ()

    @classmethod
    def open(cls, split: str, options: DatasetOptions) -> "Dataset":
        """Open a split.

        By default the class is built with the keywords of official datasets: `root`, `split`, `image_size`, `release`,
        `visual`, `audio` and `allow_missing`, and with `hop` and `silent_ok` where they are given. Override this for a
        dataset that is built in another way.

        Raises:
            ValueError: If `options` has no root.
            PartError: If the class does not take these keywords.
        """
        if options.root is None:
            raise ValueError(f"Dataset {cls.name or cls.__name__!r} needs a folder. Name it with --data.root FOLDER.")
        own = options.root / cls.name
        keywords: dict[str, Any] = {
            "root": own if is_folder(own) else options.root,
            "split": split,
            "image_size": options.image_size,
            "release": options.release,
            "visual": options.visual,
            "audio": options.audio,
            "allow_missing": options.allow_missing,
        }
        if options.hop is not None:
            keywords["hop"] = options.hop
        if options.silent_ok:
            keywords["silent_ok"] = True
        try:
            signature(cls).bind(**keywords)
        except TypeError as error:
            raise PartError(
                f"Dataset {cls.__module__}:{cls.__qualname__} ({line_of(cls)}) cannot be built with "
                f"{', '.join(keywords)}: {error}. Take these keywords in its constructor, as "
                "avkit.datasets.official.Official does, or override Dataset.open."
            ) from error
        return cls(**keywords)

    @property
    @abstractmethod
    def provides(self) -> frozenset[str]:
        """Targets that some sample has, see `avkit.fields.FIELDS`."""

    @property
    @abstractmethod
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words, the same for every split."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples."""

    @abstractmethod
    def item(self, index: int, fields: frozenset[str] | None = None) -> Item:
        """One sample with the named targets; with all that it has where `fields` is None."""

    def plot(self, index: int) -> "Figure":
        """One sample as a figure: frames with masks and boxes, sound, and what is annotated over time.

        Raises:
            IndexError: If there are not as many samples.
        """
        from avkit.datasets.plot import plot_item

        if not -len(self) <= index < len(self):
            raise IndexError(f"Sample {index} was asked for, and there are {len(self)}, numbered from 0.")
        item = self.item(index % len(self))
        return plot_item(item, self.vocabulary.classes)

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Samples that carry all of `fields`; by default every sample does."""
        return list(range(len(self)))

    def questions(self) -> Mapping[str, str]:
        """All questions by the ids of their samples; by default none, for datasets that make theirs as they go."""
        return {}

    def media(self, index: int) -> str:
        """Name under which features of a sample's clip are stored; by default the id of its item."""
        return self.item(index, frozenset()).id

    def sample_id(self, index: int) -> str:
        """Id of a sample's item, without reading it where the dataset can tell."""
        return self.item(index, frozenset()).id

    def target_item(self, index: int, fields: frozenset[str]) -> Item:
        """As `item`, without pictures and sound: of features there are steps, of width 0.

        By default the sample is read and they are dropped; a dataset that can tell targets without media does not need
        any.
        """
        item = self.item(index, fields)
        nothing = torch.zeros(item.steps, 0)
        return replace(item, frames=None, waveform=None, visual=None, audio=nothing, expert=None)

    def stored_name(self, index: int, features: Features, fields: frozenset[str] = frozenset()) -> str:
        """Name under which some features of a sample's clip are stored; by default that of its media.

        Args:
            index: Number of the sample.
            features: The stored features.
            fields: Targets that are asked for, for datasets whose clips depend on them.
        """
        return self.media(index)
