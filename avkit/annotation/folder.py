# SPDX-License-Identifier: Apache-2.0
"""A folder that is labelled: its clips, and the place of labels and copies; one process at a time."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO

from avkit.annotation.store import Store
from avkit.annotation.values import ClipShape
from avkit.corpora.clips import read_rejected
from avkit.corpora.plan import SPLITS
from avkit.datasets.json_records import JsonRecord
from avkit.errors import DataError
from avkit.extraction.sources import videos_in
from avkit.files import hold, release_lock
from avkit.media.clip import Clip, open_clip
from avkit.media.video import count_steps
from avkit.reading.text import read_json, read_text

#: Folder of labels and copies in a labelled folder, unless another is named.
WORK_FOLDER = ".avkit_annotate"
#: Longest side of masks in pixels; those of larger pictures are smaller than these.
_MAX_SIDE = 1024
#: Steps of a clip, above which nobody labels it by hand.
_MAX_STEPS = 20_000


@dataclass(frozen=True)
class Corpus:
    """What a folder that `avkit build` made says of itself.

    Attributes:
        name: `f-music` or `f-lifescene`.
        fps: Frames per second.
        classes: Names that objects may have.
    """

    name: str
    fps: float
    classes: list[str]


@dataclass(frozen=True)
class LabelledClip:
    """A clip of the folder.

    Attributes:
        number: Its number, which stays.
        name: Path in the folder, or its name in a folder of `avkit build`.
        path: The video.
        media: Path of the video in the folder.
        split: Its split, where the folder has splits.
    """

    number: int
    name: str
    path: Path
    media: str
    split: str = ""


class Folder:
    """A folder of videos, or one that `avkit build` made, opened for labelling; `close` ends that.

    Args:
        root: The folder.
        work: Folder of labels and copies; by default one in `root`.
        hop: Seconds per step.

    Raises:
        DataError: If there is no video, another process has it open, or the folder cannot be written to.
    """

    def __init__(self, root: Path, work: Path | None = None, hop: float = 1.0) -> None:
        if not root.is_dir():
            raise DataError(f"{root} is no folder. Name the folder of the videos.")
        if not 0 < hop < float("inf"):
            raise ValueError(f"--hop is {hop}; it is a number of seconds above 0.")
        self.root = root.resolve()
        self.hop = hop
        self.work = (work or self.root / WORK_FOLDER).resolve()
        self.corpus = _read_corpus(self.root)
        names = _corpus_clips(self.root) if self.corpus else _find_videos(self.root, self.work)
        self._lock = _lock(self.work)
        try:
            self.store = Store(self.work / "labels.sqlite")
            numbers = self.store.add_clips(list(names))
        except BaseException:
            release_lock(self._lock)
            raise
        self.clips = {}
        for name, (path, split) in names.items():
            media = path.relative_to(self.root).as_posix()
            self.clips[numbers[name]] = LabelledClip(numbers[name], name, path, media, split)

    def close(self) -> None:
        """Let others open the folder."""
        self.store.close()
        release_lock(self._lock)

    def clip(self, number: int) -> LabelledClip:
        """A clip by its number.

        Raises:
            DataError: If there is none.
        """
        if number not in self.clips:
            raise DataError(f"There is no clip {number} in {self.root}. Reload the list of clips.")
        return self.clips[number]

    def shape(self, clip: LabelledClip) -> ClipShape:
        """Steps, length and size of masks of a clip.

        Raises:
            MediaError: If it cannot be read.
            DataError: If it has too many steps.
        """
        return _shape(open_video(clip.path), self.hop)


def open_video(path: Path) -> Clip:
    """A video, probed once as long as it stays the same.

    Raises:
        MediaError: If it cannot be read or has no pictures.
    """
    try:
        facts = path.stat()
    except OSError:
        return open_clip(path)  # which says what is wrong
    return _open_video(path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=64)
def _open_video(path: Path, changed: int, size: int) -> Clip:
    clip = open_clip(path)
    clip.info.require(video=True)
    return clip


def _shape(clip: Clip, hop: float) -> ClipShape:
    size = clip.info.size
    assert size is not None, "a video has a size"
    steps = count_steps(clip.duration, hop)
    if steps > _MAX_STEPS:
        raise DataError(
            f"{clip.path} has {steps} steps of {hop:g} s; up to {_MAX_STEPS} are labelled. Cut it, or give a longer "
            "--hop."
        )
    scale = min(1.0, _MAX_SIDE / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return ClipShape(steps, clip.duration, (height, width))


def _read_corpus(root: Path) -> Corpus | None:
    """What `dataset.json` says, where there is one beside a folder of clips."""
    path = root / "dataset.json"
    if not path.is_file() or not (root / "clips").is_dir():
        return None
    record = JsonRecord(read_json(path), str(path), "It has name, fps and classes")
    return Corpus(record.text("name"), record.number("fps"), [str(name) for name in record.items("classes")])


def _corpus_clips(root: Path) -> Mapping[str, tuple[Path, str]]:
    """Video and split of each clip of the lists of splits, and of those that were rejected."""
    split_of: dict[str, str] = {}
    for split in SPLITS:
        path = root / "splits" / f"{split}.txt"
        for name in read_text(path).split() if path.is_file() else ():
            split_of[name] = split
    clips = {}
    for name, split in (split_of | read_rejected(root)).items():
        video = root / "clips" / name / "video.mp4"
        if "/" not in name and video.is_file():
            clips[name] = (video, split)
    if not clips:
        raise DataError(f"{root} has a dataset.json, but no clip of splits/*.txt is in clips/. Run avkit build again.")
    return clips


def _find_videos(root: Path, work: Path) -> Mapping[str, tuple[Path, str]]:
    """Videos at any depth by their path in the folder; without hidden ones, and none that lies elsewhere."""
    clips = {}
    for path in videos_in(root):
        name = path.relative_to(root).as_posix()
        is_hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        is_inside = path.resolve().is_relative_to(root) and not path.resolve().is_relative_to(work)
        if is_inside and not is_hidden and _is_text(name):
            clips[name] = (path, "")
    if not clips:
        raise DataError(f"{root} has no videos that can be labelled: those there are hidden, or links to elsewhere.")
    return clips


def _is_text(name: str) -> bool:
    """Whether a file's name is Unicode, so that a manifest can name it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lock(work: Path) -> IO[str]:
    try:
        work.mkdir(parents=True, exist_ok=True)
        return hold(work / "lock.json")
    except BlockingIOError as error:
        raise DataError(
            f"{work.parent if work.name == WORK_FOLDER else work} is already open for labelling, by {error}. Use that "
            "page (two people may), end that process, or give each person a --work folder of their own."
        ) from error
    except OSError as error:
        raise DataError(
            f"{work} cannot be written to: {error.strerror or error}. Labels need a place: name a folder of yours with "
            "--work."
        ) from error
