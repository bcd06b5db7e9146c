# SPDX-License-Identifier: Apache-2.0
"""TPAVI, the baseline of AVSBench: all pixels of a clip attend to its audio, then maps are fused to masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from avkit.batch import exportable
from avkit.systems.official_keys import rename
from avkit.systems.pictures import PictureNetwork, TrunkOptions, pvt_name, recognise_pvt
from avkit.systems.tpavi.attention import PixelAudioAttention
from avkit.systems.tpavi.fusion import FusionDecoder, MultiDilatedConv


@exportable
@dataclass
class TPAVIOutput:
    """Output of TPAVI.

    Attributes:
        logits: Masks, (C, T, K, H, W).
        maps: Maps after the interaction with audio, (C T, D, h, w) each, finest first.
        audio: Projected audio of each level, (C, T, D) each.
    """

    logits: Tensor
    maps: list[Tensor]
    audio: list[Tensor]


@dataclass
class TPAVIOptions(TrunkOptions):
    """Options of TPAVI's network.

    Attributes:
        width: Width D of the maps.
        audio_bias: Whether the audio projections have biases; those of AVSS have none.
        scale: Cells of the mask per cell of the finest map, on a side; 4 with `pvt_v2_b5` gives pixels.
        plain_skip: Residual units as they are usually meant; the authors rectify in place, which changes what is
            skipped, and what the loss that matches maps and audio reads.
    """

    width: int = 32
    audio_bias: bool = True
    scale: int = 1
    plain_skip: bool = False


class TPAVI(PictureNetwork):
    """The baseline of "Audio-Visual Segmentation" (ECCV 2022), on a PVT v2.

    Args:
        options: Encoders and sizes.
        outputs: Number of masks K: 1, or one per class with background first.
        audio_features: See `PictureNetwork`; the audio encoder is not among the authors' weights.
        visual_weights: See `PictureNetwork`.
        audio_weights: See `PictureNetwork`.
    """

    name = "tpavi"
    source = "OpenNLPLab/AVSBench at commit f7414aff6aed, avs_scripts"
    Options = TPAVIOptions
    published: ClassVar[Mapping[str, Any]] = {"scale": 4, "drop_path": 0.1}

    def __init__(
        self,
        options: TPAVIOptions,
        outputs: int = 1,
        audio_features: int = 0,
        visual_weights: str | None = None,
        audio_weights: str | None = None,
    ) -> None:
        super().__init__(options, outputs, audio_features, visual_weights, audio_weights)
        width = options.width
        widths = self.level_widths()
        self.plain_skip = options.plain_skip
        self.enter = nn.ModuleList(MultiDilatedConv(channels, width) for channels in widths)
        self.interactions = nn.ModuleList(
            PixelAudioAttention(width, self.audio_width, options.audio_bias) for _ in widths
        )
        self.decoder = FusionDecoder(width, len(widths), outputs, options.scale, options.plain_skip)

    def forward(self, maps: list[Tensor], audio: Tensor, valid: Tensor | None = None) -> TPAVIOutput:
        """From maps (C, T, c, h, w), finest first, and audio (C, T, A) to masks.

        Args:
            maps: Of the visual encoder.
            audio: Of the audio encoder.
            valid: bool (C, T); other steps change nothing. In AVSS the authors let them count in the mean over pixels.
        """
        keep = None if valid is None else valid[..., None, None, None]
        mixed_maps = []
        mixed_audio = []
        for enter, interaction, level in zip(self.enter, self.interactions, maps, strict=True):
            x = enter(level.flatten(0, 1)).unflatten(0, level.shape[:2])
            x, projected = interaction(_masked(x, keep), audio, valid)
            mixed_maps.append(_masked(x, keep).flatten(0, 1))
            mixed_audio.append(projected)
        logits = self.decoder(mixed_maps).unflatten(0, audio.shape[:2])
        if not self.plain_skip:
            mixed_maps = [x.relu() for x in mixed_maps]
        return TPAVIOutput(logits, mixed_maps, mixed_audio)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
        if "tpavi_b1.theta.weight" not in state:
            return None
        return {
            "visual": recognise_pvt(state, "encoder_backbone."),
            "audio_features": state["tpavi_b1.align_channel.weight"].shape[1],
            "outputs": len(state["output_conv.4.weight"]),
            "width": len(state["tpavi_b1.align_channel.weight"]),
            "audio_bias": "tpavi_b1.align_channel.bias" in state,
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        if key.startswith("visual."):
            return "encoder_backbone." + pvt_name(key.removeprefix("visual."))
        part, *rest = key.split(".")
        if part == "enter":
            return f"conv{int(rest[0]) + 1}.conv2d_list.{'.'.join(rest[2:])}"
        if part == "interactions":
            return f"tpavi_b{int(rest[0]) + 1}.{rename('.'.join(rest[1:]), _INTERACTION)}"
        return rename(key, _NAMES)

    @classmethod
    def to_official_tensor(cls, key: str, tensor: Tensor) -> Tensor:
        """Matrices of the interaction are three-dimensional convolutions there."""
        point = key.startswith("interactions.") and key.endswith(
            tuple(f".{x}.weight" for x in ("query", "key", "value", "out"))
        )
        return tensor[..., None, None, None] if point else tensor

    def to_official(self) -> dict[str, Tensor]:
        """The weights as an official state dict, in which an audio encoder has no place."""
        state = super().to_official()
        return {key: tensor for key, tensor in state.items() if not key.startswith("audio.")}

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """The unit that would take a level above the coarsest one."""
        width = self.built_with["width"]
        unused: dict[str, tuple[int, ...]] = {}
        for number in (1, 2):
            unused[f"path4.resConfUnit1.conv{number}.weight"] = (width, width, 3, 3)
            unused[f"path4.resConfUnit1.conv{number}.bias"] = (width,)
        return unused


_INTERACTION = {
    "audio.": "align_channel.",
    "query.": "theta.",
    "key.": "phi.",
    "value.": "g.",
    "out.": "W_z.0.",
    "scale.": "W_z.1.",
    "norm.": "norm_layer.",
}
_NAMES = {
    **{f"decoder.enter.{i}.first.": f"path{i + 1}.resConfUnit1.conv1." for i in range(3)},
    **{f"decoder.enter.{i}.second.": f"path{i + 1}.resConfUnit1.conv2." for i in range(3)},
    **{f"decoder.units.{i}.first.": f"path{i + 1}.resConfUnit2.conv1." for i in range(4)},
    **{f"decoder.units.{i}.second.": f"path{i + 1}.resConfUnit2.conv2." for i in range(4)},
    **{f"decoder.out.{i}.": f"output_conv.{2 * i}." for i in range(3)},
}


def _masked(maps: Tensor, keep: Tensor | None) -> Tensor:
    """Maps with zeros where `keep` is False; as they are where it is None."""
    return maps if keep is None else maps * keep
