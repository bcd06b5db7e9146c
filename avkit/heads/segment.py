# SPDX-License-Identifier: Apache-2.0
"""Which classes are heard and which are seen at each step, and weak supervision through pooling over steps."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.nn.attentive_pooling import ParsingOutput


class ClassSteps(nn.Module):
    """Classes heard and seen at each step, from each modality's own tokens and by match with the classes' names.

    What is seen is asked of every patch and of the frame as a whole; the best patch counts.

    Args:
        width: Width D of the tokens.
        classes: Number of classes K.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("audio", "frame", "patches")})
        self.heard, self.seen = nn.Linear(width, classes), nn.Linear(width, classes)
        for layer in (self.heard, self.seen):  # most classes are absent from most steps
            nn.init.constant_(layer.bias, -2.0)

    def forward(self, tokens: Tokens) -> tuple[Tensor, Tensor]:
        """Logits by sound and by sight, (B, T, 2, K), and the tokens that they come from, (B, T, 2, D)."""
        audio, frame = self.norms["audio"](tokens.audio), self.norms["frame"](tokens.frame)
        patches = self.norms["patches"](tokens.patches)
        heard, seen = self.heard(audio), self.seen(frame)
        if tokens.names is not None:
            names = tokens.names.T / tokens.names.shape[1] ** 0.5
            heard, seen = heard + audio @ names, seen + (patches @ names).amax(2)
        return torch.stack([heard, seen], 2), torch.stack([audio, frame], 2)


class EventHead(nn.Module):
    """One class that is heard and seen, or background, per step.

    Args:
        width: Width D of the tokens.
        classes: Number of classes K.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = ClassSteps(width, classes)
        self.background = nn.Linear(2 * width, 1)

    def forward(self, tokens: Tokens) -> Tensor:
        """Logits (B, T, 1 + K), background first; a class's is the log-probability that it is both, heard and seen."""
        logits, both = self.classes(tokens)
        return torch.cat([self.background(both.flatten(2)) - 4, F.logsigmoid(logits).sum(2)], -1)


class ParsingHead(nn.Module):
    """Classes per step and modality, and what attention over steps and modalities makes of them for the clip.

    Args:
        width: Width D of the tokens.
        classes: Number of classes K.

    Source:
        HAN, attentive multi-modal multiple-instance pooling (YapengTian/AVVP-ECCV20 at commit fde56118f2c2).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.classes = ClassSteps(width, classes)
        self.time, self.stream = nn.Linear(width, classes), nn.Linear(width, classes)

    def forward(self, tokens: Tokens) -> ParsingOutput:
        """Probabilities."""
        logits, both = self.classes(tokens)
        steps = logits.sigmoid()
        away = ~tokens.valid[:, :, None, None]
        found = self.time(both).masked_fill(away, -torch.inf).softmax(1) * steps
        heard, seen = found.sum(1).unbind(1)
        return ParsingOutput(steps, heard, seen, (self.stream(both).softmax(2) * found).sum((1, 2)))
