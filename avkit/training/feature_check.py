# SPDX-License-Identifier: Apache-2.0
"""Whether the stored features that a run names are there, for all its tasks, before anything is read or written."""

from collections.abc import Collection

from avkit.datasets import DatasetOptions, find_dataset
from avkit.datasets.released import FeatureModality
from avkit.errors import DataError
from avkit.extraction.missing_features import missing_expert, missing_features, missing_features_error
from avkit.training.sources import value_for


def check_stored_features(names: Collection[str], options: DatasetOptions, expert: str | None) -> DataError | None:
    """Raise one error for all stored features that are not there.

    Features that training alone reads may be missing in a test.

    Args:
        names: Names of the datasets of a run.
        options: Where data come from.
        expert: Store of features of a large vision-language model.

    Returns:
        The error for training, where only features are missing that a test does without; None where nothing is missing.

    Raises:
        DataError: With a line for each file or folder that is missing, and what makes it.
    """
    missing = missing_expert(expert) if expert else []
    roots = {}
    named: dict[FeatureModality, str | None] = {"visual": options.visual, "audio": options.audio}
    for name in dict.fromkeys(names):
        root = options.root or (options.manifest.parent if options.manifest and name == "manifest" else None)
        if root is None or not root.is_dir():  # the reader says that it is missing
            continue
        own = root / name
        roots[name] = own if own.is_dir() and name != "manifest" else root
        release = value_for(name, options.release, names, "data.release")
        for modality, text in named.items():
            features = value_for(name, text, names, f"data.features.{modality}")
            if features and isinstance(features, str):
                missing += missing_features(find_dataset(name), roots[name], features, modality, release)
    if not missing:
        return None
    error = missing_features_error(missing, roots)
    if any(features.splits != ("train",) for features in missing):
        raise error
    return error
