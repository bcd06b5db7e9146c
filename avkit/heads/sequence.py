# SPDX-License-Identifier: Apache-2.0
"""One decoder for every task: answers as rows of tokens of one vocabulary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Tokens
from avkit.heads.codec import END, PAD, Codec, interleave, item_bounds, join_rows, split_rows
from avkit.heads.forms import FORMS
from avkit.heads.forms.base import Form, Written
from avkit.heads.sequence_memory import BlockReader, Memory, MemoryReader
from avkit.heads.token_scores import SlotScores, TokenScores, log_probabilities
from avkit.nn.decoder_layer import Cache, DecoderLayer
from avkit.nn.losses import mean_of, mentions_loss
from avkit.nn.repetition import SentenceWriter, repeating_words
from avkit.text.tokenizer import PAD as NO_WORD


class SequenceDecoder(SentenceWriter):
    """Transformer decoder over audio, visual and text tokens, with one vocabulary for all answers.

    A row about a step reads the tokens of that step, so that what is written about a step and what is seen and heard
    in it are aligned without counting; all steps are written at once. A row about a clip reads all of its steps and
    begins with the words of the question. Within a row tokens are written one after the other, but for the blocks of a
    mask: these are written at once, each from its own part of the picture.

    Args:
        width: Width D of the tokens.
        codec: The vocabulary of tokens.
        forms: Names of the forms that will be written.
        pyramid_widths: Widths of the pictures' feature maps, finest first; empty where features stand for pictures.
        layers: Decoder layers.
        heads: Attention heads.

    Source:
        AV-Unified, section III-A: inputs and outputs of all tasks as sequences of discrete tokens; the paper leaves the
        decoder open.
    """

    def __init__(
        self,
        width: int,
        codec: Codec,
        forms: Sequence[str],
        pyramid_widths: Sequence[int] = (),
        layers: int = 3,
        heads: int = 4,
    ) -> None:
        super().__init__()
        self.codec = codec
        self.forms = tuple(forms)
        words = len(codec.words) if any(FORMS[form].sentence for form in forms) else 0
        self.read = MemoryReader(width, words, whole_clips=any(not FORMS[form].per_step for form in forms))
        self.position = nn.Parameter(torch.randn(codec.longest(forms), width) * 0.5)
        self.layers = nn.ModuleList(_matching_layer(width, heads) for _ in range(layers))
        self.scores = TokenScores(width, codec)
        self.blocks = BlockReader(width, pyramid_widths, codec.code.blocks) if "masks" in forms else None

    def per_step(self, forms: Sequence[str]) -> bool:
        """Whether any of the forms has a row for every step, which needs patches in full resolution."""
        return any(FORMS[form].per_step for form in forms)

    def loss(self, tokens: Tokens, form: str, fields: dict[str, Any], batch: Batch) -> Tensor:
        """Cross-entropy at each slot, mean over its tokens, summed over the slots; 0 where nothing is annotated.

        Means by slot, since many slots of one kind, such as blocks of masks, would else outweigh the class that they
        belong to. Of sentences the loss of their words' mentions is added.
        """
        shape = self.codec.form(form, batch.task)
        rows, kept = self.codec.encode(form, fields, batch)
        memory = self.read(tokens, shape).rows(kept.flatten())
        total = tokens.audio.new_zeros(())
        for scores in self._slots(tokens, memory, rows, kept, shape):
            losses = scores.losses()
            total = total + mean_of(losses.sum(), losses.numel())
        if memory.mentions is not None:
            first, count = shape.alphabet.spans["word"]
            words = torch.where((rows >= first) & (rows < first + count), rows - first, NO_WORD)
            total = total + mentions_loss(memory.mentions, words, NO_WORD)
        return total

    def slots(self, tokens: Tokens, form: str, fields: dict[str, Any], batch: Batch) -> list[SlotScores]:
        """What the decoder says of every token of the targets' rows, given those before it, slot by slot."""
        shape = self.codec.form(form, batch.task)
        rows, kept = self.codec.encode(form, fields, batch)
        return self._slots(tokens, self.read(tokens, shape).rows(kept.flatten()), rows, kept, shape)

    def _slots(self, tokens: Tokens, memory: Memory, whole: Tensor, kept: Tensor, shape: Form) -> list[SlotScores]:
        """Of whole rows, (N, L), of the clips or steps that are kept."""
        rows, blocks = split_rows(shape, whole)
        features = self._run(memory, rows[:, :-1], shape)
        slots = []
        for slot, kind in enumerate(shape.slots[: shape.in_order]):
            target = rows[:, 1 + slot :: shape.in_order]
            places = features[:, slot :: shape.in_order]
            log_p = self._log_p(places, rows, shape, slot, memory)
            index = torch.where(target == END, 0, target - shape.alphabet.spans[kind][0] + 1)
            there = (target != PAD) & ((target != END) | (slot == 0))
            there[:, shape.max_items :] = False  # an end that cannot but come
            slots.append(SlotScores(kind, log_p[there], index[there]))
        if shape.at_once:
            place = self.blocks(tokens)[kept.flatten()] if self.blocks is not None else None
            slots.append(self._block_slots(memory, rows, blocks, place, shape))
        return slots

    def _block_slots(
        self, memory: Memory, rows: Tensor, blocks: Tensor, places: Tensor | None, form: Form
    ) -> SlotScores:
        """What the decoder says of the codes of all blocks, whose parts of the pictures are (N, blocks, D)."""
        assert places is not None
        there = blocks[..., 0] != PAD
        owner = there.nonzero()[:, 0]
        lead = rows[:, 1 :: form.in_order][there]
        scores = self._block_scores(memory.rows(owner), lead, places[owner], form)
        index = blocks[there] - self.codec.spans["code"][0]
        return SlotScores("code", scores.float().log_softmax(-1).flatten(0, 1), index.flatten())

    def _block_scores(self, memory: Memory, lead: Tensor, places: Tensor, form: Form) -> Tensor:
        """Scores of codes, (n, blocks, codes), for n objects of classes `lead`, from the parts of their pictures."""
        x = self.scores.embed(lead[:, None], form, memory.names) + places
        for layer in self.layers:
            x = layer(x, memory.tokens, memory.bias[:, None, None])
        return self.scores.codes(x)

    def _run(
        self, memory: Memory, rows: Tensor, form: Form, turn: int = 0, caches: Sequence[Cache | None] | None = None
    ) -> Tensor:
        """Features after each token of rows (N, L) that start at place `turn`, (N, L, D)."""
        x = self.scores.embed(rows, form, memory.names) + self.position[turn : turn + rows.shape[1]]
        if memory.opening is not None and not turn:
            x = torch.cat([x[:, :1] + memory.opening[:, None], x[:, 1:]], 1)
        own_mask = None
        prefix = 0
        if memory.text is not None and memory.text_valid is not None:
            prefix = memory.text.shape[1]
            own_mask = _own_mask(memory.text_valid, turn + rows.shape[1])
            if turn:
                own_mask = own_mask[:, :, prefix + turn :]
            else:
                x = torch.cat([memory.text, x], 1)
        for layer, cache in zip(self.layers, caches or [None] * len(self.layers), strict=True):
            x = layer(x, memory.tokens, memory.bias[:, None, None], own_mask, own_mask is None, cache)
        return x[:, -rows.shape[1] :]

    def _log_p(self, places: Tensor, rows: Tensor, form: Form, slot: int, memory: Memory) -> Tensor:
        """Log-probabilities of the end and of the values of a slot, (N, I, 1 + values), at the places before them."""
        scores = self.scores(places, form, slot, memory)
        bounds = [item_bounds(form, rows, item, slot) for item in range(places.shape[1])]
        low = torch.stack([smallest for smallest, _ in bounds], 1)
        high = torch.stack([largest for _, largest in bounds], 1)
        end = torch.zeros_like(low, dtype=torch.bool)
        if slot == 0:
            end[:, form.min_items :] = True
        return log_probabilities(scores, low, high, end, form.ascending and slot == 0)

    @torch.no_grad()
    def write(self, tokens: Tokens, form: str, task: str = "", cache: bool = True) -> Written:
        """Write the likeliest of the allowed tokens until every row has ended.

        Of a set the next item is the first that is likelier than `least_chance` of the form. Where none is, the row
        ends, or the likeliest is written, whichever is likelier; of ranked items it ends. The blocks of a mask are
        those whose overlap with the true mask is expected to be largest.

        Args:
            tokens: Tokens of the backbone.
            form: Name of the form, which has a row per clip or per step.
            task: Name of the task, which decides whose classes and answers are written.
            cache: Keep keys and values of earlier tokens; the same rows are written without, but more slowly.
        """
        shape = self.codec.form(form, task)
        memory = self.read(tokens, shape)
        rows = torch.full((len(memory.tokens), 1), self.codec.start(form), device=memory.tokens.device)
        chances = [torch.ones_like(rows, dtype=torch.float32)]
        first = None
        caches: list[Cache | None] = [Cache() if cache else None for _ in self.layers]
        ended = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        while not ended.all():
            turn = rows.shape[1] - 1
            features = (
                self._run(memory, rows[:, turn:], shape, turn, caches) if cache else self._run(memory, rows, shape)
            )
            following = self._next(features[:, -1:], rows, shape, memory)
            if first is None:
                first = following.log_p[:, 1:]
            rows = torch.cat([rows, following.token.masked_fill(ended, PAD)[:, None]], 1)
            chances.append(following.chance[:, None])
            ended = ended | (following.token == END)
        assert first is not None
        written = Written(rows, torch.cat(chances, 1), first)
        return self._write_blocks(tokens, memory, written, shape) if shape.at_once else written

    def _next(self, features: Tensor, rows: Tensor, form: Form, memory: Memory) -> "_Next":
        """What may come after rows (N, L), from the features of their last tokens, (N, 1, D)."""
        item, slot = divmod(rows.shape[1] - 1, form.in_order)
        low, high = item_bounds(form, rows, item, slot)
        scores = self.scores(features, form, slot, memory)[:, 0].float()
        end = torch.full_like(low, slot == 0 and item >= form.min_items, dtype=torch.bool)
        as_set = form.ascending and slot == 0
        log_p = log_probabilities(scores[:, None], low[:, None], high[:, None], end[:, None], as_set)[:, 0]
        first, count = form.alphabet.spans[form.slots[slot]]
        if form.sentence and not self.repeats:
            repeating = repeating_words(rows[:, 1:], len(self.codec))[:, first : first + count]
            log_p = torch.cat([log_p[:, :1], log_p[:, 1:].masked_fill(repeating, -torch.inf)], 1).log_softmax(-1)
        best = log_p.max(-1)
        chosen = best.indices
        chance = best.values.exp()
        if as_set:
            odds = scores[:, 1:].masked_fill(log_p[:, 1:].isinf(), -torch.inf)
            there = odds.sigmoid() > form.least_chance
            likeliest = torch.where(there.any(1), there.int().argmax(1), odds.argmax(1))
            ends = ~there.any(1) & ((log_p[:, 0].exp() >= 0.5) | (form.least_chance < 0.5))
            chosen = torch.where(ends, 0, 1 + likeliest)
            chance = torch.where(chosen > 0, scores.gather(1, chosen[:, None])[:, 0].sigmoid(), log_p[:, 0].exp())
        return _Next(torch.where(chosen == 0, END, first + chosen - 1), chance, log_p)

    def _write_blocks(self, tokens: Tokens, memory: Memory, written: Written, form: Form) -> Written:
        """Rows with the codes of each object's mask, which are written at once."""
        assert self.blocks is not None
        lead = written.tokens[:, 1 :: form.in_order]
        there = (lead != END) & (lead != PAD)
        codes = torch.full((*lead.shape, form.at_once), PAD, device=lead.device)
        chances = torch.ones(codes.shape, device=lead.device)
        if there.any():
            owner = there.nonzero()[:, 0]
            scores = self._block_scores(memory.rows(owner), lead[there], self.blocks(tokens)[owner], form)
            probability = scores.float().softmax(-1)
            best = self.codec.code.nearest_overlap(probability)
            codes[there] = best + self.codec.spans["code"][0]
            chances[there] = probability.gather(-1, best[..., None])[..., 0]
        rows = join_rows(form, written.tokens, codes)
        return Written(rows, interleave(form, written.chance, chances)[:, : rows.shape[1]], written.first)

    def predict(self, tokens: Tokens, form: str, batch: Batch) -> dict[str, Any]:
        """Values of a `Prediction` that a form gives for a batch."""
        return self.codec.decode(form, self.write(tokens, form, batch.task), batch)


@dataclass
class _Next:
    """The token that is written next in each row.

    Attributes:
        token: int64 (N,).
        chance: Its probability, (N,).
        log_p: Log-probabilities of the end and of all values of the slot, (N, 1 + values).
    """

    token: Tensor
    chance: Tensor
    log_p: Tensor


def _own_mask(text_valid: Tensor, length: int) -> Tensor:
    """Which of the words and tokens so far each may attend to, bool (N, 1, L + length, L + length)."""
    words = text_valid.shape[1]
    size = words + length
    earlier = torch.ones(size, size, dtype=torch.bool, device=text_valid.device).tril()
    valid = F.pad(text_valid, (0, length), value=True)
    own = torch.eye(size, dtype=torch.bool, device=text_valid.device)
    return ((earlier & valid[:, None]) | own)[:, None]


def _matching_layer(width: int, heads: int) -> DecoderLayer:
    """A layer that attends to what is like its query from the first step: queries and keys start near the identity."""
    layer = DecoderLayer(width, heads)
    with torch.no_grad():
        layer.memory.query.weight += torch.eye(width)
        layer.memory.key_value.weight[:width] += torch.eye(width)
    return layer
