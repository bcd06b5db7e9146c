# SPDX-License-Identifier: Apache-2.0
"""What is heard and seen of each class in a clip, as one token per class."""

import torch
from torch import Tensor, nn

from avkit.nn.decoder_layer import mlp


class ClassTable(nn.Module):
    """One token per named class: how long, how loud and since when it is heard, how long and where it is seen.

    Steps and patches are matched with the class names, so the table is as good as these features are. Counting,
    comparing and ordering classes, which attention over single steps learns slowly, are then simple.

    Args:
        width: Width D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.full((2,), -3.0))
        self.facts = mlp(13, width, width)
        self.norm = nn.LayerNorm(width)
        self.sums = mlp(26, width, width)

    def forward(
        self, audio: Tensor, patches: Tensor, names: Tensor, grid: tuple[int, int], valid: Tensor
    ) -> tuple[Tensor, Tensor]:
        """From audio (B, T, D), patches (B, T, P, D) on a grid and names (K, D), valid bool (B, T).

        Returns:
            A token per class, (B, K, D), and a token for all of them, (B, D).
        """
        facts = self._facts(audio, patches, names, grid, valid)
        summary = torch.cat([facts.sum(1), facts.amax(1)], dim=-1)
        return self.norm(self.facts(facts)) + names, self.sums(summary)

    def _facts(self, audio: Tensor, patches: Tensor, names: Tensor, grid: tuple[int, int], valid: Tensor) -> Tensor:
        """Thirteen numbers per class, (B, K, 13)."""
        keep = valid[..., None].to(audio.dtype)
        match = audio @ (names.T / names.shape[1] ** 0.5)
        audible, cells = self.presence(match, patches, names)
        audible = audible * keep
        cells = cells * keep[..., None]
        visible = cells.amax(2)
        length = keep.sum(1)
        time = 0.1 * torch.arange(audible.shape[1], device=audible.device)[:, None]
        facts = []
        for presence in (audible, visible, audible * visible):
            facts += [presence.amax(1), presence.sum(1) / length]
        facts.append((match * audible).sum(1) / (audible.sum(1) + 1e-3))  # loudness
        for presence in (audible, visible):
            facts.append((presence * time).sum(1) / (presence.sum(1) + 1e-3))  # mean time
        facts.append((audible.cumsum(1).clamp(max=1) * keep).sum(1) / length)  # time since it was first heard
        facts += _places(cells.sum(1).unflatten(1, grid), length)
        return torch.stack(facts, dim=-1)

    def presence(self, match: Tensor, patches: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        """How much each class is heard in a step, (B, T, K), and seen in a patch, (B, T, P, K), both in [0, 1].

        Args:
            match: Scores of each class in the sound of a step, (B, T, K).
            patches: (B, T, P, D).
            names: (K, D).
        """
        scaled = names.T / names.shape[1] ** 0.5
        return (match + self.bias[0]).sigmoid(), (patches @ scaled + self.bias[1]).sigmoid()


def _places(cells: Tensor, length: Tensor) -> list[Tensor]:
    """Area per step and mean row and column in [-1, 1], (B, K) each, of presence (B, rows, columns, K)."""
    rows = torch.linspace(-1, 1, cells.shape[1], device=cells.device)
    columns = torch.linspace(-1, 1, cells.shape[2], device=cells.device)
    total = cells.sum((1, 2)) + 1e-3
    return [
        total / length,
        torch.einsum("bhwk,h->bk", cells, rows) / total,
        torch.einsum("bhwk,w->bk", cells, columns) / total,
    ]
