# SPDX-License-Identifier: Apache-2.0
"""What all readers of official datasets share: the root, splits, releases, missing clips, stored features."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line
from avkit.datasets.clips import ClipDataset
from avkit.datasets.folder import Folder, Places
from avkit.errors import DataError, unknown_name
from avkit.features.base import FeatureFacts, Features
from avkit.features.combined import ConcatenatedFeatures
from avkit.features.files import NpyFolder, RowFile
from avkit.features.store import Store


class AbsentError(DataError):
    """An annotation file is not there; what there is may be whole."""


@dataclass(frozen=True)
class Released:
    """Features that the authors of a dataset publish, or that a well-known model of it reads.

    Attributes:
        place: Where they are below the root: `folder/{media}.npy`, or an HDF5 file with one row per annotation row.
        shape: Shape of a clip as published; None stands for a free length.
        facts: How they were made.
        sees: Whether they are of pictures; else of sound.
    """

    place: str
    shape: tuple[int | None, ...]
    facts: FeatureFacts
    sees: bool = False


class Official(ClipDataset):
    """A dataset in its authors' layout.

    Splits, class order and vocabulary come from the official files, never from what lies on disk.

    Args:
        root: Folder of the dataset.
        split: One of `splits`.
        image_size: Side of pictures and masks in pixels.
        release: One of `releases`; the first by default.
        hop: Seconds per step, where the benchmark leaves it open.
        visual: Features to read instead of pictures: a name in `released`, several joined by `+`, a feature store, or a
            folder of `.npy` files.
        audio: Features to read instead of sound, likewise.
        allow_missing: Leave out clips whose media are missing, count them in `missing`, and hold the last picture of
            videos that are too short; else both are errors.
        max_steps: Read this many steps from the start of each clip at most.
        memory: What was read is kept up to this many bytes, per loader process.
        media: False lists clips without looking for their media, to count and to check them.

    Attributes:
        listed: Every row of the split by the official files, whether its media are there or not.
        total: Number of them.
        missing: What is missing of each clip that was left out, by id.

    Raises:
        ValueError: If split, release or the name of features is unknown.
        DataError: If an annotation file is missing or damaged, or a clip is missing and `allow_missing` is False.
    """

    #: Name on the command line.
    name: ClassVar[str]
    #: Name in print.
    title: ClassVar[str]
    #: Where annotations and media come from.
    source: ClassVar[str]
    #: Files by which the root is recognised.
    marks: ClassVar[tuple[str, ...]]
    splits: ClassVar[tuple[str, ...]] = ("train", "val", "test")
    #: Published forms of the annotations, the usual one first.
    releases: ClassVar[tuple[str, ...]] = ("official",)
    #: Samples by release and split, of the official files.
    counts: ClassVar[dict[str, dict[str, int]]] = {}
    #: Steps of every clip; None where clips have their own length.
    fixed: ClassVar[int | None] = 10
    #: Seconds per step.
    step: ClassVar[float] = 1.0
    places: ClassVar[Places]
    released: ClassVar[dict[str, Released]] = {}

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
        memory: int = 512 * 2**20,
        media: bool = True,
    ) -> None:
        if split not in self.splits:
            raise unknown_name(f"split of {self.title}", split, self.splits)
        if release is not None and release not in self.releases:
            raise unknown_name(f"release of {self.title}", release, self.releases)
        if hop is not None and self.fixed is not None and hop != self.step:
            raise ValueError(f"hop is {hop}; {self.title} has {self.fixed} steps of {self.step:g} s. Leave it out.")
        self.root, self.split, self.release = Folder(root), split, release or self.releases[0]
        self.allow_missing = allow_missing
        if not self.root.path.is_dir():
            raise DataError(f"The root {str(root)!r} of {self.title} is no folder. Check the path.")
        listed = self.read(split)
        self._check_release(len(listed))
        self.listed = listed
        self.total, self.missing = len(listed), dict[str, str]()
        super().__init__(
            listed,
            self.words(split),
            image_size,
            hop or self.step,
            steps=self.fixed,
            max_steps=max_steps,
            short_ok=allow_missing,
            visual=self.features(visual, True),
            audio=self.features(audio, False),
            memory=memory,
        )
        if media:
            self._keep_present()

    def read(self, split: str) -> list[Line]:
        """Every row of a split, in the official order, without looking for media."""
        raise NotImplementedError

    def words(self, split: str) -> Vocabulary:
        """Classes, answers and words, the same for every split."""
        raise NotImplementedError

    @property
    def coverage(self) -> tuple[int, int]:
        """Clips that can be read, and those the official split has."""
        return self.total - len(self.missing), self.total

    def file(self, *names: str) -> Path:
        """An annotation file, under one of its names.

        Raises:
            AbsentError: If none is there; names another dataset if the root looks like that one's.
        """
        found = self.root.find(*names)
        if found is None:
            other = _recognise(self.root, self)
            raise AbsentError(
                f"{self.title}: none of {', '.join(names)} is under root {str(self.root.path)!r}, nor in a folder such "
                f"as 'data' or 'annotations' below it.{other} Get {self.source}."
            )
        return found

    def line(self, where: str, **data: Any) -> Line:
        """A line of this dataset."""
        return Line(where, data, self.root.path)

    def features(self, given: str | Features | None, sees: bool) -> Features | None:
        """Stored features by name, path, or as they are.

        Raises:
            ValueError: If the name is neither known nor a path.
        """
        if given is None or not isinstance(given, str):
            return given
        parts = [self.named_features(part.strip(), sees) for part in given.split("+")]
        return parts[0] if len(parts) == 1 else ConcatenatedFeatures(parts)

    def rows(self) -> list[str]:
        """Ids of all rows of the annotation file in its order, for HDF5 files with a row for each."""
        raise DataError(f"{self.title} has no HDF5 files by row. Name a feature store or a folder of .npy files.")

    def named_features(self, given: str, sees: bool) -> Features:
        """Features of one name in `released`, or at one path."""
        if given in self.released:
            known = self.released[given]
            folder, _, last = known.place.rpartition("/")
            if "{media}" not in last:
                path = self.root.find(known.place) or self.root.path / known.place
                return RowFile(path, self.rows(), facts=known.facts)
            found = self.root.find(folder) or self.root.path / folder
            return NpyFolder(found, last.removeprefix("{media}"), known.facts)
        place = next((p for p in (Path(given), self.root.path / given) if p.exists()), None)
        if place is None:
            kinds = [name for name, released in self.released.items() if released.sees == sees]
            raise ValueError(
                f"{unknown_name(f'features of {self.title}', given, kinds)} Or give the path of a feature store, or of "
                "a folder of .npy files, from here or from the root."
            )
        if place.is_dir():
            return NpyFolder(place)
        if place.suffix not in (".h5", ".hdf5"):
            raise ValueError(f"{place} is no feature store (.h5) and no folder of .npy files.")
        return Store(place) if is_store(place) else RowFile(place, self.rows())

    def locate(self, line: Line) -> str:
        """Add the places of a clip's media to its line; what is missing, or the empty string."""
        names = {"media": line.media, **line.data.get("names", {})}
        places = self.places
        if self.visual is None or self.audio is None:
            steps = line.data.get("steps", self.fixed) or 0
            frames = self.root.pictures(places, names, steps) if self.visual is None else None
            sound = self.root.first(places.sound, names) if self.audio is None else None
            video = self.root.first(places.video, names) if None in (frames, sound) else None
            found = {"frames": frames, "audio": sound, "video": video}
            line.data.update({key: value for key, value in found.items() if value is not None})
            if self.visual is None and frames is None and video is None:
                return "pictures"
            if self.audio is None and sound is None and video is None:
                return "sound"
        if "masks" not in line.data and (steps_masked := line.data.pop("masked", None)) is not None:
            masks = self.root.masks(places, names, steps_masked)
            if masks is None:
                return "masks"
            line.data["masks"] = [
                {"step": k, "file": file, **self.mask_values(file)} for k, file in zip(steps_masked, masks, strict=True)
            ]
        for features, what in ((self.visual, "visual features"), (self.audio, "audio features")):
            if features is not None and not {line.data["id"], line.media} & features.names:  # type: ignore[operator]
                return what
        return ""

    def mask_values(self, file: str) -> dict[str, Any]:
        """What the pixel values of a mask mean, by the keys of a manifest; by default all but 0 sounds."""
        return {}

    def _keep_present(self) -> None:
        """Leave out what is missing, or refuse to."""
        lacks = [self.locate(line) for line in self.lines]
        self.missing = {line.data["id"]: lack for line, lack in zip(self.lines, lacks, strict=True) if lack}
        if not self.missing:
            return
        if not self.allow_missing or len(self.missing) == self.total:
            first, lack = next(iter(self.missing.items()))
            raise DataError(
                f"{self.title}, {self.split}: {len(self.missing)} of {self.total} clips are not there, such as "
                f"{first!r}, which has no {lack} under root {str(self.root.path)!r}{self._looked(lack)}. Run 'avkit "
                f"check {self.name} --root {self.root.path}', or pass allow_missing=True to leave them out and report "
                "the coverage."
            )
        keep = [k for k, lack in enumerate(lacks) if not lack]
        place = {k: i for i, k in enumerate(keep)}
        self.samples = [(place[k], q) for k, q in self.samples if k in place]
        self.lines = [self.lines[k] for k in keep]

    def _looked(self, lack: str) -> str:
        """Where media were looked for."""
        places = self.places
        patterns = {
            "masks": places.masks,
            "pictures": (*places.frames, *places.video),
            "sound": (*places.sound, *places.video),
        }.get(lack, ())
        return f" ({', '.join(patterns)})" if patterns else ""

    def _check_release(self, found: int) -> None:
        """Refuse files of another release or split, which are known by their number of rows."""
        own = self.counts.get(self.release, {}).get(self.split)
        if own is None or found == own:
            return
        for release, splits in self.counts.items():
            for split, count in splits.items():
                if found == count and (release, split) != (self.release, self.split):
                    raise DataError(
                        f"{self.title}: release {self.release!r} has {own} samples in split {self.split!r}; the file "
                        f"found has {found}, as split {split!r} of release {release!r} has. Take files of one release "
                        f"and split, or ask for release={release!r}."
                    )


def is_store(path: Path) -> bool:
    """Whether an HDF5 file is a feature store of ours; an unreadable one counts as such, which then says so."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "avkit_features" in file.attrs
    except OSError:
        return True


def _recognise(root: Folder, asked: Official) -> str:
    """A sentence that names the dataset that a root looks like."""
    from avkit.datasets import DATASETS, find_dataset

    for name in DATASETS:
        found = find_dataset(name)
        if not issubclass(found, Official) or found.name == asked.name:
            continue
        if mark := next((m for m in found.marks if root.find(m)), None):
            return f" It holds {mark}: it looks like {found.title} (dataset {name!r})."
    return ""
