# SPDX-License-Identifier: Apache-2.0
"""Random features in the place of those that a recipe names and that scenes are not exported with."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from avkit.datasets import DATASETS, find_dataset
from avkit.datasets.ave import NOISY
from avkit.datasets.official import Official
from avkit.datasets.released import ReleasedFeatures
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.files import atomic
from avkit.leaderboard import Experiment
from avkit.reading.arrays import open_hdf5
from avkit.reading.text import read_json

#: Widths of stored features that are no released features of a dataset, by name of the store.
WIDTHS = {
    "vit_large": 1024,
    "tome27": 1024,
    "tome8": 1024,
    "clip_frame": 768,
    "clip_patches": 1024,
    "llava": 4096,
    "video_llava": 4096,
}
#: Tokens of a step in stores of merged tokens, whose names begin so.
_MERGED = ("tome", 14)
#: Seconds of the clips of datasets whose stores a recipe names by path; of others those of their steps, or 10.
_SECONDS = {"music-avqa": 60}
_USUAL_SECONDS = 10


def write_features(experiment: Experiment, dataset: str, folder: Path) -> None:
    """Write the features of an experiment that are not below a folder of exported scenes yet.

    These are stores that its recipe names by path, ONE-PEACE's of UnAV-100, and AVE's of clips of background.

    Args:
        experiment: The experiment.
        dataset: One of its datasets.
        folder: Folder of that dataset.
    """
    data = experiment.all_options().get("data")
    if not isinstance(data, dict):
        return
    features = data.get("features")
    for name in _names(list(features.values()) if isinstance(features, dict) else []):
        released = _released(dataset).get(name)
        if name.endswith(".h5"):
            _write_store(dataset, folder, name)
        elif released is not None and released.facts.encoder.startswith("one_peace"):
            _write_by_video(folder, released)
    if data.get("release") == "weak":
        _write_background(folder)


def stored_width(dataset: str, name: str) -> int:
    """Width of stored features: of released ones, or of a store by the name of its file.

    Args:
        dataset: Name of the dataset.
        name: Name of the features, or path of their store.
    """
    stem = Path(name).stem
    for other in (dataset, *DATASETS):
        released = _released(other)
        for key in (name, stem):
            if key in released:
                return max(length for length in released[key].shape[1:] if length is not None)
    return WIDTHS[stem]


def _names(options: Sequence[object]) -> Iterator[str]:
    """The names in options of features, each joined by `+`."""
    for option in options:
        yield from str(option or "").split("+")


def _released(dataset: str) -> dict[str, ReleasedFeatures]:
    """The released features of a dataset by name; none of one that releases none."""
    cls = find_dataset(dataset) if dataset in DATASETS else None
    return dict(cls.released) if cls is not None and issubclass(cls, Official) else {}


def _random(shape: Sequence[int]) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _write_store(dataset: str, folder: Path, name: str) -> None:
    """A store with a row per second of each clip."""
    path = folder / name
    if path.exists():
        return
    cls = find_dataset(dataset)
    steps = cls.fixed_steps if issubclass(cls, Official) else None
    prefix, tokens = _MERGED
    between = (tokens,) if path.stem.startswith(prefix) else ()
    shape = (steps or _SECONDS.get(dataset, _USUAL_SECONDS), *between, stored_width(dataset, name))
    videos = sorted(folder.rglob("*.mp4"))
    clips = [video.parent.name if video.stem == "video" else video.stem for video in videos]
    path.parent.mkdir(exist_ok=True)
    write_store(path, [(clip, _random(shape)) for clip in clips], FeatureFacts(path.stem, hop=1.0))


def _write_by_video(folder: Path, released: ReleasedFeatures) -> None:
    """A file for each video of UnAV-100."""
    videos = read_json(folder / "annotations" / "unav100_annotations.json")["database"]
    width = released.shape[-1] or 0
    for name, video in videos.items():
        path = folder / released.pattern.format(media=name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = int(video["duration"] / released.facts.hop)
            with atomic(path) as part, part.open("wb") as file:
                np.save(file, _random((rows, width)))


def _write_background(folder: Path) -> None:
    """AVE's features of its clips of background: zeros, which a file holds without space."""
    for name in ("visual_feature", "audio_feature"):
        path = folder / f"{name}_noisy.h5"
        if path.exists():
            continue
        with open_hdf5(folder / f"{name}.h5") as usual:
            shape = usual["avadataset"].shape[1:]
        with atomic(path) as part, h5py.File(part, "w") as noisy:
            noisy.create_dataset("avadataset", (NOISY, *shape), np.float32, compression="gzip")
