# SPDX-License-Identifier: Apache-2.0
"""What is said about a long video, written while it is being watched: a line per step, a mask file per step."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from avkit.files import cannot_write, write_file
from avkit.report.files import plain
from avkit.report.images import png
from avkit.report.records import Result
from avkit.report.result import mask_labels, step_record


class StreamWriter:
    """Writes windows of a video as they come; what was written before a kill stays and is whole.

    `stream.jsonl` has a line per step with the keys of a step in result.json, see `save_result`; `masks/` has a picture
    per step, numbered from the start of the video. Files of an earlier stream are replaced.

    Args:
        folder: Where; made when absent.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.steps = folder, folder / "stream.jsonl", 0
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
            record: dict[str, Any] = step_record(result, step)
            record |= {"start": start + record["start"], "end": start + record["end"]}
            if result.masks is not None:
                name = f"masks/{self.steps:05d}.png"
                labels = mask_labels(result.masks, result, step)
                write_file(self.folder / name, png(((labels > 0) * 255).astype(np.uint8)))
                record["mask"] |= {"file": name}
            kept = {k: v for k, v in record.items() if not k.endswith("_file")}
            try:
                self.file.write(json.dumps(plain(kept), ensure_ascii=False, allow_nan=False) + "\n")
                self.file.flush()
            except OSError as e:
                raise cannot_write(self.path, e) from e
            self.steps += 1

    def __enter__(self) -> "StreamWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()
