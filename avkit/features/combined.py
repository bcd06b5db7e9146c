# SPDX-License-Identifier: Apache-2.0
"""Features put together from several places."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from avkit.errors import DataError
from avkit.features.base import Array, FeatureFacts, Features, missing_clip_error

#: Rows by which parts may differ beyond multiples: the last windows of a clip.
_EXTRA_ROWS = 3


class ConcatenatedFeatures:
    """Several features of the same clips, concatenated along the last dimension.

    The result has the rows of the part with fewest: a part with a multiple of them, by its number of rows or by its
    hop, is averaged over groups of rows, others are cut by at most a few rows. A vector per row is repeated for every
    token where another part has tokens.

    Args:
        parts: Features to concatenate, such as RGB and flow.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts = parts
        self.path = parts[0].path

    @cached_property
    def facts(self) -> FeatureFacts:
        """Facts of the part with the longest hop, whose rows the result has; of one without a hop if there is one."""
        return max((part.facts for part in self.parts), key=lambda facts: facts.hop or math.inf)

    @cached_property
    def names(self) -> Collection[str]:
        """Names of the clips that all parts have."""
        names = set(self.parts[0].names)
        for part in self.parts[1:]:
            names &= set(part.names)
        return names

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ..., D1 + D2 + ...).

        Raises:
            DataError: If the parts have numbers of rows that do not belong to one clip, or of tokens that cannot be
                joined.
        """
        arrays = [part.read(name) for part in self.parts]
        hop = self.facts.hop
        steps = min(len(array) // rows_per_step(part.facts, hop) or 1 for part, array in self._with(arrays))
        aligned = []
        for part, array in self._with(arrays):
            averaged = average_rows(array, steps, rows_per_step(part.facts, hop))
            if len(averaged) > steps + _EXTRA_ROWS:
                raise DataError(
                    f"{part.path}: clip {name!r} has {len(array)} rows where another part has {steps}. Join features "
                    "of one hop, or of hops that are multiples of each other."
                )
            aligned.append(averaged[:steps])
        self._check_tokens(name, aligned)
        return np.concatenate(_repeat_vectors(aligned), -1)

    def _with(self, arrays: list[Array]) -> Iterator[tuple[Features, Array]]:
        return zip(self.parts, arrays, strict=True)

    def _check_tokens(self, name: str, arrays: Sequence[Array]) -> None:
        """Refuse parts whose steps have different numbers of tokens; vectors go with any number."""
        counts = {}
        for part, array in zip(self.parts, arrays, strict=True):
            if array.ndim > 2:
                counts[str(part.path)] = "x".join(map(str, array.shape[1:-1]))
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{count} in {path}" for path, count in counts.items())
            raise DataError(
                f"Clip {name!r}: a step has different numbers of tokens in the features to be joined: {listed}. Join "
                "features of as many tokens, or with one vector per step, such as the class token alone."
            )


class TokenFeatures:
    """One of the tokens of each step, such as the class token before those of patches.

    Args:
        features: Features with tokens, (T, P, D).
        token: Which is read.
    """

    def __init__(self, features: Features, token: int) -> None:
        self.features = features
        self.token = token
        self.path = features.path
        self.facts = features.facts

    @property
    def names(self) -> Collection[str]:
        """Names of the clips."""
        return self.features.names

    def read(self, name: str) -> Array:
        """The token of each step of a clip, (T, D).

        Raises:
            DataError: If the features have no tokens.
        """
        tokens = self.features.read(name)
        if tokens.ndim != 3 or tokens.shape[1] <= self.token:
            raise DataError(
                f"{self.path}: clip {name!r} has shape {tokens.shape} and no token {self.token} in each step. Name the "
                "folder of features with a class token before the patches, (steps, tokens, width)."
            )
        return tokens[:, self.token]


class ChainedFeatures:
    """Features of different clips from several places; a clip is read from the first place that has it.

    Args:
        parts: Features by place.
    """

    def __init__(self, parts: Sequence[Features]) -> None:
        self.parts = parts
        self.path = Path()
        self.facts = FeatureFacts()
        if parts:
            self.path = parts[0].path
            self.facts = parts[0].facts

    @cached_property
    def names(self) -> Collection[str]:
        """Names of the clips that a part has."""
        names: set[str] = set()
        for part in self.parts:
            names.update(part.names)
        return names

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...)."""
        for part in self.parts:
            if name in part.names:
                return part.read(name)
        raise missing_clip_error(self.path, name, self.names)


@dataclass(frozen=True)
class SelectedFeatures:
    """Names and features of some clips, read one at a time, and again in every iteration, as `write_store` needs.

    Attributes:
        features: Where clips are read from.
        selection: Names of the clips.
    """

    features: Features
    selection: list[str]

    def __iter__(self) -> Iterator[tuple[str, Array]]:
        for name in self.selection:
            yield name, self.features.read(name)


def rows_per_step(facts: FeatureFacts, hop: float) -> int:
    """Rows of features that a step of `hop` seconds has, where that is a whole number of hops; else 1."""
    if not facts.hop or not hop:
        return 1
    count = round(hop / facts.hop)
    return count if count > 1 and abs(count * facts.hop - hop) < 1e-6 else 1


def average_rows(x: Array, steps: int, per_step: int = 1) -> Array:
    """Average equal groups of rows, (T, ...) to (steps, ...).

    Args:
        x: Rows. Where T is no multiple of `steps`, the first `steps * per_step` of them are taken if there are as many;
            otherwise they are returned as they are.
        steps: Number of groups.
        per_step: Rows of a group, as the hops tell it.
    """
    if steps and len(x) % steps and per_step > 1 and len(x) >= steps * per_step:
        x = x[: steps * per_step]
    if len(x) == steps or not steps or len(x) % steps:
        return x
    averaged: Array = x.reshape(steps, -1, *x.shape[1:]).mean(1, dtype=np.float32)
    return averaged


def _repeat_vectors(arrays: Sequence[Array]) -> list[Array]:
    """Repeat vectors (T, D) for every token, where all other arrays have the same number of tokens, (T, P, D)."""
    token_counts = {array.shape[1] for array in arrays if array.ndim == 3}
    if len(token_counts) != 1:
        return list(arrays)
    tokens = token_counts.pop()
    repeated = []
    for array in arrays:
        if array.ndim == 2:
            repeated.append(np.broadcast_to(array[:, None], (len(array), tokens, array.shape[1])))
        else:
            repeated.append(array)
    return repeated
