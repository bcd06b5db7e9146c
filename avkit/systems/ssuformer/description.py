# SPDX-License-Identifier: Apache-2.0
"""Sound region description: a caption per step from picture, sound and masked region."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Tokens
from avkit.encoders.base import SoftTextEncoder
from avkit.heads.base import HeadInputs
from avkit.nn.captions import written_captions
from avkit.nn.mask_losses import known_steps
from avkit.systems.ssuformer.caption_changes import changed_steps
from avkit.systems.ssuformer.caption_context import CaptionContextEncoder
from avkit.systems.ssuformer.caption_rows import CaptionRows, join_rows
from avkit.systems.ssuformer.caption_tokenizer import CaptionTokenizer
from avkit.systems.ssuformer.collaboration import CaptionProjection, MaskCollaboration, PredictedCaptions
from avkit.systems.ssuformer.experts import ExpertFeatures, ExpertRouter
from avkit.systems.ssuformer.options import AnsweringOptions
from avkit.systems.ssuformer.output import ExpertShare, GeneratedCaptions, GeneratedSources, TaughtCaptions
from avkit.systems.ssuformer.regions import RegionEmbedding
from avkit.systems.ssuformer.slots import SlotRegions, with_true_masks
from avkit.systems.ssuformer.text_decoder import TextDecoder


class RegionDescription(nn.Module):
    """The text decoder with mask collaboration, regional consistency and the router of experts.

    Args:
        options: Options of the answering part.
        inputs: Width of the tokens and of the expert's features (0 for no router).
        tokenizer: Word pieces of captions.
        decoder: The text decoder.
        regions: Embedding of masked regions; None without mask collaboration and consistency.
        caption_encoder: Text encoder in the same space, for regional consistency; frozen here. None where the states
            of the text decoder are used instead.

    Source:
        RA-SSU (arXiv 2603.09809), section IV-B.4.
    """

    def __init__(
        self,
        options: AnsweringOptions,
        inputs: HeadInputs,
        tokenizer: CaptionTokenizer,
        decoder: TextDecoder,
        regions: RegionEmbedding | None,
        caption_encoder: SoftTextEncoder | None,
    ) -> None:
        super().__init__()
        self.options = options
        self.tokenizer = tokenizer
        self.decoder = decoder
        self.regions = regions
        self.captions: PredictedCaptions | None = None
        if caption_encoder is not None:
            self.captions = PredictedCaptions(caption_encoder, tokenizer.pieces.pieces)
        width = options.text_width
        self.context = CaptionContextEncoder(inputs.width, width, options.pooled_grid, regions=options.mcm)
        self.router: ExpertRouter | None = None
        self.projection: CaptionProjection | None = None
        self.collaboration: MaskCollaboration | None = None
        if options.mohe and inputs.expert_width:
            self.router = ExpertRouter(width, inputs.expert_width, options.text_heads, options.group)
        if regions is not None and options.rcc and caption_encoder is None:
            self.projection = CaptionProjection(width, regions.width)
        if regions is not None and options.mcm:
            self.collaboration = MaskCollaboration(regions.width, width)
        #: Marks the region of one source among several.
        self.of_source: nn.Parameter | None = None
        if options.sources > 1:
            self.of_source = nn.Parameter(torch.randn(width) * 0.02)

    def teach(
        self,
        tokens: Tokens,
        masks: Tensor | None,
        batch: Batch,
        *,
        true_masks: bool,
        slots: SlotRegions | None = None,
    ) -> TaughtCaptions:
        """Logits of the batch's captions, and behind them of those of single sources.

        Args:
            tokens: Tokens of the batch.
            masks: Mask logits (B, T, 1, H, W), or None.
            batch: The batch, with captions.
            true_masks: Let captions read the regions of the true masks, where these are annotated.
            slots: Where each source is, where sources are kept apart.
        """
        written = written_captions(batch)
        texts = list(written.texts)
        cover = None if masks is None else masks[:, :, 0].sigmoid()
        if cover is not None and true_masks:
            cover = with_true_masks(cover, batch.targets["mask"], known_steps(batch))
        parts = [self._rows(tokens, cover, written.steps.flatten())]
        if slots is not None:
            for slot in range(slots.masks.shape[2]):
                of_source = slots.written(slot, batch)
                shown = slots.shown(slot, batch, true=true_masks)
                parts.append(self._rows(tokens, shown, of_source.steps.flatten(), of_source=True))
                texts += of_source.texts
        rows = join_rows(parts)
        pieces = self.tokenizer.encode(texts).to(batch.valid.device)
        inputs = pieces[:, :-1]
        states = self.decoder(rows.context.memory, inputs, rows.context.topic)
        valid = inputs != self.decoder.pad
        mixed, expert = self._mix_expert(states, valid, rows)
        output = TaughtCaptions(self.decoder.logits(mixed), pieces, expert=expert)
        if self.options.rcc and rows.regions is not None and len(rows.regions):
            output.regions = rows.regions
            output.captions = self._embed_captions(output, states, texts)
        return output

    def generate(self, tokens: Tokens, masks: Tensor | None, threshold: float) -> GeneratedCaptions:
        """Captions of all valid steps; those whose source changed by less than `threshold` repeat the one before."""
        valid = tokens.valid.flatten()
        cover = None if masks is None else masks[:, :, 0].sigmoid()
        rows = self._rows(tokens, cover, valid)
        new = changed_steps(tokens, masks, rows.regions, threshold) if threshold else tokens.valid
        chosen = new.flatten()[valid]
        repeated = chosen.cumsum(0) - 1  # the generated caption that each valid step has
        pieces, shares = self._write(rows.chosen(chosen))
        pieces = _scatter_rows(pieces[repeated], valid, self.decoder.pad)
        if rows.expert is None or shares is None:
            return GeneratedCaptions(pieces, new)
        shares = _scatter_rows(shares[repeated], valid).view(new.shape)
        available = _scatter_rows(rows.expert.any_available, valid).view(new.shape)
        return GeneratedCaptions(pieces, new, ExpertShare(shares, available))

    def generate_sources(self, tokens: Tokens, masks: Tensor, new: Tensor) -> GeneratedSources:
        """Captions of each source in the steps in which it has a mask.

        Args:
            tokens: Tokens of the batch.
            masks: Probabilities of the mask of each source, (B, T, K, H, W).
            new: Steps whose caption is not that of the step before, bool (B, T). In the others a source has the caption
                of before too, if it had a mask there.
        """
        present = (masks > 0.5).flatten(3).any(3) & tokens.valid[..., None]
        before = torch.cat([torch.zeros_like(present[:, :1]), present[:, :-1]], 1)
        written = (present & (new[..., None] | ~before)).permute(2, 0, 1)
        parts = []
        for slot, steps in enumerate(written):
            parts.append(self._rows(tokens, masks[:, :, slot], steps.flatten(), of_source=True))
        pieces, _ = self._write(join_rows(parts))
        return GeneratedSources(pieces, written, present.permute(2, 0, 1))

    def _rows(self, tokens: Tokens, cover: Tensor | None, rows: Tensor, *, of_source: bool = False) -> CaptionRows:
        """What captions of the steps `rows` are written from; masks (B, T, h, w) are of all that sounds or a source."""
        region_tokens, regions = self._embed_regions(tokens, cover, rows)
        if of_source and region_tokens is not None and self.of_source is not None:
            region_tokens = region_tokens + self.of_source
        expert = None if self.router is None else self.router.select(tokens, rows)
        return CaptionRows(self.context(tokens, rows, region_tokens), regions, expert)

    def _embed_regions(self, tokens: Tokens, cover: Tensor | None, rows: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Region tokens (N, 1, E) and embeddings (N, C) of masks (B, T, h, w) in the steps `rows`, if they are used."""
        if self.regions is None or cover is None:
            return None, None
        if self.collaboration is None and not self.training:
            return None, None
        regions = self.regions(tokens, cover, rows, hard=not self.training)
        region_tokens = None if self.collaboration is None else self.collaboration(regions)
        return region_tokens, regions

    def _embed_captions(self, taught: TaughtCaptions, states: Tensor, texts: list[str]) -> Tensor:
        """Captions in the space of region embeddings, (N, C)."""
        if self.captions is None:
            assert self.projection is not None
            projected: Tensor = self.projection(states, taught.pieces[:, :-1] != self.decoder.pad)
            return projected
        if self.options.rcc_text == "reference":
            with torch.no_grad():
                return self.captions.encoder(texts).pooled
        special = torch.tensor([self.decoder.pad, self.decoder.end], device=states.device)
        lengths = torch.isin(taught.pieces[:, 1:], special, invert=True).sum(1)
        predicted: Tensor = self.captions(taught.logits, lengths)
        return predicted

    def _mix_expert(self, states: Tensor, valid: Tensor, rows: CaptionRows) -> tuple[Tensor, ExpertShare | None]:
        """States with the expert's part, and its share, where there is a router."""
        if self.router is None or rows.expert is None:
            return states, None
        mixed, weights = self.router(states, rows.context.frame, rows.expert)
        share = (weights * valid).sum(1) / valid.sum(1).clamp(min=1)
        return mixed, ExpertShare(share, rows.expert.any_available)

    def _write(self, rows: CaptionRows) -> tuple[Tensor, Tensor | None]:
        """Pieces of the captions (N, L), and with a router the expert's share in the words of each (N,)."""
        options = self.options
        context = rows.context
        mixing: ExpertMixing | None = None
        if self.router is not None and rows.expert is not None:
            mixing = ExpertMixing(self.router, context.frame, rows.expert)
        pieces = self.decoder.generate(
            context.memory, options.max_pieces, options.beams, transform=mixing, topic=context.topic
        )
        if mixing is None:
            return pieces, None
        read = F.pad(pieces, (1, 0), value=self.decoder.start)[:, :-1]
        _, share = self._mix_expert(self.decoder(context.memory, read, context.topic), pieces != self.decoder.pad, rows)
        return pieces, None if share is None else share.share


class ExpertMixing:
    """Mixes the expert into the states of captions that are being generated.

    Args:
        router: The router.
        frame: The picture's token of each of N captions, (N, E).
        expert: Features of the expert for each caption.
    """

    def __init__(self, router: ExpertRouter, frame: Tensor, expert: ExpertFeatures) -> None:
        self.router = router
        self.frame = frame
        self.expert = expert

    def __call__(self, states: Tensor, captions: Tensor) -> Tensor:
        """Mixed states of rows (N beams, 1, E); `captions` are the numbers of their captions, in order."""
        mixed, _ = self.router(states, self.frame[captions], self.expert.rows(captions))
        return mixed


def _scatter_rows(values: Tensor, rows: Tensor, fill: int = 0) -> Tensor:
    """Values of the chosen rows, (N, ...), at their places among all rows, bool (R,), and `fill` elsewhere."""
    out = values.new_full((len(rows), *values.shape[1:]), fill)
    out[rows] = values
    return out
