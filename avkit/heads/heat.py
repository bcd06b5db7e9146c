# SPDX-License-Identifier: Apache-2.0
"""Where a sound comes from: how alike each patch and the sound are, learnt from which go together."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.layers import mlp


class HeatHead(nn.Module):
    """Cosine of every patch with the sound of its step.

    It has to be given tokens of modalities that have not met, else pairing is known without looking.

    Args:
        width: Width D of the tokens.
        channels: Width in which the two are compared.
    """

    def __init__(self, width: int, channels: int = 64) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "patches")})
        self.hear, self.see = mlp(width, width, channels), mlp(width, width, channels)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Unit vectors of the sound, (B, T, C), and of the patches, (B, T, h, w, C)."""
        heard = F.normalize(self.hear(self.norms["audio"](tokens.audio)), dim=-1)
        seen = F.normalize(self.see(self.norms["patches"](tokens.patches)), dim=-1)
        return heard, rearrange(seen, "b t (h w) c -> b t h w c", h=tokens.grid[0])


def pairing_loss(heard: Tensor, seen: Tensor, clip: Tensor, temperature: float = 0.07) -> Tensor:
    """Contrastive multiple-instance loss: a sound fits the best patch of its own picture better than of any other.

    Both ways, sounds among pictures and pictures among sounds; other steps of the same clip are left out, since they
    show much the same.

    Args:
        heard: Unit vectors (N, C) of sounds.
        seen: Unit vectors (N, P, C) of the pictures' patches.
        clip: Number of the clip of each, (N,).
        temperature: Of the softmax; EZ-VSL has 0.03.

    Source:
        stoneMo/EZ-VSL at commit 95ff5bff3019, `model.py`, `max_xmil_loss`.
    """
    match = torch.einsum("npc,mc->nmp", seen, heard).amax(2) / temperature
    own = torch.arange(len(heard), device=heard.device)
    same = (clip[:, None] == clip[None]) & ~torch.eye(len(heard), dtype=torch.bool, device=heard.device)
    match = match.masked_fill(same, -torch.inf)
    return (F.cross_entropy(match, own) + F.cross_entropy(match.T, own)) / 2
