# SPDX-License-Identifier: Apache-2.0
"""Experiments: for each row of a paper's table the recipe that aims at it, and how the recipe differs."""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from avkit.errors import FileError, unknown_name
from avkit.leaderboard.printed import Printed
from avkit.leaderboard.recipes import CONFIGS, Option, recipe_options
from avkit.reading.text import read_yaml

#: Folder of the package's experiments.
EXPERIMENTS = CONFIGS / "experiments"
#: Keys that every experiment has.
_REQUIRED = ("id", "paper", "table", "row", "dataset", "published", "recipe")


@dataclass(frozen=True)
class Needs:
    """What an experiment needs.

    Attributes:
        features: Stored features, or the weights that are loaded, in words.
        memory_gb: GPU memory of training in GB.
        hours: Hours of training on one GPU.
        measured: Whether memory and hours were measured; False for an estimate.
    """

    features: str = ""
    memory_gb: float | None = None
    hours: float | None = None
    measured: bool = False


@dataclass(frozen=True)
class Experiment:
    """A row of a published table, and the recipe that aims at it.

    Attributes:
        id: Unique name of lower-case words joined by `_`.
        paper: Name of the paper.
        table: Table or figure, as the paper numbers it.
        row: Name of the row, as printed.
        dataset: Dataset that is trained and tested on, or several joined by `+`.
        published: Figures of the row by metric, with the digits that the source prints.
        recipe: Files below `avkit/configs/`, in order; empty where nothing can be run.
        options: Options after the files, by dotted name.
        code: `owner/repository@commit` of the authors' code; None where there is none.
        needs: What training needs.
        differs: Every known difference from the paper, one sentence each.
        reason: Why nothing can be run, where `recipe` is empty.
        protocol: How the row was measured where that leaves a choice, as `Record.protocol` says it, such as the
            evaluation batch or whose prompts.
        hashes: SHA-256 of files of the authors, by the names of `Record.hashes`, such as `official weights` and
            `statements`; those that are not known are left out.
        scored_on: The dataset that the figures are of, where several are trained on; empty for the only one.
        parameters_m: Published number of parameters in millions; None where the paper prints none.
    """

    id: str
    paper: str
    table: str
    row: str
    dataset: str
    published: Mapping[str, str]
    recipe: Sequence[str]
    options: Mapping[str, Option] = field(default_factory=dict)
    code: str | None = None
    needs: Needs = field(default_factory=Needs)
    differs: Sequence[str] = ()
    reason: str = ""
    parameters_m: float | None = None
    scored_on: str = ""
    protocol: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets that are trained and tested on."""
        return self.dataset.split("+")

    @property
    def figures_of(self) -> str:
        """The dataset that the published figures are of; several joined by `+` where the row averages over them."""
        return self.scored_on or self.dataset

    def all_options(self) -> dict[str, Option]:
        """The options of the recipe and of the experiment as one nested mapping."""
        return recipe_options(self.recipe, self.options)

    def words(self) -> list[str]:
        """Words after `avkit fit` that start the experiment, without the data's place."""
        words: list[str] = []
        for name in self.recipe:
            words += ["--config", name.removesuffix(".yaml")]
        for name, value in self.options.items():
            words += [f"--{name}", _option_text(value)]
        return words

    def command(self) -> str:
        """The command that starts the experiment; `ROOT` stands for the folder of the data."""
        return shlex.join(["avkit", "fit", *self.words(), "--data.root", "ROOT"])


def read_experiments(folder: str | Path = EXPERIMENTS) -> list[Experiment]:
    """All experiments of a folder, by file and then as written.

    Args:
        folder: Folder of YAML files, each a list of experiments; those of the package by default.

    Raises:
        FileError: If a file cannot be read, an entry has an unknown or missing key, or two entries have one id.
    """
    return list(_read_packaged() if Path(folder) == EXPERIMENTS else _read_folder(Path(folder)))


@cache
def _read_packaged() -> tuple[Experiment, ...]:
    """Those of the package, which do not change while it runs."""
    return _read_folder(EXPERIMENTS)


def _read_folder(folder: Path) -> tuple[Experiment, ...]:
    experiments: dict[str, Experiment] = {}
    for path in sorted(folder.glob("*.yaml")):
        for experiment in _read_file(path):
            if experiment.id in experiments:
                raise FileError(f"{path}: the id {experiment.id!r} stands twice. Give one of them another.")
            experiments[experiment.id] = experiment
    return tuple(experiments.values())


def find_experiment(id_: str) -> Experiment:
    """An experiment of the package by its id.

    Raises:
        ValueError: If there is none, with the nearest id.
    """
    experiments = {experiment.id: experiment for experiment in read_experiments()}
    if id_ not in experiments:
        near = get_close_matches(id_, list(experiments), n=3, cutoff=0.4)
        advice = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
        raise ValueError(f"Unknown experiment {id_!r}. {advice}'avkit reproduce --list' names all.")
    return experiments[id_]


def _read_file(path: Path) -> list[Experiment]:
    content = read_yaml(path)
    if not isinstance(content, list):
        raise FileError(f"{path} is no list of experiments.")
    as_printed = read_yaml(path, as_texts=True)
    return [_experiment(path, entry, texts) for entry, texts in zip(content, as_printed, strict=True)]


def _experiment(path: Path, entry: object, texts: Mapping[str, Any]) -> Experiment:
    if not isinstance(entry, dict):
        raise FileError(f"{path}: {entry!r} is no experiment. Give a mapping with an id.")
    place = f"{path}: {entry.get('id', 'an entry without id')}"
    needs = entry.get("needs") or {}
    _check_keys(place, needs, [record.name for record in fields(Needs)])
    _check_keys(place, entry, [record.name for record in fields(Experiment)])
    for name in _REQUIRED:
        if name not in entry:
            raise FileError(f"{place} lacks {name!r}. An experiment has {', '.join(_REQUIRED)}.")
    published = texts["published"] or {}
    for name, text in published.items():
        _check_figure(place, name, text)
    experiment = Experiment(**{**entry, "published": published, "needs": Needs(**needs)})
    if not experiment.recipe and not experiment.reason:
        raise FileError(f"{place} has no recipe. Name its files, or give the reason why it cannot be run.")
    return experiment


def _check_figure(place: str, name: str, text: str) -> None:
    try:
        Printed(text)
    except ValueError as error:
        raise FileError(f"{place}: published {name}: {error}") from error


def _check_keys(place: str, values: Mapping[str, object], accepted: Sequence[str]) -> None:
    for name in values:
        if name not in accepted:
            raise FileError(f"{place}: {unknown_name('key', name, accepted)}")


def _option_text(value: Option) -> str:
    """An option's value as it is typed."""
    if isinstance(value, str):
        return value
    return json.dumps(value)
