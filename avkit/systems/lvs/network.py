# SPDX-License-Identifier: Apache-2.0
"""LVS: positions that clearly sound, positions that clearly do not, and no loss on those between."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import exportable
from avkit.encoders.resnet import resnet_name, resnet_unused_keys
from avkit.systems.checkpoints import NoOptions
from avkit.systems.sources import TwoStreamNetwork, init_like_the_authors

#: Cosine above which a position counts as sounding.
POSITIVE = 0.65
#: Cosine below which a position counts as silent.
NEGATIVE = 0.4
#: Softness of both thresholds.
SOFTNESS = 0.03
#: Temperature of the softmax.
TEMPERATURE = 0.07


@exportable
@dataclass
class TriMap:
    """Comparison of pictures and sounds.

    Attributes:
        similarity: Cosine of each position and its own sound, (N, h, w).
        positive: How clearly a position sounds, (N, h, w), in [0, 1].
        negative: How clearly it does not.
        logits: Similarity of each picture's own sound with its positive positions, of all sounds with theirs, and of
            its own with its negative positions, (N, N + 2).
    """

    similarity: Tensor
    positive: Tensor
    negative: Tensor
    logits: Tensor


def tri_map(audio: Tensor, visual: Tensor) -> TriMap:
    """Compare N sounds (N, D) with the positions of N pictures (N, h, w, D), vectors of length 1.

    A picture's own sound is excluded from the comparison with all by a factor of -99, which does so only where their
    similarity is positive; that is the authors' way.

    Source:
        hche11/Localizing-Visual-Sounds-the-Hard-Way at commit 8fe8cbbf810e, `model.py`.
    """
    pairs = torch.einsum("nhwd,md->nmhw", visual, audio)
    similarity = pairs.diagonal().permute(2, 0, 1)
    positive = ((similarity - POSITIVE) / SOFTNESS).sigmoid()
    negative = ((NEGATIVE - similarity) / SOFTNESS).sigmoid()
    others = _weighted_mean(((pairs - POSITIVE) / SOFTNESS).sigmoid(), pairs)
    others = others * (1 - 100 * torch.eye(len(pairs), device=pairs.device))
    own = _weighted_mean(positive, similarity)[:, None]
    silent = _weighted_mean(negative, similarity)[:, None]
    return TriMap(similarity, positive, negative, torch.cat([own, others, silent], 1) / TEMPERATURE)


def _weighted_mean(weights: Tensor, x: Tensor) -> Tensor:
    """Mean over the last two axes."""
    return (weights * x).sum((-2, -1)) / weights.sum((-2, -1))


class LVS(TwoStreamNetwork):
    """The network of "Localizing Visual Sounds the Hard Way" (CVPR 2021).

    Args:
        options: None.
    """

    name = "lvs"
    source = "hche11/Localizing-Visual-Sounds-the-Hard-Way at commit 8fe8cbbf810e"
    Options = NoOptions

    def __init__(self, options: object) -> None:
        super().__init__(NoOptions(), 16)
        init_like_the_authors([*self.modules()])

    def embed_pictures(self, frames: Tensor) -> Tensor:
        """Vectors of length 1 of normalised pictures (N, 3, H, W): (N, D, h, w)."""
        return F.normalize(self.picture(frames), dim=1)

    def embed_sounds(self, spectrogram: Tensor) -> Tensor:
        """Vectors of length 1 of spectrograms (N, 1, F, L): (N, D)."""
        return F.normalize(self.sound(spectrogram).amax((2, 3)), dim=1)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """No argument; the weights are identified by first convolutions that are not used."""
        return {} if "imgnet.conv1_flow.weight" in state and "audnet.conv1_a.weight" in state else None

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        if key.startswith("picture."):
            return "imgnet." + resnet_name(key.removeprefix("picture."))
        return "audnet." + resnet_name(key.removeprefix("sound."), "conv1_a")

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """First convolutions for other inputs, and classifiers."""
        unused = {f"imgnet.{key}": shape for key, shape in resnet_unused_keys(3).items()}
        return unused | {f"audnet.{key}": shape for key, shape in resnet_unused_keys(1).items()}
