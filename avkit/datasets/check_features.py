# SPDX-License-Identifier: Apache-2.0
"""Which stored features cannot be read, and which do not fit the benchmark's width, length or hop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from avkit.datasets.annotations import Annotation
from avkit.datasets.check_state import Problem, problem_of
from avkit.datasets.official import Official
from avkit.datasets.released import ReleasedFeatures
from avkit.errors import AvkitError, DataError
from avkit.features.base import FeatureFacts, Features
from avkit.features.store import Store
from avkit.reading.remote import is_there

#: Hops that features are commonly made with, in seconds, to name the one that a length points to.
_HOPS = {0.96: "VGGish's usual hop", 1.0: "one a second", 0.32: "UnAV-100's VGGish and I3D", 0.25: "ONE-PEACE's"}
#: Seconds by which two hops may differ and count as equal.
_HOP_TOLERANCE = 1e-3
#: Rows by which features may differ from the number that their hop gives, as such and as a share.
_ROW_TOLERANCE = 3
_ROW_SHARE = 0.05
#: Share by which a hop that follows from a length may differ from a common one and be named as that.
_NEAR_HOP = 0.15


@dataclass
class _FeatureCheck:
    """Features to be checked.

    Attributes:
        name: Their name.
        title: The dataset's name in print.
        features: The features.
        released: What the dataset states of them; None for features that a user names.
        clips: Clips that have features, by the name of their features.
        total: Number of clips that should have them.
    """

    name: str
    title: str
    features: Features
    released: ReleasedFeatures | None
    clips: Mapping[str, Annotation]
    total: int


def check_features(readers: Sequence[Official], *, open_files: bool) -> tuple[dict[str, str], list[Problem]]:
    """Check all kinds of features that are on disk or asked for.

    Args:
        readers: Readers of the splits of a dataset.
        open_files: Whether to open the features; else only their names are looked at.

    Returns:
        For each kind the number of clips that have it, such as "5 of 6", and the problems.
    """
    counts = {}
    problems = []
    for check in _list_features(readers):
        counts[check.name] = f"{len(check.clips)} of {check.total}"
        if not open_files:
            check.clips = {}
        try:
            problems += _check_hop(check, readers[0]) + _check_arrays(check, readers[0])
        except DataError as error:
            problems.append(Problem("", f"features {check.name}: {error}", 1))
    return counts, problems


def _list_features(readers: Sequence[Official]) -> list[_FeatureCheck]:
    """The dataset's own features that are on disk, and the stores that are asked for."""
    first = readers[0]
    checks = []
    for name, released in first.released.items():
        try:
            features = first.open_features(name, released.modality)
            if is_there(features.path) and features.names:
                checks.append(_feature_check(name, features, released, readers))
        except DataError:
            continue
    for store in (first.visual, first.audio):
        if isinstance(store, Store):
            checks.append(_feature_check(store.path.name, store, None, readers))
    return checks


def _feature_check(
    name: str, features: Features, released: ReleasedFeatures | None, readers: Sequence[Official]
) -> _FeatureCheck:
    clips = {}
    names = set()
    for reader in readers:
        for annotation in reader.annotations:
            clip = annotation.media if annotation.media in features.names else annotation.id
            names.add(clip)
            if clip in features.names:
                clips[clip] = annotation
    return _FeatureCheck(name, readers[0].title, features, released, clips, len(names))


def _check_hop(check: _FeatureCheck, dataset: Official) -> list[Problem]:
    """Features of a user whose hop is not that of the dataset's features of the same encoder."""
    facts = check.features.facts
    benchmark = _benchmark_facts(dataset, facts.encoder)
    if check.released is not None or benchmark is None or not facts.hop:
        return []
    if abs(facts.hop - benchmark.hop) <= _HOP_TOLERANCE:
        return []
    what = f"features {check.name}: {hop_text(facts.hop)}; {check.title} uses {benchmark.hop:g} s"
    return [Problem("", what, len(check.clips))]


def _benchmark_facts(dataset: Official, encoder: str) -> FeatureFacts | None:
    """The facts of the dataset's own features of an encoder."""
    for released in dataset.released.values():
        if released.facts.encoder == encoder:
            return released.facts
    return None


def _check_arrays(check: _FeatureCheck, dataset: Official) -> list[Problem]:
    """Features that cannot be read, or have another width or length than the dataset states."""
    problems = []
    shapes: dict[str, tuple[int, ...]] = {}
    damaged = []
    for clip in check.clips:
        try:
            shapes[clip] = check.features.read(clip).shape
        except AvkitError:
            damaged.append(clip)
    if damaged:
        problems.append(problem_of("", f"features {check.name} cannot be read", sorted(damaged)))
    if check.released is None:
        return problems
    expected = check.released.shape
    odd = [clip for clip, shape in shapes.items() if shape[1:] != expected[1:]]
    if odd:
        what = f"features {check.name} are {shapes[odd[0]]}; {check.title} uses {_shape_text(expected)}"
        problems.append(problem_of("", what, sorted(odd)))
    rows = {clip: shape[0] for clip, shape in shapes.items()}
    if expected[0] is not None and dataset.fixed_steps is not None:
        return problems + _check_fixed_rows(check, rows, expected[0])
    return problems + _check_free_rows(check, rows, check.released.facts)


def _check_fixed_rows(check: _FeatureCheck, rows: Mapping[str, int], expected: int) -> list[Problem]:
    """Features that do not have the number of rows that all clips have."""
    odd = [clip for clip, count in rows.items() if count != expected]
    if not odd:
        return []
    what = f"features {check.name} have {rows[odd[0]]} rows; {check.title} uses {expected}"
    return [problem_of("", what, sorted(odd))]


def _check_free_rows(check: _FeatureCheck, rows: Mapping[str, int], facts: FeatureFacts) -> list[Problem]:
    """Features whose number of rows points to another hop, given the length of the clip."""
    clips_of_hop: dict[float, list[str]] = {}
    for clip, count in rows.items():
        duration = check.clips[clip].duration
        if duration is None or not facts.hop:
            continue
        expected = (duration - facts.window) / facts.hop + 1
        if abs(count - expected) > max(_ROW_TOLERANCE, _ROW_SHARE * expected):
            hop = _common_hop(duration / max(1, count))
            clips_of_hop.setdefault(hop, []).append(clip)
    problems = []
    for hop, clips in clips_of_hop.items():
        what = f"features {check.name}: {hop_text(hop)}; {check.title} uses {facts.hop:g} s"
        problems.append(problem_of("", what, sorted(clips)))
    return problems


def _common_hop(hop: float) -> float:
    """The common hop near a hop, or else the hop, rounded."""
    nearest = min(_HOPS, key=lambda common: abs(common - hop))
    return nearest if abs(nearest - hop) < _NEAR_HOP * hop else round(hop, 2)


def hop_text(hop: float) -> str:
    """A hop in words, such as "hop 0.96 s (VGGish's usual hop)"."""
    for common, text in _HOPS.items():
        if abs(common - hop) < 1e-6:
            return f"hop {hop:g} s ({text})"
    return f"hop {hop:g} s"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    sizes = ["T" if size is None else str(size) for size in shape]
    return f"({', '.join(sizes)})"
