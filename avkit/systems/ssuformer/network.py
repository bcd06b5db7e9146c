# SPDX-License-Identifier: Apache-2.0
"""SSUFormer: masks of what sounds and a sentence about it for every frame, each helping the other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from avkit.batch import Batch, Tokens, Vocabulary
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.errors import unknown_name
from avkit.nn.position import grid_code
from avkit.nn.recompute import recompute_activations
from avkit.systems.base import Senses, hear, see
from avkit.systems.ssuformer.integration import MultiModalityIntegration
from avkit.tasks.base import Task
from avkit.text.wordpiece import make_wordpieces, read_wordpieces

#: Values of switches.
ANSWERS = ("both", "masks", "captions")
_SWITCHES = {"answers": ANSWERS, "text_loss": ("focal", "ce"), "mask_loss": ("dice", "dice+bce")}
_SWITCHES |= {"rcc_text": ("states", "clip"), "balance": ("fixed", "learned")}


@dataclass
class SSUFormerConfig:
    """What an SSUFormer is made of; the defaults train from scratch on two CPU cores, `configs/ssuformer` has others.

    Attributes:
        name: Of the system.
        visual: Visual encoder with a pyramid, a name of `list_encoders("visual")`; trained.
        audio: Audio encoder, a name of `list_encoders("audio")`; frozen, but for `small`.
        region: Image encoder that looks at regions, a name of `list_encoders("visual")`; frozen.
        visual_weights: Weights of the visual encoder: empty, `hub`, a tag, or a path.
        audio_weights: Weights of the audio encoder.
        region_weights: Weights of the image encoder.
        width: Width of picture and sound.
        mask_width: Width of the mask decoder.
        heads: Attention heads, for both.
        integration: Layers in which sound and picture meet.
        integration_inner: Width of their feed-forward layers.
        share_proj: Let the temporal and the spatial pass of each attention share their projections.
        reach: Steps before and after that a step sees in the temporal pass.
        queries: Queries of the mask decoder.
        mask_layers: Layers of its pixel decoder, of its query decoder, and of those that make queries of sound, each.
        mask_inner: Width of their feed-forward layers.
        scale: Cells of the mask per cell of the finest map, on a side.
        text_width: Width of the text decoder.
        text_heads: Its attention heads.
        text_layers: Its layers.
        positions: Longest caption in word pieces, start included.
        pieces: Word pieces of captions: a `vocab.txt`, a model on the hub such as `bert-base-uncased`, or empty to make
            them of the dataset's words.
        places: Rows and columns that a picture's tokens are pooled to before a caption reads them.
        dropout: In training.
        recompute: Keep little of masks and pictures for the backward pass and compute it again there: less memory, more
            time.
        answers: `both`; `masks` alone (SSU-S); `captions` alone (SSU-D).
        mask_loss: `dice` as in the paper, which teaches nothing where nothing sounds, or `dice+bce`.
        text_loss: `focal` as in the paper, or `ce`, its baseline.
        mcm: Mask Collaboration Module: captions see what the image encoder sees under the mask.
        mcm_teacher: Epochs in which true masks stand for predicted ones there.
        rcc: Regional Consistency Constraint: what is under the mask and what is said come to lie close.
        rcc_text: What is said, as a vector: `states` of the text decoder, or `clip`, the true caption by the image
            encoder's own text encoder.
        rcc_weight: Factor of that loss.
        mohe: Mixture of Hierarchical-prompted Experts: a router over the text decoder and a vision-language model.
        expert: Width of that model's features; 0 for that of the data, or 4096 where there are none.
        balance: `fixed` a, or `learned`.
        a: Share of the masks' loss, or where it starts.
        a_floor: Least share of either loss, where learnt.
        beams: Captions kept while writing; 1 takes the likeliest piece each time.
        most: Longest caption that is written, in word pieces.
        steady: Write a caption anew only where what it is about has changed by more than this; 0 writes all.
    """

    name: Literal["ssuformer"] = "ssuformer"
    visual: str = "small"
    audio: str = "small"
    region: str = "small"
    visual_weights: str | None = None
    audio_weights: str | None = None
    region_weights: str | None = None
    width: int = 64
    mask_width: int = 32
    heads: int = 4
    integration: int = 3
    integration_inner: int = 128
    share_proj: bool = True
    reach: int = 9
    queries: int = 8
    mask_layers: int = 1
    mask_inner: int = 64
    scale: int = 1
    text_width: int = 96
    text_heads: int = 4
    text_layers: int = 2
    positions: int = 64
    pieces: str | None = None
    places: int = 7
    dropout: float = 0.0
    recompute: bool = False
    answers: str = "both"
    mask_loss: str = "dice"
    text_loss: str = "focal"
    mcm: bool = True
    mcm_teacher: int = 0
    rcc: bool = True
    rcc_text: str = "states"
    rcc_weight: float = 1.0
    mohe: bool = True
    expert: int = 0
    balance: str = "fixed"
    a: float = 0.25
    a_floor: float = 0.05
    beams: int = 1
    most: int = 40
    steady: float = 0.0

    def __post_init__(self) -> None:
        for key, known in _SWITCHES.items():
            if getattr(self, key) not in known:
                raise unknown_name(f"system.{key}", getattr(self, key), known)
        for key in ("mcm", "rcc"):
            if getattr(self, key) and self.answers != "both":
                raise ValueError(
                    f"system.{key} lets masks and captions help each other, and system.answers is {self.answers!r}. "
                    f"Set system.{key} to false, or answers to 'both'."
                )
        if self.mohe and self.answers == "masks":
            raise ValueError("system.mohe mixes experts of captions, and there are none. Set system.mohe to false.")
        if self.most >= self.positions:
            raise ValueError(f"system.most is {self.most}; {self.positions} positions leave room for fewer.")
        if self.rcc_text == "clip" and not self.region.startswith("clip"):
            raise ValueError(f"system.rcc_text 'clip' needs a CLIP as system.region, which is {self.region!r}.")

    def speak(self, vocabulary: Vocabulary) -> Vocabulary:
        """The vocabulary with the word pieces that captions are written in, unless it has them."""
        if vocabulary.pieces or self.answers == "masks":
            return vocabulary
        return replace(
            vocabulary, pieces=read_wordpieces(self.pieces) if self.pieces else make_wordpieces(vocabulary.words)
        )

    def tasks(self, names: Sequence[str], vocabulary: Vocabulary) -> dict[str, Task]:
        """The tasks by name, as this system answers them.

        Raises:
            ValueError: If it does not answer one of them.
        """
        other = [name for name in names if name != "ra_ssu"]
        if other:
            raise ValueError(
                f"System 'ssuformer' answers ra_ssu, not {', '.join(other)}. Leave them out of --tasks, or set "
                "--model.system.name av_unified."
            )
        from avkit.systems.ssuformer.answering import SourceUnderstanding

        return {name: SourceUnderstanding(vocabulary.of(name), self) for name in names}

    def build(
        self, vocabulary: Vocabulary, features: Mapping[str, Sequence[int]] | None = None, expert: int | None = None
    ) -> "SSUFormer":
        """The system; `expert` is the width of the data's features of a vision-language model."""
        self.expert = self.expert or expert or 4096
        return SSUFormer(self, features)

    @property
    def frozen_audio(self) -> bool:
        """Whether the audio encoder is left as it is."""
        return self.audio != "small"


class SSUFormer(nn.Module):
    """From a batch to tokens: picture and sound, met three times.

    Args:
        config: What it is made of.
        features: Widths of stored visual and audio features by task; only those of sound may be stored.

    Source:
        RA-SSU (arXiv 2603.09809), section IV; what it leaves open is chosen so that the published size has as many
        parameters as the paper says.
    """

    def __init__(self, config: SSUFormerConfig, features: Mapping[str, Sequence[int]] | None = None) -> None:
        super().__init__()
        self.config = config
        visual, audio = next(iter((features or {}).values()), (0, 0))
        if visual:
            raise ValueError("SSUFormer makes masks of pictures, and the data have stored features. Leave data.visual.")
        self.visual = build_visual_encoder(config.visual, config.visual_weights)
        if not self.visual.pyramid_widths:
            raise ValueError(f"SSUFormer needs a pyramid of maps, and {config.visual!r} has none. Try pvt_v2_b5.")
        if config.recompute:
            recompute_activations(self.visual)
        self.audio = None if audio else build_audio_encoder(config.audio, config.audio_weights)
        if self.audio is not None and config.frozen_audio:
            self.audio.requires_grad_(False)
        heard = self.audio.width if self.audio is not None else audio
        width = config.width
        self.patch_in = nn.Linear(self.visual.width, width)
        self.audio_in = nn.Linear(heard, width)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(width) for name in ("patches", "audio")})
        self.integration = MultiModalityIntegration(
            width,
            config.integration,
            config.heads,
            config.integration_inner,
            config.reach,
            config.share_proj,
            config.dropout,
        )

    @property
    def pyramid_widths(self) -> list[int]:
        """Widths of the maps finer than the patches, finest first."""
        widths = list(self.visual.pyramid_widths)
        return widths[:-1] if self.visual.pyramid_includes_patches else widths

    def sense(self, batch: Batch, seen: Any = None) -> Senses:
        """Encode pictures, unless they are given as `seen`, and sound."""
        return Senses(see(self.visual, batch) if seen is None else seen, hear(self.audio, batch))

    def forward(
        self,
        batch: Batch,
        prompts: list[str] | None = None,
        pixels: bool = True,
        meet: bool = True,
        senses: Senses | None = None,
        classes: Sequence[str] | None = None,
    ) -> Tokens:
        """Encode and integrate a batch; prompts and classes are for other systems.

        Args:
            batch: What is seen and heard.
            prompts: Not read.
            pixels: Not read: masks need all maps.
            meet: Not read.
            senses: What `sense` made of the batch, where that is known.
            classes: Not read.
        """
        senses = senses or self.sense(batch)
        seen = senses.seen
        audio = self.norms["audio"](self.audio_in(senses.heard))
        patches = self.norms["patches"](self.patch_in(seen.patches))
        patches = patches + grid_code(seen.grid, patches) * 0.5**0.5  # captions say where
        audio, patches = self.integration(audio, patches, batch.valid)
        pyramid = seen.pyramid[:-1] if self.visual.pyramid_includes_patches else seen.pyramid
        return Tokens(
            audio,
            patches.mean(2),
            patches,
            seen.grid,
            batch.valid,
            pyramid,
            picture=batch.frames,
            expert=batch.expert,
            expert_known=batch.expert_known,
        )

    def train(self, mode: bool = True) -> "SSUFormer":
        """A frozen audio encoder stays in evaluation mode."""
        super().train(mode)
        if self.audio is not None and self.config.frozen_audio:
            self.audio.eval()
        return self
