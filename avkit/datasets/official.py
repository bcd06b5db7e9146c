# SPDX-License-Identifier: Apache-2.0
"""What all readers of official datasets share: root, splits, releases, missing clips, stored features."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation
from avkit.datasets.clips import ClipDataset, Sample
from avkit.datasets.folder import Folder, MediaPatterns
from avkit.datasets.inputs import ReadOptions
from avkit.datasets.json_records import annotation_errors
from avkit.datasets.official_media import MediaFinder
from avkit.datasets.recognition import other_dataset
from avkit.datasets.release_check import ReleasePart, check_release
from avkit.datasets.released import FeatureModality, ReleasedFeatures, open_path, open_released
from avkit.datasets.split_names import check_split
from avkit.datasets.stored_clips import check_clips_are_stored, lack_of_features
from avkit.datasets.unreadable import unreadable_clips
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures
from avkit.features.shards import open_store
from avkit.reading.remote import is_folder, is_there, url_of


class AbsentError(DataError):
    """An annotation file is missing; what is present may be complete."""


class Official(ClipDataset):
    """A dataset in its authors' layout.

    Splits, class order and vocabulary come from the official files, never from what lies on disk. A subclass states
    the facts below as class attributes and gives `read_annotations` and `read_vocabulary`.

    Args:
        root: Folder of the dataset, a path or a URL.
        split: One of `splits`.
        image_size: Height and width of pictures and masks in pixels.
        release: One of `releases`; the first by default.
        hop: Seconds per step, where the benchmark leaves it open, and between two rows of features that do not say it.
        visual: Features to read instead of pictures: a name in `released`, several joined by `+`, a feature store, or a
            folder of `.npy` files.
        audio: Features to read instead of sound, likewise.
        allow_missing: Leave out clips whose media are missing, empty or without picture or sound, count them in
            `missing`, and hold the last picture of videos that are too short; else all are errors.
        max_steps: Read at most this many steps from the start of each clip.
        cache_bytes: Memory for decoded clips and masks, per loader process.
        find_media: Whether to look for the media of each clip. False lists clips only, to count or check them.
        silent_ok: Use silence for videos without sound.

    Attributes:
        all_annotations: Every row of the split by the official files, whether its media are present or not.
        total: Number of them.
        missing: What is missing of each clip that was left out, by id.

    Raises:
        ValueError: If split, release or the name of features is unknown.
        EmptySplitError: If the dataset has no such split.
        DataError: If an annotation file is missing or damaged, or a clip is missing and `allow_missing` is False.
    """

    #: Name in print.
    title: ClassVar[str]
    #: Where annotations and media come from.
    source: ClassVar[str]
    #: Files by which the root is recognised.
    marker_files: ClassVar[tuple[str, ...]]
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    #: Published forms of the annotations, the usual one first.
    releases: ClassVar[tuple[str, ...]] = ("official",)
    #: Number of samples by release and split, of the official files.
    counts: ClassVar[Mapping[str, Mapping[str, int]]] = {}
    #: Number of steps of every clip; None where clips have their own length.
    fixed_steps: ClassVar[int | None] = 10
    #: Place within a step at which its picture is taken, in [0, 1].
    frame_offset: ClassVar[float] = 0.5
    #: Whether the sound of a clip is the middle of its audio file.
    centred_audio: ClassVar[bool] = False
    #: Where media are.
    patterns: ClassVar[MediaPatterns]
    #: Features that are published with the dataset, by name.
    released: ClassVar[Mapping[str, ReleasedFeatures]] = {}

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        image_size: int = 96,
        release: str | None = None,
        hop: float | None = None,
        visual: str | Features | None = None,
        audio: str | Features | None = None,
        allow_missing: bool = False,
        max_steps: int | None = None,
        cache_bytes: int = 512 * 2**20,
        find_media: bool = True,
        silent_ok: bool = False,
    ) -> None:
        check_split(self.title, split, self.splits)
        if release is not None and release not in self.releases:
            raise unknown_name(f"release of {self.title}", release, self.releases)
        if hop is not None and self.fixed_steps is not None and hop != self.default_hop:
            raise ValueError(
                f"hop is {hop}; {self.title} has {self.fixed_steps} steps of {self.default_hop:g} s. Leave it out."
            )
        self.root = Folder(root)
        self._annotation_files: dict[Path, None] = {}
        self.split = split
        self.release = release or self.releases[0]
        self.allow_missing = allow_missing
        if not is_folder(root):
            raise DataError(f"The root {self.root.place!r} of {self.title} is no folder. Check the path.")
        with annotation_errors(self.title, self.root.path):
            self.all_annotations = self.read_annotations(split)
        self.total = len(self.all_annotations)
        check_release(self.title, self.counts, ReleasePart(self.release, split), self.total)
        with annotation_errors(self.title, self.root.path):
            vocabulary = self.read_vocabulary()
        options = ReadOptions(
            image_size=image_size,
            hop=hop or self.default_hop,
            steps=self.fixed_steps,
            max_steps=max_steps,
            frame_offset=self.frame_offset,
            centred_audio=self.centred_audio,
            silent_ok=silent_ok,
            short_ok=allow_missing,
            visual=self._features(visual, "visual"),
            audio=self._features(audio, "audio"),
            feature_hop=hop,
            cache_bytes=cache_bytes,
        )
        self.finder = MediaFinder(self.root, self.patterns, options)
        super().__init__(self.all_annotations, vocabulary, options)
        if find_media:
            self.require_hops()
            self._leave_out_missing()

    @abstractmethod
    def read_annotations(self, split: str) -> list[Annotation]:
        """Every row of a split in the official order, without looking for its media."""

    @abstractmethod
    def read_vocabulary(self) -> Vocabulary:
        """Classes, answers and words, the same for every split."""

    def row_ids(self) -> list[str]:
        """Ids of all rows of the annotation file in its order, for HDF5 files with a row for each."""
        raise DataError(f"{self.title} has no HDF5 files by row. Name a feature store or a folder of .npy files.")

    def mask_classes(self, file: str) -> Mapping[str, str | None] | None:
        """Class of each pixel value of a mask, by the path of its file; None where every value but 0 sounds."""
        return None

    @property
    def coverage(self) -> tuple[int, int]:
        """Number of clips that can be read, and of those in the official split."""
        return self.total - len(self.missing), self.total

    @property
    def official_count(self) -> int | None:
        """Number of samples of the official list of this release and split; None where it is not known."""
        return self.counts.get(self.release, {}).get(self.split)

    @property
    def annotation_files(self) -> Sequence[Path]:
        """Files that were read to list the clips and what is true of them."""
        return list(self._annotation_files)

    def annotation_file(self, *names: str) -> Path:
        """An annotation file, under the first of its names that exists.

        Raises:
            AbsentError: If none exists; names another dataset if the root looks like that one's.
        """
        path = self.root.find(*names)
        if path is None:
            raise AbsentError(
                f"{self.title}: none of {', '.join(names)} is under root {self.root.place!r}, nor in a folder such "
                f"as 'data' or 'annotations' below it.{other_dataset(self.root, self.name)} Get {self.source}."
            )
        self._annotation_files[path] = None
        return path

    def open_features(self, name: str, modality: FeatureModality) -> Features:
        """Features of one name in `released`, or at one path, from here or from the root.

        Raises:
            ValueError: If the name is neither known nor a path.
        """
        if name in self.released:
            return open_released(self.root, self.released[name], self.row_ids)
        if url_of(name) is not None:
            return open_store(name)
        for path in (Path(name), self.root.path / name):
            if is_there(path):
                return open_path(path, self.row_ids)
        names = [name for name, features in self.released.items() if features.modality == modality]
        raise ValueError(
            f"{unknown_name(f'features of {self.title}', name, names)} Or give the path of a feature store, or of "
            "a folder of .npy files, from here or from the root."
        )

    @classmethod
    def released_files(cls, name: str, release: str | None) -> list[tuple[ReleasedFeatures, tuple[str, ...]]]:
        """Files or folders of released features, and the splits that read each.

        Args:
            name: A name in `released`.
            release: Release of the annotations; the first by default.
        """
        return [(cls.released[name], cls.splits)]

    def _features(self, features: str | Features | None, modality: FeatureModality) -> Features | None:
        """Stored features by names joined by `+`, or as they are."""
        if features is None or not isinstance(features, str):
            return features
        parts = [self.open_features(name.strip(), modality) for name in features.split("+")]
        return parts[0] if len(parts) == 1 else ConcatenatedFeatures(parts)

    def locate(self, annotation: Annotation) -> str:
        """Add the paths of a clip's media to its annotation.

        Returns:
            What is missing, such as "pictures"; empty if nothing is.
        """
        return (
            self.finder.locate_media(annotation)
            or self.finder.locate_masks(annotation, self.mask_classes)
            or lack_of_features(annotation, self.options)
        )

    def find_masks(self) -> None:
        """Add the masks of all clips to their annotations, where media were not looked for.

        Raises:
            DataError: If some are not there.
        """
        missing = {}
        for annotation in self.annotations:
            lack = self.finder.locate_masks(annotation, self.mask_classes)
            if lack:
                missing[annotation.id] = lack
        if missing:
            raise self._missing_error(missing)

    def with_pictures(self, annotation: Annotation) -> Annotation:
        """The annotation with the paths of its pictures, where they are on disk."""
        return self.finder.with_pictures(annotation)

    def _leave_out_missing(self) -> None:
        """Leave out clips whose media are missing, or raise an error."""
        missing = {}
        present: dict[int, int] = {}  # new index of each clip that is kept, by its old one
        for index, annotation in enumerate(self.annotations):
            lack = self.locate(annotation)
            if lack:
                missing[annotation.id] = lack
            else:
                present[index] = len(present)
        if self.allow_missing:
            missing |= unreadable_clips([self.annotations[index] for index in present], self.options)
            kept = [index for index in present if self.annotations[index].id not in missing]
            present = {index: place for place, index in enumerate(kept)}
        self.missing = missing
        if not missing:
            return
        if not self.allow_missing or len(missing) == self.total:
            without_media = [lack for lack in missing.values() if not lack.endswith("features")]
            if not without_media:
                check_clips_are_stored(self.name, self.split, self.annotations, self.options)
            raise self._missing_error(missing)
        samples = [sample for sample in self.samples if sample.clip in present]
        self.samples = [Sample(present[sample.clip], sample.question) for sample in samples]
        self.annotations = [self.annotations[index] for index in present]

    def _missing_error(self, missing: Mapping[str, str]) -> DataError:
        first, lack = next(iter(missing.items()))
        patterns = self.finder.searched(lack)
        searched = f" ({', '.join(patterns)})" if patterns else ""
        return DataError(
            f"{self.title}, {self.split}: {len(missing)} of {self.total} clips are not there, such as {first!r}, which "
            f"has no {lack} under root {self.root.place!r}{searched}. Run 'avkit check {self.name} --root "
            f"{self.root.place}', or leave them out and report the coverage with --data.allow_missing true "
            "(allow_missing=True in Python)."
        )
