# SPDX-License-Identifier: Apache-2.0
"""TPAVI, the baseline of AVSBench: all pixels of a clip look at its sounds, then maps are fused to masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.masks_task import MaskNetOutput, MatchedMasks
from avkit.systems.pictures import PictureConfig, level_widths, levels, make_trunks, pvt_name, recognise_pvt
from avkit.systems.tpavi.attention import TPAVI as Interaction
from avkit.systems.tpavi.fusion import Distances, FusionDecoder
from avkit.tasks.base import Task


@dataclass
class TPAVIOutput:
    """What TPAVI says.

    Attributes:
        logits: Masks, (C, T, K, H, W).
        maps: Maps after they met the sound, (C T, D, h, w) each, finest first.
        sounds: The sound as each level took it, (C, T, D) each.
    """

    logits: Tensor
    maps: list[Tensor]
    sounds: list[Tensor]


class TPAVI(OfficialNetwork):
    """The baseline of "Audio-Visual Segmentation" (ECCV 2022), on a PVT v2.

    Args:
        visual: Visual encoder.
        audio: Audio encoder, frozen and not in the authors' weights; or the width of stored features.
        outputs: Masks K: 1, or one per class with background first.
        width: Width D of the maps.
        sound_bias: Whether the sound's projections have biases; those of AVSS have none.
        scale: Cells of the mask per cell of the finest map, on a side.
        plain_skip: Residual units as they are usually meant; the authors' rectify in place, which changes what is
            skipped, and what the loss that matches maps and sound sees.
        visual_weights: Weights of the visual encoder, as for `build_visual_encoder`.
        audio_weights: Weights of the audio encoder.
        drop_path: Of the visual encoder in training.
    """

    name = "tpavi"
    source = "OpenNLPLab/AVSBench at commit f7414aff6aed, avs_scripts"

    def __init__(
        self,
        visual: str = "pvt_v2_b5",
        audio: str | int = 128,
        outputs: int = 1,
        width: int = 256,
        sound_bias: bool = True,
        scale: int = 4,
        plain_skip: bool = False,
        visual_weights: str | None = None,
        audio_weights: str | None = None,
        drop_path: float = 0.1,
    ) -> None:
        leave = ("self", "__class__", "visual_weights", "audio_weights")
        self.made_with = {k: v for k, v in locals().items() if k not in leave}
        super().__init__()
        self.plain_skip = plain_skip
        self.visual, self.audio, heard = make_trunks(
            visual, audio, visual_weights, audio_weights, drop_path if visual.startswith("pvt") else 0.0
        )
        widths = level_widths(self.visual)
        self.enter = nn.ModuleList(Distances(c, width) for c in widths)
        self.meet = nn.ModuleList(Interaction(width, heard, sound_bias) for _ in widths)
        self.decoder = FusionDecoder(width, len(widths), outputs, scale, plain_skip)

    def forward(self, maps: list[Tensor], sound: Tensor, valid: Tensor | None = None) -> TPAVIOutput:
        """From maps (C, T, c, h, w), finest first, and sound (C, T, A) to masks.

        Args:
            maps: Of the visual encoder.
            sound: Of the audio encoder.
            valid: bool (C, T); other steps change nothing. In AVSS the authors let them count in the mean over pixels.
        """
        keep = None if valid is None else valid[..., None, None, None]
        met, heard = [], []
        for enter, meet, level in zip(self.enter, self.meet, maps, strict=True):
            x = enter(level.flatten(0, 1)).unflatten(0, level.shape[:2])
            x, told = meet(x if keep is None else x * keep, sound, valid)
            met.append((x if keep is None else x * keep).flatten(0, 1))
            heard.append(told)
        logits = self.decoder(met).unflatten(0, sound.shape[:2])
        shown = met if self.plain_skip else [x.relu() for x in met]
        return TPAVIOutput(logits, shown, heard)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
        if "tpavi_b1.theta.weight" not in state:
            return None
        return {
            "visual": recognise_pvt(state, "encoder_backbone."),
            "audio": state["tpavi_b1.align_channel.weight"].shape[1],
            "outputs": len(state["output_conv.4.weight"]),
            "width": len(state["tpavi_b1.align_channel.weight"]),
            "sound_bias": "tpavi_b1.align_channel.bias" in state,
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        if key.startswith("visual."):
            return "encoder_backbone." + pvt_name(key.removeprefix("visual."))
        part, *rest = key.split(".")
        if part == "enter":
            return f"conv{int(rest[0]) + 1}.conv2d_list.{'.'.join(rest[2:])}"
        if part == "meet":
            return f"tpavi_b{int(rest[0]) + 1}.{rename('.'.join(rest[1:]), _MEET)}"
        return rename(key, _NAMES)

    @classmethod
    def as_theirs(cls, key: str, tensor: Tensor) -> Tensor:
        """Matrices of the interaction are three-dimensional convolutions there."""
        point = key.startswith("meet.") and key.endswith(
            tuple(f".{x}.weight" for x in ("query", "key", "value", "out"))
        )
        return tensor[..., None, None, None] if point else tensor

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """The unit that would take a level above the coarsest one."""
        width, start = self.made_with["width"], "path4.resConfUnit1.conv"
        dead: dict[str, tuple[int, ...]] = {f"{start}{i}.weight": (width, width, 3, 3) for i in (1, 2)}
        return dead | {f"{start}{i}.bias": (width,) for i in (1, 2)}


_MEET = {
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


@dataclass
class TPAVIConfig(PictureConfig):
    """TPAVI for `avs`; the defaults train from scratch on two CPU cores, `configs/tpavi_*` have others.

    Attributes:
        name: Of the system.
        semantic: Masks of classes (AVSS), not one of all that sounds (S4, MS3).
        match: Factor of the loss that brings sound and what is under the mask together: 0 for S4, 0.5 for MS3.
        width: Width of the maps.
        sound_bias: Whether the sound's projections have biases.
        scale: Cells of the mask per cell of the finest map, on a side; 4 with `pvt_v2_b5` gives pixels.
        plain_skip: See `TPAVI`.
    """

    answers: ClassVar = {"avs": MatchedMasks}

    name: Literal["tpavi"] = "tpavi"
    semantic: bool = False
    match: float = 0.0
    width: int = 32
    sound_bias: bool = True
    scale: int = 1
    plain_skip: bool = False

    def make_task(self, cls: type[Task], vocabulary: Vocabulary) -> Task:
        """The task, over classes or not."""
        return MatchedMasks(vocabulary, self.semantic, self.match)

    def network(self, vocabulary: Vocabulary, audio: int) -> TPAVI:
        """The network."""
        own = self.own("semantic", "match") | ({"audio": audio} if audio else {})
        return TPAVI(outputs=len(vocabulary.classes) + 1 if self.semantic else 1, **own)

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> MaskNetOutput:
        """Masks of a batch."""
        maps = levels(network.visual, senses.seen)  # type: ignore[arg-type]
        valid = None if batch.valid.all() else batch.valid
        found: TPAVIOutput = network(maps, senses.heard, valid)
        return MaskNetOutput(found.logits, None, found.maps, [x.flatten(0, 1) for x in found.sounds])
