# SPDX-License-Identifier: Apache-2.0
"""Datasets: official data on disk, your own clips, and the built-in scenes.

A name is resolved when it is asked for, so that naming one dataset imports no other.
"""

from avkit.datasets.base import Dataset, DatasetOptions
from avkit.errors import unknown_name
from avkit.outside import import_part

__all__ = ["DATASETS", "Dataset", "DatasetOptions", "find_dataset"]

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
    "flickr-soundnet": "avkit.datasets.flickr_soundnet:FlickrSoundNet",
    "music-avqa": "avkit.datasets.music_avqa:MusicAVQA",
    "avqa": "avkit.datasets.avqa:AVQA",
    "unav100": "avkit.datasets.unav100:UnAV100",
    "ref-avs": "avkit.datasets.ref_avs:RefAVS",
    "f-music": "avkit.datasets.ra_ssu:FMusic",
    "f-lifescene": "avkit.datasets.ra_ssu:FLifescene",
}


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
