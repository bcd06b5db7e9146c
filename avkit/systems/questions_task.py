# SPDX-License-Identifier: Apache-2.0
"""Questions as TSPM, PSTP-Net and AVST learn them; their networks answer, so heads hand on."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Prediction
from avkit.nn.losses import mean_of
from avkit.tasks.avqa import QuestionAnswering


class Answered(QuestionAnswering):
    """Questions as TSPM and PSTP-Net learn them: cross-entropy over answers.

    A prediction also tells why, where the network does: `chosen`, the steps that mattered, int64 (B, k), their weights
    `step_weights` (B, T), and `parts`, how much each part of their pictures counted, (B, k, P).
    """

    forms = ()

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Hands on what the system answers."""
        return nn.Identity()

    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy of the answers."""
        return super().loss(out.logits, batch)

    def predict(self, out: Any, batch: Batch) -> Prediction:
        """As `QuestionAnswering`, and why."""
        found = super().predict(out.logits, batch)
        if getattr(out, "weights", None) is not None:
            found.values |= {"chosen": out.chosen, "step_weights": out.weights.float()}
            if out.parts is not None:
                found.values |= {"parts": out.parts.float(), "shown": out.shown}
        return found


class MatchedAnswers(Answered):
    """Questions as AVST learns them: also whether a picture and a sound go together.

    Loss: cross-entropy of the answers, plus half of that of pairs, one of a step's own picture and one of a picture of
    another clip in the batch. The authors draw theirs from all clips.
    """

    #: Factor of the second.
    pairs = 0.5

    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """`answer` and `pairs`."""
        answer = super().loss(out, batch)["loss"]
        if out.match is None:
            return {"loss": answer, "answer": answer}
        logits = torch.cat([out.match, out.mismatch])
        wanted = torch.arange(2, device=logits.device).flip(0).repeat_interleave(len(out.match))
        pairs = mean_of(F.cross_entropy(logits, wanted, reduction="sum"), len(logits))
        return {"loss": answer + self.pairs * pairs, "answer": answer, "pairs": pairs}
