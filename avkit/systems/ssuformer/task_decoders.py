# SPDX-License-Identifier: Apache-2.0
"""SSUFormer's answering part: masks of what sounds and captions of it, which its system and its head both use."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.encoders import build_text_encoder, build_visual_encoder
from avkit.encoders.base import SoftTextEncoder, VisualEncoder
from avkit.heads.base import HeadInputs
from avkit.nn.captions import group_by_clip
from avkit.nn.mask_losses import image_size_of, upsample
from avkit.systems.ssuformer.caption_tokenizer import CaptionTokenizer
from avkit.systems.ssuformer.criterion import UnderstandingCriterion
from avkit.systems.ssuformer.description import RegionDescription
from avkit.systems.ssuformer.experts import ExpertUsage
from avkit.systems.ssuformer.options import POOLED, AnsweringOptions
from avkit.systems.ssuformer.output import GeneratedSources, UnderstandingOutput
from avkit.systems.ssuformer.regions import ImageRegions, PooledRegions, RegionEmbedding
from avkit.systems.ssuformer.segmentation import SourceSegmentation, make_mask_decoder
from avkit.systems.ssuformer.slots import SlotRegions, SourceSlots, match_slots, slot_masks
from avkit.systems.ssuformer.text_decoder import TextDecoder


class TaskDecoders(nn.Module):
    """Masks, then captions of the masked regions, with the criterion that trains both.

    Args:
        options: Options of the decoders and of the criterion.
        inputs: Width of the tokens, pyramid, vocabulary, and width of the expert's features (0 for no router).
        masks: Whether masks are asked for.
        captions: Whether captions are asked for.

    Source:
        RA-SSU (arXiv 2603.09809), sections IV-B.3, IV-B.4 and IV-C.
    """

    def __init__(
        self, options: AnsweringOptions, inputs: HeadInputs, *, masks: bool = True, captions: bool = True
    ) -> None:
        super().__init__()
        self.options = options
        self.threshold = options.caption_change_threshold
        self.expert_usage = ExpertUsage()
        self.epoch = 0
        self.tokenizer: CaptionTokenizer | None = None
        self.segmentation: SourceSegmentation | None = None
        self.description: RegionDescription | None = None
        # all decoders and encoders come before the layers that connect them: the order decides the initial weights
        mask_decoder = make_mask_decoder(options, inputs) if masks else None
        regions: RegionEmbedding | None = None
        caption_encoder: SoftTextEncoder | None = None
        text_decoder: TextDecoder | None = None
        if options.reads_regions:
            regions = make_regions(options, inputs)
        if options.rcc and captions and options.reads_text:
            caption_encoder = make_caption_encoder(options, inputs.vocabulary.words)
        if captions:
            self.tokenizer = CaptionTokenizer(inputs.vocabulary, options.positions, options.group)
            text_decoder = make_text_decoder(options, self.tokenizer)
        self.criterion = UnderstandingCriterion(options, self.tokenizer.pieces.pad if self.tokenizer else 0)
        if mask_decoder is not None:
            self.segmentation = SourceSegmentation(mask_decoder, inputs.width)
        if self.tokenizer is not None and text_decoder is not None:
            self.description = RegionDescription(
                options, inputs, self.tokenizer, text_decoder, regions, caption_encoder
            )
        self.slots: SourceSlots | None = None
        if masks and options.sources > 1:
            self.slots = SourceSlots(options.mask_width, options.sources)

    def forward(self, tokens: Tokens, batch: Batch) -> UnderstandingOutput:
        """Masks, and logits of the batch's captions in training, generated captions else.

        A graph that is being traced has masks alone: how many captions are written is known only as they are.
        """
        output = UnderstandingOutput()
        regions: SlotRegions | None = None
        if self.segmentation is not None:
            masks = self.segmentation.decode(tokens)
            output.masks = masks.logits.unflatten(0, tokens.valid.shape)
            if self.slots is not None and not torch.compiler.is_compiling():
                regions = self._find_sources(output, masks.features, tokens, batch)
        if self.description is None or torch.compiler.is_compiling():
            return output
        if self.training and "caption" in batch.targets:
            shown = self.shows_true_masks
            output.taught = self.description.teach(tokens, output.masks, batch, true_masks=shown, slots=regions)
        else:
            output.generated = self.description.generate(tokens, output.masks, self.threshold)
            if regions is not None:
                new = output.generated.new
                output.generated_sources = self.description.generate_sources(tokens, regions.masks, new)
        return output

    def _find_sources(self, output: UnderstandingOutput, features: Tensor, tokens: Tokens, batch: Batch) -> SlotRegions:
        """Deal the pixels that sound out to slots; in training each slot is given its true source."""
        assert self.slots is not None
        assert output.masks is not None
        sounding = output.masks[:, :, 0].sigmoid() * tokens.valid[..., None, None]
        output.slots = self.slots(features.unflatten(0, tokens.valid.shape), sounding)
        regions = SlotRegions(slot_masks(output.masks, output.slots))
        if self.training and "mask" in batch.targets:
            output.slot_targets = match_slots(output.slots, batch)
            regions.source = output.slot_targets.source
        return regions

    @property
    def shows_true_masks(self) -> bool:
        """Whether captions read the regions of true masks in this epoch of training."""
        return self.options.mcm and self.epoch < self.options.mcm_teacher

    def loss(self, output: UnderstandingOutput, batch: Batch) -> Losses:
        """See `UnderstandingCriterion`."""
        losses: Losses = self.criterion(output, batch)
        return losses

    def predict(self, output: UnderstandingOutput, batch: Batch) -> Prediction:
        """`mask`, `caption` and `caption_written`, `source_mask` and `source_caption`, as far as they are asked for."""
        prediction = Prediction(batch.task, batch.id, {})
        if output.masks is not None:
            logits = upsample(output.masks, image_size_of(batch, output.masks)).float()
            prediction.values["mask"] = logits[:, :, 0].sigmoid()
            if output.slots is not None:
                prediction.values["source_mask"] = slot_masks(logits, output.slots.float())
        if output.generated_sources is not None and self.tokenizer is not None:
            texts = self.tokenizer.decode(output.generated_sources.pieces)
            prediction.values["source_caption"] = _by_step(texts, output.generated_sources)
        if output.generated is not None and self.tokenizer is not None:
            texts = self.tokenizer.decode(output.generated.pieces)
            prediction.values["caption"] = group_by_clip(texts, batch)
            prediction.values["caption_written"] = output.generated.new
            if output.generated.expert is not None:
                self.expert_usage.update(output.generated.expert, batch.valid)
        return prediction

    def on_epoch_start(self, epoch: int) -> None:
        """Remember how far training is."""
        self.epoch = epoch

    def on_evaluation_start(self) -> None:
        """Forget what was counted about the expert."""
        self.expert_usage.reset()

    def notes(self) -> list[str]:
        """Sentences for the report about captions that were cut, and about the expert's share."""
        notes = [] if self.tokenizer is None else self.tokenizer.notes()
        return [*notes, *self.expert_usage.notes()]

    def answering_modules(self) -> list[nn.Module]:
        """The modules that an answer takes; the text encoder of regional consistency is for training alone."""
        modules: list[nn.Module] = [self.criterion]
        if self.segmentation is not None:
            modules.append(self.segmentation)
        if self.description is not None:
            modules += [part for name, part in self.description.named_children() if name != "captions"]
        if self.slots is not None:
            modules.append(self.slots)
        return modules

    def region_encoder(self) -> VisualEncoder | None:
        """The image encoder of regions, where mask collaboration or regional consistency has one."""
        if self.description is None or not isinstance(self.description.regions, ImageRegions):
            return None
        return self.description.regions.encoder

    def set_caption_change_threshold(self, threshold: float) -> bool:
        """Repeat a caption while its source changes by less than `threshold`; returns whether there are captions."""
        self.threshold = threshold
        return self.description is not None


def _by_step(texts: Sequence[str], sources: GeneratedSources) -> list[list[list[str]]]:
    """The captions that were generated, as B lists of T lists of K; empty where a source has no mask."""
    count, clips, steps = sources.written.shape
    captions = [[[""] * count for _ in range(steps)] for _ in range(clips)]
    remaining = iter(texts)
    is_written = sources.written.tolist()
    for slot, clip, step in sources.present.nonzero().tolist():
        new = is_written[slot][clip][step]
        captions[clip][step][slot] = next(remaining) if new else captions[clip][step - 1][slot]
    return captions


def make_regions(options: AnsweringOptions, inputs: HeadInputs) -> RegionEmbedding:
    """The embedding of masked regions: a frozen image encoder, or the model's own features."""
    if options.region == POOLED:
        return PooledRegions(inputs)
    return ImageRegions(build_visual_encoder(options.region, options.frozen_weights), options.group)


def make_caption_encoder(options: AnsweringOptions, words: Sequence[str]) -> SoftTextEncoder:
    """The text encoder that belongs to the image encoder of regions, with weights from where that has its own.

    Raises:
        ValueError: If that encoder reads no embedded words.
    """
    name = options.caption_encoder
    assert name is not None  # the options have been checked
    encoder = build_text_encoder(name, options.frozen_weights, words)
    if not isinstance(encoder, SoftTextEncoder):
        raise ValueError(
            f"{options.group}.rcc reads predicted captions by the text encoder {name!r}, which takes no embedded "
            f"words. Choose a {options.group}.region of {', '.join(options.paired_regions())}."
        )
    return encoder


def make_text_decoder(options: AnsweringOptions, tokenizer: CaptionTokenizer) -> TextDecoder:
    """The text decoder for a tokenizer's word pieces."""
    pieces = tokenizer.pieces
    return TextDecoder(
        len(pieces),
        options.text_width,
        options.text_layers,
        options.text_heads,
        positions=options.positions,
        dropout=options.dropout,
        start=pieces.start,
        end=pieces.end,
        pad=pieces.pad,
        tied=options.tied_embedding,
        starts=[not piece.startswith("##") for piece in pieces.pieces],
    )
