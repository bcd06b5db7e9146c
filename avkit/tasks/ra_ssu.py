# SPDX-License-Identifier: Apache-2.0
"""Region-aware sound source understanding: the region that sounds and a sentence about it, for every step."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, Caption, ClassMask, Mask
from avkit.batch import Batch, Prediction, Tokens, Vocabulary
from avkit.heads.caption import CaptionHead
from avkit.heads.mask import MaskHead, MaskOutput
from avkit.heads.region import RegionTokens
from avkit.metrics.captions import CaptionScores
from avkit.nn.losses import focal_loss, mentions_loss
from avkit.tasks.base import Baseline, Task
from avkit.tasks.masks import (
    constant_masks,
    count_classes,
    known_steps,
    mask_losses,
    mask_metrics,
    picture_size,
    score_masks,
    upsample,
)
from avkit.text.tokenizer import PAD, WordTokenizer, split_words

#: Weight of the mask's loss; the caption's is the rest (SSUFormer, a = 0.25).
MASK_WEIGHT = 0.25


@dataclass
class RegionOutput:
    """What the head says.

    Attributes:
        mask: Masks and classes.
        word_logits: Of taught captions, (N, L, words).
        mentions: Logits of each word's being in a taught caption, (N, words).
        words: Generated instead, int64 (B T, L).
    """

    mask: MaskOutput
    word_logits: Tensor | None = None
    mentions: Tensor | None = None
    words: Tensor | None = None


class RegionHead(nn.Module):
    """Masks first; then a caption from picture, sound and the regions that sound.

    Args:
        width: Width D of the tokens.
        pyramid_widths: Widths of the pyramid's maps, finest first.
        words: Size of the caption's vocabulary.
        classes: Class maps with background, 0 for none.
    """

    def __init__(self, width: int, pyramid_widths: Sequence[int], words: int, classes: int = 0) -> None:
        super().__init__()
        self.mask = MaskHead(width, pyramid_widths, classes)
        self.regions = RegionTokens(width, pyramid_widths)
        self.caption = CaptionHead(width, words)

    def forward(
        self, tokens: Tokens, words: Tensor | None = None, taught: Tensor | None = None, shown: Tensor | None = None
    ) -> RegionOutput:
        """Masks and captions.

        Args:
            tokens: What the backbone made.
            words: Taught captions up to the word before the last, int64 (N, L); None generates instead.
            taught: bool (B, T), the N steps that have a caption.
            shown: True mask and, with classes, class mask, float (B, T, 1 or 2, H, W), NaN where unknown. They stand
                for the predicted ones in half of the taught steps: captions need not wait for good masks, and still
                learn to live with poor ones.
        """
        mask = self.mask(tokens)
        regions = region_maps(mask.maps)
        if shown is not None:
            true = true_regions(shown, regions)
            take = torch.rand(regions.shape[:2], device=regions.device)[..., None, None, None] < 0.5
            regions = torch.where(take & ~true.isnan(), true, regions)
        found_regions, present = self.regions(tokens, regions)
        memory, present = self.caption.memory(tokens, found_regions), present.flatten(0, 1)
        if words is None or taught is None:
            steps = tokens.valid.flatten()
            found = self.caption.generate(memory[steps], present[steps])
            rows = found.new_full((len(memory), found.shape[1]), PAD)
            rows[steps] = found
            return RegionOutput(mask, words=rows)
        told = taught.flatten()
        logits, mentions = self.caption(memory[told], words, present[told])
        return RegionOutput(mask, logits, mentions)


def region_maps(mask: Tensor) -> Tensor:
    """Soft regions (B, T, R, h, w) of logits (B, T, 1 + classes, h, w): the mask's, then each class's."""
    whole = mask[:, :, :1].sigmoid()
    return torch.cat([whole, mask[:, :, 1:].softmax(2)[:, :, 1:]], dim=2) if mask.shape[2] > 1 else whole


def true_regions(shown: Tensor, like: Tensor) -> Tensor:
    """Regions (B, T, R, h, w), shaped as `like`, of true masks and classes (B, T, 1 or 2, H, W); NaN where unknown."""
    small = F.interpolate(shown.flatten(0, 1), like.shape[-2:], mode="nearest-exact").unflatten(0, shown.shape[:2])
    mask, kinds = small[:, :, :1], small[:, :, 1:]
    numbers = torch.arange(1, like.shape[2], device=like.device)[:, None, None]
    return torch.cat([mask, torch.where(kinds.isnan(), kinds, (kinds == numbers).to(kinds.dtype))], dim=2)


class RegionAwareUnderstanding(Task):
    """A mask and a caption per step.

    Loss: `a` times the masks' and `1 - a` times the focal loss of the caption's words, a = 0.25 (RA-SSU), with
    the loss of guessing which words the caption has; where the data name the class of each source, class masks are
    learnt along with the mask.
    """

    name = "ra_ssu"
    answers: ClassVar[tuple[type[Answer], ...]] = (Caption, Mask, ClassMask)
    forms: ClassVar[tuple[str, ...]] = ("masks", "caption")
    targets = ("mask", "mask_known", "caption")
    required_for_training = ("caption",)
    optional: ClassVar[tuple[str, ...]] = ("class_mask",)
    stepwise = True
    sampling_weight = 2.0
    benchmark = "f-music"
    prompt = "segment what makes a sound and say what it is and does"
    monitor = "BLEU-4"
    headline = ("mIoU", "BLEU-4")

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__(vocabulary)
        if not vocabulary.words:
            raise ValueError(
                "Task 'ra_ssu' needs words, and the dataset's vocabulary has none. Use a dataset with captions."
            )
        self.tokenizer = WordTokenizer(vocabulary.words)

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """Masks and words."""
        return RegionHead(width, pyramid_widths, len(self.tokenizer), count_classes(self.vocabulary))

    def inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The true captions without their last word, and which steps have one."""
        words, taught = self._taught(batch)
        return {"words": words[:, :-1], "taught": taught, "shown": self._shown(batch)}

    def loss(self, out: Any, batch: Batch) -> dict[str, Tensor]:
        """Of a `RegionOutput`: `mask`, `classes` and `heard` over annotated steps, `words` over written captions."""
        if out.word_logits is None or out.mentions is None:
            raise ValueError("The loss of 'ra_ssu' needs an output made with `inputs(batch)`.")
        words, _ = self._taught(batch)
        masks = mask_losses(out.mask, batch)
        said = focal_loss(out.word_logits.flatten(0, 1), words[:, 1:].flatten(), ignore=PAD)
        mentions = mentions_loss(out.mentions, words, PAD)
        seen = torch.stack(list(masks.values())).sum()
        total = MASK_WEIGHT * seen + (1 - MASK_WEIGHT) * (said + mentions)
        return {"loss": total, **masks, "words": said, "mentions": mentions}

    def predict(self, out: Any, batch: Batch) -> Prediction:
        """`mask`, `mask_logits` and `caption`."""
        logits = upsample(out.mask.maps[:, :, :1], picture_size(batch, out.mask.maps))[:, :, 0].float()
        values: dict[str, Any] = {"mask": logits.sigmoid(), "mask_logits": logits}
        if out.words is not None:
            texts, steps = self.tokenizer.decode(out.words), batch.valid.shape[1]
            values["caption"] = [texts[i : i + steps] for i in range(0, len(texts), steps)]
        return Prediction(self.name, batch.id, values)

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """mIoU, F, and pycocoevalcap's scores of captions; `quick` has BLEU alone."""
        captions = CaptionScores("plain", meteor=False, rouge=False, cider=False) if quick else CaptionScores()
        return mask_metrics() | {"": captions}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score annotated masks and written captions."""
        score_masks(metrics, prediction, batch)
        self.score_captions(metrics, prediction, batch)

    def score_captions(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score written captions alone."""
        pairs = [
            (guess, truth)
            for guesses, truths in zip(prediction["caption"], batch.targets["caption"], strict=True)
            for guess, truth in zip(guesses, truths, strict=False)  # a padded clip has more guesses than truths
            if truth
        ]
        metrics[""].update([p[0] for p in pairs], [p[1] for p in pairs])

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Constant masks, each with the commonest caption and with the most typical one."""
        texts = [text for batch in batches for clip in batch.targets["caption"] for text in clip if text]
        captions = {"commonest caption": Counter(texts).most_common(1)[0][0], "typical caption": _typical(texts)}

        def rule(mask: Any, caption: str) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                logits = mask(batch)
                said = [[caption] * logits.shape[1] for _ in batch.id]
                return Prediction(self.name, batch.id, {"mask_logits": logits, "caption": said})

            return answer

        masks = constant_masks(batches)
        return {f"{m}, {c}": rule(masks[m], captions[c]) for m in masks for c in captions}

    def _shown(self, batch: Batch) -> Tensor:
        """True mask and, with classes, class mask, float (B, T, 1 or 2, H, W), NaN where unknown."""
        mask = batch.targets["mask"].float()
        parts = [mask]
        if self.vocabulary.classes:
            kinds = batch.targets.get("class_mask")
            parts.append(kinds.float() if kinds is not None else torch.full_like(mask, torch.nan))
        return torch.stack(parts, dim=2).masked_fill(~known_steps(batch)[..., None, None, None], torch.nan)

    def _taught(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Captions that were written, int64 (N, L), and where, bool (B, T)."""
        device = batch.valid.device
        steps = batch.valid.shape[1]
        rows = [[*clip, *[""] * (steps - len(clip))] for clip in batch.targets["caption"]]
        written = torch.tensor([[bool(text) for text in row] for row in rows])
        words = self.tokenizer.encode([text for row in rows for text in row if text], max_tokens=39)
        return words.to(device), written.to(device)


def _typical(texts: list[str], most: int = 200) -> str:
    """The caption that shares most four-word runs with the others, of the `most` commonest."""
    runs = Counter(run for text in texts for run in _runs(text))
    candidates = [text for text, _ in Counter(texts).most_common(most)]
    return max(candidates, key=lambda text: sum(runs[run] for run in _runs(text)) / max(1, len(_runs(text))))


def _runs(text: str) -> set[tuple[str, ...]]:
    words = split_words(text)
    return {tuple(words[i : i + 4]) for i in range(len(words) - 3)}
