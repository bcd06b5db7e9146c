# SPDX-License-Identifier: Apache-2.0
"""Which stored features a run reads, and how they were made: what is needed to make them of another clip."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from avkit.datasets.base import Dataset
from avkit.datasets.clip_reader import as_patches
from avkit.datasets.clips import ClipDataset
from avkit.datasets.released import FeatureModality
from avkit.errors import RunError
from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures
from avkit.training.datamodule import AVDataModule
from avkit.training.sources import value_for


@dataclass(frozen=True)
class StoredPart:
    """Features of one store, folder or file; a fact that is not known is empty or 0.

    Attributes:
        name: Their name in the dataset, or that of their file.
        width: Width of a row's vectors.
        encoder: Name of the encoder.
        hop: Seconds from one row to the next.
        window: Seconds that a row covers.
        fps: Frames per second given to the encoder.
        weights: Hash of the encoder's weights.
        tokens: Number of vectors of a row; 0 where a row is a vector.
        place: Place within a step at which the dataset takes its picture, in [0, 1].
    """

    name: str
    width: int
    encoder: str = ""
    hop: float = 0.0
    window: float = 0.0
    fps: float = 0.0
    weights: str = ""
    tokens: int = 0
    place: float = 0.5

    def __str__(self) -> str:
        facts = [self.encoder or "encoder not known"]
        if self.hop:
            facts.append(f"hop {self.hop:g} s")
        return f"{self.name} ({', '.join(facts)}, width {self.width})"


#: What features are of, in the order in which models take them.
MODALITIES: tuple[FeatureModality, FeatureModality] = ("visual", "audio")
#: Parts by what they are of, in the order in which they are joined.
StoredParts: TypeAlias = dict[FeatureModality, list[StoredPart]]
#: The same by task, as `run.json` holds it.
StoredRecord: TypeAlias = dict[str, dict[str, list[dict[str, Any]]]]


def stored_record(data: AVDataModule) -> StoredRecord:
    """The stored features that each task of a run reads, in the types that JSON knows; those of its first dataset."""
    record: StoredRecord = {}
    names = data.all_datasets
    given: dict[FeatureModality, str | None] = {"visual": data.sources.visual, "audio": data.sources.audio}
    for task in data.specs:
        benchmark = data.benchmarks_of(task)[0]
        name = data.benchmarks[benchmark].dataset
        dataset = data.split(data.reference, benchmark)
        by_modality: dict[FeatureModality, Features | None] = {"visual": dataset.visual, "audio": dataset.audio}
        own: dict[str, list[dict[str, Any]]] = {}
        for modality, features in by_modality.items():
            if features is not None:
                text = value_for(name, given[modality], names, f"data.features.{modality}")
                own[modality] = [asdict(part) for part in describe_features(features, text or "", dataset)]
        if own:
            record[task] = own
    return record


def describe_features(features: Features, names: str, dataset: Dataset) -> list[StoredPart]:
    """Parts of stored features; `names` are those of the option, joined by `+`."""
    parts = features.parts if isinstance(features, ConcatenatedFeatures) else [features]
    given = names.split("+")
    place = dataset.options.frame_offset if isinstance(dataset, ClipDataset) else 0.5
    described = []
    for index, part in enumerate(parts):
        name = Path(given[index].strip()).stem if len(given) == len(parts) else part.path.stem
        facts = part.facts
        rows = part.read(next(iter(part.names)))
        patches = as_patches(rows)
        described.append(
            StoredPart(
                name,
                patches.shape[-1],
                facts.encoder,
                facts.hop,
                facts.window,
                facts.fps,
                facts.weights,
                tokens=patches.shape[1] if rows.ndim > 2 else 0,
                place=place,
            )
        )
    return described


def read_record(record: StoredRecord, where: Path) -> dict[str, StoredParts]:
    """Parts by task, as `stored_record` wrote them.

    Args:
        record: What `run.json` holds.
        where: The file, for errors.

    Raises:
        RunError: If the record is damaged.
    """
    parts: dict[str, StoredParts] = {}
    try:
        for task, by_modality in record.items():
            parts[task] = _parts_of(by_modality)
    except (TypeError, AttributeError) as error:
        raise RunError(
            f"{where} does not say which stored features the run reads ({error}). Copy the run folder again."
        ) from error
    return parts


def _parts_of(by_modality: Mapping[str, list[dict[str, Any]]]) -> StoredParts:
    """Parts of one task; what a newer avkit wrote beside them is passed over."""
    names = {field.name for field in fields(StoredPart)}
    parts: StoredParts = {}
    for modality in MODALITIES:
        for values in by_modality.get(modality, []):
            own = {key: value for key, value in values.items() if key in names}
            parts.setdefault(modality, []).append(StoredPart(**own))
    return parts
