# SPDX-License-Identifier: Apache-2.0
"""Datasets: official data on disk, your own clips, and the built-in scenes.

A name is resolved when it is asked for, so that naming one dataset imports no other.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from avkit.datasets.base import Dataset, DatasetOptions
from avkit.errors import unknown_name
from avkit.outside import import_part

if TYPE_CHECKING:
    from avkit.datasets.ave import AVE
    from avkit.datasets.avqa import AVQA
    from avkit.datasets.avsbench_avss import AVSBenchAVSS
    from avkit.datasets.avsbench_ms3 import AVSBenchMS3
    from avkit.datasets.avsbench_s4 import AVSBenchS4
    from avkit.datasets.flickr_soundnet import FlickrSoundNet
    from avkit.datasets.llp import LLP
    from avkit.datasets.manifest import Manifest
    from avkit.datasets.music_avqa import MusicAVQA
    from avkit.datasets.ra_ssu import FLifescene, FMusic
    from avkit.datasets.ref_avs import RefAVS
    from avkit.datasets.scenes import Scenes
    from avkit.datasets.unav100 import UnAV100
    from avkit.datasets.vggsounder import VGGSounder
    from avkit.datasets.vggss import VGGSS

__all__ = [
    "AVE",
    "AVQA",
    "DATASETS",
    "LLP",
    "VGGSS",
    "AVSBenchAVSS",
    "AVSBenchMS3",
    "AVSBenchS4",
    "Dataset",
    "DatasetOptions",
    "FLifescene",
    "FMusic",
    "FlickrSoundNet",
    "Manifest",
    "MusicAVQA",
    "RefAVS",
    "Scenes",
    "UnAV100",
    "VGGSounder",
    "find_dataset",
    "list_datasets",
]

#: Name on the command line, and where the class is.
DATASETS: dict[str, str] = {
    "scenes": "avkit.datasets.scenes:Scenes",
    "manifest": "avkit.datasets.manifest:Manifest",
    "ave": "avkit.datasets.ave:AVE",
    "llp": "avkit.datasets.llp:LLP",
    "avsbench-s4": "avkit.datasets.avsbench_s4:AVSBenchS4",
    "avsbench-ms3": "avkit.datasets.avsbench_ms3:AVSBenchMS3",
    "avsbench-avss": "avkit.datasets.avsbench_avss:AVSBenchAVSS",
    "vggss": "avkit.datasets.vggss:VGGSS",
    "vggsounder": "avkit.datasets.vggsounder:VGGSounder",
    "flickr-soundnet": "avkit.datasets.flickr_soundnet:FlickrSoundNet",
    "music-avqa": "avkit.datasets.music_avqa:MusicAVQA",
    "avqa": "avkit.datasets.avqa:AVQA",
    "unav100": "avkit.datasets.unav100:UnAV100",
    "ref-avs": "avkit.datasets.ref_avs:RefAVS",
    "f-music": "avkit.datasets.ra_ssu:FMusic",
    "f-lifescene": "avkit.datasets.ra_ssu:FLifescene",
}


#: Module of each class.
_CLASSES = {location.partition(":")[2]: location.partition(":")[0] for location in DATASETS.values()}


def __getattr__(name: str) -> type[Dataset]:
    """Import the class of a dataset when it is asked for."""
    if name not in _CLASSES:
        raise AttributeError(f"module 'avkit.datasets' has no attribute {name!r}")
    dataset: type[Dataset] = vars(import_module(_CLASSES[name]))[name]
    return dataset


def __dir__() -> list[str]:
    return sorted(__all__)


def list_datasets() -> list[str]:
    """Names of the datasets that `--data.dataset` takes."""
    return list(DATASETS)


def find_dataset(name: str) -> type[Dataset]:
    """The class of a dataset.

    Args:
        name: A name in `DATASETS`, or `package.module:Class` for a dataset from outside avkit.

    Raises:
        ValueError: If the name is unknown, or what it names cannot be loaded or is no `Dataset`.
    """
    if name not in DATASETS and ":" not in name:
        error = unknown_name("dataset", name, DATASETS)
        raise ValueError(f"{error} A dataset from outside avkit is named package.module:Class.")
    return import_part("dataset", DATASETS.get(name, name), Dataset)
