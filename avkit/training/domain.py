# SPDX-License-Identifier: Apache-2.0
"""What a run has seen: drawn scenes, official datasets, or data of its user."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from avkit.datasets import find_dataset
from avkit.datasets.official import Official
from avkit.datasets.scenes import MARKER
from avkit.reading.remote import is_there

#: avkit's procedural scenes, also where they were written in the layout of an official dataset.
SCENES = "scenes"
#: An official dataset.
OFFICIAL = "official"
#: A manifest, a folder, or a dataset from outside avkit.
OWN = "own"


def domains_of(datasets: Mapping[str, str], root: Path | None, manifest: Path | None) -> dict[str, str]:
    """The domain of each task.

    Args:
        datasets: Names of each task's datasets, joined by `+`; scenes count only where all are scenes.
        root: Folder of the datasets.
        manifest: File of the dataset `manifest`.
    """
    domains = {}
    for task, names in datasets.items():
        of_each = {domain_of(name, root, manifest) for name in names.split("+")}
        domains[task] = next(domain for domain in (OWN, OFFICIAL, SCENES) if domain in of_each)
    return domains


def domain_of(name: str, root: Path | None, manifest: Path | None) -> str:
    """The domain of a dataset: `SCENES`, `OFFICIAL` or `OWN`."""
    folders = [root, None if root is None else root / name, None if manifest is None else manifest.parent]
    if any(folder is not None and is_there(folder / MARKER) for folder in folders):
        return SCENES
    if name == "scenes":
        return SCENES
    if ":" in name:
        return OWN
    return OFFICIAL if issubclass(find_dataset(name), Official) else OWN


def domains_by_dataset(tasks: Sequence[str], dataset: str) -> dict[str, str]:
    """The domain of each task of a run that states none, from the names of its datasets, joined by `+`.

    Tasks are left out where the names do not tell.
    """
    names = dataset.split("+")
    drawn = {name == "scenes" for name in names}
    if drawn == {True}:
        return dict.fromkeys(tasks, SCENES)
    return {}


#: What `warning_of` says, in a few words.
SHORT_WARNING = "trained on drawn shapes"


def warning_of(domains: Mapping[str, str], tasks: Sequence[str]) -> str:
    """What a reader of the answers of some tasks must know of what the run has seen; empty if there is nothing."""
    drawn = [task for task in tasks if domains.get(task) == SCENES]
    if not drawn:
        return ""
    subject = "This run has" if len(drawn) == len(tasks) else f"The tasks {', '.join(drawn)} of this run have"
    return (
        f"{subject} seen only drawn shapes with synthetic sounds (avkit's scenes). What is answered about real videos "
        "means nothing; ask public models with 'avkit predict zero_shot CLIP', or train on an official dataset."
    )
