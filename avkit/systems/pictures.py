# SPDX-License-Identifier: Apache-2.0
"""Systems whose networks look at pictures themselves: they hold their encoders, and train them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, VisualEncoder, VisualFeatures
from avkit.errors import DataError
from avkit.nn.recompute import recompute_activations
from avkit.systems.base import Senses, hear, see
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import NetworkConfig, NetworkSystem

#: Least side of a picture: the coarsest map has a stride of as many pixels.
LEAST = 32
#: Blocks of each stage of a PVT v2, by which official weights are known.
_PVT_DEPTHS = {"pvt_v2_b5": (3, 6, 40, 3), "pvt_v2_b2": (3, 4, 6, 3), "pvt_v2_b0": (2, 2, 2, 2)}


@dataclass
class PictureConfig(NetworkConfig):
    """What all systems on pictures are made of, beside their networks.

    Attributes:
        visual: Visual encoder with a pyramid, a name of `list_encoders("visual")`.
        audio: Audio encoder, a name of `list_encoders("audio")`; frozen, but for `small`.
        visual_weights: Weights of the visual encoder: empty, `hub`, or a path.
        audio_weights: Weights of the audio encoder.
        drop_path: Share of samples that go without the last residual branch of the visual encoder in training; 0.1 as
            published, on a `pvt_v2`.
        frozen_epochs: Epochs in which the visual encoder does not learn.
        recompute: Keep little for the backward pass and compute it again there: less memory, more time.
    """

    visual: str = "small"
    audio: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    drop_path: float = 0.0
    frozen_epochs: int = 0
    recompute: bool = False

    def build(
        self, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None, expert: int | None = None
    ) -> "PictureSystem":
        """The system; stored features of sound may stand for the audio encoder.

        Raises:
            ValueError: If the data have stored features for pictures.
        """
        visual, audio = next(iter((features or {}).values()), (0, 0))
        if visual:
            raise ValueError(f"{self.name} looks at pictures, and the data have stored features. Leave data.visual.")
        return PictureSystem(self, self.network(vocabulary, int(audio)))

    @abstractmethod
    def network(self, vocabulary: Vocabulary, audio: int) -> OfficialNetwork:
        """The network; `audio` is the width of stored features of sound, 0 where there are none."""

    @classmethod
    def shared(cls) -> set[str]:
        """Fields that are not of the network itself."""
        encoders = {"visual", "audio", "visual_weights", "audio_weights", "drop_path"}
        return {f.name for f in fields(PictureConfig)} - encoders


class PictureSystem(NetworkSystem):
    """A network with `visual`, a visual encoder, and `audio`, an audio encoder or None for stored features.

    Args:
        config: What it is made of.
        network: The network.
    """

    config: PictureConfig

    def __init__(self, config: PictureConfig, network: OfficialNetwork) -> None:
        super().__init__(config)
        self.network = network
        if config.recompute:
            recompute_activations(network)
        if config.weights:
            self.start_from(config.weights)
        self.begin_epoch(0)

    def sense(self, batch: Batch, seen: VisualFeatures | None = None) -> Senses:
        """Encode pictures, unless they are given as `seen`, and sound."""
        network: Any = self.network
        if batch.frames is not None and min(batch.frames.shape[-2:]) < LEAST:
            raise ValueError(
                f"Pictures are {batch.frames.shape[-2]} by {batch.frames.shape[-1]} pixels; {self.config.name} needs "
                f"{LEAST} on a side, so that its coarsest map has a cell. Set --data.picture."
            )
        return Senses(see(network.visual, batch) if seen is None else seen, hear(network.audio, batch))

    def encoders(self) -> list[nn.Module]:
        """Both; a visual encoder that is frozen for some epochs goes on as it trains, as the authors' does."""
        audio = getattr(self.network, "audio", None)
        return [] if audio is None else [audio]

    def begin_epoch(self, epoch: int) -> None:
        """Let the visual encoder learn from its epoch on."""
        if self.config.frozen_epochs:
            network: Any = self.network
            network.visual.requires_grad_(epoch >= self.config.frozen_epochs)


def make_trunks(
    visual: str, audio: str | int, visual_weights: str | None, audio_weights: str | None, drop_path: float
) -> tuple[VisualEncoder, AudioEncoder | None, int]:
    """A visual encoder with a pyramid, an audio encoder or None for stored features, and the width of sound.

    Args:
        visual: Name of the visual encoder.
        audio: Name of the audio encoder, or the width of stored features.
        visual_weights: Weights of the visual encoder.
        audio_weights: Weights of the audio encoder.
        drop_path: Of the visual encoder in training.

    Raises:
        ValueError: If the visual encoder has no pyramid.
    """
    options: dict[str, Any] = {"drop_path": drop_path} if drop_path else {}
    seen = build_visual_encoder(visual, visual_weights, **options)
    if not seen.pyramid_widths:
        raise ValueError(f"Masks need a pyramid of maps, and visual encoder {visual!r} has none. Try pvt_v2_b5.")
    if isinstance(audio, int):
        return seen, None, audio
    heard = build_audio_encoder(audio, audio_weights)
    if audio != "small":
        heard.requires_grad_(False)
    return seen, heard, heard.width


def level_widths(encoder: VisualEncoder) -> list[int]:
    """Widths of the maps that `levels` gives: the last four of the encoder."""
    widths = list(encoder.pyramid_widths)
    if not encoder.pyramid_includes_patches:
        widths.append(encoder.width)
    return widths[-4:]


def levels(encoder: VisualEncoder, seen: VisualFeatures) -> list[Tensor]:
    """Maps (N, C, h, w), finest first; patches are the last one where they are none of the pyramid's."""
    maps = list(seen.pyramid)
    if not encoder.pyramid_includes_patches:
        maps.append(seen.patches.transpose(-1, -2).unflatten(-1, seen.grid))
    return maps[-4:]


def pvt_name(key: str) -> str:
    """What the authors of PVT v2 call a key of timm's pyramid."""
    key = key.removeprefix("network.")
    if key.startswith("patch_embed."):
        return "patch_embed1." + key.removeprefix("patch_embed.")
    stage, part, rest = int(key.removeprefix("stages_")[0]), *key.split(".", 1)[1].split(".", 1)
    start = {"blocks": f"block{stage + 1}.", "downsample": f"patch_embed{stage + 1}.", "norm": f"norm{stage + 1}."}
    return start[part] + rest.replace("mlp.dwconv.", "mlp.dwconv.dwconv.")


def recognise_pvt(state: Mapping[str, Tensor], start: str) -> str:
    """Name of the PVT v2 whose official weights begin with `start`.

    Raises:
        DataError: If it is none of those known here.
    """
    depths = tuple(
        len({key.split(".")[start.count(".") + 1] for key in state if key.startswith(f"{start}block{i}.")})
        for i in (1, 2, 3, 4)
    )
    found = next((name for name, known in _PVT_DEPTHS.items() if known == depths), None)
    if found is None:
        known = ", ".join(f"{name} {counts}" for name, counts in _PVT_DEPTHS.items())
        raise DataError(
            f"The weights below {start!r} have blocks {depths}, which is no PVT v2 known here ({known}). Weights on "
            "ResNet-50 are not read."
        )
    return found
