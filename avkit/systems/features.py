# SPDX-License-Identifier: Apache-2.0
"""Systems around a paper's network: behind stored features, or behind encoders that train with it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Batch, FeatureWidths, Vocabulary
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, VisualEncoder, VisualFeatures
from avkit.errors import DataError
from avkit.nn.padding import surely_all
from avkit.reading.tensors import check_finite
from avkit.systems.base import RunContext, System, SystemConfig, encode_frames, encode_waveform, freeze_pretrained
from avkit.systems.checkpoints import OfficialNetwork, own_options
from avkit.systems.encoder_weights import encoders_in
from avkit.systems.official_keys import short
from avkit.systems.published import ConvertedFacts
from avkit.tasks.base import Task

#: Arguments of networks that the data decide, and no option.
_DATA_SIZES = frozenset({"visual", "audio", "frames", "classes", "answers", "words", "patches", "text"})
#: Arguments that may differ between a converted file and a run: they do not change the weights' meaning.
_TRAINING_ONLY = ("dropout", "drop_path")


@dataclass
class NetworkConfig(SystemConfig):
    """Options of all systems around a paper's network.

    Attributes:
        weights: Weights to start from, a file that `avkit convert` wrote.
    """

    whole_clips: ClassVar[bool] = True
    #: Options of a run with the authors' weights that these do not tell.
    converted_options: ClassVar[Mapping[str, Any]] = {}

    weights: str | None = None

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """What a converted checkpoint tells of the run that it would be of.

        Args:
            network: Class of the network.
            built_with: Arguments of the network that the file was written from.
        """
        names = {field.name for field in fields(network.Options)}
        own = {name: value for name, value in built_with.items() if name in names}
        return ConvertedFacts(
            cls.answered_tasks[0],
            {**cls.converted_options, **own},
            classes=built_with.get("classes") or 0,
            answers=built_with.get("answers", 0),
        )

    def make_tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The one task.

        Raises:
            ValueError: If the system does not answer it, or there are several.
        """
        tasks = super().make_tasks(names, vocabulary)
        if len(tasks) > 1:
            raise ValueError(f"{self.name} learns one task at a time; got {', '.join(names)}.")
        return tasks


@dataclass
class FeatureConfig(NetworkConfig):
    """Options of all systems on features.

    Attributes:
        visual: Visual encoder where the data hold pictures and no features, see `avkit.encoders.list_encoders`.
        audio: Audio encoder, likewise.
        visual_weights: Weights of the visual encoder: empty, `hub`, a tag, or a path.
        audio_weights: Weights of the audio encoder.
        train_encoders: Train them too; False freezes both, except those called `small`.
        visual_features: Width of stored visual features; 0 for none. Needed only where the data do not tell it.
        audio_features: Width of stored audio features; 0 for none.
    """

    visual: str = "small"
    audio: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    train_encoders: bool = False
    visual_features: int = 0
    audio_features: int = 0

    @classmethod
    def converted_facts(cls, network: type[OfficialNetwork], built_with: Mapping[str, Any]) -> ConvertedFacts:
        """The same, with the widths of stored features."""
        facts = super().converted_facts(network, built_with)
        return replace(facts, widths=FeatureWidths(built_with["visual"], built_with["audio"]))

    def stored_features(self) -> FeatureWidths:
        """Widths of stored features where the data do not tell them."""
        return FeatureWidths(self.visual_features, self.audio_features)


class NetworkSystem(System):
    """A paper's network in a run; subclasses set `network`, and say what it reads of a batch."""

    config: NetworkConfig
    network: OfficialNetwork

    def loaded_parts(self) -> dict[str, str]:
        """The network, where it starts from converted weights."""
        return {"network": self.config.weights} if self.config.weights else {}

    def own_part(self, loaded: OfficialNetwork) -> str | None:
        """Name of a module that the run brings and converted weights lack, as the arguments of its name tell."""
        return None

    def start_from(self, path: str) -> None:
        """Take converted weights; of a part that they lack those of the run stay, see `own_part`.

        Raises:
            DataError: If they are of a network that was built otherwise, with what to pass.
        """
        loaded = type(self.network).load(path)
        check_finite(loaded.state_dict(), path, "Convert a checkpoint from before that.")
        own = self.network.built_with
        own_part = self.own_part(loaded)
        differing = {
            name: value
            for name, value in loaded.built_with.items()
            if name not in _TRAINING_ONLY and own.get(name) != value and name.partition("_")[0] != own_part
        }
        if not differing:
            state = loaded.state_dict()
            kept = {key: x for key, x in self.network.state_dict().items() if key.partition(".")[0] == own_part}
            encoders = encoders_in(self.network)
            origins: dict[str, str | None] = dict.fromkeys(encoders, path)
            if own_part is not None:
                origins[own_part] = encoders[own_part].weights_from
            self.network.load_state_dict(kept | state)
            for name, encoder in encoders.items():
                encoder.weights_from = origins[name]
            return
        options = own_options(self.config, type(self.network).Options).keys()
        pairs = [f"{name} {short(value)} and not {short(own.get(name))}" for name, value in differing.items()]
        message = f"{path} does not fit this run; it has {', '.join(pairs)}."
        if passed := [f"--model.system.{name} {value}" for name, value in differing.items() if name in options]:
            message += f" Pass {' '.join(passed)}."
        if (_DATA_SIZES & differing.keys()) - options:
            message += " The data decide its widths and classes: use those that it was trained with."
        raise DataError(message)


class FeatureSystem(NetworkSystem):
    """Encoders where the data hold pictures and sound, and a paper's network.

    Args:
        config: Its options.
        context: What it is built for.
    """

    config: FeatureConfig

    def __init__(self, config: FeatureConfig, context: RunContext) -> None:
        super().__init__(config, context)
        stored = context.widths
        self.visual: VisualEncoder | None = None
        self.audio: AudioEncoder | None = None
        visual_width = stored.visual
        audio_width = stored.audio
        if not visual_width:
            visual = build_visual_encoder(config.visual, config.visual_weights)
            self.visual = freeze_pretrained(visual, train=config.train_encoders)
            visual_width = visual.width
        if not audio_width:
            audio = build_audio_encoder(config.audio, config.audio_weights)
            self.audio = freeze_pretrained(audio, train=config.train_encoders)
            audio_width = audio.width
        self.network = self.build_network(FeatureWidths(visual_width, audio_width), context)
        if config.weights:
            self.start_from(config.weights)

    @abstractmethod
    def build_network(self, widths: FeatureWidths, context: RunContext) -> OfficialNetwork:
        """The network for widths of features and the vocabulary of a run."""

    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Stored features as they are, or pictures through the encoder."""
        if self.visual is None and batch.visual is not None:
            patches = batch.visual.float()
            return VisualFeatures(patches.mean(2), patches, (1, patches.shape[2]), sources=batch.sources)
        return encode_frames(self.visual, batch)

    def encode_audio(self, batch: Batch) -> Tensor:
        """Stored features as they are, or sound through the encoder."""
        return encode_waveform(self.audio, batch)

    def region_encoder(self, task: str) -> VisualEncoder | None:
        """The visual encoder, where there is one."""
        return self.visual

    def encoders(self) -> list[nn.Module]:
        """Both encoders, where there are any."""
        return [module for module in (self.visual, self.audio) if module is not None]


def valid_or_none(batch: Batch) -> Tensor | None:
    """Which steps are valid, bool (C, T), or None where all are, which lets networks skip masking."""
    return None if surely_all(batch.valid) else batch.valid


def pool_positions(visual: VisualFeatures, positions: int) -> Tensor:
    """Patches (B, T, positions, D): as they are where there are as many, else averaged to a square grid.

    Raises:
        ValueError: If they have to be averaged and `positions` is no square number.
    """
    patches = visual.patches
    if patches.shape[2] == positions:
        return patches
    side = round(positions**0.5)
    if side * side != positions:
        raise ValueError(f"positions is {positions}; pictures of other grids need a square number, such as 49.")
    maps = rearrange(patches, "b t (h w) d -> (b t) d h w", h=visual.grid[0])
    maps = F.adaptive_avg_pool2d(maps, (side, side))
    return rearrange(maps, "(b t) d h w -> b t (h w) d", b=len(patches))
