# SPDX-License-Identifier: Apache-2.0
"""Options of SSUFormer's answering part, which its system and its head on the shared backbone have in common."""

from dataclasses import dataclass
from typing import ClassVar

from avkit.encoders.table import ENCODERS, SCENES
from avkit.errors import unknown_name

#: Most sources that can be kept apart; their order is found by trying all.
MAX_SOURCES = 4
#: Value of `region` for the model's own features.
POOLED = "pooled"
#: The image encoder of regions that is always trained before: with random weights it says nothing.
_SMALL = "small_embedding"
#: Text encoders whose vectors lie in the space of an image encoder of another name.
_TEXT_OF = {_SMALL: "small_sentence"}
#: Accepted values of options that are a choice.
_CHOICES = {
    "text_loss": ("focal", "ce"),
    "mask_loss": ("dice", "dice+bce"),
    "rcc_text": ("predicted", "reference", "states"),
    "balance": ("fixed", "learned"),
}


@dataclass
class AnsweringOptions:
    """Options of the mask decoder, the text decoder, and what connects them.

    Attributes:
        heads: Attention heads of the mask decoder.
        mask_width: Width of the mask decoder.
        queries: Queries of the mask decoder.
        mask_layers: Layers of its pixel decoder, of its query decoder, and of its query generator, each.
        mask_inner: Width of its feed-forward layers.
        scale: Mask cells per cell of the finest feature map, on a side.
        text_width: Width of the text decoder.
        text_heads: Attention heads of the text decoder.
        text_layers: Layers of the text decoder.
        tied_embedding: Use the weights of the text decoder's embedding as its output layer too; a decoder with an
            output layer of its own learns sooner.
        positions: Longest caption in word pieces, start and end included.
        pooled_grid: Rows and columns that a picture's patches are averaged to before a caption reads them.
        dropout: Dropout rate in training.
        recompute: Recompute activations in the backward pass: less memory, more time.
        mask_loss: `dice` as in the paper, which has no gradient where nothing sounds, or `dice+bce`, with binary
            cross-entropy.
        text_loss: `ce`, the paper's baseline, or `focal` as in its other rows.
        balance: `fixed` weight of the mask loss, or `learned`: both losses come to contribute equally.
        mask_weight: Weight a of the mask loss, the caption loss has 1 - a; the initial one where it is learned.
        min_weight: Least weight of either loss where it is learned.
        region: Image encoder of masked regions, a name of `list_encoders("visual")`, which is frozen; or `pooled` for
            means of the model's own features under the mask.
        region_weights: Weights of that encoder and of the text encoder that belongs to it: empty, `hub`, a tag, or a
            path. Empty stands for random ones, but for those that come with avkit where `region` is `small_embedding`.
        mcm: Mask Collaboration Module: captions read the embedding of the masked region.
        mcm_teacher: Epochs at the beginning in which that region is the true mask's.
        rcc: Regional Consistency Constraint: the embeddings of a masked region and of its caption are drawn together.
            It needs a `region` that has a text encoder.
        rcc_text: Embedding of a caption: `predicted`, the predicted words through the frozen text encoder that belongs
            to `region`; `reference`, the true caption through it, which trains masks alone; or `states` of the text
            decoder through a layer that is trained, which any mask can satisfy.
        rcc_weight: Weight of the regional consistency loss, 1 in the paper, where it leads a short training.
        mohe: Mixture of Hierarchical-prompted Experts: a router between the text decoder and a vision-language model.
        expert_width: Width of the vision-language model's features; 0 for that of the data.
        beams: Beams of the search for a caption; 1 is greedy.
        max_pieces: Longest generated caption in word pieces.
        caption_change_threshold: Repeat a caption while its source has changed by less than this; 0 generates all.
        sources: Sources of a clip that are kept apart, each with a mask and a sentence of its own, up to 4; 1 for none.
        source_weight: Weight of the loss by which pixels are dealt out to sources.
    """

    #: Name of the group of these options on the command line, for messages.
    group: ClassVar[str] = "heads.ra_ssu"

    heads: int = 4
    mask_width: int = 32
    queries: int = 8
    mask_layers: int = 1
    mask_inner: int = 64
    scale: int = 1
    text_width: int = 96
    text_heads: int = 4
    text_layers: int = 2
    tied_embedding: bool = False
    positions: int = 64
    pooled_grid: int = 7
    dropout: float = 0.0
    recompute: bool = False
    mask_loss: str = "dice+bce"
    text_loss: str = "ce"
    balance: str = "fixed"
    mask_weight: float = 0.25
    min_weight: float = 0.05
    region: str = _SMALL
    region_weights: str | None = None
    mcm: bool = True
    mcm_teacher: int = 0
    rcc: bool = False
    rcc_text: str = "predicted"
    rcc_weight: float = 0.1
    mohe: bool = True
    expert_width: int = 0
    beams: int = 1
    max_pieces: int = 40
    caption_change_threshold: float = 0.0
    sources: int = 1
    source_weight: float = 0.25

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            ValueError: If a choice is unknown, or two options contradict each other.
        """
        if self.rcc_text == "clip":  # what `reference` was called
            self.rcc_text = "reference"
        for name, accepted in _CHOICES.items():
            if vars(self)[name] not in accepted:
                raise unknown_name(f"{self.group}.{name}", vars(self)[name], accepted)
        if not 1 <= self.sources <= MAX_SOURCES:
            raise ValueError(f"{self.group}.sources is {self.sources}; give 1 to {MAX_SOURCES}.")
        if self.sources > 1 and self.writes_captions and not self.mcm:
            raise ValueError(
                f"{self.group}.sources is {self.sources}, and a sentence about one source reads its masked region. Set "
                f"{self.group}.mcm to true, or sources to 1."
            )
        if self.max_pieces >= self.positions:
            raise ValueError(
                f"{self.group}.max_pieces is {self.max_pieces}; {self.positions} positions leave room for fewer."
            )
        if self.rcc and self.reads_text and self.caption_encoder is None:
            raise ValueError(
                f"{self.group}.rcc_text {self.rcc_text!r} needs the text encoder that belongs to {self.group}.region, "
                f"and {self.region!r} has none. Choose a region of {', '.join(self.paired_regions())}, set "
                f"{self.group}.rcc_text to 'states', or {self.group}.rcc to false."
            )

    @property
    def frozen_weights(self) -> str | None:
        """Where the weights of the encoders of regions and captions come from."""
        if self.region == _SMALL and self.region_weights is None:
            return SCENES
        return self.region_weights

    @property
    def reads_text(self) -> bool:
        """Whether regional consistency reads captions by a text encoder."""
        return self.rcc_text != "states"

    @property
    def caption_encoder(self) -> str | None:
        """Name of the text encoder whose vectors lie in the space of `region`; None where there is none."""
        if self.region in _TEXT_OF:
            return _TEXT_OF[self.region]
        in_both = self.region in ENCODERS["text"] or self.region.startswith("open_clip:")
        return self.region if in_both and self.region != "small" else None

    @staticmethod
    def paired_regions() -> list[str]:
        """Names of image encoders that have a text encoder of the same space."""
        both = ENCODERS["visual"].keys() & ENCODERS["text"].keys() - {"small"}
        return sorted({*_TEXT_OF, *both})

    @property
    def writes_captions(self) -> bool:
        """Whether captions are asked for."""
        return True

    @property
    def reads_regions(self) -> bool:
        """Whether masked regions are embedded."""
        return self.mcm or self.rcc
