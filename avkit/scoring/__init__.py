# SPDX-License-Identifier: Apache-2.0
"""Predictions without the model that made them: stored by tests, and scored again, or those of others, officially.

`avkit.scoring.score(path, dataset)` scores a file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.scoring.result import Score
    from avkit.scoring.scorer import score
    from avkit.scoring.truth import TruthOptions

__all__ = ["Score", "TruthOptions", "score"]

#: Where public names are, which are imported when they are asked for.
_PUBLIC = {
    "Score": "avkit.scoring.result",
    "TruthOptions": "avkit.scoring.truth",
    "score": "avkit.scoring.scorer",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'avkit.scoring' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
