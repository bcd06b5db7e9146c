# SPDX-License-Identifier: Apache-2.0
"""AV-Unified: encoders, temporal perception, spatial perception and the prompt's gate, shared by all tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from einops import rearrange
from torch import Tensor, nn

from avkit.backbone.gate import PromptGate
from avkit.backbone.spatial import SpatialPerception
from avkit.backbone.temporal import TemporalPerception
from avkit.batch import Batch, Tokens, Vocabulary
from avkit.encoders import build_audio_encoder, build_text_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, TextFeatures, VisualEncoder, VisualFeatures
from avkit.heads.region import shrink
from avkit.nn.position import grid_code
from avkit.systems.base import Senses, freeze_pretrained, hear, see
from avkit.tasks import build_tasks
from avkit.tasks.base import Task


@dataclass
class AVUnifiedConfig:
    """What an AV-Unified backbone is made of; the defaults train from scratch on two CPU cores.

    Attributes:
        name: Of the system.
        visual: Visual encoder, a name of `list_encoders("visual")`.
        audio: Audio encoder, a name of `list_encoders("audio")`.
        text: Text encoder, a name of `list_encoders("text")`.
        visual_weights: Weights of the visual encoder: empty, `hub`, a tag, or a path.
        audio_weights: Weights of the audio encoder.
        text_weights: Weights of the text encoder.
        train_encoders: Train them too; False freezes all three, except those called `small`.
        visual_features: Width of stored visual features, which then stand for the visual encoder; 0 for none. Data
            that know what they hold say so themselves.
        audio_features: Width of stored audio features; 0 for none.
        width: Width D of all tokens.
        heads: Attention heads.
        parts: Rows and columns in which pictures are read for answers that are not about pixels.
        windows: Window lengths of the temporal module, in steps.
        dropout: In training.
        temporal: Use the temporal module.
        spatial: Use the spatial module.
        gate: Use the prompt's gate.
        apart: Share of training steps in which sound and sight do not meet before the head though the task would have
            them meet, in runs with tasks where they never do: what is learnt about classes then serves these too.
    """

    name: Literal["av_unified"] = "av_unified"
    visual: str = "small"
    audio: str = "small"
    text: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    text_weights: str | None = None
    train_encoders: bool = False
    visual_features: int = 0
    audio_features: int = 0
    width: int = 96
    heads: int = 4
    parts: int = 4
    windows: list[int] = field(default_factory=lambda: [2, 4, 6])
    dropout: float = 0.0
    temporal: bool = True
    spatial: bool = True
    gate: bool = True
    apart: float = 0.3

    def speak(self, vocabulary: Vocabulary) -> Vocabulary:
        """The vocabulary as it is: captions are written in words."""
        return vocabulary

    def tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The tasks by name."""
        return build_tasks(list(names), vocabulary)

    def build(
        self, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None, expert: int | None = None
    ) -> "AVUnified":
        """The system, for a dataset's words; it has no use for an expert of captions."""
        return AVUnified(self, vocabulary, features)


class AVUnified(nn.Module):
    """From a batch to tokens that every head can read.

    Args:
        config: What it is made of.
        vocabulary: The dataset's words, for a text encoder trained from scratch.
        features: Widths of stored visual and audio features by task, 0 for pictures and sound; those of `config` where
            None.

    Source:
        AV-Unified (arXiv 2603.06530), section III; widths, norms and positions, which it leaves open, are ours.
    """

    def __init__(
        self, config: AVUnifiedConfig, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        width, heads, drop = config.width, config.heads, config.dropout
        read = list((features or {}).values()) or [[config.visual_features, config.audio_features]]
        stored, played = ({pair[k] for pair in read} for k in (0, 1))
        #: Whether there are stored features to read, of pictures and of sound.
        self.reads_stored = any(stored), any(played)
        self.visual: VisualEncoder | None = None
        self.audio: AudioEncoder | None = None
        if 0 in stored:
            visual = build_visual_encoder(config.visual, config.visual_weights)
            self.visual = freeze_pretrained(visual, train=config.train_encoders)
        if 0 in played:
            audio = build_audio_encoder(config.audio, config.audio_weights)
            self.audio = freeze_pretrained(audio, train=config.train_encoders)
        text = build_text_encoder(config.text, config.text_weights, vocabulary.words)
        self.text = freeze_pretrained(text, train=config.train_encoders)
        seen = self.visual.width if self.visual is not None else min(stored)
        heard = self.audio.width if self.audio is not None else min(played)
        self.frame_in, self.patch_in = nn.Linear(seen, width), nn.Linear(seen, width)
        self.audio_in = nn.Linear(heard, width)
        #: Projections of stored features beside those, by width.
        self.stored_in = nn.ModuleDict(
            {
                name: nn.ModuleDict({str(w): nn.Linear(w, width) for w in sorted(widths - {least})})
                for name, widths, least in (
                    ("frame", stored, 0 if self.visual is not None else seen),
                    ("patches", stored, 0 if self.visual is not None else seen),
                    ("audio", played, 0 if self.audio is not None else heard),
                )
            }
        )
        self.text_in = nn.Linear(self.text.width, width)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("frame", "patches", "audio")})
        self.temporal = TemporalPerception(width, heads, config.windows, drop) if config.temporal else None
        self.spatial = SpatialPerception(width, heads, drop) if config.spatial else None
        self.gate = PromptGate(width) if config.gate else None
        self.classes = list(vocabulary.classes)
        self._frozen_names: Tensor | None = None

    @property
    def pyramid_widths(self) -> list[int]:
        """Widths of the pyramid's maps, finest first; empty for encoders without one."""
        return [] if self.visual is None else list(self.visual.pyramid_widths)

    def sense(self, batch: Batch, seen: VisualFeatures | None = None) -> Senses:
        """Encode pictures, unless they are given as `seen`, and sound."""
        return Senses(self._see(batch) if seen is None else seen, self._hear(batch))

    def forward(
        self,
        batch: Batch,
        prompts: list[str],
        pixels: bool = True,
        meet: bool = True,
        senses: Senses | None = None,
        classes: Sequence[str] | None = None,
    ) -> Tokens:
        """Encode and mix a batch.

        Args:
            batch: What is seen and heard.
            prompts: One text per sample.
            pixels: False for answers that are not about pixels: each picture is then read in `config.parts` squared
                parts at most, after the spatial module, and there is no pyramid.
            meet: False leaves sound and sight to themselves: they do not attend to each other, and there is no gate.
            senses: What `sense` made of the batch, where that is known.
            classes: Classes of the batch's dataset, where it is one of several.
        """
        senses = senses or self.sense(batch)
        seen = senses.seen
        audio = self._enter("audio", self.audio_in, senses.heard, batch.audio is not None)
        frame = self._enter("frame", self.frame_in, seen.frame, batch.visual is not None)
        patches = self._enter("patches", self.patch_in, seen.patches, batch.visual is not None)
        if meet:  # what is compared with sound alone must not know where it is
            patches = patches + grid_code(seen.grid, patches) * 0.5**0.5
        words, spoken, prompt = self._read(prompts)
        if self.temporal is not None:
            audio, frame = self.temporal(audio, frame, batch.valid, meet)
        if self.spatial is not None:
            audio, patches = self.spatial(audio, patches, batch.valid, meet)
        valid, pyramid, grid = batch.valid, seen.pyramid, seen.grid
        if not pixels:
            patches, grid = self._parts(patches, grid)
            pyramid = []
        if batch.clip is not None:  # several samples share a clip, and part only here, where their prompts come in
            audio, frame, patches, valid = (x[batch.clip] for x in (audio, frame, patches, valid))
        if self.gate is not None and meet:
            audio, frame, patches = self.gate(audio, frame, patches, prompt, valid)
        names, picture = self._names(classes), batch.frames if pixels else None
        return Tokens(audio, frame, patches, grid, valid, pyramid, words, spoken, prompt, names, picture)

    def _enter(self, name: str, usual: nn.Linear, x: Tensor, stored: bool) -> Tensor:
        """Features brought to the system's width."""
        known, width = self.stored_in[name], str(x.shape[-1])
        chosen = known[width] if stored and width in known else usual  # type: ignore[operator, index]
        if chosen.in_features != x.shape[-1]:
            raise ValueError(
                f"Stored {name} features are {x.shape[-1]} wide; this model takes "
                f"{', '.join([*known, str(usual.in_features)])}. Use the features it was trained with."  # type: ignore[misc]
            )
        entered: Tensor = self.norms[name](chosen(x))
        return entered

    def _read(self, prompts: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens of the prompts, which of them are words, and the pooled prompts; equal prompts are read once."""
        same = len(set(prompts)) == 1
        text: TextFeatures = self.text(prompts[:1] if same else prompts)
        parts = self.text_in(text.tokens), text.valid, self.text_in(text.pooled)
        return tuple(x.expand(len(prompts), *x.shape[1:]) for x in parts) if same else parts  # type: ignore[return-value]

    def _parts(self, patches: Tensor, grid: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
        """Patches (B, T, P, D) averaged to a grid of at most `config.parts` on each side."""
        maps = rearrange(patches, "b t (h w) d -> (b t) d h w", h=grid[0])
        maps = shrink(maps, (self.config.parts, self.config.parts))
        return rearrange(maps, "(b t) d h w -> b t (h w) d", b=len(patches)), (maps.shape[-2], maps.shape[-1])

    def _names(self, classes: Sequence[str] | None = None) -> Tensor | None:
        """The dataset's classes as the text encoder reads their names, (K, D); all where not told which."""
        if not self.classes or (classes is not None and not classes):
            return None
        pooled = self._frozen_names
        if pooled is None:
            pooled = self.text([name.replace("_", " ") for name in self.classes]).pooled
            if self.text in self._frozen():
                self._frozen_names = pooled
        if classes is not None and list(classes) != self.classes:
            pooled = pooled[[self.classes.index(name) for name in classes]]
        named: Tensor = self.text_in(pooled.to(self.text_in.weight.device))
        return named

    def train(self, mode: bool = True) -> "AVUnified":
        """Frozen encoders stay in evaluation mode."""
        super().train(mode)
        self._frozen_names = None
        for module in self._frozen():
            module.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        parts = [m for m in (self.visual, self.audio, self.text) if m is not None]
        return [m for m in parts if not any(p.requires_grad for p in m.parameters())]

    def _see(self, batch: Batch) -> VisualFeatures:
        """Visual features with (B, T) in front; only pictures that exist pass the encoder."""
        if batch.visual is not None and self.reads_stored[0]:
            x = batch.visual.float()
            return VisualFeatures(x.mean(2), x, _square(x.shape[2]))
        return see(self.visual, batch)

    def _hear(self, batch: Batch) -> Tensor:
        """Audio features (B, T, width of the encoder)."""
        if batch.audio is not None and self.reads_stored[1]:
            return batch.audio.float()
        return hear(self.audio, batch)


def _square(patches: int) -> tuple[int, int]:
    side = round(patches**0.5)
    return (side, side) if side * side == patches else (1, patches)
