# SPDX-License-Identifier: Apache-2.0
"""SHA-256 of the features of some clips, the same whether a store, a folder or one file holds them."""

import hashlib
from collections.abc import Iterable

import numpy as np

from avkit.features.base import Features
from avkit.features.combined import ConcatenatedFeatures


def features_hash(features: Features, names: Iterable[str]) -> str:
    """SHA-256 of features: for each clip, in the order of names, its name, dtype, shape and values.

    Only these clips are read, one at a time. Of features that are joined from several places each place is read by
    itself, one after the other, as it stands there.

    Args:
        features: Where they are read.
        names: Names of the clips; each counts once.
    """
    digest = hashlib.sha256()
    parts = features.parts if isinstance(features, ConcatenatedFeatures) else [features]
    ordered = sorted(set(names))
    for part in parts:
        for name in ordered:
            values = np.ascontiguousarray(part.read(name))
            digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
            digest.update(values.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
