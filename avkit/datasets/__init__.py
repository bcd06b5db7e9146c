# SPDX-License-Identifier: Apache-2.0
"""Readers of data on disk, and the built-in scenes; a name is resolved when it is asked for."""

from importlib import import_module
from typing import Any, Protocol

from avkit.batch import Item, Vocabulary
from avkit.errors import unknown_name

#: Name on the command line, and where the reader lives.
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


class Dataset(Protocol):
    """What every reader offers; samples are clips, or pairs of clip and question."""

    @property
    def provides(self) -> frozenset[str]:
        """Targets that some sample has, see `avkit.fields.FIELDS`."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Classes, answers and words, the same for every split."""

    def __len__(self) -> int: ...

    def indices(self, fields: frozenset[str]) -> list[int]:
        """Samples that carry all of `fields`."""

    def media(self, index: int) -> str:
        """Name under which features of a sample's clip are stored."""

    def item(self, index: int, fields: frozenset[str] | None = None) -> Item:
        """One sample with the named targets, all of them where None."""


def find_dataset(name: str) -> type[Any]:
    """The class of a dataset.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in DATASETS:
        raise unknown_name("dataset", name, DATASETS)
    module, _, attribute = DATASETS[name].partition(":")
    found: type[Any] = getattr(import_module(module), attribute)
    return found
