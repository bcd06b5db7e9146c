# SPDX-License-Identifier: Apache-2.0
"""RA-SSU as SSUFormer answers it: its two decoders, its losses, and what its switches leave of the task."""

import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.batch import Batch, Prediction, Vocabulary
from avkit.encoders import build_text_encoder, build_visual_encoder
from avkit.nn.losses import dice_loss, focal_loss, mask_loss, mean_of
from avkit.nn.query_mask import QueryMaskDecoder
from avkit.systems.ssuformer.collaboration import region_consistency
from avkit.systems.ssuformer.decoders import AdaptiveWeight, SourceHead
from avkit.systems.ssuformer.network import SSUFormerConfig
from avkit.systems.ssuformer.text_decoder import TextDecoder
from avkit.tasks.masks import annotated, known_steps, mask_metrics, picture_size, score_masks, upsample
from avkit.tasks.ra_ssu import RegionAwareUnderstanding
from avkit.text.wordpiece import WordPieceTokenizer


class SourceUnderstanding(RegionAwareUnderstanding):
    """A mask and a caption per step, or one of them.

    Loss: `a L_seg + (1 - a) L_tex + L_clip` (RA-SSU, Eq. 4-6): Dice over annotated frames, focal loss per word
    piece, and the distance of what is under a mask and what is said about it.
    """

    forms: ClassVar[tuple[str, ...]] = ()
    may_read: ClassVar[tuple[str, ...]] = ()

    def __init__(self, vocabulary: Vocabulary, config: SSUFormerConfig) -> None:
        super().__init__(vocabulary)
        self.config = config
        self.sees, self.says = config.answers != "captions", config.answers != "masks"
        if not self.sees:
            self.headline = ("BLEU-4", "ROUGE-L")  # type: ignore[misc]
        if not self.says:
            self.headline, self.monitor = ("mIoU", "F"), "mIoU"  # type: ignore[misc]
        self.pieces = WordPieceTokenizer(vocabulary.pieces) if self.says else None
        self._cut = 0
        self.begin()

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Both decoders, or one."""
        config = self.config
        inside = config.mask_width
        masks = region = reader = None
        if self.sees:
            masks = QueryMaskDecoder(
                [*pyramid_widths, width],
                inside,
                queries=config.queries,
                layers=config.mask_layers,
                sound_layers=config.mask_layers,
                heads=config.heads,
                inner=config.mask_inner,
                sound_inner=max(32, config.mask_inner // 2),
                outer=(max(16, inside // 2), max(16, inside // 8)),
                scale=config.scale,
                dropout=config.dropout,
                recompute=config.recompute,
            )
        if config.mcm or config.rcc:
            region = build_visual_encoder(config.region, config.region_weights)
        if config.rcc and config.rcc_text == "clip":
            reader = build_text_encoder(config.region, config.region_weights)
        size = None if region is None else region.input_size
        return SourceHead(
            width,
            masks,
            self._decoder(),
            region,
            config.mcm,
            config.rcc,
            size[0] if size else None,
            config.expert if config.mohe else 0,
            config.places,
            config.beams,
            config.most,
            config.steady,
            AdaptiveWeight(config.a, config.balance == "learned", config.a_floor),
            reader,
        )

    def _decoder(self) -> TextDecoder | None:
        if self.pieces is None:
            return None
        config = self.config
        return TextDecoder(
            len(self.pieces),
            config.text_width,
            config.text_layers,
            config.text_heads,
            positions=config.positions,
            dropout=config.dropout,
            start=self.pieces.start,
            end=self.pieces.end,
            pad=self.pieces.pad,
        )

    def inputs(self, batch: Batch) -> dict[str, Any]:
        """The true captions without their last piece, which steps have one, and true masks while they teach."""
        if not self.says:
            return {}
        words, taught, texts = self._told(batch)
        given = {"words": words[:, :-1], "taught": taught, "texts": texts}
        if self.config.mcm and self.epoch < self.config.mcm_teacher:
            known = known_steps(batch)[..., None, None]
            given["shown"] = batch.targets["mask"].float().masked_fill(~known, torch.nan)
        return given

    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """`mask`, `words` and `consistency` of a `SourceOutput`, those there are.

        With them what is no loss but worth watching: `a` where it is learnt, and the `expert`'s share where it speaks.
        """
        parts: dict[str, Tensor] = {}
        if out.masks is not None:
            parts["mask"] = self._mask_loss(out.masks, batch)
        if out.word_logits is not None:
            words = self._told(batch)[0][:, 1:]
            gamma = 2.0 if self.config.text_loss == "focal" else 0.0
            assert self.pieces is not None
            parts["words"] = focal_loss(out.word_logits.flatten(0, 1), words.flatten(), gamma, self.pieces.pad)
        if not parts:
            raise ValueError("The loss of 'ra_ssu' needs an output made with `inputs(batch)`.")
        if len(parts) == 2:
            total = out.weight * parts["mask"] + (1 - out.weight) * parts["words"]
        else:
            (total,) = parts.values()
        if out.regions is not None and out.captions is not None:
            apart = region_consistency(out.regions, out.captions)
            parts["consistency"] = mean_of(apart.sum(), len(apart))
            total = total + self.config.rcc_weight * parts["consistency"]
        if isinstance(out.weight, Tensor):
            parts["a"] = out.weight
        if out.share is not None and out.known is not None and bool(out.known.any()):
            parts["expert"] = out.share[out.known].mean()
        return {"loss": total, **parts}

    def _mask_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Over annotated steps, at the size of the true masks."""
        target = annotated(batch.targets["mask"], batch)
        found = annotated(upsample(logits, (target.shape[-2], target.shape[-1])), batch)[:, 0]
        if self.config.mask_loss == "dice+bce":
            return mask_loss(found, target)
        return mean_of(dice_loss(found, target).sum(), len(target))

    def predict(self, out: Any, batch: Batch) -> Prediction:
        """`mask`, `mask_logits` and `caption`, those there are."""
        values: dict[str, Any] = {}
        if out.masks is not None:
            logits = upsample(out.masks, picture_size(batch, out.masks))[:, :, 0].float()
            values |= {"mask": logits.sigmoid(), "mask_logits": logits}
        if out.words is not None and self.pieces is not None:
            texts, steps = self.pieces.decode(out.words), batch.valid.shape[1]
            values["caption"] = [texts[i : i + steps] for i in range(0, len(texts), steps)]
        if out.written is not None:
            values["caption_written"] = out.written.view(batch.valid.shape)
        if out.share is not None and out.known is not None:
            valid = batch.valid.flatten()
            self._steps += int(valid.sum())
            self._known += int(out.known.sum())
            self._share += float(out.share[out.known & valid].sum())
        return Prediction(self.name, batch.id, values)

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """Those of masks, of captions, or both."""
        both = super().metrics(quick)
        return {name: x for name, x in both.items() if (self.sees if name in mask_metrics() else self.says)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score annotated masks and written captions, those that are predicted."""
        if self.sees:
            score_masks(metrics, prediction, batch)
        if self.says:
            self.score_captions(metrics, prediction, batch)

    def begin(self) -> None:
        """Forget how much the expert said before."""
        self._steps = self._known = 0
        self._share = 0.0

    def notes(self) -> list[str]:
        """What became of captions that were too long, and how much the expert said."""
        said = []
        if self._cut:
            said.append(
                f"{self._cut} training captions were longer than {self.config.positions - 2} word pieces and were cut; "
                "set system.positions higher to keep them."
            )
        if self.config.mohe and self.says and self._steps:
            if not self._known:
                said.append("No clip had features of an expert: the router kept to the caption decoder.")
            else:
                share, part = self._share / max(1, self._known), self._known / self._steps
                said.append(
                    f"The expert's share of captions was {share:.2f} where it had features, {100 * part:.0f} % of the "
                    "steps; elsewhere the router kept to the caption decoder."
                )
        return said

    def _told(self, batch: Batch) -> tuple[Tensor, Tensor, list[str]]:
        """Captions that were written, int64 (N, L), where, bool (B, T), and their texts."""
        assert self.pieces is not None
        steps = batch.valid.shape[1]
        rows = [[*clip, *[""] * (steps - len(clip))] for clip in batch.targets["caption"]]
        written = torch.tensor([[bool(text.strip()) for text in row] for row in rows])
        texts = [text for row in rows for text in row if text.strip()]
        words = self.pieces.encode(texts, max_tokens=self.config.positions - 2)
        self._warn(texts, words)
        device = batch.valid.device
        return words.to(device), written.to(device), texts

    def _warn(self, texts: list[str], words: Tensor) -> None:
        """Say once that captions are cut."""
        assert self.pieces is not None
        if words.shape[1] < self.config.positions:
            return
        long = [n for n in self.pieces.count(texts) if n > self.config.positions - 2]
        if long and not self._cut:
            warnings.warn(
                f"A caption has {max(long)} word pieces, and system.positions {self.config.positions} leave room for "
                f"{self.config.positions - 2}: it is cut there. Set system.positions higher to keep it whole.",
                stacklevel=2,
            )
        self._cut += len(long)
