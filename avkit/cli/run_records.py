# SPDX-License-Identifier: Apache-2.0
"""Records of a tested run: one for each benchmark, a task on a dataset."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile
from pathlib import Path

from avkit.batch import Item
from avkit.cli.changed_options import changed_options
from avkit.cli.provenance import commit, versions
from avkit.cli.run_config import with_recipe_files
from avkit.cli.trainer import AVCLI
from avkit.datasets.base import Dataset
from avkit.datasets.official import Official
from avkit.datasets.published_files import changed_files
from avkit.datasets.released import FeatureModality
from avkit.errors import FileError
from avkit.features.base import Features
from avkit.features.hashes import FeaturesDigest, digest_features
from avkit.leaderboard.hashes import file_hash, files_hash
from avkit.leaderboard.records import GIVEN_PROMPTS, OWN_PROMPTS, By, Figure, Record
from avkit.report import Row
from avkit.systems.tspm.statements import statements_hash
from avkit.training.callbacks import read_history
from avkit.training.domain import SCENES, domain_of
from avkit.training.run_folder import RunFolder
from avkit.training.sources import value_for
from avkit.training.stored_facts import StoredPart, describe_features
from avkit.training.weights_file import current_weights, weights_hash

#: Decimals of a hop that follows from a number of rows.
_HOP_DIGITS = 3
#: Share by which the rows of a clip of the usual length may be more or fewer, where features have another hop.
_NEAR_ROWS = 0.15


@dataclass(frozen=True)
class TestedRun:
    """A run that was just tested.

    Attributes:
        cli: Trainer, model and data of the test.
        run: Its folder.
        checkpoint: The checkpoint that was tested; None of a system that is not trained.
        rows: Scores of all benchmarks.
        predictions: File of the predictions; None where none were saved.
        device: Name of the hardware.
    """

    cli: AVCLI
    run: RunFolder
    checkpoint: Path | None
    rows: Sequence[Row]
    predictions: Path | None
    device: str


def make_records(tested: TestedRun) -> list[Record]:
    """A record for each benchmark that has a score.

    Files are hashed as a whole, in blocks. Of weights the tensors are hashed, see `weights_hash`; of stored
    features the values of the tested clips, see `features_hash`; of masks the files of the split.
    """
    cli = tested.cli
    facts = tested.run.read_facts()
    options = changed_options(cli, tested.run, _typed(tested))
    hashes = _hashes_of_run(tested)
    records = []
    for name, benchmark in cli.datamodule.benchmarks.items():
        rows = [row for row in tested.rows if (row.task, row.dataset) == (benchmark.task, benchmark.dataset)]
        figures = {row.metric: _figure(row) for row in rows if row.value is not None}
        if not figures:
            continue
        dataset = cli.datamodule.split("test", name)
        tested_clips = _tested_clips(cli, name)
        item = dataset.item(tested_clips[0], frozenset())
        fields = cli.datamodule.specs[benchmark.task].targets_of("test")
        features = _digest_features(dataset, tested_clips, fields)
        records.append(
            Record(
                task=benchmark.task,
                dataset=benchmark.dataset,
                release=dataset.release if isinstance(dataset, Official) else "",
                split=_split(cli, name, dataset),
                setting="",
                n=cli.model.evaluator.clips[name],
                official_n=cli.datamodule.official_count("test", name),
                figures=figures,
                method=cli.model.system.config.name,
                system=cli.model.system.config.name,
                experiment=None,
                by=_origin(tested, benchmark.dataset),
                seeds=[int(facts["seed"])],
                protocol=_protocol(cli, name, item),
                features=_features(cli, name, dataset, features),
                hashes=hashes | _hashes_of_data(dataset) | _hashes_of_features(features),
                options=options,
                recipe=[entry["name"] for entry in facts.get("recipe", [])],
                commit=commit(),
                versions=versions(),
                device=tested.device,
                date=time.strftime("%Y-%m-%d %H:%M %z"),
                command=shlex.join(facts["command"]),
                changed=changed_files(dataset) if isinstance(dataset, Official) else (),
            )
        )
    return records


def _typed(tested: TestedRun) -> list[str]:
    """The words of the training and of the test, from the first option on."""
    command = tested.run.read_facts()["command"]
    options = list(dropwhile(lambda word: not word.startswith("-"), command))
    words = [*options, *tested.cli.args]
    try:
        return with_recipe_files(words)
    except FileError:  # a file of the user's that is gone
        return words


def _figure(row: Row) -> Figure:
    """A figure of a score that was run."""
    assert row.value is not None
    return Figure(
        value=row.value,
        n=row.n,
        counted=row.counted,
        low=row.low,
        high=row.high,
        baseline=row.baseline,
        silence=row.silence,
        swapped=row.swapped,
        unit=row.unit,
    )


def _split(cli: AVCLI, name: str, dataset: Dataset) -> str:
    """The official list that was tested on, or the split."""
    return dataset.listed_split or cli.datamodule.split_label("test", name)


def _origin(tested: TestedRun, dataset: str) -> By:
    """Where the figures come from."""
    sources = tested.cli.datamodule.sources
    if tested.checkpoint is None:
        return "weights"
    if domain_of(dataset, sources.root, sources.manifest) == SCENES:
        return "scenes"
    steps = sum("task" in line for line in read_history(tested.run.history))
    given = given_weights(tested.cli)
    return "weights" if given and not steps else "training"


def given_weights(cli: AVCLI) -> str:
    """The weights that the system was given; empty if none."""
    return str(cli.config.get("model.system.weights") or "")


def _tested_clips(cli: AVCLI, name: str) -> list[int]:
    """Numbers of the samples that were tested, in the order of the test."""
    return cli.datamodule.indices("test", name)[: cli.model.evaluator.clips[name]]


def _protocol(cli: AVCLI, name: str, item: Item) -> dict[str, str]:
    """How a benchmark was tested, by name."""
    protocol = dict(cli.model.benchmarks[name].metric_protocol())
    protocol["hop"] = f"{item.hop:g} s"
    if item.frames is not None:
        protocol["picture size"] = f"{item.frames.shape[-1]} pixels"
    protocol["precision"] = str(cli.trainer.precision)
    system = vars(cli.model.system.config)
    if "prompts" in system and item.text is not None:
        protocol["prompts"] = GIVEN_PROMPTS if system["prompts"] else OWN_PROMPTS
    return protocol


def _features(
    cli: AVCLI, name: str, dataset: Dataset, digests: Mapping[FeatureModality, FeaturesDigest]
) -> dict[str, str]:
    """The stored features that a benchmark reads, by modality."""
    sources = cli.datamodule.sources
    names = cli.datamodule.all_datasets
    own = cli.datamodule.benchmarks[name].dataset
    given: dict[FeatureModality, str | None] = {"visual": sources.visual, "audio": sources.audio}
    described: dict[str, str] = {}
    for modality, features in _stored(dataset).items():
        text = value_for(own, given[modality], names, f"data.features.{modality}") or ""
        parts = describe_features(features, text, dataset)
        described[modality] = features_text(_with_true_hops(parts, dataset, digests[modality].rows))
    return described


def _with_true_hops(parts: Sequence[StoredPart], dataset: Dataset, rows: Sequence[int]) -> list[StoredPart]:
    """Parts as they are described; of released features with some rows more or fewer than published, the hop they tell.

    Clips that are far longer or shorter than those of the dataset tell nothing.
    """
    mended = []
    for part, count in zip(parts, rows, strict=True):
        released = dataset.released.get(part.name) if isinstance(dataset, Official) else None
        expected = None if released is None else released.shape[0]
        if expected is not None and 0 < abs(count - expected) <= _NEAR_ROWS * expected and part.hop:
            part = replace(part, hop=round(part.hop * expected / count, _HOP_DIGITS))
        mended.append(part)
    return mended


def features_text(parts: Sequence[StoredPart]) -> str:
    """Stored features in words: encoder, hop and width of each part; its name where the encoder is not known."""
    texts = []
    for part in parts:
        hop = f"hop {part.hop:g} s, " if part.hop else ""
        tokens = f"{part.tokens} x " if part.tokens else ""
        texts.append(f"{part.encoder or part.name} ({hop}width {tokens}{part.width})")
    return " + ".join(texts)


def _hashes_of_run(tested: TestedRun) -> dict[str, str]:
    """Hashes of what all benchmarks of a run share."""
    hashes = {"weights": _weights_hash(tested), "config": file_hash(tested.run.config)}
    given = given_weights(tested.cli)
    if given and Path(given).is_file():
        hashes["given weights"] = file_hash(given)
    system = vars(tested.cli.model.system.config)
    if system.get("prompts") and Path(system["prompts"]).is_file():
        hashes["prompts"] = file_hash(system["prompts"])
        hashes["statements"] = statements_hash(system["prompts"])
    for entry in tested.run.read_facts().get("recipe", []):
        hashes[f"recipe {entry['name']}"] = entry["sha256"]
    expert = tested.cli.datamodule.expert
    if expert is not None:
        hashes["features expert"] = file_hash(expert.path)
    if tested.predictions is not None:
        hashes["predictions"] = file_hash(tested.predictions)
    return hashes


def _weights_hash(tested: TestedRun) -> str:
    """Hash of the tensors of the checkpoint, or of the files of the public models that were loaded."""
    if tested.checkpoint is not None:
        return weights_hash(current_weights(tested.checkpoint))
    files: dict[str, Path] = {}
    for name, place in tested.cli.model.system.loaded_parts().items():
        path = Path(place)
        if path.is_file():
            files[name] = path
        for file in sorted(path.glob("*.safetensors")):
            files[f"{name}/{file.name}"] = file
    return files_hash(files)


def _hashes_of_data(dataset: Dataset) -> dict[str, str]:
    """Hashes of annotations and masks of a benchmark."""
    hashes = {}
    files = {path.name: path for path in dataset.annotation_files}
    if files:
        hashes["annotations"] = files_hash(files)
    if dataset.mask_files:
        hashes["masks"] = files_hash(dataset.mask_files)
    return hashes


def _digest_features(
    dataset: Dataset, samples: Sequence[int], fields: frozenset[str]
) -> dict[FeatureModality, FeaturesDigest]:
    """The stored features of the tested samples, by modality."""
    digests = {}
    for modality, features in _stored(dataset).items():
        names = [dataset.stored_name(index, features, fields) for index in samples]
        digests[modality] = digest_features(features, names)
    return digests


def _hashes_of_features(digests: Mapping[FeatureModality, FeaturesDigest]) -> dict[str, str]:
    return {f"features {modality}": digest.sha256 for modality, digest in digests.items()}


def _stored(dataset: Dataset) -> dict[FeatureModality, Features]:
    """The stored features that a dataset reads, by modality."""
    by_modality: dict[FeatureModality, Features | None] = {"visual": dataset.visual, "audio": dataset.audio}
    return {modality: features for modality, features in by_modality.items() if features is not None}
