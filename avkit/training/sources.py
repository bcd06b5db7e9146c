# SPDX-License-Identifier: Apache-2.0
"""Which dataset each task reads, and how datasets are opened."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from avkit.datasets import Dataset, DatasetOptions, find_dataset
from avkit.datasets.stored_clips import LEAVE_OUT, ClipsWithoutFeaturesError
from avkit.errors import DataError, unknown_name
from avkit.extraction.missing_features import how_to_extract
from avkit.features.shards import open_store
from avkit.features.store import Store
from avkit.licences import check_licence
from avkit.outside import building
from avkit.reading.remote import is_there
from avkit.training.options import SceneOptions

#: `task=dataset,...` as a text or as a mapping; several datasets of a task are joined by `+`, or are a list.
DatasetChoice: TypeAlias = str | Mapping[str, str | Sequence[str]] | None


def choose_datasets(benchmarks: Mapping[str, str | None], dataset: DatasetChoice, root: str | None) -> dict[str, str]:
    """The name of each task's dataset; of several the names joined by `+`.

    Args:
        benchmarks: Usual dataset of each task, None if it has none.
        dataset: One dataset for all tasks, or `task=dataset,...`. A task that is not named gets its usual dataset if
            `root` is given, else `scenes`.
        root: Folder of data on disk.

    Raises:
        ValueError: If a task or dataset is unknown or named twice, or a task has no usual dataset.
    """
    named = _named_datasets(list(benchmarks), dataset)
    chosen = {}
    for task, benchmark in benchmarks.items():
        usual = benchmark if root else "scenes"
        names = named.get(task, usual)
        if not names:
            raise ValueError(f"Task {task!r} has no usual dataset. Name one with --data.dataset {task}=NAME.")
        chosen[task] = "+".join(_check_names(task, names.split("+")))
    return chosen


def _check_names(task: str, names: Sequence[str]) -> list[str]:
    """Names of a task's datasets without blanks.

    Raises:
        ValueError: If one is unknown or named twice.
    """
    checked: list[str] = []
    for name in map(str.strip, names):
        find_dataset(name)
        if name in checked:
            raise ValueError(
                f"data.dataset names {name!r} twice for task {task!r}. Name each dataset once; --data.dataset_mix says "
                "how often each is drawn."
            )
        checked.append(name)
    return checked


def _named_datasets(tasks: Collection[str], dataset: DatasetChoice) -> dict[str, str]:
    """Names of datasets by task, of several joined by `+`; those of all tasks where none is named."""
    if not dataset:
        return {}
    if isinstance(dataset, str):
        if "=" not in dataset:
            return dict.fromkeys(tasks, dataset)
        pairs = [part.partition("=")[::2] for part in dataset.split(",")]
    else:
        pairs = [(task, names if isinstance(names, str) else "+".join(names)) for task, names in dataset.items()]
    named: dict[str, str] = {}
    for text, names in pairs:
        task = text.strip()
        if task not in tasks:
            raise unknown_name("task in data.dataset", task, tasks)
        if task in named:
            raise ValueError(
                f"data.dataset names task {task!r} twice: {named[task]} and {names.strip()}. Give each task once; "
                f"several datasets of a task are joined by +, as in {task}={named[task]}+{names.strip()}."
            )
        if not names.strip():
            raise ValueError(f"data.dataset names no dataset for task {task!r}. Give one, as in {task}=NAME.")
        named[task] = names.strip()
    return named


def open_dataset(
    name: str,
    split: str,
    options: DatasetOptions,
    scenes: SceneOptions,
    names: Collection[str],
    hop: str | None = None,
) -> Dataset:
    """A split of a dataset.

    Args:
        name: Name of the dataset.
        split: `train`, `val` or `test`.
        options: Where data come from; texts such as `llp=res152,ave=vgg19` may name several datasets.
        scenes: Sizes of splits that are generated.
        names: All datasets of the run.
        hop: Seconds per step, as a text such as `1` or `unav100=0.32,manifest=1`.

    Raises:
        ValueError: If an option that the dataset needs is missing or names something unknown.
        DataError: If its files are missing or damaged.
    """
    own_options = replace(
        options,
        release=value_for(name, options.release, names, "data.release"),
        visual=value_for(name, options.visual, names, "data.features.visual"),
        audio=value_for(name, options.audio, names, "data.features.audio"),
        size=scenes.size(split),
        hop=hop_of(name, hop, names),
    )
    dataset = find_dataset(name)
    check_licence("data", name)
    try:
        with building("dataset", dataset):
            return dataset.open(split, own_options)
    except ClipsWithoutFeaturesError as error:
        root = None if name == "manifest" else own_options.root
        how = [how_to_extract(path, name, root) for path in error.paths]
        raise DataError(f"{error.problem} {' '.join(dict.fromkeys(how))} Or {LEAVE_OUT}.") from error


def hop_of(name: str, text: str | None, names: Collection[str]) -> float | None:
    """Seconds per step of a dataset by `data.hop`; None where that says nothing of it.

    Args:
        name: Name of the dataset.
        text: The option, such as `1` or `unav100=0.32,manifest=1`.
        names: All datasets of the run.

    Raises:
        ValueError: If it names something unknown, or is no number of seconds.
    """
    return _seconds(value_for(name, text, names, "data.hop"))


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        hop = float(text)
    except ValueError:
        hop = 0.0
    if not 0 < hop < math.inf:
        raise ValueError(f"data.hop is {text!r}; it is a number of seconds above 0, or DATASET=SECONDS,...")
    return hop


def value_for(dataset: str, text: str | None, names: Collection[str], option: str) -> str | None:
    """The part of an option's text such as `llp=res152,ave=vgg19` for one dataset; all of it if it names no datasets.

    Raises:
        ValueError: If the text names a dataset twice, or one that is not among `names`.
    """
    if text is None or "=" not in text:
        return text
    values = {}
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name.strip() in values:
            raise ValueError(f"{option} is {text!r}, which names {name.strip()!r} twice. Name each dataset once.")
        values[name.strip()] = value
    for name in values:
        if name not in names:
            raise unknown_name(f"dataset in {option}", name, set(names))
    return values.get(dataset)


def find_expert(path: str, root: Path | None, names: Collection[str]) -> str:
    """Where the store of a large vision-language model is: as named, or below the folder of the data or of a dataset.

    Args:
        path: Path as it was given.
        root: Folder of the data, if there is one.
        names: Names of the datasets, whose folders may lie below `root`.

    Returns:
        The first path at which there is a store; else the one below `root`.
    """
    if root is None or is_there(path):
        return path
    places = [root / path, *(root / name / path for name in names)]
    return str(next((place for place in places if is_there(place)), places[0]))


def open_expert(path: str) -> Store:
    """A store of features of a large vision-language model, one vector per row.

    Raises:
        DataError: If there is no store at `path`, or its rows are not vectors.
    """
    store = open_store(path)
    if len(store.shape) != 1:
        raise DataError(f"{path} holds {store.shape} per row; an expert's features are one vector per row.")
    return store


def stored_widths(dataset: Dataset) -> list[int]:
    """Widths of the stored visual and audio features of a dataset, 0 where it gives pictures or sound."""
    if dataset.visual is None and dataset.audio is None:
        return [0, 0]
    item = dataset.item(0, frozenset())
    return [0 if features is None else features.shape[-1] for features in (item.visual, item.audio)]
