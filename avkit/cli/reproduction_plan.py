# SPDX-License-Identifier: Apache-2.0
"""What an experiment needs, what of it is here, and what is missing: `avkit reproduce --list` and `--plan`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.cli.dataset_option import own_value
from avkit.errors import AvkitError
from avkit.leaderboard import Experiment, find_recipe
from avkit.leaderboard.hashes import files_hash
from avkit.leaderboard.recipes import Option
from avkit.leaderboard.records import GIVEN_PROMPTS
from avkit.leaderboard.where import dataset_sources

if TYPE_CHECKING:
    from avkit.datasets.official import Official


@dataclass(frozen=True)
class Requirement:
    """Something that an experiment needs.

    Attributes:
        what: Its name.
        here: Whether it is here; None where nothing was looked at.
        detail: What is here, or where to get it.
        of_machine: Whether it is of the machine, and not of the data.
    """

    what: str
    here: bool | None
    detail: str
    of_machine: bool = False


def print_list(experiments: Sequence[Experiment], *, as_json: bool) -> None:
    """Print all experiments by paper."""
    if as_json:
        print(json.dumps([_facts(experiment) for experiment in experiments], indent=1))
        return
    from avkit.report.tables import Column, make_table, open_console

    console = open_console()
    for paper, group in groupby(experiments, key=lambda experiment: experiment.paper):
        table = make_table([Column("id"), Column("row"), Column("published")], paper)
        for experiment in group:
            row = f"{experiment.table}, {experiment.row}, {experiment.figures_of}"
            table.add_row(experiment.id, row, headline(experiment) if experiment.recipe else "no recipe")
        console.print(table)
        console.print()
    console.print("avkit reproduce ID --plan says what one needs.", style="dim", highlight=False)


def headline(experiment: Experiment) -> str:
    """The last published figure, which is the one over all, with its name."""
    if not experiment.published:
        return "-"
    name, text = list(experiment.published.items())[-1]
    return f"{name} {text}"


def print_plan(experiments: Sequence[Experiment], root: Path | None, *, as_json: bool) -> None:
    """Print what each experiment needs, and whether it is here."""
    plans = {experiment.id: list(requirements(experiment, root)) for experiment in experiments}
    if as_json:
        facts = []
        for experiment in experiments:
            needs = [asdict(requirement) for requirement in plans[experiment.id]]
            facts.append(_facts(experiment) | {"requirements": needs})
        print(json.dumps(facts, indent=1))
        return
    for experiment in experiments:
        print(f"{experiment.id}: {experiment.paper}, {experiment.table}, {experiment.row}")
        if not experiment.recipe:
            print(f"  no recipe: {experiment.reason}")
            continue
        for requirement in plans[experiment.id]:
            mark = {True: "here", False: "MISSING", None: "needs"}[requirement.here]
            print(f"  {mark:8} {requirement.what}: {requirement.detail}")
        print(f"  {'run':8} {experiment.command()}")
    if root is None:
        print("Data were not looked for: name their folder with --root.")


def requirements(experiment: Experiment, root: Path | None) -> Iterator[Requirement]:
    """What an experiment needs: data, features, encoders, memory and time."""
    if not experiment.recipe:
        return
    for name in experiment.recipe:
        find_recipe(name)
    options = experiment.all_options()
    for name in experiment.datasets:
        yield from _data(name, options, root)
    yield from _encoders(options)
    if experiment.protocol.get("prompts") == GIVEN_PROMPTS:
        yield Requirement("statements", None, "the authors' file of them: --model.system.prompts FILE")
    if experiment.needs.features:
        yield Requirement("inputs", None, experiment.needs.features)
    yield from _machine(experiment)


def _data(name: str, options: Mapping[str, Option], root: Path | None) -> Iterator[Requirement]:
    """The annotations of a dataset, and the stored features of the recipe."""
    if root is None:
        source = dataset_sources().get(name)
        if source:
            yield Requirement(name, None, source)
        return
    from avkit.datasets import find_dataset
    from avkit.datasets.official import Official

    dataset = find_dataset(name)
    if not issubclass(dataset, Official):
        return
    data = _mapping(options, "data")
    try:
        reader = _listed(dataset, options, root)
    except (AvkitError, ValueError) as error:
        yield Requirement(name, False, " ".join(str(error).split()))
        return
    folder = reader.root.path
    official = dataset.counts.get(reader.release, {}).get("test")
    whole = "" if official is None else f" of {official:,}"
    yield Requirement(name, True, f"{reader.total:,}{whole} test samples are listed under {folder}")
    yield from _features(dataset, folder, data, reader.release)


def _listed(dataset: "type[Official]", options: Mapping[str, Option], root: Path) -> "Official":
    """The test split of a dataset, without its media.

    Raises:
        DataError: If annotation files are missing or damaged.
    """
    folder = root / dataset.name if (root / dataset.name).is_dir() else root
    release = own_value(_mapping(options, "data").get("release"), dataset.name)
    return dataset(folder, "test", release=release, find_media=False)


def annotation_hashes(experiment: Experiment, root: Path) -> dict[str, str]:
    """The hash of the annotation files of each dataset of an experiment; without those that cannot be read."""
    from avkit.datasets import find_dataset
    from avkit.datasets.official import Official

    hashes = {}
    options = experiment.all_options()
    for name in experiment.datasets:
        dataset = find_dataset(name)
        if issubclass(dataset, Official):
            with suppress(AvkitError):
                hashes[name] = files_hash(
                    {path.name: path for path in _listed(dataset, options, root).annotation_files}
                )
    return hashes


def _features(
    dataset: "type[Official]",
    folder: Path,
    data: Mapping[str, Option],
    release: str | None,
) -> Iterator[Requirement]:
    from avkit.extraction.missing_features import missing_features, missing_features_error
    from avkit.training.stored_facts import MODALITIES

    features = _mapping(data, "features")
    for modality in MODALITIES:
        own = own_value(features.get(modality), dataset.name)
        if not own:
            continue
        missing = missing_features(dataset, folder, own, modality, release)
        if missing:
            lines = str(missing_features_error(missing, {dataset.name: folder})).splitlines()[1:]
            yield Requirement(f"{modality} features {own}", False, "; ".join(line.strip() for line in lines))
        else:
            yield Requirement(f"{modality} features {own}", True, f"under {folder}")


def _encoders(options: Mapping[str, Option]) -> Iterator[Requirement]:
    """Weights that come from a hub."""
    system = _mapping(_mapping(options, "model"), "system")
    for name, value in system.items():
        if name.endswith("_weights") and value == "hub":
            part = name.removesuffix("_weights")
            detail = f"from the hub, or --model.system.{name} FILE"
            yield Requirement(f"weights of {system.get(part, part)}", None, detail)


def _machine(experiment: Experiment) -> Iterator[Requirement]:
    """GPU memory and time of training."""
    needs = experiment.needs
    kind = "measured" if needs.measured else "estimated"
    if needs.memory_gb is not None:
        there = _gpu_memory()
        here = f"this machine has {there:.0f} GB" if there else "this machine has no GPU"
        if there is None:
            here = "torch is not installed, which would look for a GPU"
        what = f"{needs.memory_gb:g} GB of GPU memory to train ({kind})"
        yield Requirement(what, (there or 0.0) >= needs.memory_gb, here, of_machine=True)
    if needs.hours is not None:
        yield Requirement("time to train", None, f"{needs.hours:g} h on one GPU ({kind})")


def _gpu_memory() -> float | None:
    """GB of the first GPU, 0 without one; None where nothing can look for it."""
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch.cuda.get_device_properties(0).total_memory / 1e9 if torch.cuda.is_available() else 0.0


def _facts(experiment: Experiment) -> dict[str, object]:
    facts = asdict(experiment)
    facts["command"] = experiment.command() if experiment.recipe else None
    return facts


def _mapping(options: Mapping[str, Option], name: str) -> Mapping[str, Option]:
    value = options.get(name)
    return value if isinstance(value, dict) else {}
