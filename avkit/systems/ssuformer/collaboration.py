# SPDX-License-Identifier: Apache-2.0
"""Mask collaboration and regional consistency: region tokens for captions, and the distance of regions to captions."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.base import SoftTextEncoder


class MaskCollaboration(nn.Module):
    """Brings the embedding of a masked region to a token for the caption.

    The mask is soft in training, so that the caption's gradient reaches it, and cut at 0.5 otherwise: see
    `RegionEmbedding`.

    Args:
        encoded: Width C of the embeddings.
        width: Width D of the tokens.

    Source:
        RA-SSU (arXiv 2603.09809), Mask Collaboration Module, section IV-B.4 and Fig. 7.
    """

    def __init__(self, encoded: int, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(encoded, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, regions: Tensor) -> Tensor:
        """Tokens (N, 1, D) of region embeddings (N, C)."""
        tokens: Tensor = self.norm(self.out(regions))
        return tokens[:, None]


class CaptionProjection(nn.Module):
    """Embeds a caption in the space of regions: the mean of the text decoder's states, projected.

    Args:
        width: Width D of the states.
        encoded: Width C of the image encoder's vectors.
    """

    def __init__(self, width: int, encoded: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, encoded)

    def forward(self, states: Tensor, valid: Tensor) -> Tensor:
        """From states (N, L, D), of which `valid`, bool (N, L), are no padding, to (N, C)."""
        weights = valid.to(states.dtype)
        mean = torch.einsum("nld,nl->nd", states, weights) / weights.sum(1, keepdim=True).clamp(min=1)
        embeddings: Tensor = self.out(mean)
        return embeddings


class PredictedCaptions(nn.Module):
    """Embeds the captions that a text decoder predicts, by a frozen text encoder.

    The encoder reads the likeliest word of each place; the gradient is that of the expected word embedding
    (straight-through), and reaches the decoder's logits. Neither encoder can move, so captions and regions come close
    only where the caption says what the mask covers: an empty mask is close to captions of silence alone.

    Args:
        encoder: Text encoder of the region encoder's space; frozen here.
        pieces: Word pieces of the text decoder, by index; special ones are in brackets.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 5, `MaskCLIP_t(T^p)`; how a gradient passes words, which it leaves open, is ours
        (Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013).
    """

    def __init__(self, encoder: SoftTextEncoder, pieces: Sequence[str]) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()
        self.pieces = list(pieces)
        self._embeddings: Tensor | None = None

    def forward(self, logits: Tensor, lengths: Tensor) -> Tensor:
        """From logits (N, L, pieces) of captions of `lengths` pieces, int64 (N,), to vectors (N, C) of any length."""
        table = self._table(logits)
        expected = logits.float().softmax(-1) @ table
        likeliest = table[logits.argmax(-1)]
        embeddings = expected + (likeliest - expected).detach()
        return self.encoder.encode_embeddings(embeddings, lengths)

    def train(self, mode: bool = True) -> "PredictedCaptions":
        """Set training mode; the frozen encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def _table(self, like: Tensor) -> Tensor:
        """Embeddings of all pieces, (pieces, E), zero for special ones; made once, after weights were loaded."""
        if self._embeddings is None or self._embeddings.device != like.device:
            with torch.no_grad():
                table = self.encoder.embed_words([piece.removeprefix("##") for piece in self.pieces])
            special = [piece.startswith("[") and piece.endswith("]") for piece in self.pieces]
            keep = ~torch.tensor(special, device=like.device)[:, None]
            self._embeddings = (table * keep).float()
        return self._embeddings

    def _load_from_state_dict(self, *arguments: Any) -> None:
        """Forget the embeddings of the weights of before."""
        super()._load_from_state_dict(*arguments)
        self._embeddings = None


def region_consistency(regions: Tensor, captions: Tensor) -> Tensor:
    """Distance of regions and captions as unit vectors, (N, C) each, not reduced: (N,), from 0 to 2.

    The gradient reaches both, and is finite where they are equal.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 5; the paper leaves open that both have unit length.
    """
    difference = F.normalize(regions.float(), dim=-1) - F.normalize(captions.float(), dim=-1)
    return (difference.square().sum(-1) + 1e-12).sqrt()
