# SPDX-License-Identifier: Apache-2.0
"""Your own videos: a JSON Lines file that names each clip and what is known about it."""

from pathlib import Path

from avkit.batch import Vocabulary
from avkit.datasets.annotations import GIVES, Line, texts
from avkit.datasets.base import DatasetOptions
from avkit.datasets.clips import ClipDataset
from avkit.datasets.manifest_lines import read_lines
from avkit.datasets.manifest_schema import SCHEMA, SPLITS, json_schema
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features
from avkit.text.tokenizer import unique_words

__all__ = ["GIVES", "SCHEMA", "SPLITS", "Line", "Manifest", "json_schema", "read_lines"]


class Manifest(ClipDataset):
    """Clips listed in a JSON Lines file; `docs/manifest.md` describes every key, `ClipDataset` what is made of it.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it; by default the folder of the file.
        split: `train`, `val` or `test`; lines without a split belong to all three.
        image_size: Side of pictures and masks in pixels.
        hop: Seconds per step.
        max_steps: Read this many steps from the start of each clip at most.
        silent_ok: Use silence for videos that have no sound.
        vocabulary: Names to use instead of the file's own, such as those that a model was trained with.
        visual: Stored features to read instead of pictures, by the ids of the lines.
        audio: Stored features to read instead of sound.
        memory: Decoded clips and masks to keep, in bytes, per loader process.

    Attributes:
        lines: The checked lines of this split.
        samples: Index into `lines` and question number, None for the clip by itself.

    Raises:
        DataError: At the first fault in the file, naming line and field, or if no line belongs to `split`.
    """

    name = "manifest"

    @classmethod
    def open(cls, split: str, options: DatasetOptions) -> "Manifest":
        """Open a split of `options.manifest`.

        Raises:
            ValueError: If no manifest is named.
        """
        if options.manifest is None:
            raise ValueError("Dataset 'manifest' needs a file. Name it with --data.manifest FILE.jsonl.")
        return cls(options.manifest, options.root, split, options.image_size)

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        split: str = "train",
        image_size: int = 96,
        hop: float = 1.0,
        max_steps: int | None = None,
        silent_ok: bool = False,
        vocabulary: Vocabulary | None = None,
        visual: Features | None = None,
        audio: Features | None = None,
        memory: int = 512 * 2**20,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.path, self.split = Path(path), split
        every = read_lines(self.path, Path(root) if root is not None else self.path.parent)
        lines = [line for line in every if line.data.get("split", split) == split]
        if not lines:
            raise DataError(
                f"{path}: no line belongs to split {split!r}, only to {sorted({line.data['split'] for line in every})}."
            )
        super().__init__(
            lines,
            vocabulary or _vocabulary(every),
            image_size,
            hop,
            max_steps=max_steps,
            silent_ok=silent_ok,
            visual=visual,
            audio=audio,
            memory=memory,
        )

    def _lacking(self, fields: frozenset[str]) -> DataError:
        for name in sorted(fields - self.provides):
            keys = [repr(key) for key, given in GIVES.items() if name in given]
            if not keys:
                return DataError(
                    f"A manifest has no key that gives the field {name!r}. Leave out the task that reads it."
                )
            more = " whose masks all have 'classes'" if name == "class_mask" and "mask" in self.provides else ""
            return DataError(
                f"{self.path}: no line of split {self.split!r} has {' or '.join(keys)}{more}, "
                f"which gives the field {name!r}. Add it to a line, or leave out the task that reads it."
            )
        return DataError(
            f"{self.path}: no line of split {self.split!r} gives {sorted(fields)} together. Put their keys on one line."
        )


def _vocabulary(every: list[Line]) -> Vocabulary:
    """Classes, answers and words of the train lines, each sorted; of all lines where none is for training."""
    train = [line for line in every if line.data.get("split", "train") == "train"] or every
    return Vocabulary(
        classes=sorted(set().union(*(line.classes for line in train))),
        answers=sorted({q["answer"] for line in train for q in line.data.get("questions", ())}),
        words=unique_words(texts(train)),
    )
