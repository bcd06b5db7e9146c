# SPDX-License-Identifier: Apache-2.0
"""One decoder for every task: answers as rows of tokens, written one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Output, Prediction, Tokens
from avkit.heads.base import Head
from avkit.heads.codec import END, PAD, Codec
from avkit.heads.forms.base import Written
from avkit.nn.decoder_layer import Cache, DecoderLayer
from avkit.nn.losses import mean_of
from avkit.nn.position import time_code
from avkit.nn.repetition import SentenceWriter, repeating_words


class SequenceDecoder(SentenceWriter):
    """Autoregressive Transformer decoder over audio, visual and text tokens, with one vocabulary for all answers.

    Rows about a step attend to that step alone, rows about a clip to all of its steps and to the question or prompt.

    Args:
        width: Width D of the tokens.
        codec: The vocabulary of tokens.
        forms: Names of the forms that will be written.
        layers: Decoder layers.
        heads: Attention heads.

    Source:
        AV-Unified, section III-A: inputs and outputs of all tasks as sequences of discrete tokens; the paper leaves the
        decoder open.
    """

    def __init__(self, width: int, codec: Codec, forms: Sequence[str], layers: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.codec = codec
        self.forms = tuple(forms)
        self.embed = nn.Embedding(len(codec), width, padding_idx=PAD)
        self.position = nn.Parameter(torch.randn(codec.longest(forms), width) * 0.5)
        self.kind = nn.Parameter(torch.randn(4, width) * 0.5)
        self.layers = nn.ModuleList(DecoderLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, len(codec))

    def per_step(self, forms: Sequence[str]) -> bool:
        """Whether any of the forms has a row for every step, which needs patches in full resolution."""
        return any(self.codec.form(form).per_step for form in forms)

    def memory(self, tokens: Tokens, form: str) -> tuple[Tensor, Tensor]:
        """Tokens that the rows of a form attend to, (N, M, D), and which of them are valid, bool (N, 1, 1, M)."""
        audio = tokens.audio[:, :, None] + self.kind[0]
        frame = tokens.frame[:, :, None] + self.kind[1]
        memory = torch.cat([audio, frame, tokens.patches + self.kind[2]], 2)
        if self.codec.form(form).per_step:
            memory = memory.flatten(0, 1)
            return memory, torch.ones(len(memory), 1, 1, memory.shape[1], dtype=torch.bool, device=memory.device)
        size = memory.shape[2]
        memory = rearrange(memory + time_code(tokens.audio)[:, None], "b t m d -> b (t m) d")
        valid = tokens.valid.repeat_interleave(size, 1)
        if tokens.text is not None and tokens.text_valid is not None:
            memory = torch.cat([memory, tokens.text + self.kind[3]], 1)
            valid = torch.cat([valid, tokens.text_valid], 1)
        return memory, valid[:, None, None]

    def forward(self, memory: Tensor, valid: Tensor, rows: Tensor) -> Tensor:
        """Logits of the token after each token of rows (N, L): (N, L, vocabulary)."""
        x = self.embed(rows) + self.position[: rows.shape[1]]
        for layer in self.layers:
            x = layer(x, memory, valid, causal=True)
        logits: Tensor = self.out(self.norm(x))
        return logits

    def loss(self, tokens: Tokens, form: str, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Cross-entropy of the next token, mean over all tokens of the rows; 0 where nothing is annotated."""
        rows, kept = self.codec.encode(form, fields, batch)
        memory, valid = self.memory(tokens, form)
        rows_kept = kept.flatten()
        logits = self(memory[rows_kept], valid[rows_kept], rows[:, :-1])
        target = rows[:, 1:]
        total = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="sum")
        return mean_of(total, (target != PAD).sum())

    @torch.no_grad()
    def write(self, tokens: Tokens, form: str, cache: bool = True) -> Written:
        """Write the likeliest of the allowed tokens, one by one, until every row has ended.

        Args:
            tokens: Tokens of the backbone.
            form: Name of the form, which has a row per clip or per step.
            cache: Keep keys and values of earlier tokens; the same rows are written without, but more slowly.
        """
        memory, valid = self.memory(tokens, form)
        steps = tokens.valid.sum(1)
        if self.codec.form(form).per_step:
            steps = steps.repeat_interleave(tokens.valid.shape[1])
        rows = torch.full((len(memory), 1), self.codec.start(form), device=memory.device)
        chances = [torch.ones_like(rows, dtype=memory.dtype)]
        first = None
        caches: list[Cache | None] = [Cache() if cache else None for _ in self.layers]
        ended = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        while not ended.all():
            turn = rows.shape[1] - 1
            x = self.embed(rows[:, turn:] if cache else rows)
            x = x + (self.position[turn] if cache else self.position[: turn + 1])
            for layer, kept in zip(self.layers, caches, strict=True):
                x = layer(x, memory, valid, causal=not cache, cache=kept)
            logits = self.out(self.norm(x[:, -1])).float()
            allowed = self.codec.allowed(form, rows, steps)
            if self.codec.form(form).sentence and not self.repeats:
                allowed &= ~repeating_words(rows[:, 1:], allowed.shape[1])
            allowed[ended] = False
            allowed[:, PAD] |= ended
            log_p = logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)
            first = log_p if first is None else first
            best = log_p.max(-1)
            rows = torch.cat([rows, best.indices[:, None]], 1)
            chances.append(best.values.exp()[:, None])
            ended |= best.indices == END
        assert first is not None
        return Written(rows, torch.cat(chances, 1), first)

    def predict(self, tokens: Tokens, form: str, batch: Batch) -> dict[str, Any]:
        """Values of a `Prediction` that a form gives for a batch."""
        self.codec.check(batch)
        return self.codec.decode(form, self.write(tokens, form), batch)


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

    def predict(self, output: SequenceOutput, batch: Batch) -> Prediction:
        """The values of all forms."""
        prediction = Prediction(batch.task, batch.id, {})
        for form in self.forms:
            prediction.values |= self.decoder.predict(output.tokens, form, batch)
        return prediction
