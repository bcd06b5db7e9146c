# SPDX-License-Identifier: Apache-2.0
"""Videos of MUSIC-AVQA and VGGSound on disk, with the keywords that their annotations give them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from avkit.datasets.annotations import QuestionAnnotation
from avkit.datasets.folder import Folder
from avkit.datasets.music_avqa import MusicAVQA
from avkit.datasets.tables import parse_number, read_cells, safe_id
from avkit.errors import DataError, MediaError, unknown_name
from avkit.media.probe import probe

#: The instruments of MUSIC-AVQA, which are the keywords of f-Music.
INSTRUMENTS = [
    "accordion", "acoustic_guitar", "bagpipe", "banjo", "bassoon", "cello", "clarinet", "congas", "drum",
    "electric_bass", "erhu", "flute", "guzheng", "piano", "pipa", "saxophone", "suona", "trumpet", "tuba", "ukulele",
    "violin", "xylophone",
]  # fmt: skip

#: Answers that say that the instrument named in the question is not in the video.
_ABSENT_ANSWERS = ("no", "zero")
#: Number of scene types of f-Lifescene, whose list is not published: the labels of VGGSound with most clips are taken.
LIFESCENES = 61
#: Files whose length is read at the same time.
_THREADS = 8
#: Where videos may lie below the root.
_PATTERNS = (
    "{name}.mp4",
    "video/{name}.mp4",
    "videos/{name}.mp4",
    "MUSIC-AVQA-videos-Real/{name}.mp4",
    "MUSIC-AVQA-videos-Synthetic/{name}.mp4",
)


@dataclass(frozen=True)
class SourceVideo:
    """A video that clips may be made of.

    Attributes:
        name: Its id.
        path: The file.
        labels: Keywords that it is known to have, sorted.
        seconds: Its length; None where nobody looked.
    """

    name: str
    path: Path
    labels: tuple[str, ...]
    seconds: float | None = None


def measure_rare(videos: Sequence[SourceVideo], keywords: Sequence[str], enough: int) -> list[SourceVideo]:
    """The videos, with the length of those whose keyword has fewer than `enough`; unreadable ones stay without.

    Args:
        videos: The videos on disk.
        keywords: Keywords of the dataset.
        enough: Number of videos from which a keyword needs no second clip of one.
    """
    counts = Counter(video.labels for video in videos)
    rare = {(keyword,) for keyword in keywords if counts[keyword,] < enough}
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(lambda video: _measured(video) if video.labels in rare else video, videos))


def _measured(video: SourceVideo) -> SourceVideo:
    try:
        return replace(video, seconds=probe(video.path).duration)
    except MediaError:
        return video


def music_videos(root: str | Path, release: str | None = None) -> list[SourceVideo]:
    """Videos of MUSIC-AVQA on disk, with the instruments that its questions and answers say are in them.

    An instrument is in a video if a question names it and the answer is neither no nor zero, or if it is an answer.

    Args:
        root: Folder of MUSIC-AVQA.
        release: Release of its annotations.

    Raises:
        DataError: If there are no annotation files or no videos.
    """
    labels: dict[str, set[str]] = defaultdict(set)
    errors: list[DataError] = []
    for split in MusicAVQA.splits:
        try:
            reader = MusicAVQA(root, split, release=release, find_media=False)
        except DataError as error:
            errors.append(error)
            continue
        for annotation in reader.annotations:
            for question in annotation.questions or ():
                labels[annotation.media] |= _instruments_of(question)
    if not labels and errors:
        raise errors[-1]
    sorted_labels = {name: tuple(sorted(instruments)) for name, instruments in labels.items() if instruments}
    return _find_videos(Path(root), sorted_labels, "MUSIC-AVQA")


def _instruments_of(question: QuestionAnnotation) -> set[str]:
    """Instruments that a question and its answer say are in the video."""
    if question.answer in INSTRUMENTS:
        return {question.answer}
    if question.answer in _ABSENT_ANSWERS:
        return set()
    return set(question.question.rstrip("?").split()) & set(INSTRUMENTS)


def vggsound_videos(root: str | Path) -> list[SourceVideo]:
    """Clips of VGGSound on disk, `<id>_<start second, 6 digits>.mp4`, with their labels of `vggsound.csv`.

    Args:
        root: Folder of VGGSound.

    Raises:
        DataError: If the table or all clips are missing.
    """
    folder = Folder(root)
    path = folder.find_file(("vggsound.csv", "data/vggsound.csv"), {})
    if path is None:
        raise DataError(f"VGGSound: vggsound.csv is not under root {str(root)!r}. Get it from hche11/VGGSound (data/).")
    table = folder.path / path
    labels: dict[str, tuple[str, ...]] = {}
    for k, cells in enumerate(read_cells(table), 1):
        where = f"{table}, line {k}"
        if len(cells) < 3:
            raise DataError(f"{where}: {len(cells)} fields instead of id, start, label and split, separated by commas.")
        start = int(parse_number(cells[1], where))
        labels[f"{safe_id(cells[0], where)}_{start:06d}"] = (cells[2].strip(),)
    return _find_videos(folder.path, labels, "VGGSound")


def _find_videos(root: Path, labels: Mapping[str, tuple[str, ...]], title: str) -> list[SourceVideo]:
    """The videos that are on disk, by name."""
    folder = Folder(root)
    videos = []
    for name in sorted(labels):
        path = folder.find_file(_PATTERNS, {"name": name})
        if path is not None:
            videos.append(SourceVideo(name, root / path, labels[name]))
    if not videos:
        patterns = ", ".join(pattern.format(name="ID") for pattern in _PATTERNS)
        raise DataError(f"{title}: none of {len(labels)} videos is under root {str(root)!r} ({patterns}).")
    return videos


def choose_keywords(videos: Sequence[SourceVideo], dataset: str, names: str | None) -> list[str]:
    """The keywords of a dataset.

    Args:
        videos: The videos on disk.
        dataset: `f-music` or `f-lifescene`.
        names: Keywords separated by commas; by default the instruments for f-Music, and the labels that most clips
            have for f-Lifescene.

    Raises:
        ValueError: If one of `names` labels no video.
    """
    counts: Counter[str] = Counter()
    for video in videos:
        counts.update(video.labels)
    if names:
        keywords = [name.strip() for name in names.split(",") if name.strip()]
        for keyword in keywords:
            if keyword not in counts:
                raise unknown_name("keyword", keyword, counts)
        return keywords
    if dataset == "f-music":
        return INSTRUMENTS
    by_count = sorted(counts, key=lambda label: (-counts[label], label))
    return sorted(by_count[:LIFESCENES])
