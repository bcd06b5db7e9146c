# SPDX-License-Identifier: Apache-2.0
"""Examples in the documents do what they say, and the documents say what there is."""

import doctest
import json
from pathlib import Path

import pytest

from avkit.datasets import DATASETS
from avkit.datasets.manifest_schema import json_schema
from avkit.extraction.recipe import list_recipes

DOCS = Path(__file__).parents[1] / "docs"


def test_the_published_schema_is_the_one_that_lines_are_held_to():
    assert json.loads((DOCS / "manifest.schema.json").read_text()) == json_schema()


def test_every_dataset_and_recipe_is_described():
    described = (DOCS / "datasets.md").read_text()
    assert [name for name in DATASETS if f"`{name}`" not in described] == []
    described = (DOCS / "features.md").read_text()
    assert [name for name in list_recipes() if f"`{name}`" not in described] == []


@pytest.mark.parametrize("name", ["metrics.md"])
def test_examples(name):
    found = doctest.testfile(str(DOCS / name), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0
