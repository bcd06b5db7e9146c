# SPDX-License-Identifier: Apache-2.0
"""The clips that the words of a command mean: files, folders with videos at any depth, and patterns."""

import argparse
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from avkit.errors import AvkitError, MediaError
from avkit.reading.boundary import reason_of
from avkit.reading.remote import is_file, is_folder, list_all, url_of

#: Files that mark a folder of avkit's own results, whose videos are no clips.
_OWN = ("result.json", "stream.jsonl", "request.json")


@dataclass(frozen=True)
class Shard:
    """One of several parts of the clips, each for a process of its own.

    Which part has a clip depends on its name alone, so that further clips move none.

    Attributes:
        number: Number of the part, from 1.
        count: How many there are.
    """

    number: int
    count: int

    def has(self, name: str) -> bool:
        """Whether the part has a clip.

        Args:
            name: Path of the clip in the folder that was named, or the file's name.
        """
        digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.number - 1


#: All clips.
WHOLE = Shard(1, 1)


def add_shard_option(parser: argparse.ArgumentParser) -> None:
    """Add `--shard`."""
    parser.add_argument(
        "--shard",
        type=_parse_shard,
        default=WHOLE,
        metavar="I/N",
        help="of the clips, the I-th of N parts that do not overlap, for a process or machine of its own; all may "
        "write into one folder",
    )


def _parse_shard(text: str) -> Shard:
    numbers = re.fullmatch(r"(\d+)/(\d+)", text)
    shard = Shard(int(numbers[1]), int(numbers[2])) if numbers else Shard(0, 0)
    if not 1 <= shard.number <= shard.count:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no part. Give its number and how many there are, from 1/4 to 4/4."
        )
    return shard


def find_clips(words: Sequence[Path | str], out: Path, shard: Shard = WHOLE) -> tuple[list[Path], list[AvkitError]]:
    """Clips in the order of the words, each once, and an error for each word that means none.

    Args:
        words: Files and folders, also by URL, and patterns such as `clips/**/*.mp4`. Of folders all videos at any depth
            are taken, without hidden ones and without avkit's own overlays. Files at a URL are copied when they are
            read.
        out: Folder of the results, which is left out of folders.
        shard: The part of the clips that is wanted; the first one has the errors.
    """
    clips: dict[Path, Path] = {}
    errors: list[AvkitError] = []
    for word in words:
        try:
            url = url_of(word)
            for path in _clips_of(Path(word), out) if url is None else _clips_at(url):
                inside = Path(word) in path.parents and not has_magic(str(word))
                name = path.relative_to(word).as_posix() if inside else path.name
                if shard.has(name):
                    clips.setdefault(path if url else path.resolve(), path)
        except AvkitError as error:
            errors += [error] if shard.number == 1 else []
    return list(clips.values()), errors


@contextmanager
def one_clip(path: Path) -> Iterator[None]:
    """Have a clip that the system does not let be read, or that needs more memory than there is, cost only itself.

    Raises:
        MediaError: In place of `OSError` and `MemoryError`.
    """
    try:
        yield
    except (OSError, MemoryError) as error:
        raise MediaError(f"{path} cannot be read ({reason_of(error)}). Copy it to another disk, or cut it.") from error


def _clips_of(path: Path, out: Path) -> list[Path]:
    from avkit.extraction.sources import videos_in

    if path.is_dir():
        videos = [video for video in videos_in(path) if not _is_own(video, out)]
        if not videos:
            raise MediaError(f"{path} has no videos but results of avkit. Name the folder of the videos.")
        return videos
    if not path.exists() and has_magic(str(path)):
        pattern = str(path)  # also an absolute one, which Path.glob refuses
        matches = sorted(Path(match) for match in glob(pattern, recursive=True))  # noqa: PTH207
        files = [match for match in matches if match.is_file() and not _is_own(match, out)]
        if not files:
            raise MediaError(f"No file matches {path}. Check the pattern and the folder that avkit is started from.")
        return files
    return [path]


def _clips_at(url: str) -> list[Path]:
    """The file at a URL, or all videos of a folder there at any depth.

    Raises:
        AvkitError: If there is neither, or its place cannot be reached.
    """
    from avkit.extraction.sources import is_video_name

    if is_file(url):
        return [Path(url)]
    names = [name for name in list_all(url) if is_video_name(name)]
    if names:
        return [Path(url) / name for name in sorted(names)]
    if is_folder(url):
        raise MediaError(f"{url} has no videos. Name the folder of the videos.")
    raise MediaError(f"{url} does not exist. Check the spelling of the URL.")


def _is_own(video: Path, out: Path) -> bool:
    """Whether a video was made by avkit beside a result."""
    inside_out = out.resolve() in video.resolve().parents
    return inside_out or any((video.parent / name).exists() for name in _OWN)
