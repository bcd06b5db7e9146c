# SPDX-License-Identifier: Apache-2.0
"""What SSUFormer's answering part returns: masks, and logits of true captions or generated captions."""

from dataclasses import dataclass

from torch import Tensor

from avkit.batch import exportable
from avkit.systems.ssuformer.slots import SlotTargets


@exportable
@dataclass
class ExpertShare:
    """Weight of the vision-language model in captions.

    Attributes:
        share: Mean weight in each caption, in [0, 1]; 0 where the model's features are unknown.
        available: bool, like `share`: whether there were features.
    """

    share: Tensor
    available: Tensor


@exportable
@dataclass
class TaughtCaptions:
    """Logits of the N true captions of a batch, each word given the true words before it.

    Attributes:
        logits: (N, L - 1, pieces).
        pieces: The true captions, int64 (N, L), start and end included.
        regions: Embeddings of the masked regions, (N, C), for regional consistency; None without it.
        captions: Embeddings of the captions in the same space, (N, C); None without it.
        expert: Expert's share in each caption, N of them; None without a router.
    """

    logits: Tensor
    pieces: Tensor
    regions: Tensor | None = None
    captions: Tensor | None = None
    expert: ExpertShare | None = None


@exportable
@dataclass
class GeneratedCaptions:
    """Captions of all steps.

    Attributes:
        pieces: int64 (B T, L), padding where a step is not valid.
        new: bool (B, T), steps whose caption was generated; the others repeat the one before.
        expert: Expert's share in the words of each caption, (B, T); None without a router.
    """

    pieces: Tensor
    new: Tensor
    expert: ExpertShare | None = None


@exportable
@dataclass
class GeneratedSources:
    """Captions of single sources.

    Attributes:
        pieces: int64 (N, L), of the N sources and steps in `written`, in its order.
        written: bool (K, B, T), where a caption was generated.
        present: bool (K, B, T), where a source has a mask; without a new caption it has that of the step before.
    """

    pieces: Tensor
    written: Tensor
    present: Tensor


@exportable
@dataclass
class UnderstandingOutput:
    """Masks and captions.

    Attributes:
        masks: Logits (B, T, 1, H, W); None where only captions are asked for.
        taught: Logits of true captions, in training.
        generated: Generated captions, outside of training.
        slots: Logits of the source that each pixel belongs to, (B, T, K, h, w); None where they are not kept apart.
        slot_targets: What each slot is to be, in training.
        generated_sources: Generated captions of each source, outside of training.
    """

    masks: Tensor | None = None
    taught: TaughtCaptions | None = None
    generated: GeneratedCaptions | None = None
    slots: Tensor | None = None
    slot_targets: SlotTargets | None = None
    generated_sources: GeneratedSources | None = None
