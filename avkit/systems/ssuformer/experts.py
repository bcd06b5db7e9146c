# SPDX-License-Identifier: Apache-2.0
"""Two experts of a sentence: the caption decoder, and what a large vision-language model made of the clip."""

import torch
from torch import Tensor, nn

from avkit.nn.decoder_layer import CachedAttention


class ExpertRouter(nn.Module):
    """Weighs, word by word, the decoder's states and what they find in another model's hidden features.

    Both experts are kept (dense); their weights are a softmax over two logits. Clips of which the other model's
    features are unknown stay with the decoder.

    Args:
        width: Width D of the states.
        expert: Width E of the other model's features.
        heads: Heads of the attention from states to those features.

    Source:
        RA-SSU (arXiv 2603.09809), Mixture of Hierarchical-prompted Experts, section IV-B.4 and Fig. 6; the layers,
        which it leaves open, are ours.
    """

    def __init__(self, width: int, expert: int, heads: int = 8) -> None:
        super().__init__()
        self.expert = expert
        self.inputs, self.now = nn.Linear(expert, width), nn.Parameter(torch.zeros(width))
        self.attention, self.picture = CachedAttention(width, heads), nn.Linear(width, width)
        self.router = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 2))
        self.norm_expert, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def read(self, features: Tensor, steps: int) -> Tensor:
        """The other model's features (B, M, E) as each of T steps sees them: (B, T, M, D).

        Where there is one for each step, M = T, a step's own is marked.

        Raises:
            ValueError: If the features are of another width.
        """
        if features.shape[-1] != self.expert:
            raise ValueError(
                f"The expert's features are {features.shape[-1]} wide, this model takes {self.expert}. Extract them "
                "with the model it was trained with, or set system.expert to their width."
            )
        x = self.norm_expert(self.inputs(features.to(self.now.dtype)))[:, None].expand(-1, steps, -1, -1)
        if features.shape[1] == steps:
            x = x + torch.eye(steps, device=x.device, dtype=x.dtype)[None, ..., None] * self.now
        return x

    def forward(self, states: Tensor, picture: Tensor, features: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Mix.

        Args:
            states: Of the decoder, (N, L, D).
            picture: The frame's token, (N, D).
            features: Of `read`, (N, M, D).
            there: bool (N, M), which of them are known.

        Returns:
            Mixed states (N, L, D), and the other model's share in each, (N, L) in [0, 1], 0 where nothing is known.
        """
        known = there.any(1)
        allowed = (there | ~known[:, None])[:, None, None]
        told = self.attention(states, self.attention.keys(features), allowed)
        logits = self.router(torch.cat([states, told], -1))
        logits = torch.where(known[:, None, None], logits, logits.new_tensor([0.0, -torch.inf]))
        share = logits.softmax(-1)
        own = states + self.picture(picture)[:, None]
        mixed: Tensor = self.norm(share[..., :1] * own + share[..., 1:] * torch.where(known[:, None, None], told, 0))
        return mixed, share[..., 1]
