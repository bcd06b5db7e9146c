# SPDX-License-Identifier: Apache-2.0
"""Audio-visual scene understanding: seven tasks, one backbone, official data, official numbers.

`avkit.load("runs/NAME").predict("clip.mp4", tasks=["avs", "avqa"], question="...")` asks a trained run about a video.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avkit.inference.predictor import load

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import `load`, and torch with it, only when it is asked for."""
    if name == "load":
        from avkit.inference.predictor import load

        return load
    raise AttributeError(f"module 'avkit' has no attribute {name!r}")
