# SPDX-License-Identifier: Apache-2.0
"""Audio-visual scene understanding: seven tasks, one backbone, official data, official numbers.

`avkit.load("runs/NAME").predict("clip.mp4", tasks=["avs", "avqa"], question="...")` asks a trained run about a video.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.heads import create_head, list_heads
    from avkit.inference.loading import load
    from avkit.systems import create_system, list_systems
    from avkit.tasks import list_tasks

__version__ = "0.1.0"
__all__ = ["__version__", "create_head", "create_system", "list_heads", "list_systems", "list_tasks", "load"]

#: Where public names are, which are imported when they are asked for.
_PUBLIC = {
    "create_head": "avkit.heads",
    "create_system": "avkit.systems",
    "list_heads": "avkit.heads",
    "list_systems": "avkit.systems",
    "list_tasks": "avkit.tasks",
    "load": "avkit.inference.loading",
}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'avkit' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
