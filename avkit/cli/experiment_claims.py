# SPDX-License-Identifier: Apache-2.0
"""The published row of an experiment, with all on which it was measured: what a verdict compares a record with."""

import math
from collections.abc import Mapping

from avkit.cli.dataset_option import own_value
from avkit.cli.run_records import features_text
from avkit.datasets import find_dataset
from avkit.datasets.official import Official
from avkit.datasets.released import ReleasedFeatures
from avkit.leaderboard import Claim, Experiment
from avkit.leaderboard.claims import claim_of
from avkit.leaderboard.recipes import Option
from avkit.training.stored_facts import StoredPart


def claim_for(experiment: Experiment, task: str) -> Claim:
    """What an experiment claims of a task.

    Released features are stated by encoder, hop and width; those that a recipe names by a path are not compared.

    Args:
        experiment: The experiment.
        task: Task that its figures are of.
    """
    options = experiment.all_options()
    data = _mapping(options, "data")
    name = experiment.figures_of
    dataset = find_dataset(name) if "+" not in name else None
    release = ""
    features: dict[str, str] = {}
    if dataset is not None and issubclass(dataset, Official):
        release = own_value(data.get("release"), name) or dataset.releases[0]
        for modality, names in _mapping(data, "features").items():
            text = _released_text(dataset, own_value(names, name))
            if text:
                features[modality] = text
    return claim_of(experiment, task, features=features, release=release)


def release_of(experiment: Experiment) -> str | None:
    """The release of the annotations that a recipe states for the dataset of its figures; None for the usual one."""
    return own_value(_mapping(experiment.all_options(), "data").get("release"), experiment.figures_of)


def _released_text(dataset: type[Official], names: str | None) -> str:
    """Released features in the words of a record; empty if one of them is none."""
    parts = []
    for name in (names or "").split("+"):
        released = dataset.released.get(name.strip())
        if released is None:
            return ""
        parts.append(_stored_part(name.strip(), released))
    return features_text(parts)


def _stored_part(name: str, released: ReleasedFeatures) -> StoredPart:
    """Published features as a run describes them: time first, the width last, and tokens between them."""
    _, *axes, width = released.shape
    tokens = math.prod(length or 1 for length in axes) if axes and released.token is None else 0
    return StoredPart(name, width or 0, released.facts.encoder, released.facts.hop, tokens=tokens)


def _mapping(options: Mapping[str, Option], name: str) -> Mapping[str, Option]:
    value = options.get(name)
    return value if isinstance(value, dict) else {}
