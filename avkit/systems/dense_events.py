# SPDX-License-Identifier: Apache-2.0
"""What UnAV, CCNet and UniAV share: trunk, neck, decoder and criterion, and official names."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor

from avkit.batch import Batch, FeatureWidths, Losses, Prediction
from avkit.nn.cross_modal_pyramid import CrossModalPyramid, PyramidLevel
from avkit.nn.event_criterion import EventCriterion
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_decoding import decode_events
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_options import EventLossOptions
from avkit.systems.base import Encoded, RunContext
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import FeatureConfig, FeatureSystem
from avkit.systems.official_keys import count_numbers
from avkit.systems.published import PublishedInputs

#: Our names of parts, as patterns, and the official ones; applied in this order.
_NAMES = (
    (r"\.attention\.(query|key|value)\.conv\.weight$", r".attn.\1_conv.conv.weight"),
    (r"\.attention\.(query|key|value)\.norm\.", r".attn.\1@norm."),
    (r"\.attention\.(query|key|value)\.linear\.", r".attn.\1."),
    (r"\.attention\.out\.", ".attn.proj."),
    (r"\.context_norm\.", ".ln11."),
    (r"\.query_norm\.", ".ln12."),
    (r"\.feed_forward_norm\.", ".ln2."),
    (r"\.feed_forward\.0\.", ".mlp.0."),
    (r"\.feed_forward\.2\.", ".mlp.3."),
    (r"\.attention_path\.", ".drop_path_attn."),
    (r"\.feed_forward_path\.", ".drop_path_mlp."),
    (r"@", "_"),
    (r"^trunk\.visual_in\.convs\.(\d+)\.", r"backbone.embd_V.\1."),
    (r"^trunk\.audio_in\.convs\.(\d+)\.", r"backbone.embd_A.\1."),
    (r"^trunk\.visual_in\.norms\.", "backbone.embd_norm_V."),
    (r"^trunk\.audio_in\.norms\.", "backbone.embd_norm_A."),
    (r"^trunk\.visual_self\.", "backbone.self_att_V."),
    (r"^trunk\.audio_self\.", "backbone.self_att_A."),
    (r"^decoder\.classification\.convs\.(\d+)\.", r"cls_head.head.\1."),
    (r"^decoder\.regression\.convs\.(\d+)\.", r"reg_head.head.\1."),
    (r"^decoder\.classification\.norms\.", "cls_head.norm."),
    (r"^decoder\.regression\.norms\.", "reg_head.norm."),
    (r"^decoder\.logits\.", "cls_head.cls_head."),
    (r"^decoder\.offsets\.", "reg_head.offset_head."),
    (r"^decoder\.scale\.(\d+)$", r"reg_head.scale.\1.scale"),
    (r"(^|\.)dependency\.(expand|squeeze)\.", r"\1dependency.feature_\2."),
    (r"(^|\.)dependency\.over_time\.", r"\1dependency.temporal_branch."),
    (r"(^|\.)dependency\.over_classes\.", r"\1dependency.cooccur_branch."),
)
#: Names of levels whose modalities attend to each other, in UnAV and UniAV.
CROSS_ATTENTION_NAMES = (
    (r"^trunk\.levels\.0\.visual\.", "backbone.ori_cross_att_Va."),
    (r"^trunk\.levels\.0\.audio\.", "backbone.ori_cross_att_Av."),
    *((rf"^trunk\.levels\.{i}\.visual\.", f"backbone.cross_att_Va.{i - 1}.") for i in range(1, 12)),
    *((rf"^trunk\.levels\.{i}\.audio\.", f"backbone.cross_att_Av.{i - 1}.") for i in range(1, 12)),
)
_NORM_OR_SCALE = re.compile(r"(norm|norms\.\d+)\.(weight|bias)$|_path\.scale$")
_DEPTHWISE = re.compile(r"\.(query|key|value)\.conv\.weight$")
_OVER_TIME = re.compile(r"\.(stretch|spread)\.")


class EventNetwork(OfficialNetwork):
    """Events of a video from its features: trunk, neck, decoder.

    Attributes:
        trunk: Makes a pyramid of both modalities.
        decoder: Reads the levels.
        length: Steps to which shorter videos are padded.
    """

    #: Further patterns of names, applied after those that are shared.
    names: ClassVar[tuple[tuple[str, str], ...]] = ()

    trunk: CrossModalPyramid
    decoder: EventDecoder
    length: int

    def forward(self, visual: Tensor, audio: Tensor, valid: Tensor, *prompts: Tensor) -> list[EventLevel]:
        """From features to events at every point.

        Args:
            visual: (B, T, visual width).
            audio: (B, T, audio width).
            valid: bool (B, T), False on padding.
            prompts: What the decoder reads beside the levels; the text features of the classes in UniAV, else nothing.

        Returns:
            The levels, finest first, for T padded to what the network takes.
        """
        visual, audio, valid = self.pad(visual, audio, valid)
        levels = self.pyramid(visual, audio, valid)
        output: list[EventLevel] = self.decoder(self.relate(levels), [level.valid for level in levels], *prompts)
        for events, level in zip(output, levels, strict=True):
            if level.audio_gate is not None and level.visual_gate is not None:
                events.audio_gate = level.audio_gate[..., 0]
                events.visual_gate = level.visual_gate[..., 0]
        return output

    def pad(self, visual: Tensor, audio: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Videos at the length that the network takes."""
        missing = self.padded_length(valid.shape[1]) - valid.shape[1]
        return F.pad(visual, (0, 0, 0, missing)), F.pad(audio, (0, 0, 0, missing)), F.pad(valid, (0, missing))

    def padded_length(self, steps: int) -> int:
        """Steps that videos of at most `steps` are padded to."""
        if steps <= self.length:
            return self.length
        unit = 2 ** (self.trunk.count - 1)
        return -(-steps // unit) * unit

    def pyramid(self, visual: Tensor, audio: Tensor, valid: Tensor) -> list[PyramidLevel]:
        """The trunk's levels."""
        levels: list[PyramidLevel] = self.trunk(visual, audio, valid)
        return levels

    @abstractmethod
    def relate(self, levels: list[PyramidLevel]) -> list[Tensor]:
        """The neck's levels, (B, T_l, 2 D)."""

    def official_name(self, key: str) -> str:
        """The authors' name of our key."""
        for ours, theirs in (*_NAMES, *self.names):
            key = re.sub(ours, theirs, key)
        return key

    @classmethod
    def to_official_tensor(cls, key: str, tensor: Tensor) -> Tensor:
        """Norms and scales are the middle one of three axes there; layers over channels are convolutions."""
        if _NORM_OR_SCALE.search(key):
            return tensor[None, :, None]
        if _is_conv3(key, tensor):
            return tensor.mT.contiguous()
        if tensor.ndim == 2 and not _OVER_TIME.search(key):
            return tensor[..., None]
        return tensor

    @classmethod
    def from_official_tensor(cls, key: str, tensor: Tensor, like: Tensor) -> Tensor:
        """The other way; weights of convolutions over three steps have the steps before the channels here."""
        if _is_conv3(key, like):
            return tensor.mT.contiguous()
        return tensor.reshape(like.shape)

    @classmethod
    def shared_arguments(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Arguments of networks that classify by a convolution, as official weights tell them."""
        classes = len(state["cls_head.cls_head.conv.bias"])
        return cls.trunk_arguments(state) | {
            "classes": classes,
            "channels": len(state["cls_head.cls_head.conv.weight"][0]),
            "aware": len(state["reg_head.offset_head.conv.bias"]) == 2 * classes,
        }

    @classmethod
    def trunk_arguments(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Arguments that all networks have, as official weights tell them."""
        return {
            "visual": state["backbone.embd_V.0.conv.weight"].shape[1],
            "audio": state["backbone.embd_A.0.conv.weight"].shape[1],
            "width": state["backbone.embd_V.0.conv.weight"].shape[0],
            "stages": count_numbers(state, r"backbone\.embd_V\.(\d+)\."),
            "blocks": count_numbers(state, r"backbone\.self_att_V\.(\d+)\."),
            "levels": count_numbers(state, r"reg_head\.scale\.(\d+)\."),
            "depth": 1 + count_numbers(state, r"cls_head\.head\.(\d+)\."),
        }


def _is_conv3(key: str, tensor: Tensor) -> bool:
    """Whether a tensor is the weight of a `Conv3`."""
    return tensor.ndim == 3 and not _DEPTHWISE.search(key)


#: The features that UniAV's authors made of UnAV-100.
ONE_PEACE_INPUTS = PublishedInputs(
    "unav100", "one_peace_video", "one_peace_audio", ("one_peace",), FeatureWidths(1536, 1536)
)


@dataclass
class EventConfig(EventLossOptions, FeatureConfig):
    """Options that systems of dense events share in a run."""

    answered_tasks: ClassVar[tuple[str, ...]] = ("davel",)
    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("unav100", "rgb+flow", "vggish", ("i3d_raft", "vggish_032"), FeatureWidths(2048, 128)),
        ONE_PEACE_INPUTS,
    )


class EventSystem(FeatureSystem):
    """A network for dense events with the official criterion."""

    config: EventConfig

    def __init__(self, config: EventConfig, context: RunContext) -> None:
        super().__init__(config, context)
        self.criterion = EventCriterion(config)

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> list[EventLevel]:
        """Events at every point of the pyramid."""
        encoded = encoded or self.encode(batch)
        output: list[EventLevel] = self.network(encoded.visual.frame, encoded.audio, batch.valid)
        return output

    def loss(self, output: Sequence[EventLevel], batch: Batch) -> Losses:
        """`classes` and `segments`."""
        losses: Losses = self.criterion(output, batch)
        return losses

    def predict(self, output: Sequence[EventLevel], batch: Batch) -> Prediction:
        """`event_list`, see `decode_events`; `audio_gate` and `visual_gate` (B, T) where the network has gates."""
        values: dict[str, Any] = {"event_list": decode_events(output, batch)}
        finest = output[0]
        if finest.audio_gate is not None and finest.visual_gate is not None:
            steps = batch.valid.shape[1]
            values["audio_gate"] = finest.audio_gate[:, :steps]
            values["visual_gate"] = finest.visual_gate[:, :steps]
        return Prediction(batch.task, batch.id, values)
