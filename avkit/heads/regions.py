# SPDX-License-Identifier: Apache-2.0
"""Masks of sounding regions and a caption about them per step: the default head of `ra_ssu`."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, CaptionWords, Losses, Prediction, Tokens, exportable
from avkit.heads.base import Head, HeadInputs, NoOptions
from avkit.heads.caption import CaptionDecoder
from avkit.heads.mask import MaskDecoder, count_maps
from avkit.heads.region import RegionTokens
from avkit.nn.captions import group_by_clip, written_captions
from avkit.nn.losses import focal_loss, mentions_loss
from avkit.nn.mask_losses import MaskOutput, image_size_of, known_steps, mask_losses, upsample
from avkit.nn.sent import sent
from avkit.text.tokenizer import PAD, WordTokenizer

#: Weight of the mask's loss; the caption's is the rest (SSUFormer, a = 0.25).
MASK_WEIGHT = 0.25
#: Longest training caption in words; one more is the end.
MAX_WORDS = 39
#: Share of training steps that show the caption decoder true regions instead of predicted ones.
TRUE_REGIONS = 0.5


@exportable
@dataclass
class RegionOutput:
    """Masks, and either logits of the true captions or generated captions.

    Attributes:
        mask: Masks and classes.
        words: The true captions, int64 (N, L), start and end included; None where captions were generated.
        word_logits: Logits of each next word of the true captions, (N, L - 1, words).
        mentions: Logits of each word's being in the true caption, (N, words).
        generated: Generated captions, int64 (B T, L); None in training.
    """

    mask: MaskOutput
    words: Tensor | None = None
    word_logits: Tensor | None = None
    mentions: Tensor | None = None
    generated: Tensor | None = None


class RegionHead(Head):
    """A mask per step, then a caption from picture, sound and the sounding regions.

    In training the caption decoder reads the true words so far, and in half of the steps the true regions: captions
    need not wait for good masks, and still learn to work with poor ones.

    Loss: `a` times the masks' and `1 - a` times the focal loss of the caption's words, a = 0.25 (RA-SSU), and the loss
    of predicting which words the caption has; where the data name the class of each source, class masks are learned
    along with the mask.

    Args:
        inputs: Width of the tokens, pyramid, classes and words.
        options: None.

    Raises:
        ValueError: If the dataset has no words.
    """

    needs_own_sound = True

    def __init__(self, inputs: HeadInputs, options: NoOptions = NoOptions()) -> None:  # noqa: B008, it is frozen
        super().__init__()
        if not inputs.vocabulary.words:
            raise ValueError("Captions need words, and the dataset's vocabulary has none. Use a dataset with captions.")
        self.tokenizer = WordTokenizer(inputs.vocabulary.words)
        self.mask = MaskDecoder(inputs.width, inputs.pyramid_widths, count_maps(inputs))
        self.regions = RegionTokens(inputs.width, inputs.pyramid_widths)
        self.caption = CaptionDecoder(inputs.width, len(self.tokenizer))

    def forward(self, tokens: Tokens, batch: Batch) -> RegionOutput:
        """Masks, and logits of the batch's captions in training, generated captions else."""
        mask: MaskOutput = self.mask(tokens)
        maps = region_maps(mask.maps)
        if self.training:
            maps = mix_regions(maps, batch)
        regions, presence = self.regions(tokens, maps)
        memory = self.caption.memory(tokens, regions)
        presence = presence.flatten(0, 1)
        if not self.training:
            return RegionOutput(mask, generated=self._generate(memory, presence, tokens.valid.flatten()))
        captions = tokens.captions or self.read_captions(batch)
        rows = captions.rows
        word_logits, mentions = self.caption(
            memory.index_select(0, rows), captions.words[:, :-1], presence.index_select(0, rows)
        )
        return RegionOutput(mask, captions.words, word_logits, mentions)

    def read_captions(self, batch: Batch) -> CaptionWords:
        """The written captions of a batch as numbers of words."""
        captions = written_captions(batch)
        words = self.tokenizer.encode(captions.texts, MAX_WORDS)
        return CaptionWords(sent(words, batch.valid.device), captions.rows)

    def loss(self, output: RegionOutput, batch: Batch) -> Losses:
        """`mask`, `classes` and `audio_classes` over annotated steps, `words` and `mentions` over written captions.

        Raises:
            ValueError: If the output was not made in training mode.
        """
        if output.words is None or output.word_logits is None or output.mentions is None:
            raise ValueError("This output has generated captions, which have no loss. Call `train()` before the head.")
        masks = mask_losses(output.mask, batch)
        words = focal_loss(output.word_logits.flatten(0, 1), output.words[:, 1:].flatten(), ignore=PAD)
        mentions = mentions_loss(output.mentions, output.words, PAD)
        total = MASK_WEIGHT * torch.stack(list(masks.values())).sum() + (1 - MASK_WEIGHT) * (words + mentions)
        return {"loss": total, **masks, "words": words, "mentions": mentions}

    def predict(self, output: RegionOutput, batch: Batch) -> Prediction:
        """`mask` and `caption`."""
        maps = output.mask.maps[:, :, :1]
        logits = upsample(maps, image_size_of(batch, maps))[:, :, 0].float()
        prediction = Prediction(batch.task, batch.id, {"mask": logits.sigmoid()})
        if output.generated is not None:
            texts = self.tokenizer.decode(output.generated)
            prediction.values["caption"] = group_by_clip(texts, batch)
        return prediction

    def graph_values(self, output: RegionOutput, batch: Batch) -> dict[str, Tensor]:
        """`mask`, and `caption_words`, numbers of the words of each step, int64 (B T, L), padded."""
        values: dict[str, Tensor] = {"mask": self.predict(replace(output, generated=None), batch).values["mask"]}
        if output.generated is not None:
            missing = self.caption.max_words - output.generated.shape[-1]
            values["caption_words"] = F.pad(output.generated, (0, missing), value=PAD)
        return values

    def _generate(self, memory: Tensor, presence: Tensor, valid: Tensor) -> Tensor:
        """Captions of the valid steps, int64 (B T, L), padding elsewhere."""
        if torch.compiler.is_compiling():  # a graph knows no number of valid steps
            return self.caption.generate(memory, presence).masked_fill(~valid[:, None], PAD)
        words = self.caption.generate(memory[valid], presence[valid])
        rows = words.new_full((len(memory), words.shape[1]), PAD)
        rows[valid] = words
        return rows


def region_maps(mask: Tensor) -> Tensor:
    """Soft regions (B, T, R, h, w) of logits (B, T, 1 + classes, h, w): the mask's, then each class's."""
    whole = mask[:, :, :1].sigmoid()
    if mask.shape[2] == 1:
        return whole
    return torch.cat([whole, mask[:, :, 1:].softmax(2)[:, :, 1:]], dim=2)


def mix_regions(predicted: Tensor, batch: Batch) -> Tensor:
    """Predicted regions (B, T, R, h, w) with the true ones in half of the steps, where these are annotated."""
    true = true_regions(batch, predicted)
    chosen = torch.rand(predicted.shape[:2], device=predicted.device)[..., None, None, None] < TRUE_REGIONS
    return torch.where(chosen & ~true.isnan(), true, predicted)


def true_regions(batch: Batch, like: Tensor) -> Tensor:
    """True regions, shaped as `like` (B, T, R, h, w); NaN where they are not annotated."""
    mask = batch.targets["mask"].float()
    parts = [mask]
    if like.shape[2] > 1:
        class_mask = batch.targets.get("class_mask")
        parts.append(torch.full_like(mask, torch.nan) if class_mask is None else class_mask.float())
    unknown = ~known_steps(batch)[..., None, None, None]
    maps = torch.stack(parts, dim=2).masked_fill(unknown, torch.nan)
    small = F.interpolate(maps.flatten(0, 1), like.shape[-2:], mode="nearest-exact").unflatten(0, maps.shape[:2])
    class_map = small[:, :, 1:]
    numbers = torch.arange(1, like.shape[2], device=like.device)[:, None, None]
    classes = torch.where(class_map.isnan(), class_map, (class_map == numbers).to(class_map.dtype))
    return torch.cat([small[:, :, :1], classes], dim=2)
