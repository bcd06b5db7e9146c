# SPDX-License-Identifier: Apache-2.0
"""Inputs of an extraction: media of a dataset's clips, videos of a folder, and sentences of a dataset."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from avkit.datasets.annotations import Annotation
from avkit.datasets.clips import ClipDataset
from avkit.datasets.official import Official
from avkit.datasets.scene_names import scene_name
from avkit.errors import DataError
from avkit.extraction.recipe import FeatureStream
from avkit.reading.remote import list_names

_VIDEO_ENDINGS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".flv", ".m4v")


@dataclass(frozen=True)
class MediaSource:
    """The media files of one clip, and the part of them that is meant.

    Attributes:
        name: Name of the clip in the store.
        root: Folder of the paths.
        video: The video file.
        frames: Image files of the clip, or the folder that they lie in, to be used in place of the video.
        audio: The audio file, to be used in place of the video's own track.
        start: First second of the clip within its files.
        end: Last second of the clip within its files.
        seconds: Length of the clip where the dataset fixes it; None to follow the file.
        offset: Place within each step at which its frame is taken, in [0, 1].
        centred: Whether the clip's audio is the middle of its file.
        silent_ok: Use silence where the video has no sound.
        fit_sound: Cut sound, or pad it with silence, where it ends more than a second after or before the pictures.
        drawn: Whether it is a built-in scene, which has no files and is drawn by its name.
    """

    name: str
    root: Path
    video: str | None = None
    frames: str | Sequence[str] | None = field(default=None, hash=False)
    audio: str | None = None
    start: float | None = None
    end: float | None = None
    seconds: float | None = None
    offset: float = 0.5
    centred: bool = False
    silent_ok: bool = False
    fit_sound: bool = False
    drawn: bool = False


def sources_of(dataset: type[Official], root: str | Path, release: str | None = None) -> tuple[list[MediaSource], int]:
    """List the media of all splits of a dataset, each clip once.

    Args:
        dataset: The dataset's class.
        root: Its folder.
        release: Release of its annotations.

    Returns:
        The clips, and the number of clips that have no media on disk.

    Raises:
        DataError: If no split can be read.
    """
    sources: dict[str, MediaSource] = {}
    missing: set[str] = set()
    errors: list[DataError] = []
    for split in dataset.splits:
        try:
            reader = dataset(root, split, release=release, find_media=False)
        except DataError as error:
            errors.append(error)
            continue
        for annotation in reader.annotations:
            if annotation.media in sources:
                continue
            if reader.locate(annotation) not in ("", "masks") and annotation.boxes is None:
                missing.add(annotation.media)
                continue
            sources[annotation.media] = source_of(reader, annotation)
    if not sources and not missing:
        raise errors[0]
    return list(sources.values()), len(missing - sources.keys())


def sources_of_scenes(counts: Mapping[str, int], kinds: Iterable[str]) -> list[MediaSource]:
    """List built-in scenes.

    Args:
        counts: Number of scenes of each kind, by split.
        kinds: Kinds of scenes, see `avkit.datasets.scene_names.KINDS`.
    """
    sources = []
    for kind, (split, count) in product(kinds, counts.items()):
        for index in range(count):
            sources.append(MediaSource(scene_name(split, index, kind), Path(), drawn=True))
    return sources


def source_of(reader: ClipDataset, annotation: Annotation) -> MediaSource:
    """The media of a clip, with the length that its dataset fixes."""
    steps = reader.options.steps_of(annotation)
    return MediaSource(
        name=annotation.media,
        root=annotation.root,
        video=annotation.video,
        frames=annotation.frames,
        audio=annotation.audio,
        start=annotation.start,
        end=annotation.end,
        seconds=steps * reader.options.hop if steps else None,
        offset=reader.options.frame_offset,
        centred=reader.options.centred_audio,
    )


def sources_in(folder: str | Path) -> list[MediaSource]:
    """List the videos of a folder, here or at a URL, named by their files.

    Raises:
        DataError: If the folder holds no video, or two of one name.
    """
    root = Path(folder)
    paths = sorted(Path(name) for name in list_names(root) if is_video_name(name))
    if not paths:
        raise DataError(f"{folder} is no folder with videos ({', '.join(_VIDEO_ENDINGS)}).")
    names: set[str] = set()
    for path in paths:
        if path.stem in names:
            raise DataError(f"{folder} has two videos called {path.stem!r}. Names must differ before the ending.")
        names.add(path.stem)
    return [MediaSource(path.stem, root, video=path.name) for path in paths]


def videos_in(folder: Path) -> list[Path]:
    """List the videos of a folder and of all folders in it, by their paths.

    Raises:
        DataError: If there is none.
    """
    paths = sorted(path for path in folder.rglob("*") if _is_video(path) and path.is_file())
    if not paths:
        raise DataError(f"{folder} has no videos ({', '.join(_VIDEO_ENDINGS)}), and no folder in it has.")
    return paths


def is_video_name(name: str) -> bool:
    """Whether a file is a video by its name, and not a hidden one."""
    return _is_video(Path(name))


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in _VIDEO_ENDINGS and path.name[0] != "."


def sentences_of(
    dataset: type[Official], root: str | Path, stream: FeatureStream, release: str | None = None
) -> dict[str, str]:
    """Sentences of a dataset by their name in the store: questions by their ids, or classes by their names.

    Args:
        dataset: The dataset's class.
        root: Its folder.
        stream: Names the sentences and their template.
        release: Release of its annotations.

    Raises:
        DataError: If the dataset has no such sentences.
    """
    texts: dict[str, str] = {}
    for split in dataset.splits:
        try:
            reader = dataset(root, split, release=release, find_media=False)
        except DataError:
            continue
        if stream.texts == "classes":
            for name in reader.vocabulary.classes:
                texts[name] = name.replace("_", " ")
        else:
            for annotation in reader.annotations:
                texts |= _questions_of(annotation)
    if not texts:
        raise DataError(f"{dataset.title} has no {stream.texts} to make text features of.")
    return {name: stream.template.format(text) for name, text in texts.items()}


def _questions_of(annotation: Annotation) -> dict[str, str]:
    """Questions of a clip by their ids, or the sentence that it has, by the clip's id."""
    questions: dict[str, str] = {}
    for question in annotation.questions or ():
        questions[question.id or annotation.id] = question.question
    if annotation.text is not None:
        questions[annotation.id] = annotation.text
    return questions
