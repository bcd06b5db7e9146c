# SPDX-License-Identifier: Apache-2.0
"""Parts of TSPM as the paper's equations say, where the published code does otherwise.

Source:
    "Boosting Audio Visual Question Answering via Key Semantic-Aware Cues" (ACM MM 2024), section 3.
"""

import torch
from torch import Tensor, nn

from avkit.nn.query_attention import largest_steps


class KeyProjection(nn.Module):
    """Selects the steps whose projected frames match a prompt best, in temporal order (Eq. 1 and 2).

    A bias of the projection would add the same number to the scores of all steps, which the softmax ignores, so there
    is none.

    Args:
        visual: Width V of frame features.
        text: Width W of features of prompts, which is the dimension d of the keys.
    """

    def __init__(self, visual: int, text: int) -> None:
        super().__init__()
        self.key = nn.Linear(visual, text, bias=False)

    def forward(self, query: Tensor, tokens: Tensor, count: int, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Select steps.

        Args:
            query: Prompts, (B, W).
            tokens: Frames, (B, T, V).
            count: Steps to select, at most T.
            valid: bool (B, T); all where None.

        Returns:
            Weights (B, T), and the indices of the selected steps, int64 (B, count), rising.
        """
        scaled = query / query.shape[-1] ** 0.5
        scores = (tokens @ (scaled @ self.key.weight)[..., None]).squeeze(-1)
        if valid is not None:
            scores = scores.masked_fill(~valid, -torch.inf)
        weights = scores.softmax(-1)
        return weights, largest_steps(weights, count, valid)


def attend_without_weights(query: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention of queries (N, L, D) to tokens (N, M, D), which are keys and values.

    Returns:
        Attended tokens (N, L, D) and weights (N, L, M).
    """
    weights = (query @ tokens.mT / query.shape[-1] ** 0.5).softmax(-1)
    return weights @ tokens, weights


def add_attended(tokens: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
    """Each token, plus what it finds in all tokens, plus what the sound finds in them (Eq. 5).

    Args:
        tokens: Merged tokens of pictures, (N, S, D).
        audio: The sound of each picture, (N, D).

    Returns:
        Tokens (N, S, D), and how much the sound attends to each, (N, S).
    """
    within, _ = attend_without_weights(tokens, tokens)
    heard, weights = attend_without_weights(audio[:, None], tokens)
    return tokens + within + heard, weights[:, 0]
