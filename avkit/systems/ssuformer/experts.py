# SPDX-License-Identifier: Apache-2.0
"""Mixture of experts of a caption: the text decoder, and the features of a large vision-language model."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import Tokens, exportable
from avkit.nn.decoder_layer import CachedAttention
from avkit.systems.ssuformer.output import ExpertShare


@exportable
@dataclass
class ExpertFeatures:
    """Features of the vision-language model for N captions.

    Attributes:
        features: (N, M, D), at the width of the text decoder.
        available: bool (N, M), which of them the data have.
    """

    features: Tensor
    available: Tensor

    def rows(self, chosen: Tensor) -> "ExpertFeatures":
        """The features of some of the captions; `chosen` is bool (N,) or int64."""
        return ExpertFeatures(self.features[chosen], self.available[chosen])

    @property
    def any_available(self) -> Tensor:
        """Whether a caption has features, bool (N,)."""
        return self.available.any(1)


class ExpertRouter(nn.Module):
    """Mixes, word by word, the text decoder's states with what they attend to in the other model's features.

    Both experts are always computed; their weights are a softmax over two logits. Clips without features of the other
    model keep to the text decoder.

    Args:
        width: Width D of the states.
        expert: Width E of the other model's features.
        heads: Heads of the attention from states to those features.
        group: Name of the group of options on the command line, for messages.

    Source:
        RA-SSU (arXiv 2603.09809), Mixture of Hierarchical-prompted Experts, section IV-B.4 and Fig. 6; the layers,
        which it leaves open, are ours.
    """

    def __init__(self, width: int, expert: int, heads: int = 8, group: str = "system") -> None:
        super().__init__()
        self.expert = expert
        self.group = group
        self.features_in = nn.Linear(expert, width)
        #: Marks the feature of a step's own time.
        self.own_step = nn.Parameter(torch.zeros(width))
        self.attention = CachedAttention(width, heads)
        self.frame_in = nn.Linear(width, width)
        self.router = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, 2))
        self.norm_expert = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Let the expert say nothing and the router weigh both alike at first.

        What an expert with random layers says only disturbs captions: the router would learn within a few steps to keep
        it out, and what has no weight never learns. An expert that says nothing disturbs nobody, whatever its weight,
        and learns to say what helps.
        """
        for part in (self.attention.out, self.router[-1]):
            for parameter in part.parameters():
                nn.init.zeros_(parameter)

    def select(self, tokens: Tokens, rows: Tensor) -> ExpertFeatures:
        """The batch's features for the steps `rows`, bool (B T,); one unknown feature where the batch has none."""
        batch, steps = tokens.valid.shape
        features = tokens.expert
        available = tokens.expert_known
        if features is None or available is None:
            features = tokens.audio.new_zeros(batch, 1, self.expert)
            available = torch.zeros(batch, 1, dtype=torch.bool, device=features.device)
        per_step = self.read(features, steps).flatten(0, 1)
        available = available[:, None].expand(-1, steps, -1).flatten(0, 1)
        return ExpertFeatures(per_step[rows], available[rows])

    def read(self, features: Tensor, steps: int) -> Tensor:
        """Features (B, M, E) as each of T steps reads them, (B, T, M, D).

        Where there is one feature per step, M = T, a step's own one is marked.

        Raises:
            ValueError: If the features are of another width.
        """
        if features.shape[-1] != self.expert:
            raise ValueError(
                f"The expert's features are {features.shape[-1]} wide, this model takes {self.expert}. Extract them "
                f"with the model it was trained with, or set {self.group}.expert_width to their width."
            )
        x = self.norm_expert(self.features_in(features.to(self.own_step.dtype)))
        x = x[:, None].expand(-1, steps, -1, -1)
        if features.shape[1] == steps:
            x = x + torch.eye(steps, device=x.device, dtype=x.dtype)[None, ..., None] * self.own_step
        return x

    def forward(self, states: Tensor, frame: Tensor, expert: ExpertFeatures) -> tuple[Tensor, Tensor]:
        """Mix both experts.

        Args:
            states: States of the text decoder, (N, L, D).
            frame: The picture's token, (N, D).
            expert: Features of the other model.

        Returns:
            Mixed states (N, L, D), and the other model's weight in each, (N, L) in [0, 1], 0 where none is available.
        """
        available = expert.any_available[:, None, None]
        allowed = (expert.available[:, None] | ~available)[:, None]
        attended = self.attention(states, self.attention.keys(expert.features), allowed)
        logits = self.router(torch.cat([states, attended], -1))
        logits = torch.where(available, logits, logits.new_tensor([0.0, -torch.inf]))
        weights = logits.softmax(-1)
        own = states + self.frame_in(frame)[:, None]
        mixed: Tensor = self.norm(weights[..., :1] * own + weights[..., 1:] * torch.where(available, attended, 0))
        return mixed, weights[..., 1]


class ExpertUsage:
    """Counts, over predictions, how many steps had features of the expert and how much it contributed."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all counts."""
        self.steps = 0
        self.available = 0
        self.share = 0.0

    def update(self, expert: ExpertShare, valid: Tensor) -> None:
        """Count a batch; `expert` and `valid` are (B, T)."""
        self.steps += int(valid.sum())
        self.available += int(expert.available.sum())
        self.share += float(expert.share[expert.available & valid].sum())

    def notes(self) -> list[str]:
        """A sentence for the report, if something was counted."""
        if not self.steps:
            return []
        if not self.available:
            return ["No clip had features of an expert: the router kept to the caption decoder."]
        share = self.share / self.available
        part = self.available / self.steps
        return [
            f"The expert's share of captions was {share:.2f} where it had features, {100 * part:.0f} % of the "
            "steps; elsewhere the router kept to the caption decoder."
        ]
