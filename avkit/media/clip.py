# SPDX-License-Identifier: Apache-2.0
"""An open clip: media files that are probed once, however often they are decoded."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

from avkit.media.probe import MediaInfo, probe


@dataclass(frozen=True)
class Clip:
    """A video or still image together with its audio, probed by `open_clip` and ready to be decoded.

    Attributes:
        info: Facts of the file.
        audio_path: Audio file to use instead of the file's own track, or None.
    """

    info: MediaInfo
    audio_path: Path | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return self.info.path

    @cached_property
    def audio_info(self) -> MediaInfo:
        """Facts of the file that holds the audio; a separate audio file is probed at first use."""
        if self.audio_path is None:
            return self.info
        return probe(self.audio_path)

    @property
    def duration(self) -> float:
        """Seconds of the file; of the separate audio file where the picture is a still image."""
        if self.info.is_image and self.audio_path is not None:
            return self.audio_info.duration
        return self.info.duration


#: What reading functions accept: an open clip, or the path of a file, which they open.
ClipSource: TypeAlias = Clip | str | Path


def open_clip(source: ClipSource, audio: str | Path | None = None) -> Clip:
    """Open a media file once, to pass it to all functions that read from it.

    Args:
        source: A video, audio or image file; a clip that is open already is returned as it is.
        audio: Audio file to use instead of the file's own track; its first sample belongs to the first frame.

    Raises:
        MediaError: If the file is missing, empty, cut off at its index, or not a media file.
    """
    if isinstance(source, Clip):
        return source
    if audio is None:
        return Clip(probe(source))
    return Clip(probe(source), Path(audio))
