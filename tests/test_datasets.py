# SPDX-License-Identifier: Apache-2.0
"""The contract of a dataset, and datasets from outside avkit."""

import sys
import types

import pytest
import torch

from avkit.batch import Item, Vocabulary
from avkit.datasets import DATASETS, Dataset, DatasetOptions, find_dataset


class Tones(Dataset):
    """A dataset as an outside package would write it."""

    provides = frozenset({"answer"})
    vocabulary = Vocabulary(answers=["high", "low"])

    def __init__(self, root, split="train", image_size=96, release=None, visual=None, audio=None, allow_missing=False):
        self.options = (root, split, image_size, release, visual, audio, allow_missing)

    def __len__(self):
        return 2

    def item(self, index, fields=None):
        return Item(f"tone{index}", 1.0, frames=torch.zeros(1, 3, 4, 4, dtype=torch.uint8))


class Bare(Tones):
    """One that does not take the keywords of official datasets."""

    def __init__(self, root, split):
        super().__init__(root, split)


@pytest.fixture
def package(monkeypatch):
    module = types.ModuleType("outside_package")
    module.Tones, module.Bare, module.text = Tones, Bare, "no class"
    monkeypatch.setitem(sys.modules, "outside_package", module)


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_of_the_table_keeps_the_contract(name):
    dataset = find_dataset(name)
    assert issubclass(dataset, Dataset)
    assert dataset.name == name


def test_a_dataset_from_outside_is_built_with_the_keywords_of_official_ones(package, tmp_path):
    options = DatasetOptions(tmp_path, release="v2", visual="rgb", allow_missing=True, image_size=32, size=5)
    data = find_dataset("outside_package:Tones").open("val", options)
    assert data.options == (tmp_path, "val", 32, "v2", "rgb", None, True)
    assert data.indices(frozenset({"answer"})) == [0, 1]
    assert data.media(1) == "tone1"
    assert (data.visual, data.audio, data.untrimmed, dict(data.missing)) == (None, None, False, {})


def test_what_a_dataset_from_outside_lacks_is_named(package, tmp_path):
    with pytest.raises(TypeError, match=r"cannot be built with root, split, image_size.*override Dataset.open"):
        find_dataset("outside_package:Bare").open("val", DatasetOptions(tmp_path))
    with pytest.raises(ValueError, match=r"Dataset 'Tones' needs a folder\. Name it with --data\.root FOLDER"):
        Tones.open("val", DatasetOptions())
    with pytest.raises(TypeError, match="abstract"):
        type("Empty", (Dataset,), {})()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lpl", r"Unknown dataset 'lpl'\. Did you mean 'llp'.*named package\.module:Class"),
        ("no_such_package:Tones", "Cannot load dataset 'no_such_package:Tones': No module named 'no_such_package'"),
        ("outside_package:Tone", "Cannot load dataset 'outside_package:Tone': .*no attribute 'Tone'"),
        ("outside_package:", "Cannot load dataset 'outside_package:'"),
        (":Tones", "Cannot load dataset ':Tones'"),
        ("outside_package:text", "text is no dataset. Derive it from avkit.datasets.base.Dataset"),
    ],
)
def test_a_name_that_leads_nowhere(package, name, message):
    with pytest.raises(ValueError, match=message):
        find_dataset(name)
