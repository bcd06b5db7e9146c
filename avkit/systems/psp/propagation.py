# SPDX-License-Identifier: Apache-2.0
"""Positive sample propagation: steps of one modality take from those of the other that are like them."""

from torch import Tensor, nn


class PositiveSamplePropagation(nn.Module):
    """Similarity of all pairs of steps, the weak pairs cut away, and what the others bring added.

    Args:
        width: Width D of both modalities.
        threshold: Least share of a row that a pair has to have to stay.
        renormalise: Let what stays sum to one again.
        project: Let both go through a linear layer afterwards.
        dropout: In training.

    Source:
        jasongief/PSP_CVPR_2021 at commit ddd20f3b0a17, `fully_model.py` and `weakly_model.py`.
    """

    def __init__(
        self,
        width: int = 256,
        threshold: float = 0.099,
        renormalise: bool = True,
        project: bool = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.threshold, self.renormalise = threshold, renormalise
        self.visual_in, self.audio_in = (nn.ModuleList(_linear(width) for _ in range(2)) for _ in range(2))
        self.visual_out, self.audio_out = (_linear(width) if project else None for _ in range(2))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """From (B, T, D) twice to what both come to, and to sight and sound, (B, T, D) each."""
        v1, v2 = (self.dropout(layer(visual).relu()) for layer in self.visual_in)
        a1, a2 = (self.dropout(layer(audio).relu()) for layer in self.audio_in)
        alike = (v2 @ a1.mT / v2.shape[-1] ** 0.5).relu()
        if valid is not None:
            alike = alike * (valid[:, :, None] & valid[:, None])
        seen, heard = visual + self._kept(alike) @ a2, audio + self._kept(alike.mT) @ v1
        if self.visual_out is not None and self.audio_out is not None:
            seen = self.dropout(self.visual_out(seen).relu())
            heard = self.dropout(self.audio_out(heard).relu())
        seen, heard = self.norm(seen), self.norm(heard)
        return (seen + heard) * 0.5, seen, heard

    def _kept(self, alike: Tensor) -> Tensor:
        share = alike / (alike.sum(-1, keepdim=True) + 1e-8)
        kept = share * (share > self.threshold)
        return kept / (kept.sum(-1, keepdim=True) + 1e-8) if self.renormalise else kept


def _linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer
