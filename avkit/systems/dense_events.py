# SPDX-License-Identifier: Apache-2.0
"""What UnAV and CCNet share: a trunk, a neck, a decoder of events, and the way of their names."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.nn.cross_modal_pyramid import CrossModal, CrossModalPyramid
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_levels import EventLevel
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.dense_task import OfficialDenseEvents
from avkit.systems.features import FeatureConfig
from avkit.tasks.base import Task

#: Our names of parts of a block, and the official ones; in this order.
_BLOCK = (
    (r"\.attention\.(query|key|value)_conv\.weight$", r".attn.\1_conv.conv.weight"),
    (r"\.attention\.(query|key|value)_norm\.", r".attn.\1@norm."),
    (r"\.attention\.out\.", ".attn.proj."),
    (r"\.attention\.", ".attn."),
    (r"\.context_norm\.", ".ln11."),
    (r"\.query_norm\.", ".ln12."),
    (r"\.inner_norm\.", ".ln2."),
    (r"\.feed\.0\.", ".mlp.0."),
    (r"\.feed\.2\.", ".mlp.3."),
    (r"\.attention_path\.", ".drop_path_attn."),
    (r"\.feed_path\.", ".drop_path_mlp."),
    (r"@", "_"),
    (r"^trunk\.visual_in\.convs\.(\d+)\.", r"backbone.embd_V.\1.conv."),
    (r"^trunk\.audio_in\.convs\.(\d+)\.", r"backbone.embd_A.\1.conv."),
    (r"^trunk\.visual_in\.norms\.", "backbone.embd_norm_V."),
    (r"^trunk\.audio_in\.norms\.", "backbone.embd_norm_A."),
    (r"^trunk\.visual_self\.", "backbone.self_att_V."),
    (r"^trunk\.audio_self\.", "backbone.self_att_A."),
    (r"^decoder\.what\.convs\.(\d+)\.", r"cls_head.head.\1.conv."),
    (r"^decoder\.where\.convs\.(\d+)\.", r"reg_head.head.\1.conv."),
    (r"^decoder\.what\.norms\.", "cls_head.norm."),
    (r"^decoder\.where\.norms\.", "reg_head.norm."),
    (r"^decoder\.classes\.", "cls_head.cls_head.conv."),
    (r"^decoder\.reach\.", "reg_head.offset_head.conv."),
    (r"^decoder\.gain\.(\d+)$", r"reg_head.scale.\1.scale"),
    (r"(^|\.)dependency\.(expand|squeeze)\.", r"\1dependency.feature_\2.conv."),
    (r"(^|\.)dependency\.over_time\.", r"\1dependency.temporal_branch."),
    (r"(^|\.)dependency\.over_classes\.", r"\1dependency.cooccur_branch."),
)


class EventNetwork(OfficialNetwork):
    """Events of a video from its features: trunk, neck, decoder.

    Attributes:
        trunk: Makes a pyramid of both modalities.
        neck: Relates levels and classes; None for no neck.
        decoder: Reads the levels.
        length: Steps to which shorter videos are padded.
    """

    #: Further rules of names, which come after those that are shared.
    rules: ClassVar[tuple[tuple[str, str], ...]] = ()

    trunk: CrossModalPyramid
    neck: nn.Module | None
    decoder: EventDecoder
    length: int

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[EventLevel]:
        """From features to events at every point.

        Args:
            visual: (B, T, visual width).
            audio: (B, T, audio width).
            valid: bool (B, T), False on padding.

        Returns:
            The levels, finest first, for T padded to what the network takes.
        """
        visual, audio, valid = self.pad(visual, audio, valid)
        return self.read(self.look(visual, audio, valid))

    def pad(self, visual: Tensor, audio: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Videos at the length that the network takes."""
        more = self.takes(valid.shape[1]) - valid.shape[1]
        return F.pad(visual, (0, 0, 0, more)), F.pad(audio, (0, 0, 0, more)), F.pad(valid, (0, more))

    def takes(self, steps: int) -> int:
        """Steps that the network takes for videos of at most `steps`."""
        unit = 2 ** (self.trunk.count - 1)
        return self.length if steps <= self.length else -(-steps // unit) * unit

    def look(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[CrossModal]:
        """The trunk's levels."""
        return self.trunk(visual, audio, valid)

    def relate(self, levels: list[CrossModal]) -> list[Tensor]:
        """The neck's levels, (B, T_l, 2 D)."""
        return [level.both() for level in levels]

    def read(self, levels: list[CrossModal]) -> list[EventLevel]:
        """Events of the trunk's levels."""
        return self.decoder(self.relate(levels), [level.valid for level in levels])

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        for pattern, there in (*_BLOCK, *cls.rules):
            key = re.sub(pattern, there, key)
        return key

    @classmethod
    def as_theirs(cls, key: str, tensor: Tensor) -> Tensor:
        """Norms and gains are the middle one of three dimensions there; layers over channels are convolutions."""
        if re.search(r"(norm|norms\.\d+)\.(weight|bias)$|_path\.scale$", key):
            return tensor[None, :, None]
        if _is_wide(key, tensor):
            return tensor.mT.contiguous()
        return tensor[..., None] if tensor.ndim == 2 and not re.search(r"\.(stretch|spread)\.", key) else tensor

    @classmethod
    def as_ours(cls, key: str, tensor: Tensor, like: Tensor) -> Tensor:
        """The other way; weights of convolutions over three steps have the steps before the channels here."""
        return tensor.mT.contiguous() if _is_wide(key, like) else tensor.reshape(like.shape)

    @classmethod
    def sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Arguments that both networks have, as official weights tell them."""
        classes = len(state["cls_head.cls_head.conv.bias"])
        return {
            "visual": state["backbone.embd_V.0.conv.weight"].shape[1],
            "audio": state["backbone.embd_A.0.conv.weight"].shape[1],
            "classes": classes,
            "width": state["backbone.embd_V.0.conv.weight"].shape[0],
            "channels": len(state["cls_head.cls_head.conv.weight"][0]),
            "stages": count(state, r"backbone\.embd_V\.(\d+)\."),
            "blocks": count(state, r"backbone\.self_att_V\.(\d+)\."),
            "levels": count(state, r"reg_head\.scale\.(\d+)\."),
            "depth": 1 + count(state, r"cls_head\.head\.(\d+)\."),
            "aware": len(state["reg_head.offset_head.conv.bias"]) == 2 * classes,
        }


def _is_wide(key: str, tensor: Tensor) -> bool:
    """Whether a tensor is the weight of a `MaskedConv`."""
    return tensor.ndim == 3 and "_conv." not in key


def count(state: Mapping[str, Tensor], pattern: str) -> int:
    """How many numbers there are in keys of a pattern, from 0."""
    return 1 + max((int(found[1]) for key in state if (found := re.match(pattern, key))), default=-1)


@dataclass
class EventConfig(FeatureConfig):
    """What UnAV and CCNet share in a run.

    Attributes:
        width: Width D of each modality.
        heads: Attention heads.
        length: Steps that shorter videos are padded to.
        channels: Width of the decoder.
        stages: Convolutions at the start.
        blocks: Blocks of self-attention.
        levels: Levels of the pyramid.
        depth: Convolutions of the decoder's towers.
        aware: Boundaries for every class.
        inner: Width of a class's features where classes are related.
        drop_path: Share of samples that go without a residual branch in training.
        segment_weight: Factor of the loss of boundaries; 0 or less makes it as large as that of classes.
        smoothing: Label smoothing.
        normaliser: Positive points that the losses are divided by before any were counted.
    """

    answers: ClassVar = {"davel": OfficialDenseEvents}

    width: int = 512
    heads: int = 4
    length: int = 224
    channels: int = 512
    stages: int = 2
    blocks: int = 2
    levels: int = 6
    depth: int = 3
    aware: bool = True
    inner: int = 128
    drop_path: float = 0.1
    segment_weight: float = 1.0
    smoothing: float = 0.0
    normaliser: float = 250.0

    def make_task(self, cls: type[Task], vocabulary: Vocabulary) -> Task:
        """The task with the options of its loss."""
        return OfficialDenseEvents(vocabulary, self.segment_weight, self.smoothing, self.normaliser)

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> list[EventLevel]:
        """Events of a batch."""
        found: list[EventLevel] = network(senses.seen.frame, senses.heard, batch.valid)
        return found

    def arguments(self) -> dict[str, Any]:
        """Those of the network."""
        return self.own("segment_weight", "smoothing", "normaliser")
