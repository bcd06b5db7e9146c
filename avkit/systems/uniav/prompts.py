# SPDX-License-Identifier: Apache-2.0
"""Text features of classes from a file, in the place of a text encoder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.encoders.pretrained import HUB, give_file, released_file
from avkit.errors import DataError, file_error
from avkit.licences import check_licence
from avkit.reading.arrays import read_npy
from avkit.reading.boundary import read_bytes
from avkit.reading.digests import has_digest
from avkit.systems.uniav.experts import COMMIT, Expert

#: Name of these features where a text encoder is named, and in the table of licences.
CLASS_PROMPTS = "class_prompts"
#: Width of the authors' features, which ONE-PEACE made.
ONE_PEACE_WIDTH = 1536


class ClassPrompts(TextEncoder):
    """One vector per class, from a `.npy` file (K, D) in the order of the classes.

    Without a file the vectors are random; where they are trained they become learned prompts.

    Args:
        sentences: What stands for the classes, one sentence each.
        width: Width D.
        pretrained: The file; `hub` for the authors' of an expert's dataset; None for random vectors.
        expert: The expert whose classes `hub` means.

    Raises:
        DataError: If the file has other classes than the data, or another width.
        HubError: If it cannot be downloaded.
    """

    def __init__(self, sentences: Sequence[str], width: int, pretrained: str | None, expert: Expert) -> None:
        super().__init__()
        self.width = width
        self._row_of = {sentence: row for row, sentence in enumerate(sentences)}
        self.vectors = nn.Parameter(torch.randn(len(sentences), width) / width**0.5)
        if not pretrained:
            return
        check_licence("weights", CLASS_PROMPTS)
        path = _released(expert) if pretrained == HUB else Path(pretrained)
        with torch.no_grad():
            self.vectors.copy_(read_class_features(path, len(sentences), width))
        self.weights_from = str(pretrained)

    def forward(self, texts: list[str]) -> TextFeatures:
        """The vectors of sentences, as their only token too."""
        rows = torch.tensor([self._row_of[text] for text in texts], device=self.vectors.device)
        pooled = self.vectors[rows]
        valid = torch.ones(len(texts), 1, dtype=torch.bool, device=pooled.device)
        return TextFeatures(pooled[:, None], valid, pooled)


def read_class_features(path: str | Path, classes: int, width: int) -> Tensor:
    """Text features of classes (K, D) of a `.npy` file, in float32.

    Raises:
        FileError: If the file is damaged, or its numbers are not finite.
        DataError: If it is of another number of classes or another width.
    """
    values = torch.from_numpy(read_npy(path, "text features of classes")).float()
    if tuple(values.shape) != (classes, width):
        raise DataError(
            f"{path} holds text features {tuple(values.shape)}; the run has {classes} classes and features of width "
            f"{width}. Give a row per class in the order of the data's classes, and --model.system.text_width."
        )
    if not values.isfinite().all():
        raise file_error(path, "holds text features that are not finite", "Make or download it again.")
    return values


def _released(expert: Expert) -> Path:
    """The authors' file of an expert's classes, downloaded once."""
    address = f"https://raw.githubusercontent.com/ttgeng233/UniAV/{COMMIT}/{expert.features}"
    advice = give_file("text", f"{expert.features} of ttgeng233/UniAV")
    path = released_file("Text features of UniAV's classes", address, advice, expert.classes * ONE_PEACE_WIDTH)
    if not has_digest(read_bytes(path), expert.digest):
        raise file_error(path, "is not the file that UniAV's authors publish", "Delete it, to download it again.")
    return path
