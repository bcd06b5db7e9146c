# SPDX-License-Identifier: Apache-2.0
"""The contract of stored features, and facts of how they were made."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

from avkit.errors import DataError

#: Features of a clip, of any numeric dtype.
Array: TypeAlias = NDArray[Any]


@dataclass(frozen=True)
class FeatureFacts:
    """How features were made; a fact that is not known is empty or 0.

    Attributes:
        encoder: Name of the encoder, such as `vggish`.
        hop: Seconds from one step to the next.
        window: Seconds of the clip that one step covers.
        fps: Frames per second given to the encoder.
        dataset: Dataset that the clips are of.
        weights: Hash of the encoder's weights, see `avkit.extraction.weights_hash`.
        made_by: Program and version.
        crop: Side of the square in the middle of a picture that the encoder was given, as a share of the picture's
            shorter side; 0 where it was given the whole picture as a square, or that is not known.
    """

    encoder: str = ""
    hop: float = 0.0
    window: float = 0.0
    fps: float = 0.0
    dataset: str = ""
    weights: str = ""
    made_by: str = ""
    crop: float = 0.0

    @property
    def offset(self) -> float:
        """Seconds by which the middle of a step's window lies after the middle of its hop."""
        if not self.window or not self.hop:
            return 0.0
        return (self.window - self.hop) / 2

    def seconds(self, rows: int) -> float:
        """Length of a clip of so many rows: from the start of the first window to the end of the last."""
        return (rows - 1) * self.hop + (self.window or self.hop)


class Features(Protocol):
    """Features of many clips, read by the clip's name."""

    #: File or folder, for messages.
    path: Path

    @property
    def names(self) -> Collection[str]:
        """Names of the clips."""

    @property
    def facts(self) -> FeatureFacts:
        """How the features were made, as far as known."""

    def read(self, name: str) -> Array:
        """Features of a clip, (T, ...)."""


def missing_clip_error(path: Path, name: str, names: Collection[str]) -> DataError:
    """The error for a clip without features.

    Args:
        path: File or folder of the features.
        name: Name of the clip.
        names: Names of the clips that have features.
    """
    available = str(len(names))
    if names:
        available += f" such as {', '.join(map(repr, sorted(names)[:3]))}"
    return DataError(
        f"{path} has no features of clip {name!r}; it has {available}. Extract it "
        "with 'avkit extract', or leave such clips out with --data.allow_missing true (allow_missing=True in Python)."
    )
