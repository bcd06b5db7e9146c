# SPDX-License-Identifier: Apache-2.0
"""A dataset of annotated clips on disk: from annotations to items."""

import math
from collections.abc import Mapping
from copy import copy
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from avkit.batch import Item, Targets, Vocabulary
from avkit.datasets.annotation_fields import FIELDS_BY_KEY, QUESTION_FIELDS, SOURCE_FIELDS
from avkit.datasets.annotations import Annotation
from avkit.datasets.base import Dataset
from avkit.datasets.cache import TensorCache
from avkit.datasets.clip_reader import ClipReader, feature_name, require_hop
from avkit.datasets.faults import Faults
from avkit.datasets.grid import Grid
from avkit.datasets.inputs import ClipInputs, ReadOptions
from avkit.datasets.samples import Sample as Sample
from avkit.datasets.samples import question_targets, sample_id, sample_text
from avkit.datasets.targets import TargetBuilder
from avkit.errors import DataError, unknown_name
from avkit.features.base import Features
from avkit.fields import FIELDS
from avkit.media.video import count_steps


class ClipDataset(Dataset):
    """Clips on disk, whatever they were listed in.

    A sample is a clip, or a clip with one of its questions. Samples are in the order of the annotations: each clip
    first, then its questions, with ids such as `clip#1` unless the questions have ids of their own. `indices` selects
    those that carry what a task reads, so that one list serves all tasks.

    Args:
        annotations: Annotations of the clips of one split.
        vocabulary: Classes, answers and words.
        options: How clips are read.

    Attributes:
        samples: All samples.
    """

    #: Whether only questions are samples, not clips by themselves.
    questions_only = False

    def __init__(
        self, annotations: list[Annotation], vocabulary: Vocabulary, options: ReadOptions | None = None
    ) -> None:
        self.annotations = annotations
        self.options = options or ReadOptions()
        self.visual = self.options.visual
        self.audio = self.options.audio
        self.reader = ClipReader(self.options)
        self.target_builder = TargetBuilder(vocabulary.classes, self.options.image_size)
        self.samples: list[Sample] = []
        self._vocabulary = vocabulary
        self._cache = TensorCache(self.options.cache_bytes)
        for clip, annotation in enumerate(annotations):
            if not self.questions_only:
                self.samples.append(Sample(clip, None))
            for question in range(len(annotation.questions or ())):
                self.samples.append(Sample(clip, question))

    def require_hops(self) -> None:
        """Refuse stored features without a hop, unless the dataset fixes the number of steps of every clip.

        Raises:
            DataError: If neither the features nor the options say the hop.
        """
        if all(self.options.steps_of(annotation) is not None for annotation in self.annotations):
            return
        for features in (self.visual, self.audio):
            if features is not None:
                require_hop(features, self.options)

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.samples)

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words, the same for every split."""
        return self._vocabulary

    @cached_property
    def provides(self) -> frozenset[str]:
        """Targets that some clip has; classes and sources of masks only if every clip with masks names its classes."""
        fields: set[str] = set()
        unnamed_masks = False
        for annotation in self.annotations:
            fields |= annotation.fields
            unnamed_masks |= "mask" in annotation.fields and "class_mask" not in annotation.fields
        if unnamed_masks:
            fields -= {"class_mask", *SOURCE_FIELDS}
        return frozenset(fields)

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Samples that carry all of `fields`: questions where an answer is among them, else clips.

        Raises:
            ValueError: If a field is not declared in `avkit.fields.FIELDS`.
            DataError: If no sample carries them.
        """
        for name in fields - FIELDS.keys():
            raise unknown_name("field", name, FIELDS)
        questions = self.questions_only or not fields.isdisjoint(QUESTION_FIELDS)
        indices = []
        for index, sample in enumerate(self.samples):
            if (sample.question is not None) == questions and fields <= self.annotations[sample.clip].fields:
                indices.append(index)
        if not indices:
            raise self._no_sample_error(fields)
        return indices

    def questions(self) -> Mapping[str, str]:
        """All questions by the ids of their samples."""
        questions = {}
        for clip, question in self.samples:
            annotation = self.annotations[clip]
            if question is not None:
                questions[sample_id(annotation, question)] = sample_text(annotation, question) or ""
        return questions

    def annotation_of(self, index: int) -> Annotation:
        """The annotation of a sample's clip, with the paths of its pictures where they are on disk."""
        return self.with_pictures(self.annotations[self.samples[index].clip])

    @property
    def mask_files(self) -> Mapping[str, Path]:
        """Files of masks by their path below the root."""
        files = {}
        for annotation in self.annotations:
            for mask in annotation.masks or ():
                files[mask.file] = annotation.root / mask.file
        return files

    def with_pictures(self, annotation: Annotation) -> Annotation:
        """The annotation with the paths of its pictures; a hook for datasets that look for media by themselves."""
        return annotation

    def media(self, index: int) -> str:
        """Name under which features of a sample's clip are stored."""
        return self.annotations[self.samples[index].clip].media

    def stored_name(self, index: int, features: Features, fields: frozenset[str] = frozenset()) -> str:
        """Name under which some features of a sample's clip are stored: its own where they have a row for each."""
        return feature_name(features, self.annotations[self.samples[index].clip])

    def item(self, index: int, fields: frozenset[str] | None = None) -> Item:
        """Read one sample; its tensors are shared with later calls, so do not write into them.

        Args:
            index: Index into `samples`.
            fields: Targets to read; by default all that the sample carries. Masks may be asked of a clip that has none:
                they are zeros, and known in no step.

        Raises:
            IndexError: If `index` is not below the number of samples.
            MediaError: If a media file cannot be read.
            DataError: If the sample lacks a field, its annotation contradicts its media, or features do not fit.
        """
        sample = self.samples[index]
        annotation = self.annotations[sample.clip]
        fields, unknown = self._fields_of(index, fields)
        inputs = self._cache.get(self.reader.key(annotation), lambda: self.reader.read(annotation), ClipInputs.tensors)
        return self.make_item(sample, inputs, fields, unknown)

    def _fields_of(self, index: int, fields: frozenset[str] | None) -> tuple[frozenset[str], frozenset[str]]:
        """The targets to read of a sample, and those of them of which nothing is known."""
        sample = self.samples[index]
        annotation = self.annotations[sample.clip]
        carried = annotation.fields
        if sample.question is None:
            carried -= QUESTION_FIELDS
        if fields is None:
            fields = carried
        unknown = frozenset[str]()
        if "mask" not in carried:
            unknown = (fields & (FIELDS_BY_KEY["masks"] | SOURCE_FIELDS)) - carried
        if not fields - unknown <= carried:
            raise annotation.error(
                "",
                f"sample {index} does not give {sorted(fields - carried)}. Take samples from 'indices'.",
            )
        return fields, unknown

    def sample_id(self, index: int) -> str:
        """Id of a sample's item."""
        sample = self.samples[index]
        return sample_id(self.annotations[sample.clip], sample.question)

    def target_item(self, index: int, fields: frozenset[str]) -> Item:
        """As `item`, without pictures and sound; media are asked for their length alone, where nothing else says it."""
        sample = self.samples[index]
        annotation = self.annotations[sample.clip]
        fields, unknown = self._fields_of(index, fields)
        inputs = ClipInputs(self.target_grid(annotation))
        if self.options.max_steps is not None:
            inputs = inputs.first_steps(self.options.max_steps)
        inputs.audio = torch.zeros(inputs.grid.steps, 0)
        return self.make_item(sample, inputs, fields, unknown)

    def target_grid(self, annotation: Annotation) -> Grid:
        """The steps of a clip by its annotation; one step where nothing says how long it is, as for questions."""
        hop = self.options.hop
        steps = self.options.steps_of(annotation)
        if steps is not None:
            return Grid(steps, hop, steps * hop)
        duration = self.reader.clip_duration(annotation)
        return Grid(1, hop, hop) if duration is None else Grid(count_steps(duration, hop), hop, duration)

    def mask_files_of(self, index: int) -> dict[int, str]:
        """The file of the true mask of each step of a sample that has one, as a path from the root; none is read."""
        annotation = self.annotations[self.samples[index].clip]
        grid = self.target_grid(annotation)
        completed = self.complete(annotation, grid)
        masks = completed.masks or []
        nearest = self.target_builder.nearest_masks(completed, grid)
        return {step: masks[k].file for step, k in sorted(nearest.items())}

    def collecting(self, faults: Faults) -> "ClipDataset":
        """The same clips, whose items give faults of annotations to `faults`; nothing of them is kept in memory."""
        dataset = copy(self)
        dataset.target_builder = self.target_builder.collecting(faults)
        dataset._cache = TensorCache(0)
        return dataset

    def make_item(
        self, sample: Sample, inputs: ClipInputs, fields: frozenset[str], unknown: frozenset[str] = frozenset()
    ) -> Item:
        """The item of a sample, of what was read of its clip; of targets in `unknown` nothing is known."""
        annotation = self.annotations[sample.clip]
        grid = inputs.grid
        targets = self._targets(self.complete(annotation, grid), grid, fields, unknown)
        targets |= question_targets(annotation, sample.question)
        return Item(
            id=sample_id(annotation, sample.question),
            duration=min(grid.duration, self._max_duration(grid)),
            hop=grid.hop,
            offset=grid.offset,
            frames=inputs.frames,
            waveform=inputs.waveform,
            visual=inputs.visual,
            audio=inputs.audio,
            text=sample_text(annotation, sample.question),
            targets={name: targets[name] for name in sorted(fields)},
        )

    def complete(self, annotation: Annotation, grid: Grid) -> Annotation:
        """The annotation of a clip whose item is read; a hook for what is not read with the list of clips."""
        return annotation

    def box_targets(self, annotation: Annotation, grid: Grid) -> Targets:
        """The fields `boxes` and `source` of a clip; a hook for datasets with a source map of their own."""
        return self.target_builder.boxes(annotation, grid)

    def _max_duration(self, grid: Grid) -> float:
        max_steps = self.options.max_steps
        return math.inf if max_steps is None else max_steps * grid.hop

    def _targets(self, annotation: Annotation, grid: Grid, fields: frozenset[str], unknown: frozenset[str]) -> Targets:
        """Targets of a clip, at least `fields` without those of questions; masks in `unknown` are zeros."""
        wanted = fields - unknown
        targets: Targets = {}
        if unknown:
            targets |= self.target_builder.unknown_masks(grid)
        if annotation.masks is not None and wanted & (FIELDS_BY_KEY["masks"] | SOURCE_FIELDS):
            targets |= self._mask_targets(annotation, grid, sources=bool(wanted & SOURCE_FIELDS))
        if wanted & FIELDS_BY_KEY["captions"]:
            targets |= self.target_builder.captions(annotation, grid)
        if wanted & FIELDS_BY_KEY["events"]:
            targets |= self.target_builder.events(annotation, grid)
        # after the masks, since boxes say better where the source is
        if annotation.boxes is not None and wanted & FIELDS_BY_KEY["boxes"]:
            targets |= self.box_targets(annotation, grid)
        return targets

    def _mask_targets(self, annotation: Annotation, grid: Grid, *, sources: bool) -> Targets:
        masks = self._cache.get(
            (annotation.id, "masks", sources),
            lambda: self.target_builder.masks(annotation, grid, sources=sources),
            lambda targets: [value for value in targets.values() if isinstance(value, Tensor)],
        )
        return {**masks, "source": masks["mask"].float()}

    def _no_sample_error(self, fields: frozenset[str]) -> DataError:
        """The error for fields that no clip has, or none has together."""
        missing = sorted(fields - self.provides)
        if missing:
            return DataError(f"No clip gives {', '.join(missing)}. Leave out the task that reads it.")
        return DataError(f"No clip gives {sorted(fields)} together. Leave out the task that reads it.")
