# SPDX-License-Identifier: Apache-2.0
"""What a run answers about one clip, and the files of it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from avkit.answers import Choice, Mask
from avkit.errors import AvkitError, MediaError
from avkit.files import WriteError
from avkit.media.decode import Clip, iter_frames, open_clip, write_video
from avkit.media.video import read_frames
from avkit.reading.text import read_json
from avkit.report import Result, overlay_frames, save_result
from avkit.report.figure import thumbnail_steps
from avkit.report.images import Pixels
from avkit.report.notebook import notebook_html, one_line, result_figure, result_table
from avkit.report.renderers.looked_at import shown_steps
from avkit.report.result import IMAGE_WIDTH, page_steps, result_record

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame


@dataclass(repr=False)
class ClipResult(Result):
    """What a run answers about one clip, with a way to keep it.

    Attributes:
        fps: Frames per second of the source, 0 for a still picture.
        media: The open source; `save` opens `source` where it is None.
    """

    fps: float = 0.0
    media: Clip | None = None

    @property
    def masks(self) -> NDArray[Any] | None:
        """Probability that a pixel shows something that sounds, float32 (T, H, W); None if no task gives masks.

        `MaskIoU(form="probabilities")` scores them as they are.
        """
        answer = self.first(Mask)
        return None if answer is None else answer.maps

    def save(self, folder: Path | str, video: bool = True, overwrite: bool = False) -> dict[str, Path]:
        """Write result.json, timeline.png, report.html, masks, and overlay.mp4 with the clip's own sound.

        Args:
            folder: Where; made when absent.
            video: Write the overlay too.
            overwrite: Replace the result of another clip or run in the folder.

        Returns:
            Paths by name: `result`, `timeline`, `report`, `masks`, `overlay` and so on, those that were written.

        Raises:
            WriteError: If the folder holds another result, or cannot be written to.
        """
        folder = Path(folder)
        if not overwrite:
            self._check_folder(folder)
        self._read_pictures()
        paths = save_result(folder, self)
        if video:
            paths["overlay"] = self.save_overlay(folder / "overlay.mp4")
        return paths

    def save_overlay(self, path: Path | str, max_side: int | None = None) -> Path:
        """Write the clip with the answers drawn on it, and with its sound.

        Args:
            path: File to write, an MP4.
            max_side: Longer side in pixels at most; the clip's own where None.

        Raises:
            WriteError: If it cannot be written.
        """
        clip = self.media or open_clip(self.source)
        frames = overlay_frames(self._shown_frames(clip, max_side), self)
        return write_video(path, frames, self.fps or 1 / self.hop, clip)

    def __repr__(self) -> str:
        return one_line(self)

    def _repr_html_(self) -> str:
        """What a notebook shows: some pictures, answers, and the time line."""
        return notebook_html(self)

    def plot(self) -> "Figure":
        """Some pictures with what was answered about them, and the time line, as a figure of matplotlib."""
        return result_figure(self)

    def to_dict(self) -> dict[str, Any]:
        """What result.json holds, in the types that JSON knows; see `avkit.report.save_result`."""
        return result_record(self)

    def to_dataframe(self, table: str = "steps") -> "DataFrame":
        """A table of pandas.

        Args:
            table: `steps` (a row per step), `events`, `answers` or `captions`.

        Raises:
            ValueError: If there is no such table.
            AvkitError: If pandas is not installed.
        """
        return result_table(self, table)

    def _check_folder(self, folder: Path) -> None:
        """Refuse a folder that holds the result of another clip, run or choice of tasks."""
        try:
            record = read_json(folder / "result.json")
        except AvkitError:
            return
        if not isinstance(record, dict):
            return
        for name, value in (("source", str(self.source)), ("provenance", self.provenance), ("tasks", self.tasks)):
            if record.get(name) != value:
                raise WriteError(
                    f"{folder} holds another result: its {name} is {record.get(name)}, and not {value}. Choose another "
                    "folder, or pass overwrite=True."
                )

    def _read_pictures(self) -> None:
        """Fill `pictures` with what the page and the timeline show; of a source that fails the model's frames stay."""
        if self.frames is None or self.size is None:
            return
        height, width = self.size
        shown = min(width, IMAGE_WIDTH)
        steps = sorted({*page_steps(self), *thumbnail_steps(self), *self._answer_steps()})
        times = [(step + 0.5) * self.hop for step in steps]
        try:
            size = (max(1, round(height * shown / width)), shown)
            frames = read_frames(self.media or self.source, times, size=size, partial_ok=True)
        except MediaError:
            return
        self.pictures = dict(zip(steps, frames.permute(0, 2, 3, 1).numpy(), strict=True))

    def _answer_steps(self) -> list[int]:
        """Steps whose pictures answers are shown with."""
        steps = []
        for answer in (*self.of(Choice), *(other for other in self.beside if isinstance(other, Choice))):
            steps += [step for step in shown_steps(answer) if step < self.steps]
        return steps

    def _shown_frames(self, clip: Clip, max_side: int | None) -> Iterator[tuple[float, Pixels]]:
        """The source's frames with their times in seconds; a still picture once per step."""
        size = None
        if max_side is not None and self.size is not None and max(self.size) > max_side:
            scale = max_side / max(self.size)
            size = (max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale)))
        if self.fps:
            yield from iter_frames(clip, size)
            return
        _, picture = next(iter_frames(clip, size))
        for step in range(self.steps):
            yield step * self.hop, picture
