# SPDX-License-Identifier: Apache-2.0
"""Answers about a long video, written while it is being predicted: a line per step, a mask file per step."""

import json
from pathlib import Path
from types import TracebackType

from avkit.answers import Mask
from avkit.answers.encoding import Record
from avkit.files import cannot_write, write_file
from avkit.report.files import plain
from avkit.report.images import png
from avkit.report.records import Result
from avkit.report.renderers.table import MASKS, group_answers
from avkit.report.result import step_record


class StreamWriter:
    """Writes windows of a video as they come; what was written before the process is killed stays and is whole.

    `stream.jsonl` has a line per step with the keys of a step in result.json, see `save_result`; `masks/` has a picture
    per step, numbered from the start of the video. The first step of a window has `other_answers` about the window, if
    there are any, and `warning`, if a reader must know something first. Files of an earlier stream are replaced.

    Args:
        folder: Where; made when absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "stream.jsonl"
        self.steps = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.file = self.path.open("w", encoding="utf-8")
        except OSError as e:
            raise cannot_write(self.path, e) from e

    def write(self, start: float, result: Result) -> None:
        """Add a window that begins `start` seconds after the start of the video.

        Raises:
            WriteError: If the disk is full or the folder cannot be written to.
        """
        for step in range(result.steps):
            record = step_record(result, step)
            record["start"] += start
            record["end"] += start
            self._write_mask(result, step, record)
            if step == 0:
                record |= _other_answers(result)
                if result.warning:
                    record["warning"] = result.warning
            self._write_line(record)
            self.steps += 1

    def _write_mask(self, result: Result, step: int, record: Record) -> None:
        """Write the mask of a step, numbered from the start of the video."""
        mask = result.first(Mask)
        if mask is None:
            return
        name = MASKS.file(self.steps)
        write_file(self.folder / name, png(MASKS.picture(mask, step, result.size)))
        record["mask"]["file"] = name

    def _write_line(self, record: Record) -> None:
        """Add a line; files of other pictures are not written, so they are not named."""
        line = {name: value for name, value in record.items() if not name.endswith("_file")}
        try:
            self.file.write(json.dumps(plain(line), ensure_ascii=False, allow_nan=False) + "\n")
            self.file.flush()
        except OSError as e:
            raise cannot_write(self.path, e) from e

    def __enter__(self) -> "StreamWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()


def _other_answers(result: Result) -> Record:
    """Answers that have no place in the steps' keys."""
    others = []
    for renderer, answers in group_answers(result.answers):
        others += renderer.record(answers).get("other_answers", [])
    return {"other_answers": others} if others else {}
