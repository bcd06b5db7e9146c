# SPDX-License-Identifier: Apache-2.0
"""Copies of videos that browsers cannot play, made one at a time beside the work of the page."""

import json
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

from avkit.annotation.clip_media import can_play, make_playable
from avkit.annotation.folder import Folder, LabelledClip
from avkit.errors import AvkitError
from avkit.files import write_file

#: Nanosecond at which a video was written, and its bytes.
_VideoState: TypeAlias = tuple[int, int]


class Copies:
    """Playable forms of a folder's videos; the videos stay as they are.

    Args:
        folder: The folder; copies go into `media` of its work folder.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="copies")
        self._lock = threading.Lock()
        #: By clip, the making of its copy, and the state of the video that it is of.
        self._making: dict[int, tuple[_VideoState, Future[Path]]] = {}

    def close(self) -> None:
        """Make no further copies."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def state(self, clip: LabelledClip, *, wanted: bool = False) -> str:
        """`ready`, `making`, or why there is nothing to play.

        Args:
            clip: The clip.
            wanted: Make a copy even if the video looks playable, because a browser could not play it; also if that has
                failed before.
        """
        try:
            if self._has_copy(clip):
                return "ready"
            video = _state_of(clip.path)
            making = self._of_video(clip, video)
            if not wanted and making is None and can_play(clip.path):
                return "ready"
        except (AvkitError, OSError) as error:
            return str(error)
        with self._lock:
            making = self._of_video(clip, video)
            if making is None or (wanted and making.done()):
                making = self._pool.submit(self._make, clip, video)
                self._making[clip.number] = (video, making)
        if not making.done():
            return "making"
        error_of_copy = making.exception()
        return "ready" if error_of_copy is None else str(error_of_copy)

    def path(self, clip: LabelledClip) -> Path:
        """What to play: the copy where there is one, else the video."""
        return self._copy(clip) if self._has_copy(clip) else clip.path

    def _of_video(self, clip: LabelledClip, video: _VideoState) -> Future[Path] | None:
        """The making of a copy of the video as it is now, if there was one."""
        state, future = self._making.get(clip.number, (None, None))
        return future if state == video else None

    def _make(self, clip: LabelledClip, video: _VideoState) -> Path:
        """Make a copy, and note which video it is of."""
        copy = make_playable(clip.path, self._copy(clip))
        write_file(self._note(clip), json.dumps(video))
        return copy

    def _has_copy(self, clip: LabelledClip) -> bool:
        """Whether there is a copy, of the video as it is now."""
        note = self._note(clip)
        if not (self._copy(clip).is_file() and note.is_file()):
            return False
        return note.read_text(encoding="utf-8", errors="replace") == json.dumps(_state_of(clip.path))

    def _copy(self, clip: LabelledClip) -> Path:
        return self.folder.work / "media" / f"{clip.number}.mp4"

    def _note(self, clip: LabelledClip) -> Path:
        return self._copy(clip).with_suffix(".json")


def _state_of(video: Path) -> _VideoState:
    """What changes when a video is replaced: when it was written, and its size. Both may be of another clock."""
    facts = video.stat()
    return facts.st_mtime_ns, facts.st_size
