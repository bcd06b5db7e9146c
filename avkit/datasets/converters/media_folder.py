# SPDX-License-Identifier: Apache-2.0
"""Finding the media files that an annotation file names, under the folder where they lie now."""

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote, urlparse

from avkit.datasets.annotations import field_error
from avkit.media.probe import MediaInfo, probe

_VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv", ".ogv")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_SOUNDS = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus", ".aac", ".wma")


@dataclass(frozen=True)
class MediaFiles:
    """The files of one clip.

    Attributes:
        video: The video, or None.
        picture: The picture that stands in its place.
        audio: The sound of the picture.
    """

    video: Path | None = None
    picture: Path | None = None
    audio: Path | None = None

    @property
    def timed(self) -> Path:
        """The file that has the clip's length."""
        path = self.video or self.audio
        assert path is not None
        return path

    @property
    def seen(self) -> Path:
        """The file that has the clip's pictures."""
        path = self.video or self.picture
        assert path is not None
        return path


class MediaFolder:
    """The media files under a folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._stems: dict[Path, dict[str, list[Path]]] = {}
        self._infos: dict[Path, MediaInfo] = {}

    def find(self, name: str) -> MediaFiles | None:
        """The files of a clip, by a name that may be a path or address of another machine, with or without ending.

        The longest end of the path that lies under the folder counts. For a sound, the video or picture of the same
        name is taken; for a picture, the sound.
        """
        parts = _parts(name)
        for first in range(len(parts)):
            path = self.root.joinpath(*parts[first:])
            files = self._files_of(path)
            if files is not None:
                return files
        return None

    def info(self, path: Path) -> MediaInfo:
        """Facts of a media file."""
        if path not in self._infos:
            self._infos[path] = probe(path)
        return self._infos[path]

    def fps(self, name: str, where: str) -> float | None:
        """Frames per second of a video, or None where it is not there.

        Raises:
            DataError: If the file has no frames.
        """
        files = self.find(name)
        if files is None:
            return None
        fps = self.info(files.seen).fps if files.video else 0.0
        if fps <= 0:
            raise field_error(where, "", f"{name!r} has no frames per second; say them with --fps.")
        return fps

    def _files_of(self, path: Path) -> MediaFiles | None:
        twins = self._twins(path)
        by_kind = {kind: [twin for twin in twins if twin.suffix.lower() in kind] for kind in (_VIDEOS, _PICTURES)}
        sounds = [twin for twin in twins if twin.suffix.lower() in _SOUNDS]
        if path in twins and path.suffix.lower() in _VIDEOS:
            return MediaFiles(video=path)
        if path in twins and path.suffix.lower() in _PICTURES:
            return MediaFiles(picture=path, audio=sounds[0]) if sounds else None
        if path.suffix and path not in twins and path.suffix.lower() in (*_VIDEOS, *_PICTURES, *_SOUNDS):
            return None
        if by_kind[_VIDEOS]:
            return MediaFiles(video=by_kind[_VIDEOS][0])
        if by_kind[_PICTURES] and sounds:
            return MediaFiles(picture=by_kind[_PICTURES][0], audio=sounds[0])
        return None

    def _twins(self, path: Path) -> list[Path]:
        """Files of a folder with the stem of `path`, or whose stem is its name."""
        folder = path.parent
        if folder not in self._stems:
            self._stems[folder] = {}
            for file in sorted(folder.iterdir()) if folder.is_dir() else ():
                self._stems[folder].setdefault(file.stem, []).append(file)
        stems = self._stems[folder]
        if path.suffix.lower() in (*_VIDEOS, *_PICTURES, *_SOUNDS):
            return stems.get(path.stem, [])
        return stems.get(path.name, [])


def _parts(name: str) -> list[str]:
    """Folders and name of a path or address, without what leads out of a folder."""
    if "\0" in name:
        return []
    address = urlparse(name) if "://" in name else None
    if address is not None:
        name = unquote(address.path)
    parts = PureWindowsPath(name).parts  # takes both kinds of slashes
    return [part for part in parts if part not in ("..", ".") and "\\" not in part and "/" not in part]
