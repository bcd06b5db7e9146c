# SPDX-License-Identifier: Apache-2.0
"""What a run answers about one clip, and the files of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from avkit.media.decode import Clip, iter_frames, open_clip, write_video
from avkit.report import Result, overlay_frames, save_result
from avkit.report.images import Pixels


@dataclass
class ClipResult(Result):
    """What a run answers about one clip, with a way to keep it.

    Attributes:
        fps: Frames per second of the source, 0 for a still picture.
        media: The open source; `save` opens `source` where it is None.
    """

    fps: float = 0.0
    media: Clip | None = None

    def save(self, folder: Path | str, video: bool = True) -> dict[str, Path]:
        """Write result.json, timeline.png, report.html, masks, and overlay.mp4 with the clip's own sound.

        Args:
            folder: Where; made when absent.
            video: Write the overlay too.

        Returns:
            Paths by name: `result`, `timeline`, `report`, `masks`, `overlay` and so on, those that were written.
        """
        folder = Path(folder)
        paths = save_result(folder, self)
        if video:
            clip = self.media or open_clip(self.source)
            frames = overlay_frames(self._frames_at_full_size(clip), self)
            paths["overlay"] = write_video(folder / "overlay.mp4", frames, self.fps or 1 / self.hop, clip)
        return paths

    def _frames_at_full_size(self, clip: Clip) -> Iterator[tuple[float, Pixels]]:
        """The source's frames with their times in seconds; a still picture once per step."""
        if self.fps:
            yield from iter_frames(clip)
            return
        _, picture = next(iter_frames(clip))
        for step in range(self.steps):
            yield step * self.hop, picture
