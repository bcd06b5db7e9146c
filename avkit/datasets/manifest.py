# SPDX-License-Identifier: Apache-2.0
"""Your own videos: a JSON Lines file that names each clip and what is known about it."""

from pathlib import Path

from avkit.batch import Vocabulary
from avkit.datasets.annotations import FIELDS_BY_KEY, Annotation, annotation_texts
from avkit.datasets.base import DatasetOptions
from avkit.datasets.clips import ClipDataset
from avkit.datasets.inputs import ReadOptions
from avkit.datasets.manifest_lines import read_manifest
from avkit.datasets.manifest_schema import SCHEMA, SPLITS, json_schema
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features
from avkit.text.tokenizer import unique_words

__all__ = ["SCHEMA", "SPLITS", "Manifest", "json_schema"]


class Manifest(ClipDataset):
    """Clips listed in a JSON Lines file; `docs/manifest.md` describes every key, `ClipDataset` what is made of it.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it; by default the folder of the file.
        split: `train`, `val` or `test`; lines without a split belong to all three.
        image_size: Height and width of pictures and masks in pixels.
        hop: Seconds per step.
        max_steps: Read at most this many steps from the start of each clip.
        silent_ok: Use silence for videos without an audio track.
        vocabulary: Names to use instead of the file's own, such as those that a model was trained with.
        visual: Stored features to read instead of pictures, by the ids of the lines.
        audio: Stored features to read instead of sound.
        cache_bytes: Memory for decoded clips and masks, per loader process.

    Attributes:
        annotations: The checked lines of this split.

    Raises:
        DataError: At the first fault in the file, naming line and field, or if no line belongs to `split`.
    """

    name = "manifest"

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
        cache_bytes: int = 512 * 2**20,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.path = Path(path)
        self.split = split
        lines = read_manifest(self.path, self.path.parent if root is None else Path(root))
        annotations = [line for line in lines if line.split in (None, split)]
        if not annotations:
            splits = sorted({line.split for line in lines if line.split is not None})
            raise DataError(f"{path}: no line belongs to split {split!r}, only to {splits}.")
        options = ReadOptions(
            image_size=image_size,
            hop=hop,
            max_steps=max_steps,
            silent_ok=silent_ok,
            visual=visual,
            audio=audio,
            cache_bytes=cache_bytes,
        )
        super().__init__(annotations, vocabulary or _train_vocabulary(lines), options)

    @classmethod
    def open(cls, split: str, options: DatasetOptions) -> "Manifest":
        """Open a split of `options.manifest`.

        Raises:
            ValueError: If no manifest is named.
        """
        if options.manifest is None:
            raise ValueError("Dataset 'manifest' needs a file. Name it with --data.manifest FILE.jsonl.")
        return cls(options.manifest, options.root, split, options.image_size)

    def _no_sample_error(self, fields: frozenset[str]) -> DataError:
        where = f"{self.path}: no line of split {self.split!r}"
        missing = sorted(fields - self.provides)
        if not missing:
            return DataError(f"{where} gives {sorted(fields)} together. Put their keys on one line.")
        name = missing[0]
        keys = [repr(key) for key, names in FIELDS_BY_KEY.items() if name in names]
        if not keys:
            return DataError(f"A manifest has no key that gives the field {name!r}. Leave out the task that reads it.")
        condition = ""
        if name == "class_mask" and "mask" in self.provides:
            condition = " whose masks all have 'classes'"
        return DataError(
            f"{where} has {' or '.join(keys)}{condition}, which gives the field {name!r}. Add it to a line, or leave "
            "out the task that reads it."
        )


def _train_vocabulary(lines: list[Annotation]) -> Vocabulary:
    """Classes, answers and words of the train lines, each sorted; of all lines where none is for training."""
    train = [line for line in lines if line.split in (None, "train")] or lines
    classes: set[str] = set()
    answers: set[str] = set()
    for line in train:
        classes |= line.class_names
        answers.update(question.answer for question in line.questions or ())
    return Vocabulary(classes=sorted(classes), answers=sorted(answers), words=unique_words(annotation_texts(train)))
