# SPDX-License-Identifier: Apache-2.0
"""The clips that the words of a command mean: files, folders with videos at any depth, and patterns."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import glob, has_magic
from pathlib import Path

from avkit.errors import AvkitError, MediaError
from avkit.reading.boundary import reason_of

#: Files that mark a folder of avkit's own results, whose videos are no clips.
_OWN = ("result.json", "stream.jsonl", "request.json")


def find_clips(words: Sequence[Path | str], out: Path) -> tuple[list[Path], list[AvkitError]]:
    """Clips in the order of the words, each once, and an error for each word that means none.

    Args:
        words: Files; folders, of which all videos at any depth are taken, without hidden ones and without avkit's own
            overlays; patterns such as `clips/**/*.mp4`.
        out: Folder of the results, which is left out of folders.
    """
    clips: dict[Path, Path] = {}
    errors: list[AvkitError] = []
    for word in words:
        try:
            for path in _clips_of(Path(word), out):
                clips.setdefault(path.resolve(), path)
        except AvkitError as error:
            errors.append(error)
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


def _is_own(video: Path, out: Path) -> bool:
    """Whether a video was made by avkit beside a result."""
    inside_out = out.resolve() in video.resolve().parents
    return inside_out or any((video.parent / name).exists() for name in _OWN)
