# SPDX-License-Identifier: Apache-2.0
"""SSUFormer's two decoders and what they tell each other: masks of what sounds, and a sentence about it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Tokens
from avkit.heads.region import shrink
from avkit.nn.query_mask import QueryMaskDecoder
from avkit.nn.region_crop import cut_out
from avkit.systems.ssuformer.collaboration import CaptionProjection, MaskCollaboration
from avkit.systems.ssuformer.experts import ExpertRouter
from avkit.systems.ssuformer.text_decoder import Finish, TextDecoder


@dataclass
class SourceOutput:
    """What the head says; None is what it was not asked or not built for.

    Attributes:
        masks: Logits (B, T, 1, H, W).
        word_logits: Of N taught captions, (N, L, words).
        regions: What the image encoder saw under each caption's mask, (N, C).
        captions: The captions in the same space, (N, C).
        words: Generated instead, int64 (B T, L).
        share: The expert's mean share in each caption, (N,) or (B T,), 0 where it knew nothing.
        known: bool, like `share`: whether there were features of the expert.
        written: bool (B T,), steps whose caption was written; others repeat the one before.
        weight: Share a of the masks' loss.
    """

    masks: Tensor | None = None
    word_logits: Tensor | None = None
    regions: Tensor | None = None
    captions: Tensor | None = None
    words: Tensor | None = None
    share: Tensor | None = None
    known: Tensor | None = None
    written: Tensor | None = None
    weight: Tensor | float = 0.25


class AdaptiveWeight(nn.Module):
    """`a L_seg + (1 - a) L_tex`, with a fixed, or learnt between a floor and one minus it.

    Learnt, a follows whichever loss is smaller, down to the floor.

    Args:
        start: a at the beginning.
        learned: Learn it.
        floor: Least share of either loss.

    Source:
        RA-SSU (arXiv 2603.09809), Eq. 4: a = 0.25 "in practice", and "adaptive".
    """

    def __init__(self, start: float = 0.25, learned: bool = False, floor: float = 0.05) -> None:
        super().__init__()
        if not floor < start < 1 - floor:
            raise ValueError(f"a starts at {start}; it lies between the floor {floor} and {1 - floor}.")
        self.floor, self.fixed = floor, start
        share = (start - floor) / (1 - 2 * floor)
        self.logit = nn.Parameter(torch.logit(torch.tensor(share))) if learned else None

    @property
    def value(self) -> Tensor | float:
        """A."""
        if self.logit is None:
            return self.fixed
        return self.floor + (1 - 2 * self.floor) * self.logit.sigmoid()

    def forward(self, masks: Tensor, text: Tensor) -> Tensor:
        """The total of both losses."""
        return self.value * masks + (1 - self.value) * text


class SourceHead(nn.Module):
    """Masks, then a sentence per step from picture, sound and what the mask covers.

    Args:
        width: Width D of the tokens.
        masks: The mask decoder, or None to describe alone.
        decoder: The text decoder, or None to segment alone.
        region: Frozen image encoder with a `width`, for mask collaboration and regional consistency; None for neither.
        collaborate: Give the caption what the image encoder sees under the mask.
        consistent: Say what is under each mask and what is written about it in one space, for `region_consistency`.
        side: Pixels of the square that the image encoder is shown.
        expert: Width of an expert's features, 0 for no router.
        places: Rows and columns that a picture's tokens are pooled to before the caption reads them.
        beams: Sentences kept while writing.
        most: Longest sentence, in words of the decoder.
        steady: Write a caption anew only where what it is about has changed by more than this; 0 writes all.
        weight: How both losses are put together; a = 0.25 where None.
        reader: Frozen text encoder in the image encoder's space, which then reads true captions for regional
            consistency in place of the states of what is written.
    """

    def __init__(
        self,
        width: int,
        masks: QueryMaskDecoder | None,
        decoder: TextDecoder | None,
        region: nn.Module | None = None,
        collaborate: bool = False,
        consistent: bool = False,
        side: int | None = 224,
        expert: int = 0,
        places: int = 7,
        beams: int = 1,
        most: int = 40,
        steady: float = 0.0,
        weight: AdaptiveWeight | None = None,
        reader: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.weight = weight or AdaptiveWeight()
        self.reader = reader.requires_grad_(False).eval() if reader is not None else None
        self.masks, self.decoder, self.places = masks, decoder, places
        self.beams, self.most, self.steady = beams, most, steady
        self.sound_in = nn.Linear(width, masks.query.shape[1]) if masks is not None else None
        self.region = region.requires_grad_(False).eval() if region is not None else None
        self.router = self.collaboration = self.projection = None
        if decoder is not None:
            inner = decoder.embed.embedding_dim
            self.memory_in = nn.ModuleDict({name: nn.Linear(width, inner) for name in ("patches", "audio")})
            self.kind = nn.Parameter(torch.randn(3, inner) * 0.02)
            self.topic = nn.Linear((3 if collaborate else 2) * inner, inner)
            if expert:
                self.router = ExpertRouter(inner, expert, decoder.layers[0].own.heads)  # type: ignore[union-attr, arg-type]
            if region is not None:
                encoded = int(region.width)  # type: ignore[arg-type]
                if consistent and reader is None:
                    self.projection = CaptionProjection(inner, encoded)
                if collaborate:
                    self.collaboration = MaskCollaboration(encoded, inner, side)
        self.side, self.consistent = side, consistent

    def train(self, mode: bool = True) -> "SourceHead":
        """Frozen encoders stay as they are."""
        super().train(mode)
        for frozen in (self.region, self.reader):
            if frozen is not None:
                frozen.eval()
        return self

    def forward(
        self,
        tokens: Tokens,
        words: Tensor | None = None,
        taught: Tensor | None = None,
        shown: Tensor | None = None,
        texts: Sequence[str] = (),
    ) -> SourceOutput:
        """Masks and captions.

        Args:
            tokens: Of the system; `patches` are those that sound has met.
            words: Taught captions up to the word before the last, int64 (N, L); None generates instead.
            taught: bool (B, T), the N steps that have a caption.
            shown: True masks to collaborate with in place of the predicted ones, float (B, T, H, W), NaN where unknown.
            texts: The N taught captions, for a `reader`.

        Raises:
            ValueError: If masks are to collaborate and there are no pictures.
        """
        out = SourceOutput(weight=self.weight.value)
        if self.masks is not None:
            out.masks = self._masks(tokens)
        if self.decoder is None:
            return out
        rows = (tokens.valid if words is None or taught is None else taught).flatten()
        memory, picture, topic, seen = self._memory(tokens, out.masks, shown, rows)
        mix = self._expert(tokens, rows)
        if words is None or taught is None:
            self._write(out, tokens, rows, memory, picture, topic, seen, mix)
            return out
        states = self.decoder(memory, words, topic)
        mixed, share = self._mix(states, picture, mix)
        out.word_logits = self.decoder.logits(mixed)
        said = words != self.decoder.pad
        if mix is not None:
            out.share = (share * said).sum(1) / said.sum(1).clamp(min=1)
            out.known = mix[1].any(1)
        if self.consistent and seen is not None and len(seen):
            told = self.projection(states, said) if self.projection is not None else self._read(texts)
            out.regions, out.captions = seen, told
        return out

    @torch.no_grad()
    def _read(self, texts: Sequence[str]) -> Tensor:
        assert self.reader is not None
        read: Tensor = self.reader(list(texts)).pooled
        return read

    def _masks(self, tokens: Tokens) -> Tensor:
        assert self.masks is not None
        assert self.sound_in is not None
        height, _ = tokens.grid
        coarsest = rearrange(tokens.patches, "b t (h w) d -> (b t) d h w", h=height)
        maps = [*(level.flatten(0, 1) for level in tokens.pyramid), coarsest]
        found = self.masks(maps, self.sound_in(rearrange(tokens.audio, "b t d -> (b t) 1 d"))).logits
        return found.unflatten(0, tokens.valid.shape)

    def _memory(
        self, tokens: Tokens, masks: Tensor | None, shown: Tensor | None, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """For captions of some steps.

        Returns:
            What they may look at (N, M, E), the picture as one token (N, E), picture, sound and region as what they are
            about (N, E), and what the image encoder saw of the region (N, C).
        """
        maps = rearrange(tokens.patches, "b t (h w) d -> (b t) d h w", h=tokens.grid[0])[rows]
        patches = self.memory_in["patches"](shrink(maps, (self.places, self.places)).flatten(2).transpose(1, 2))
        sound = self.memory_in["audio"](tokens.audio.flatten(0, 1)[rows])[:, None] + self.kind[1]
        parts, seen = [patches + self.kind[0], sound], None
        if self.region is not None and masks is not None:
            if tokens.picture is None:
                raise ValueError(
                    "Regions are cut out of pictures, and the batch has stored features instead. Train on pictures, or "
                    "set system.mcm and system.rcc to false."
                )
            cover = masks[:, :, 0].sigmoid()
            if shown is not None:
                true = F.interpolate(shown, cover.shape[-2:], mode="nearest-exact")
                cover = torch.where(true.isnan(), cover, true)
            pictures, cover = tokens.picture.flatten(0, 1)[rows], cover.flatten(0, 1)[rows]
            if self.collaboration is not None:
                region, seen = self.collaboration(pictures, cover, self._look)
                parts.append(region + self.kind[2])
            elif self.training:
                seen = self._look(cut_out(pictures, cover, side=self.side))
        topic = self.topic(torch.cat([part.mean(1) for part in parts], -1))
        return torch.cat(parts, 1), patches.mean(1), topic, seen

    def _look(self, pictures: Tensor) -> Tensor:
        assert self.region is not None
        found: Tensor = self.region(pictures).frame
        return found

    def _expert(self, tokens: Tokens, rows: Tensor) -> tuple[Tensor, Tensor] | None:
        """The expert's features as some steps see them, (N, M, E), and which are known, (N, M); None without router."""
        if self.router is None:
            return None
        batch, steps = tokens.valid.shape
        if tokens.expert is None or tokens.expert_known is None:
            nothing = tokens.audio.new_zeros(batch, 1, self.router.expert)
            found, known = nothing, torch.zeros(batch, 1, dtype=torch.bool, device=nothing.device)
        else:
            found, known = tokens.expert, tokens.expert_known
        read = self.router.read(found, steps).flatten(0, 1)[rows]
        return read, known[:, None].expand(-1, steps, -1).flatten(0, 1)[rows]

    def _mix(self, states: Tensor, picture: Tensor, mix: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """States with the expert's part, and its share."""
        if mix is None or self.router is None:
            return states, states.new_zeros(states.shape[:2])
        mixed, share = self.router(states, picture, *mix)
        return mixed, share

    def _write(
        self,
        out: SourceOutput,
        tokens: Tokens,
        rows: Tensor,
        memory: Tensor,
        picture: Tensor,
        topic: Tensor,
        seen: Tensor | None,
        mix: tuple[Tensor, Tensor] | None,
    ) -> None:
        """Generate captions of the rows of `memory`, or of those that say something new."""
        assert self.decoder is not None
        new = torch.ones(len(memory), dtype=torch.bool, device=memory.device)
        if self.steady:
            new = self._changes(tokens, out.masks, seen)[rows]
        shares: list[Tensor] = []

        def finish(states: Tensor, numbers: Tensor) -> Tensor:
            assert mix is not None
            chosen = numbers_of_new[numbers]
            mixed, share = self._mix(states, picture[chosen], (mix[0][chosen], mix[1][chosen]))
            if not shares:
                shares.append(share[:, 0])
            return mixed

        numbers_of_new = new.nonzero()[:, 0]
        use: Finish | None = finish if mix is not None else None
        found = self.decoder.generate(memory[new], self.most, self.beams, finish=use, topic=topic[new])
        told = new.cumsum(0) - 1  # the caption that each row repeats
        every = found.new_full((len(rows), found.shape[1]), self.decoder.pad)
        every[rows] = found[told]
        out.words = every
        out.written = torch.zeros_like(rows).masked_scatter(rows, new)
        if mix is not None:
            known = mix[1].any(1)
            out.known = torch.zeros_like(rows).masked_scatter(rows, known)
            first = shares[0] if self.beams == 1 else shares[0].unflatten(0, (-1, self.beams))[:, 0]
            out.share = first.new_zeros(len(rows)).masked_scatter(rows, first[told])

    def _changes(self, tokens: Tokens, masks: Tensor | None, seen: Tensor | None) -> Tensor:
        """Steps whose caption should be new, bool (B T,): the first of a clip, and where what it is about has changed.

        That is what the mask covers and what is heard, by the cosine to the last step that was described; where a mask
        becomes empty or stops being so, it always counts as changed, so that nothing is described that left the view.
        """
        batch, steps = tokens.valid.shape
        parts = [F.normalize(tokens.audio.float(), dim=-1), F.normalize(tokens.frame.float(), dim=-1)]
        if seen is not None:
            parts.append(F.normalize(_spread(seen, tokens.valid).float(), dim=-1))
        far = torch.stack([1 - torch.einsum("btd,bsd->bts", x, x) for x in parts]).amax(0)
        if masks is not None:
            full = (masks[:, :, 0] > 0).flatten(2).any(2)
            far = torch.where(full[:, :, None] == full[:, None], far, torch.inf)
        near, valid = far.tolist(), tokens.valid.tolist()
        new = [[False] * steps for _ in range(batch)]
        for clip in range(batch):
            last = -1
            for step in range(steps):
                if valid[clip][step] and (last < 0 or near[clip][step][last] > self.steady):
                    new[clip][step], last = True, step
        return torch.tensor(new, device=far.device).flatten()


def _spread(x: Tensor, valid: Tensor) -> Tensor:
    """Rows of valid steps back to (B, T, ...)."""
    out = x.new_zeros((*valid.shape, *x.shape[1:]))
    out[valid] = x
    return out
