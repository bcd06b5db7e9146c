# SPDX-License-Identifier: Apache-2.0
"""Examples in the documents do what they say."""

import doctest
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", ["metrics.md"])
def test_examples(name):
    found = doctest.testfile(str(DOCS / name), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0
