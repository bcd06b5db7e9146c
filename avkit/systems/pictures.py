# SPDX-License-Identifier: Apache-2.0
"""Systems whose networks segment pictures themselves: they hold their encoders, and train them."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor, nn

from avkit.batch import Batch, FeatureWidths, Prediction, Vocabulary, exportable
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, VisualEncoder, VisualFeatures
from avkit.errors import DataError
from avkit.nn.mask_losses import image_size_of, upsample
from avkit.nn.recompute import recompute_activations
from avkit.systems.base import RunContext, encode_frames, encode_waveform
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.features import NetworkConfig, NetworkSystem
from avkit.systems.published import ConvertedFacts, PublishedInputs
from avkit.tasks.avs import Segmentation
from avkit.tasks.base import Task

#: Smallest side of a picture in pixels: the coarsest map has a stride of as many.
MIN_SIDE = 32
#: Blocks of each stage of a PVT v2, which identify official weights.
_PVT_DEPTHS = {"pvt_v2_b5": (3, 6, 40, 3), "pvt_v2_b2": (3, 4, 6, 3), "pvt_v2_b0": (2, 2, 2, 2)}


@dataclass
class TrunkOptions:
    """Options of the encoders inside of a network for pictures.

    Attributes:
        visual: Visual encoder with a pyramid, a name of `list_encoders("visual")`.
        audio: Audio encoder, a name of `list_encoders("audio")`; frozen, except `small`.
        drop_path: Probability that a sample skips the last residual branch of the visual encoder in training; 0.1 as
            published, on a `pvt_v2`.
    """

    visual: str = "small"
    audio: str = "small"
    drop_path: float = 0.0


@dataclass
class PictureConfig(TrunkOptions, NetworkConfig):
    """Options of all systems that segment pictures.

    Attributes:
        visual_weights: Weights of the visual encoder: empty, `hub`, or a path.
        audio_weights: Weights of the audio encoder.
        frozen_epochs: Epochs in which the visual encoder is not trained.
        recompute: Recompute activations in the backward pass: less memory, more time.
        semantic: Predict a mask per class (AVSS), instead of one of everything that sounds (S4, MS3).
        videos_per_call: Videos of a test that the official mIoU and F score together: AVSBench takes 1, AVSegFormer 2.
    """

    answered_tasks: ClassVar[tuple[str, ...]] = ("avs",)
    published_inputs: ClassVar[tuple[PublishedInputs, ...]] = (
        PublishedInputs("avsbench-s4", "", "vggish", ("vggish",), FeatureWidths(0, 128)),
    )

    visual_weights: str | None = None
    audio_weights: str | None = None
    frozen_epochs: int = 0
    recompute: bool = False
    semantic: bool = False
    videos_per_call: int = 1

    def make_tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The task, over classes or not.

        Raises:
            ValueError: If classes are asked for and the dataset names none.
        """
        tasks = super().make_tasks(names, vocabulary)
        for name in tasks:
            own = vocabulary.of(name)
            if self.semantic and not own.classes:
                raise ValueError(
                    "system.semantic asks for masks of classes, and the dataset names none. Leave it out, or use AVSS."
                )
            tasks[name] = Segmentation(own, semantic=self.semantic, videos_per_call=self.videos_per_call)
        return tasks

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same, with what several masks mean."""
        classes = built_with["outputs"] - 1
        facts = super().converted_facts(network, {**built_with, "classes": classes})
        widths = FeatureWidths(0, built_with["audio_features"])
        return replace(facts, options={**facts.options, "semantic": classes > 0}, widths=widths)

    def outputs(self, context: RunContext) -> int:
        """Number of masks: 1, or one per class with background first."""
        return len(context.vocabulary.classes) + 1 if self.semantic else 1


class PictureNetwork(OfficialNetwork):
    """A network with its own encoders.

    Args:
        options: Options, a record of `TrunkOptions` among them.
        outputs: Number of masks.
        audio_features: Width of stored audio features, which then replace the audio encoder; 0 for none.
        visual_weights: Weights of the visual encoder, as for `build_visual_encoder`.
        audio_weights: Weights of the audio encoder.

    Raises:
        ValueError: If the visual encoder has no pyramid.
    """

    def __init__(
        self,
        options: TrunkOptions,
        outputs: int,
        audio_features: int,
        visual_weights: str | None,
        audio_weights: str | None,
    ) -> None:
        super().__init__(options, outputs=outputs, audio_features=audio_features)
        drop_path: dict[str, Any] = {"drop_path": options.drop_path} if options.drop_path else {}
        if not options.visual.startswith("pvt"):
            drop_path = {}
        self.visual: VisualEncoder = build_visual_encoder(options.visual, visual_weights, **drop_path)
        if not self.visual.pyramid_widths:
            raise ValueError(
                f"Masks need a pyramid of maps, and visual encoder {options.visual!r} has none. Try pvt_v2_b5."
            )
        self.audio: AudioEncoder | None = None
        self.audio_width = audio_features
        if audio_features:
            self.built_with["audio"] = ""
        else:
            self.audio = build_audio_encoder(options.audio, audio_weights)
            if not self.audio.from_scratch:
                self.audio.requires_grad_(False)
            self.audio_width = self.audio.width

    def level_widths(self) -> list[int]:
        """Widths of the maps that `levels` gives."""
        widths = list(self.visual.pyramid_widths)
        if not self.visual.pyramid_includes_patches:
            widths.append(self.visual.width)
        return widths[-4:]

    def levels(self, features: VisualFeatures) -> list[Tensor]:
        """The last four maps (..., C, h, w), finest first; patches are the last where the pyramid lacks them."""
        maps = list(features.pyramid)
        if not self.visual.pyramid_includes_patches:
            maps.append(features.patches.transpose(-1, -2).unflatten(-1, features.grid))
        return maps[-4:]


@exportable
@dataclass
class MaskNetOutput:
    """Output of a network for masks.

    Attributes:
        logits: (B, T, K, h, w): of the mask, or of background and classes.
        features: Mask features, (B, T, D, h, w), or None.
        maps: Maps of a pyramid, (B T, D, h, w) each, that a loss compares with audio; empty where none does.
        audio: Audio features that they are compared with, (B T, D) each.
    """

    logits: Tensor
    features: Tensor | None = None
    maps: Sequence[Tensor] = ()
    audio: Sequence[Tensor] = ()


class PictureSystem(NetworkSystem):
    """A network for masks; stored audio features may replace its audio encoder.

    Args:
        config: Its options.
        context: What it is built for.

    Raises:
        ValueError: If the data have stored features instead of pictures.
    """

    config: PictureConfig
    network: PictureNetwork

    def __init__(self, config: PictureConfig, context: RunContext) -> None:
        super().__init__(config, context)
        if context.widths.visual:
            raise ValueError(
                f"{config.name} segments pictures, and the data have stored features. Leave data.features.visual out."
            )
        self.network = self.build_network(context)
        if config.recompute:
            recompute_activations(self.network)
        if config.weights:
            self.start_from(config.weights)
        self.on_epoch_start(0)

    def own_part(self, loaded: OfficialNetwork) -> str | None:
        """The audio encoder, where converted weights are of a network on audio features of its width."""
        own = self.network
        if not isinstance(loaded, PictureNetwork) or loaded.audio is not None or own.audio is None:
            return None
        return "audio" if loaded.audio_width == own.audio_width else None

    @abstractmethod
    def build_network(self, context: RunContext) -> PictureNetwork:
        """The network for the classes and stored audio features of a run."""

    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Pictures through the visual encoder.

        Raises:
            ValueError: If they are too small.
        """
        if batch.frames is not None and min(batch.frames.shape[-2:]) < MIN_SIDE:
            height, width = batch.frames.shape[-2:]
            raise ValueError(
                f"Pictures are {height} by {width} pixels; {self.config.name} needs {MIN_SIDE} on a side, so that its "
                "coarsest map has a cell. Set --data.image_size."
            )
        return encode_frames(self.network.visual, batch)

    def encode_audio(self, batch: Batch) -> Tensor:
        """Sound through the audio encoder, or stored features."""
        return encode_waveform(self.network.audio, batch)

    def predict(self, output: MaskNetOutput, batch: Batch) -> Prediction:
        """`mask`; with classes also `class_logits` and `class_mask`.

        With classes the mask is the probability of any class against the background.
        """
        logits = upsample(output.logits, image_size_of(batch, output.logits)).float()
        if not self.config.semantic:
            mask = logits[:, :, 0]
            return Prediction(batch.task, batch.id, {"mask": mask.sigmoid()})
        odds = logits[:, :, 1:].logsumexp(2) - logits[:, :, 0]
        values = {
            "mask": odds.sigmoid(),
            "class_logits": logits,
            "class_mask": logits.argmax(2),
        }
        return Prediction(batch.task, batch.id, values)

    def graph_values(self, output: MaskNetOutput, batch: Batch) -> dict[str, Tensor]:
        """All values of `predict`."""
        return self.predict(output, batch).values

    def region_encoder(self, task: str) -> VisualEncoder | None:
        """The visual encoder."""
        return self.network.visual

    def encoders(self) -> list[nn.Module]:
        """The audio encoder. A visual encoder that is frozen for some epochs stays in training mode, as officially."""
        return [] if self.network.audio is None else [self.network.audio]

    def on_epoch_start(self, epoch: int) -> None:
        """Train the visual encoder from its epoch on."""
        if self.config.frozen_epochs:
            self.network.visual.requires_grad_(epoch >= self.config.frozen_epochs)


def pvt_name(key: str) -> str:
    """The official PVT v2 name of a key of timm's pyramid."""
    key = key.removeprefix("network.")
    if key.startswith("patch_embed."):
        return "patch_embed1." + key.removeprefix("patch_embed.")
    stage, part, rest = int(key.removeprefix("stages_")[0]), *key.split(".", 1)[1].split(".", 1)
    prefix = {"blocks": f"block{stage + 1}.", "downsample": f"patch_embed{stage + 1}.", "norm": f"norm{stage + 1}."}
    return prefix[part] + rest.replace("mlp.dwconv.", "mlp.dwconv.dwconv.")


def recognise_pvt(state: Mapping[str, Tensor], prefix: str) -> str:
    """Name of the PVT v2 whose official weights begin with `prefix`.

    Raises:
        DataError: If its depths are unknown.
    """
    place = prefix.count(".") + 1
    depths = []
    for stage in (1, 2, 3, 4):
        numbers = {key.split(".")[place] for key in state if key.startswith(f"{prefix}block{stage}.")}
        depths.append(len(numbers))
    for name, known in _PVT_DEPTHS.items():
        if known == tuple(depths):
            return name
    accepted = ", ".join(f"{name} {counts}" for name, counts in _PVT_DEPTHS.items())
    raise DataError(
        f"The weights below {prefix!r} have blocks {tuple(depths)}, which is no PVT v2 known here ({accepted}). "
        "Weights on ResNet-50 are not read."
    )


def count_children(state: Mapping[str, Tensor], prefix: str) -> int:
    """How many different names follow a prefix among the keys."""
    return len({key.removeprefix(prefix).split(".")[0] for key in state if key.startswith(prefix)})
