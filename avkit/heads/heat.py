# SPDX-License-Identifier: Apache-2.0
"""Where a sound comes from: how alike each patch and the sound are, learnt from which go together."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.decoder_layer import mlp


class HeatHead(nn.Module):
    """How well every patch goes with the sound of its step: their cosine, plus how far both match the same name.

    From each sound the usual one is taken away, so that a patch that goes with all sounds alike, as a wall does, goes
    with none. Names stand for kinds of things, which pairing alone can fill with meaning; where other tasks have taught
    them, that serves here from the start. It has to be given tokens of modalities that have not met, else pairing is
    known without looking.

    Args:
        width: Width D of the tokens.
    """

    usual: Tensor
    #: Logit of a patch that shows none of the names.
    nothing = 2.0
    #: Share of a batch in the usual sound.
    momentum = 0.3

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "patches")})
        self.hear, self.see = mlp(width, width, width), mlp(width, width, width)
        self.register_buffer("usual", torch.zeros(width))

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Vectors of the sound, (B, T, C), and of the patches, (B, T, h, w, C), whose product says how well they go."""
        audio, patches = self.norms["audio"](tokens.audio), self.norms["patches"](tokens.patches)
        heard, seen = F.normalize(self.hear(audio), dim=-1), F.normalize(self.see(patches), dim=-1)
        if self.training:
            self.usual.lerp_(heard.detach()[tokens.valid].mean(0), self.momentum)
        heard = heard - self.usual
        if tokens.names is not None:
            names = tokens.names.T / tokens.names.shape[1] ** 0.5
            kinds = F.pad(patches @ names, (1, 0), value=self.nothing).softmax(-1)
            heard = torch.cat([heard, (audio @ names).softmax(-1)], -1)
            seen = torch.cat([seen, kinds[..., 1:]], -1)
        return heard, rearrange(seen, "b t (h w) c -> b t h w c", h=tokens.grid[0])


def pairing_loss(heard: Tensor, seen: Tensor, clip: Tensor, temperature: float = 0.07, share: float = 0.4) -> Tensor:
    """Contrastive multiple-instance loss: a sound fits the best patches of its own picture better than of any other.

    Both ways, sounds among pictures and pictures among sounds; other steps of the same clip are left out, since they
    show much the same.

    Args:
        heard: Vectors (N, C) of sounds.
        seen: Vectors (N, P, C) of the pictures' patches.
        clip: Number of the clip of each, (N,).
        temperature: Of the softmax; EZ-VSL has 0.03.
        share: Part of the patches that are the best, at least one, which is EZ-VSL's; their mean counts. With one alone
            the loss is content with the most telling spot of a thing, and the rest of it stays cold.

    Source:
        stoneMo/EZ-VSL at commit 95ff5bff3019, `model.py`, `max_xmil_loss`.
    """
    match = torch.einsum("npc,mc->nmp", seen, heard)
    match = match.topk(max(1, int(share * seen.shape[1])), 2).values.mean(2) / temperature
    own = torch.arange(len(heard), device=heard.device)
    same = (clip[:, None] == clip[None]) & ~torch.eye(len(heard), dtype=torch.bool, device=heard.device)
    match = match.masked_fill(same, -torch.inf)
    return (F.cross_entropy(match, own) + F.cross_entropy(match.T, own)) / 2
