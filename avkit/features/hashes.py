# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of the features of some clips, the same whether a store, a folder or one file holds them."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures


@dataclass(frozen=True)
class FeaturesDigest:
    """What was read of the features of some clips.

    Attributes:
        sha256: Their hash.
        rows: The most common number of rows of a clip, of each part.
    """

    sha256: str
    rows: tuple[int, ...]


def features_hash(features: Features, names: Iterable[str]) -> str:
    """SHA-256 of features, see `digest_features`."""
    return digest_features(features, names).sha256


def digest_features(features: Features, names: Iterable[str]) -> FeaturesDigest:
    """Hash features: for each clip, in the order of names, its name, dtype, shape and values.

    Only these clips are read, one at a time. Of features that are joined from several places each place is read by
    itself, one after the other, as it stands there.

    Args:
        features: Where they are read.
        names: Names of the clips; each counts once.
    """
    digest = hashlib.sha256()
    parts = features.parts if isinstance(features, ConcatenatedFeatures) else [features]
    ordered = sorted(set(names))
    usual = []
    for part in parts:
        rows: Counter[int] = Counter()
        for name in ordered:
            values = np.ascontiguousarray(part.read(name))
            rows[len(values)] += 1
            digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
            digest.update(values.reshape(-1).view(np.uint8).data)
        usual += [count for count, _ in rows.most_common(1)]
    return FeaturesDigest(digest.hexdigest(), tuple(usual))
