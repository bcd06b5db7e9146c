# SPDX-License-Identifier: Apache-2.0
"""The head of a task whose answers a shared decoder writes as sequences."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from avkit.batch import Batch, Losses, Output, Prediction, Tokens, exportable
from avkit.heads.base import Head
from avkit.heads.sequence import SequenceDecoder


@exportable
@dataclass
class SequenceOutput:
    """What the rows of a batch are written from.

    Attributes:
        tokens: Tokens of the backbone.
        teacher: Output of the head that makes targets for a weakly supervised task, or None.
    """

    tokens: Tokens
    teacher: Output = None


class SequenceHead(Head):
    """Answers a task as rows of tokens, written by a decoder that all tasks share.

    Where labels do not cover all of the answer, the task's own head is trained too and makes the decoder's targets.

    Args:
        decoder: The shared decoder. It is a module of the system, not of this head.
        forms: Forms of the task's rows, see `avkit.heads.forms`.
        usual: The head class that the task has without sequences; it declares which tokens the task may be given.
        teacher: A head of that class, for a weakly supervised task.
    """

    def __init__(
        self, decoder: SequenceDecoder, forms: Sequence[str], usual: type[Head], teacher: Head | None = None
    ) -> None:
        super().__init__()
        # not registered: the system saves the decoder once, not once per task
        object.__setattr__(self, "decoder", decoder)
        self.forms = tuple(forms)
        self.teacher = teacher
        self.cross_modal = usual.cross_modal
        self.trains_unimodal = usual.trains_unimodal
        self.needs_pixels = usual.needs_pixels and decoder.per_step(forms)

    decoder: SequenceDecoder

    def forward(self, tokens: Tokens, batch: Batch) -> SequenceOutput:
        """The tokens, and the teacher's output."""
        return SequenceOutput(tokens, None if self.teacher is None else self.teacher(tokens, batch))

    def loss(self, output: SequenceOutput, batch: Batch) -> Losses:
        """`next in FORM` for each form, and the losses of the teacher."""
        losses: Losses = {"loss": output.tokens.audio.new_zeros(())}
        targets = batch.targets
        if self.teacher is not None:
            losses = dict(self.teacher.loss(output.teacher, batch))
            targets = targets | self.teacher.pseudo_targets(output.teacher, batch)
        for form in self.forms:
            loss = self.decoder.loss(output.tokens, form, targets, batch)
            losses[f"next in {form}"] = loss
            losses["loss"] = losses["loss"] + loss
        return losses

    def graph_values(self, output: SequenceOutput, batch: Batch) -> dict[str, Tensor]:
        """None: rows are written token by token, until all have ended."""
        return {}

    def predict(self, output: SequenceOutput, batch: Batch) -> Prediction:
        """The values of all forms."""
        prediction = Prediction(batch.task, batch.id, {})
        for form in self.forms:
            prediction.values |= self.decoder.predict(output.tokens, form, batch)
        return prediction
