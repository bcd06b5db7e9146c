# SPDX-License-Identifier: Apache-2.0
"""A paper's network in a run of ours: behind stored features, or behind encoders that train with it."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, VisualEncoder, VisualFeatures
from avkit.errors import DataError
from avkit.systems.base import Senses, freeze_pretrained, hear, see
from avkit.systems.checkpoints import OfficialNetwork, short
from avkit.tasks import find_task
from avkit.tasks.base import Task


@dataclass
class NetworkConfig:
    """What all systems around a paper's network share.

    Attributes:
        name: Of the system.
        weights: Weights to start from, a file that `avkit convert` wrote.
    """

    #: Tasks that the system answers, and how.
    answers: ClassVar[Mapping[str, type[Task]]]
    #: Whether the system reads whole clips: training does not cut them then.
    whole: ClassVar[bool] = True

    name: str = ""
    weights: str | None = None

    def speak(self, vocabulary: Vocabulary) -> Vocabulary:
        """The vocabulary as it is."""
        return vocabulary

    def tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The tasks by name.

        Raises:
            ValueError: If the system does not answer one of them.
        """
        for name in names:
            find_task(name)
            if name not in self.answers:
                raise ValueError(
                    f"{self.name} answers {', '.join(self.answers)}, not {name}. Leave it out, or use "
                    "--model.system.name av_unified."
                )
        if len(names) > 1:
            raise ValueError(f"{self.name} learns one task at a time; got {', '.join(names)}.")
        return {name: self.make_task(self.answers[name], vocabulary.of(name)) for name in names}

    def make_task(self, cls: type[Task], vocabulary: Vocabulary) -> Task:
        """A task of a class in `answers`."""
        return cls(vocabulary)

    @abstractmethod
    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> Any:
        """What the network makes of the features of a batch."""

    @classmethod
    def shared(cls) -> set[str]:
        """Fields that are not of the network itself."""
        return {f.name for f in fields(NetworkConfig)}

    def own(self, *leave: str) -> dict[str, Any]:
        """The fields of the network itself."""
        left = self.shared() | set(leave)
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in left}


@dataclass
class FeatureConfig(NetworkConfig):
    """What all systems on features are made of, beside their networks.

    Attributes:
        visual: Visual encoder where the data hold pictures and no features, a name of `list_encoders("visual")`.
        audio: Audio encoder, likewise.
        visual_weights: Weights of the visual encoder: empty, `hub`, a tag, or a path.
        audio_weights: Weights of the audio encoder.
        train_encoders: Train them too; False freezes both, except those called `small`.
        visual_features: Width of stored visual features; 0 for none. Data that know what they hold say so themselves.
        audio_features: Width of stored audio features; 0 for none.
    """

    visual: str = "small"
    audio: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    train_encoders: bool = False
    visual_features: int = 0
    audio_features: int = 0

    def build(
        self, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None, expert: int | None = None
    ) -> "FeatureSystem":
        """The system; it has no use for an expert of captions."""
        return FeatureSystem(self, vocabulary, features)

    @abstractmethod
    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> OfficialNetwork:
        """The network for widths of features and a dataset's classes."""

    @classmethod
    def shared(cls) -> set[str]:
        """Fields that are not of the network itself."""
        return {f.name for f in fields(FeatureConfig)}


class NetworkSystem(nn.Module):
    """A paper's network, and what it reads of a batch.

    Args:
        config: What it is made of.
    """

    #: Pictures have no pyramid that a head of ours could read.
    pyramid_widths: ClassVar[list[int]] = []
    network: OfficialNetwork

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config

    def sense(self, batch: Batch, seen: VisualFeatures | None = None) -> Senses:
        """Encode pictures, unless they are given as `seen`, and sound."""
        raise NotImplementedError

    def forward(
        self,
        batch: Batch,
        prompts: list[str],
        pixels: bool = True,
        meet: bool = True,
        senses: Senses | None = None,
        classes: Sequence[str] | None = None,
    ) -> Any:
        """What the network answers; prompts are not read."""
        return self.config.run(self.network, senses or self.sense(batch), batch)

    def train(self, mode: bool = True) -> "NetworkSystem":
        """Frozen encoders stay in evaluation mode."""
        super().train(mode)
        for module in self.encoders():
            if not any(p.requires_grad for p in module.parameters()):
                module.eval()
        return self

    def encoders(self) -> list[nn.Module]:
        """Encoders that may be frozen."""
        return []

    def start_from(self, path: str) -> None:
        """Take converted weights.

        Raises:
            DataError: If they are of a network that was made otherwise, with what to pass.
        """
        loaded = type(self.network).load(path)
        differ = {
            key: value
            for key, value in loaded.made_with.items()
            if key not in ("dropout", "drop_path") and self.network.made_with.get(key) != value
        }
        if differ:
            there = ", ".join(
                f"{key} {short(value)} and not {short(self.network.made_with.get(key))}"
                for key, value in differ.items()
            )
            own = self.config.own().keys()
            options = [f"--model.system.{key} {value}" for key, value in differ.items() if key in own]
            pass_on = f" Pass {' '.join(options)}." if options else ""
            data = " The data decide its widths and classes: use those that it was trained with."
            given = {"visual", "audio", "frames", "classes", "answers", "words", "patches", "text"} & differ.keys()
            raise DataError(f"{path} does not fit this run; it has {there}.{pass_on}{data if given - own else ''}")
        self.network.load_state_dict(loaded.state_dict())


class FeatureSystem(NetworkSystem):
    """Encoders where the data hold pictures and sound, and a paper's network.

    Args:
        config: What it is made of.
        vocabulary: The dataset's classes.
        features: Widths of stored visual and audio features by task, 0 for pictures and sound; those of `config` where
            None.
    """

    config: FeatureConfig

    def __init__(
        self, config: FeatureConfig, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        super().__init__(config)
        seen, heard = next(iter((features or {}).values()), None) or (config.visual_features, config.audio_features)
        self.visual: VisualEncoder | None = None
        self.audio: AudioEncoder | None = None
        if not seen:
            visual = build_visual_encoder(config.visual, config.visual_weights)
            self.visual = freeze_pretrained(visual, train=config.train_encoders)
            seen = visual.width
        if not heard:
            audio = build_audio_encoder(config.audio, config.audio_weights)
            self.audio = freeze_pretrained(audio, train=config.train_encoders)
            heard = audio.width
        self.network = self.make_network(seen, heard, vocabulary)
        if config.weights:
            self.start_from(config.weights)

    def make_network(self, visual: int, audio: int, vocabulary: Vocabulary) -> OfficialNetwork:
        """The network for widths of features."""
        return self.config.network(visual, audio, vocabulary)

    def sense(self, batch: Batch, seen: VisualFeatures | None = None) -> Senses:
        """Encode pictures, unless they are given as `seen`, and sound; stored features are what they are."""
        if seen is None and self.visual is None and batch.visual is not None:
            x = batch.visual.float()
            seen = VisualFeatures(x.mean(2), x, (1, x.shape[2]))
        return Senses(see(self.visual, batch) if seen is None else seen, hear(self.audio, batch))

    def encoders(self) -> list[nn.Module]:
        """Both, where there are any."""
        return [module for module in (self.visual, self.audio) if module is not None]


def squared(seen: VisualFeatures, positions: int) -> Tensor:
    """Patches (B, T, positions, D): as they are where they are as many, else averaged to a square grid.

    Raises:
        ValueError: If `positions` is no square number.
    """
    patches = seen.patches
    if patches.shape[2] == positions:
        return patches
    side = round(positions**0.5)
    if side * side != positions:
        raise ValueError(f"positions is {positions}; pictures of other grids need a square number, such as 49.")
    maps = rearrange(patches, "b t (h w) d -> (b t) d h w", h=seen.grid[0])
    maps = F.adaptive_avg_pool2d(maps, (side, side))
    return rearrange(maps, "(b t) d h w -> b t (h w) d", b=len(patches))
