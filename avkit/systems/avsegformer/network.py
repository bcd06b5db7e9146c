# SPDX-License-Identifier: Apache-2.0
"""AVSegFormer: audio queries read a mixed feature pyramid, and are matched with every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from avkit.nn.query_mask import QueryMaskDecoder, QueryMasks
from avkit.systems.official_keys import rename
from avkit.systems.pictures import PictureNetwork, TrunkOptions, count_children, pvt_name, recognise_pvt


@dataclass
class AVSegFormerOptions(TrunkOptions):
    """Options of AVSegFormer's network.

    Attributes:
        width: Width D of the decoder.
        queries: Number of queries Q.
        layers: Layers of the pixel decoder and of the query decoder, each.
        audio_layers: Layers that make queries of audio.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        audio_inner: Width of those of the layers that make queries.
        scale: Cells of the mask per cell of the finest map, on a side; 4 with `pvt_v2_b5` gives pixels.
        dropout: In training.
    """

    width: int = 64
    queries: int = 16
    layers: int = 2
    audio_layers: int = 2
    heads: int = 4
    inner: int = 128
    audio_inner: int = 128
    scale: int = 1
    dropout: float = 0.0


class AVSegFormer(PictureNetwork):
    """The network of "AVSegFormer: Audio-Visual Segmentation with Transformer" (AAAI 2024).

    Args:
        options: Encoders, sizes and dropout.
        outputs: Number of masks K: 1, or one per class with background first.
        audio_features: See `PictureNetwork`.
        visual_weights: See `PictureNetwork`.
        audio_weights: See `PictureNetwork`.
    """

    name = "avsegformer"
    source = "vvvb-github/AVSegFormer at commit 7083cb6586d1"
    Options = AVSegFormerOptions
    published: ClassVar[Mapping[str, Any]] = {
        "audio": "vggish_running",
        "heads": 8,
        "scale": 4,
        "dropout": 0.1,
        "drop_path": 0.1,
    }

    def __init__(
        self,
        options: AVSegFormerOptions,
        outputs: int = 1,
        audio_features: int = 0,
        visual_weights: str | None = None,
        audio_weights: str | None = None,
    ) -> None:
        super().__init__(options, outputs, audio_features, visual_weights, audio_weights)
        width = options.width
        self.audio_in = nn.Linear(self.audio_width, width)
        self.head = QueryMaskDecoder(
            self.level_widths(),
            width,
            outputs,
            queries=options.queries,
            layers=options.layers,
            sound_layers=options.audio_layers,
            heads=options.heads,
            inner=options.inner,
            sound_inner=options.audio_inner,
            outer=(width // 2, width // 8),
            scale=options.scale,
            dropout=options.dropout,
        )

    def forward(self, maps: list[Tensor], audio: Tensor) -> QueryMasks:
        """From maps (N, C, h, w), finest first, and audio features (N, A) to masks."""
        masks: QueryMasks = self.head(maps, self.audio_in(audio)[:, None])
        return masks

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `heads`."""
        if "head.learnable_query.weight" not in state:
            return None
        query = state["head.query_generator.query.weight"]
        return {
            "visual": recognise_pvt(state, "backbone."),
            "outputs": len(state["head.fc.4.weight"]),
            "queries": len(query),
            "width": query.shape[1],
            "layers": count_children(state, "head.transformer.decoder.layers."),
            "audio_layers": count_children(state, "head.query_generator.layers."),
            "inner": len(state["head.transformer.decoder.layers.0.linear1.weight"]),
            "audio_inner": len(state["head.query_generator.layers.0.ffn.0.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        if key.startswith("visual."):
            return "backbone." + pvt_name(key.removeprefix("visual."))
        return rename(key, _NAMES)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Parts of the head that nothing calls."""
        width = self.built_with["width"]
        unused: dict[str, tuple[int, ...]] = {}
        for level in (1, 2, 3):
            unused[f"head.fpn.up{level}.1.weight"] = (width, width, 3, 3)
            unused[f"head.fpn.up{level}.1.bias"] = (width,)
        return unused | {
            "head.attn_fc.0.weight": (128, width, 3, 3),
            "head.attn_fc.0.bias": (128,),
            "head.attn_fc.2.weight": (32, 128, 3, 3),
            "head.attn_fc.2.bias": (32,),
            "head.attn_fc.4.weight": (self.built_with["outputs"], 32, 1, 1),
        }

    def untrained(self) -> list[str]:
        """The audio encoder is frozen."""
        return [] if self.built_with["audio"] == "small" else ["audio."]


_NAMES = {
    "audio.network.": "vggish.",
    "audio_in.": "audio_proj.",
    "head.pixels.level_embed": "head.level_embed",
    "head.learnable_query": "head.learnable_query.weight",
    "head.query": "head.query_generator.query.weight",
    "head.sound_layers.": "head.query_generator.layers.",
    "head.pixels.layers.": "head.transformer.encoder.layers.",
    "head.layers.": "head.transformer.decoder.layers.",
    "head.pixels.in_proj.": "head.in_proj.",
    "head.pixels.lateral_conv.": "head.lateral_conv.",
    "head.pixels.out_conv.": "head.out_conv.",
    "head.combine.": "head.mlp.layers.",
    "head.mixer.": "head.fusion_block.",
    "head.out.0.": "head.fc.0.",
    "head.out.1.": "head.fc.2.",
    "head.out.2.": "head.fc.4.",
}
