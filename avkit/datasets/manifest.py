# SPDX-License-Identifier: Apache-2.0
"""Your own videos: a JSON Lines file that names each clip and what is known about it."""

from pathlib import Path

from avkit.batch import Vocabulary
from avkit.datasets.annotation_fields import FIELDS_BY_KEY, SOURCE_FIELDS
from avkit.datasets.annotations import Annotation, annotation_texts
from avkit.datasets.base import DatasetOptions
from avkit.datasets.class_names import similar_names
from avkit.datasets.clips import ClipDataset
from avkit.datasets.faults import Faults
from avkit.datasets.inputs import ReadOptions
from avkit.datasets.manifest_lines import read_manifest
from avkit.datasets.manifest_schema import SCHEMA, SPLITS, json_schema
from avkit.datasets.released import open_named
from avkit.datasets.splits import SplitOptions, split_lines, too_few_error
from avkit.datasets.stored_clips import check_clips_are_stored, lack_of_features
from avkit.datasets.unreadable import unreadable_clips
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features
from avkit.text.tokenizer import unique_words

__all__ = ["SCHEMA", "SPLITS", "Manifest", "json_schema"]


class Manifest(ClipDataset):
    """Clips listed in a JSON Lines file; `docs/manifest.md` describes every key, `ClipDataset` what is made of it.

    Args:
        path: The JSON Lines file.
        root: Folder of the paths in it; by default the folder of the file.
        split: `train`, `val` or `test`.
        image_size: Height and width of pictures and masks in pixels.
        hop: Seconds per step, 1 by default, and between two rows of features that do not say it.
        max_steps: Read at most this many steps from the start of each clip.
        silent_ok: Use silence for videos without an audio track.
        vocabulary: Names to use instead of the file's own, such as those that a model was trained with.
        visual: Stored features to read instead of pictures, by the ids of the lines.
        audio: Stored features to read instead of sound.
        cache_bytes: Memory for decoded clips and masks, per loader process.
        splits: How lines without a split are split.
        allow_missing: Leave out lines whose media are missing, empty or have no sound, and count them in `missing`.
        faults: Takes the faults of all lines, to check them; by default the first one is raised.

    Attributes:
        annotations: The checked lines of this split.
        all_lines: The lines of all splits.
        split_facts: What was done about splits.

    Raises:
        DataError: At the first fault in the file, naming line and field, if no line belongs to `split`, or if a clip is
            in two splits.
    """

    name = "manifest"
    how_to_get = (
        "These are your own clips: write a line of JSON for each, or have 'avkit import' make them of the annotations "
        "of other tools."
    )

    def __init__(
        self,
        path: str | Path,
        root: str | Path | None = None,
        split: str = "train",
        image_size: int = 96,
        hop: float | None = None,
        max_steps: int | None = None,
        silent_ok: bool = False,
        vocabulary: Vocabulary | None = None,
        visual: Features | None = None,
        audio: Features | None = None,
        cache_bytes: int = 512 * 2**20,
        splits: SplitOptions = SplitOptions(),
        allow_missing: bool = False,
        faults: Faults | None = None,
    ) -> None:
        if split not in SPLITS:
            raise unknown_name("split", split, SPLITS)
        self.path = Path(path)
        self.split = split
        missing: dict[str, str] = {}
        self.all_lines = read_manifest(
            self.path, self.path.parent if root is None else Path(root), faults, missing if allow_missing else None
        )
        by_split, split_facts = split_lines(self.all_lines, splits, self.path)
        self.split_facts = split_facts
        if not by_split[split]:
            raise too_few_error(str(path), [split], self.all_lines)
        options = ReadOptions(
            image_size=image_size,
            hop=1.0 if hop is None else hop,
            max_steps=max_steps,
            silent_ok=silent_ok,
            short_ok=allow_missing,
            visual=visual,
            audio=audio,
            feature_hop=hop,
            cache_bytes=cache_bytes,
        )
        if allow_missing:
            present = [line for line in by_split[split] if line.id not in missing]
            missing |= unreadable_clips(present, options)
            lacks = {line.id: lack_of_features(line, options) for line in present if line.id not in missing}
            missing |= {name: lack for name, lack in lacks.items() if lack}
        self.missing = {line.id: missing[line.id] for line in by_split[split] if line.id in missing}
        annotations = [line for line in by_split[split] if line.id not in missing]
        if not annotations:
            first, lack = next(iter(self.missing.items()))
            raise DataError(
                f"{path}: no clip of split {split!r} can be read; {first!r}, for one, lacks {lack}. Check the paths."
            )
        own_vocabulary = _vocabulary(self.all_lines if split_facts.drawn else by_split["train"] or self.all_lines)
        if vocabulary is not None:
            _check_names(annotations, vocabulary, path)
        super().__init__(annotations, vocabulary or own_vocabulary, options)
        if faults is None:
            check_clips_are_stored(str(path), split, annotations, options)
            self.require_hops()

    @classmethod
    def open(cls, split: str, options: DatasetOptions, faults: Faults | None = None) -> "Manifest":
        """Open a split of `options.manifest`.

        Args:
            split: `train`, `val` or `test`.
            options: The manifest, and how it is read.
            faults: Takes the faults of all lines, to check them; by default the first one is raised.

        Raises:
            ValueError: If no manifest is named.
        """
        if options.manifest is None:
            raise ValueError("Dataset 'manifest' needs a file. Name it with --data.manifest FILE.jsonl.")
        root = options.root or options.manifest.parent
        return cls(
            options.manifest,
            root,
            split,
            options.image_size,
            hop=options.hop,
            silent_ok=options.silent_ok,
            visual=None if options.visual is None else open_named(options.visual, root),
            audio=None if options.audio is None else open_named(options.audio, root),
            splits=options.splits,
            vocabulary=options.vocabulary,
            allow_missing=options.allow_missing,
            faults=faults,
        )

    @property
    def annotation_files(self) -> list[Path]:
        """The manifest."""
        return [self.path]

    @property
    def notes(self) -> list[str]:
        """What was done about splits, and class names that are nearly equal."""
        notes = []
        if self.split_facts is not None and self.split_facts.note:
            notes.append(self.split_facts.note)
        names: set[str] = set()
        for line in self.all_lines:
            names |= line.class_names
        for group in similar_names(names):
            notes.append(
                f"{self.path.name}: the class names {', '.join(map(repr, group))} differ only slightly and count as "
                f"{len(group)} classes; write them alike if they are one"
            )
        return notes

    def _no_sample_error(self, fields: frozenset[str]) -> DataError:
        where = f"{self.path}: no line of split {self.split!r}"
        missing = sorted(fields - self.provides)
        if not missing:
            return DataError(f"{where} gives {sorted(fields)} together. Put their keys on one line.")
        name = missing[0]
        if name in SOURCE_FIELDS:
            return DataError(
                f"{where} has 'captions' and masks whose values all have a class, by 'sources' or 'classes', which "
                f"give the field {name!r}. Add them to a line, or leave out the task that reads it."
            )
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


def _check_names(lines: list[Annotation], vocabulary: Vocabulary, path: str | Path) -> None:
    """Refuse class names that a run does not know.

    Raises:
        DataError: With the names.
    """
    names: set[str] = set()
    for line in lines:
        names |= line.class_names
    unknown = sorted(names - set(vocabulary.classes))
    if unknown:
        raise DataError(
            f"{path}: the run does not know the class names {', '.join(map(repr, unknown[:5]))}. It was trained on "
            f"{', '.join(map(repr, vocabulary.classes))}. Write them as there, or leave these lines out."
        )


def _vocabulary(lines: list[Annotation]) -> Vocabulary:
    """Classes, answers and words of some lines, each sorted."""
    classes: set[str] = set()
    answers: set[str] = set()
    for line in lines:
        classes |= line.class_names
        answers.update(question.answer for question in line.questions or ())
    return Vocabulary(classes=sorted(classes), answers=sorted(answers), words=unique_words(annotation_texts(lines)))
