# SPDX-License-Identifier: Apache-2.0
"""Positive sample propagation: steps of one modality take features from similar steps of the other."""

from torch import Tensor, nn


class PositiveSamplePropagation(nn.Module):
    """Similarity of all pairs of audio and visual steps; weak pairs are cut, and the others' features are added.

    Args:
        width: Width D of both modalities.
        threshold: A pair is kept if its share of the row's similarity is above it.
        renormalise: Let the kept shares of a row sum to one.
        project: Apply a linear layer to both modalities afterwards.
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
        self.threshold = threshold
        self.renormalise = renormalise
        self.visual_in = nn.ModuleList([_linear(width), _linear(width)])
        self.audio_in = nn.ModuleList([_linear(width), _linear(width)])
        self.visual_out: nn.Linear | None = None
        self.audio_out: nn.Linear | None = None
        if project:
            self.visual_out = _linear(width)
            self.audio_out = _linear(width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """From audio and visual features (B, T, D) to fused, visual and audio features, (B, T, D) each."""
        visual_value = self.dropout(self.visual_in[0](visual).relu())
        visual_query = self.dropout(self.visual_in[1](visual).relu())
        audio_key = self.dropout(self.audio_in[0](audio).relu())
        audio_value = self.dropout(self.audio_in[1](audio).relu())
        similarity = (visual_query @ audio_key.mT / visual_query.shape[-1] ** 0.5).relu()
        if valid is not None:
            similarity = similarity * (valid[:, :, None] & valid[:, None])
        new_visual = visual + self._positive_pairs(similarity) @ audio_value
        new_audio = audio + self._positive_pairs(similarity.mT) @ visual_value
        if self.visual_out is not None and self.audio_out is not None:
            new_visual = self.dropout(self.visual_out(new_visual).relu())
            new_audio = self.dropout(self.audio_out(new_audio).relu())
        new_visual = self.norm(new_visual)
        new_audio = self.norm(new_audio)
        return (new_visual + new_audio) * 0.5, new_visual, new_audio

    def _positive_pairs(self, similarity: Tensor) -> Tensor:
        """Shares of each row of (B, T, T), those of weak pairs set to 0."""
        share = similarity / (similarity.sum(-1, keepdim=True) + 1e-8)
        kept = share * (share > self.threshold)
        if not self.renormalise:
            return kept
        return kept / (kept.sum(-1, keepdim=True) + 1e-8)


def _linear(width: int) -> nn.Linear:
    layer = nn.Linear(width, width, bias=False)
    nn.init.xavier_uniform_(layer.weight)
    return layer
