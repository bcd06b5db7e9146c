# SPDX-License-Identifier: Apache-2.0
"""AVSegFormer: queries made of sound read a mixed pyramid, and are matched with every pixel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.nn.query_mask import QueryMaskDecoder, QueryMasks
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.masks_task import MaskNetOutput, MixedMasks
from avkit.systems.pictures import PictureConfig, level_widths, levels, make_trunks, pvt_name, recognise_pvt
from avkit.tasks.base import Task


class AVSegFormer(OfficialNetwork):
    """The network of "AVSegFormer: Audio-Visual Segmentation with Transformer" (AAAI 2024).

    Args:
        visual: Visual encoder.
        audio: Audio encoder, frozen; or the width of stored features.
        outputs: Masks K: 1, or one per class with background first.
        width: Width D of the decoder.
        queries: Queries Q.
        layers: Layers of the pixel decoder and of the query decoder, each.
        sound_layers: Layers that make queries of sound.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        sound_inner: Width of those of the layers that make queries.
        scale: Cells of the mask per cell of the finest map, on a side.
        dropout: In training.
        visual_weights: Weights of the visual encoder, as for `build_visual_encoder`.
        audio_weights: Weights of the audio encoder.
        drop_path: Of the visual encoder in training.
    """

    name = "avsegformer"
    source = "vvvb-github/AVSegFormer at commit 7083cb6586d1"

    def __init__(
        self,
        visual: str = "pvt_v2_b5",
        audio: str | int = "vggish_running",
        outputs: int = 1,
        width: int = 256,
        queries: int = 300,
        layers: int = 6,
        sound_layers: int = 6,
        heads: int = 8,
        inner: int = 2048,
        sound_inner: int = 1024,
        scale: int = 4,
        dropout: float = 0.1,
        visual_weights: str | None = None,
        audio_weights: str | None = None,
        drop_path: float = 0.1,
    ) -> None:
        leave = ("self", "__class__", "visual_weights", "audio_weights")
        self.made_with = {k: v for k, v in locals().items() if k not in leave}
        super().__init__()
        self.visual, self.audio, heard = make_trunks(
            visual, audio, visual_weights, audio_weights, drop_path if visual.startswith("pvt") else 0.0
        )
        self.sound_in = nn.Linear(heard, width)
        self.head = QueryMaskDecoder(
            level_widths(self.visual),
            width,
            outputs,
            queries,
            layers,
            sound_layers,
            heads,
            inner,
            sound_inner,
            (width // 2, width // 8),
            scale,
            dropout,
        )

    def forward(self, maps: list[Tensor], sound: Tensor) -> QueryMasks:
        """From maps (N, C, h, w), finest first, and sound (N, A) to masks."""
        found: QueryMasks = self.head(maps, self.sound_in(sound)[:, None])
        return found

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
            "layers": _count(state, "head.transformer.decoder.layers."),
            "sound_layers": _count(state, "head.query_generator.layers."),
            "inner": len(state["head.transformer.decoder.layers.0.linear1.weight"]),
            "sound_inner": len(state["head.query_generator.layers.0.ffn.0.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        if key.startswith("visual."):
            return "backbone." + pvt_name(key.removeprefix("visual."))
        return rename(key, _NAMES)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Parts of the head that nothing calls."""
        width, outputs = self.made_with["width"], self.made_with["outputs"]
        dead: dict[str, tuple[int, ...]] = {}
        for i in (1, 2, 3):
            dead |= {f"head.fpn.up{i}.1.weight": (width, width, 3, 3), f"head.fpn.up{i}.1.bias": (width,)}
        dead |= {"head.attn_fc.0.weight": (128, width, 3, 3), "head.attn_fc.0.bias": (128,)}
        dead |= {"head.attn_fc.2.weight": (32, 128, 3, 3), "head.attn_fc.2.bias": (32,)}
        return dead | {"head.attn_fc.4.weight": (outputs, 32, 1, 1)}

    def untrained(self) -> list[str]:
        """The audio encoder is frozen."""
        return [] if self.made_with["audio"] == "small" else ["audio."]


def _count(state: Mapping[str, Tensor], start: str) -> int:
    return len({key.removeprefix(start).split(".")[0] for key in state if key.startswith(start)})


_NAMES = {
    "audio.network.": "vggish.",
    "sound_in.": "audio_proj.",
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


@dataclass
class AVSegFormerConfig(PictureConfig):
    """AVSegFormer for `avs`; the defaults train from scratch on two CPU cores, `configs/avsegformer_*` have others.

    Attributes:
        name: Of the system.
        semantic: Masks of classes (AVSS), not one of all that sounds (S4, MS3).
        mix: Factor of the loss on what the mask features show by themselves.
        width: Width of the decoder.
        queries: Queries.
        layers: Layers of the pixel decoder and of the query decoder, each.
        sound_layers: Layers that make queries of sound.
        heads: Attention heads.
        inner: Width of the feed-forward layers.
        sound_inner: Width of those of the layers that make queries.
        scale: Cells of the mask per cell of the finest map, on a side; 4 with `pvt_v2_b5` gives pixels.
        dropout: In training.
    """

    answers: ClassVar = {"avs": MixedMasks}
    whole: ClassVar[bool] = False

    name: Literal["avsegformer"] = "avsegformer"
    semantic: bool = False
    mix: float = 0.1
    width: int = 64
    queries: int = 16
    layers: int = 2
    sound_layers: int = 2
    heads: int = 4
    inner: int = 128
    sound_inner: int = 128
    scale: int = 1
    dropout: float = 0.0

    def make_task(self, cls: type[Task], vocabulary: Vocabulary) -> Task:
        """The task, over classes or not."""
        return MixedMasks(vocabulary, self.semantic, self.mix)

    def network(self, vocabulary: Vocabulary, audio: int) -> AVSegFormer:
        """The network."""
        own = self.own("semantic", "mix") | ({"audio": audio} if audio else {})
        return AVSegFormer(outputs=len(vocabulary.classes) + 1 if self.semantic else 1, **own)

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> MaskNetOutput:
        """Masks of a batch; only steps that exist pass the decoder."""
        maps = levels(network.visual, senses.seen)  # type: ignore[arg-type]
        valid = batch.valid
        found: QueryMasks = network([x[valid] for x in maps], senses.heard[valid])
        return MaskNetOutput.of(found.logits, found.features, valid)
