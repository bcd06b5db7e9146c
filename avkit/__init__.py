# SPDX-License-Identifier: Apache-2.0
"""Audio-visual scene understanding: seven tasks, one backbone, official data, official numbers.

`avkit.predict("runs/NAME", "clip.mp4", question="...")` asks a trained run about a video; `avkit.load` keeps the run
for several. `list_systems`, `list_heads`, `list_encoders`, `list_datasets`, `list_tasks` and `list_recipes` name what
there is. Everything is imported when it is first used, submodules such as `avkit.metrics` too.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.datasets import list_datasets
    from avkit.encoders import list_encoders
    from avkit.heads import create_head, list_heads
    from avkit.inference.loading import load, predict
    from avkit.leaderboard.recipes import list_recipes
    from avkit.systems import create_system, list_systems
    from avkit.tasks import list_tasks

__version__ = "0.2.0"
__all__ = [
    "__version__",
    "create_head",
    "create_system",
    "list_datasets",
    "list_encoders",
    "list_heads",
    "list_recipes",
    "list_systems",
    "list_tasks",
    "load",
    "predict",
]

#: Where public names are.
_PUBLIC = {
    "create_head": "avkit.heads",
    "create_system": "avkit.systems",
    "list_datasets": "avkit.datasets",
    "list_encoders": "avkit.encoders",
    "list_heads": "avkit.heads",
    "list_recipes": "avkit.leaderboard.recipes",
    "list_systems": "avkit.systems",
    "list_tasks": "avkit.tasks",
    "load": "avkit.inference.loading",
    "predict": "avkit.inference.loading",
}
#: Submodules that others import.
_SUBMODULES = (
    "answers",
    "backbone",
    "datasets",
    "encoders",
    "features",
    "heads",
    "licences",
    "metrics",
    "scenes",
    "systems",
    "tasks",
)


def __getattr__(name: str) -> object:
    """Import a public name or a submodule when it is asked for."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    if name in _SUBMODULES:
        return import_module(f"avkit.{name}")
    raise AttributeError(f"module 'avkit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES])
