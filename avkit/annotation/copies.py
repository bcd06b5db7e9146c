# SPDX-License-Identifier: Apache-2.0
"""Copies of videos that browsers cannot play, made one at a time beside the work of the page."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from avkit.annotation.clip_media import can_play, make_playable
from avkit.annotation.folder import Folder, LabelledClip
from avkit.errors import AvkitError


class Copies:
    """Playable forms of a folder's videos; the videos stay as they are.

    Args:
        folder: The folder; copies go into `media` of its work folder.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._lock = threading.Lock()
        self._making: dict[int, Future[Path]] = {}

    def close(self) -> None:
        """Make no further copies."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def state(self, clip: LabelledClip, *, wanted: bool = False) -> str:
        """`ready`, `making`, or why there is nothing to play.

        Args:
            clip: The clip.
            wanted: Make a copy even if the video looks playable, because a browser could not play it.
        """
        try:
            copy = self._copy(clip)
            if _is_newer(copy, clip.path):
                return "ready"
            if not wanted and clip.number not in self._making and can_play(clip.path):
                return "ready"
        except (AvkitError, OSError) as error:
            return str(error)
        with self._lock:
            future = self._making.get(clip.number)
            if future is None or (future.done() and future.exception() is None):
                future = self._pool.submit(make_playable, clip.path, copy)
                self._making[clip.number] = future
        error_of_copy = future.exception() if future.done() else None
        return "making" if error_of_copy is None else str(error_of_copy)

    def path(self, clip: LabelledClip) -> Path:
        """What to play: the copy where there is one, else the video."""
        copy = self._copy(clip)
        return copy if _is_newer(copy, clip.path) else clip.path

    def _copy(self, clip: LabelledClip) -> Path:
        return self.folder.work / "media" / f"{clip.number}.mp4"


def _is_newer(copy: Path, video: Path) -> bool:
    return copy.is_file() and copy.stat().st_mtime_ns >= video.stat().st_mtime_ns
