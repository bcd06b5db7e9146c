# SPDX-License-Identifier: Apache-2.0
"""Finds recorded cases of the official code, so that a test runs on every one there is."""

import os
import re
from pathlib import Path

import pytest

#: Where cases lie: AVKIT_GOLDEN, or the folder beside the checkout.
GOLDEN = Path(os.environ.get("AVKIT_GOLDEN", Path(__file__).parents[2] / "shared" / "golden"))


def golden_cases(kind: str, suffix: str = "npz", but: str = ""):
    """Parameters of `@pytest.mark.parametrize("case", ...)`: the path of every case of a kind, without its suffix.

    A case of kind `metrics/avvp` is any file below `metrics` called `avvp` or `avvp_...`, those that are cases of the
    kind `but` left out; its id is its path.
    """
    folder, _, name = kind.rpartition("/")
    fits = re.compile(rf"{re.escape(name)}(_.*)?$")
    other = re.compile(rf"{re.escape(but)}(_.*)?$" if but else r"(?!)")
    every = (GOLDEN / folder).rglob(f"*.{suffix}")
    found = sorted(p for p in every if fits.match(p.stem) and not other.match(p.stem))
    if not found:
        skip = pytest.mark.skip(reason=f"no recorded output {kind!r}: {GOLDEN.name} is absent or has none")
        return [pytest.param(None, id=kind, marks=[pytest.mark.golden, skip])]
    names = [(p.with_suffix(""), p.relative_to(GOLDEN).with_suffix("").as_posix()) for p in found]
    return [pytest.param(path, id=name, marks=pytest.mark.golden) for path, name in names]
