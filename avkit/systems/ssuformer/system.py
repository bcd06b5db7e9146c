# SPDX-License-Identifier: Apache-2.0
"""SSUFormer: masks of what sounds and a caption of it for every frame, each helping the other."""

from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, VisualEncoder, VisualFeatures
from avkit.heads.base import HeadInputs
from avkit.nn.position import grid_code
from avkit.nn.recompute import recompute_activations
from avkit.systems.base import Encoded, RunContext, System, encode_frames, encode_waveform, freeze_pretrained
from avkit.systems.ssuformer.config import SSUFormerConfig
from avkit.systems.ssuformer.integration import MultiModalityIntegration
from avkit.systems.ssuformer.output import UnderstandingOutput
from avkit.systems.ssuformer.task_decoders import TaskDecoders

#: Width of the expert's features where neither the options nor the data tell it: LLaVA's.
EXPERT_WIDTH = 4096


class SSUFormerSystem(System):
    """Encoders, multi-modality integration, and the decoders of masks and captions.

    Args:
        config: Its options.
        context: The task, its words, and widths of stored features; only audio features may be stored.

    Raises:
        ValueError: If the data have stored visual features, or the visual encoder has no pyramid.

    Source:
        RA-SSU (arXiv 2603.09809), section IV; what it leaves open is chosen so that the published size has as many
        parameters as the paper says.
    """

    config: SSUFormerConfig

    def __init__(self, config: SSUFormerConfig, context: RunContext) -> None:
        super().__init__(config, context)
        if context.widths.visual:
            raise ValueError(
                "SSUFormer makes masks of pictures, and the data have stored features. Leave data.features.visual out."
            )
        self.visual: VisualEncoder = build_visual_encoder(config.visual, config.visual_weights)
        if not self.visual.pyramid_widths:
            raise ValueError(f"SSUFormer needs a pyramid of maps, and {config.visual!r} has none. Try pvt_v2_b5.")
        if config.recompute:
            recompute_activations(self.visual)
        audio_width = context.widths.audio
        self.audio: AudioEncoder | None = None
        if not audio_width:
            self.audio = freeze_pretrained(build_audio_encoder(config.audio, config.audio_weights), train=False)
            audio_width = self.audio.width
        self.patch_in = nn.Linear(self.visual.width, config.width)
        self.audio_in = nn.Linear(audio_width, config.width)
        self.patch_norm = nn.LayerNorm(config.width)
        self.audio_norm = nn.LayerNorm(config.width)
        self.integration = MultiModalityIntegration(
            config.width,
            config.integration_layers,
            config.heads,
            config.integration_inner,
            config.temporal_radius,
            config.share_projections,
            config.dropout,
            config.audio_self_attention,
        )
        inputs = HeadInputs(
            config.width,
            context.tasks["ra_ssu"].vocabulary,
            tuple(self.visual.pyramid_widths[: self._finer_levels]),
            config.expert_width or context.expert_width or EXPERT_WIDTH,
        )
        self.decoders = TaskDecoders(
            config, inputs, masks=config.answers != "captions", captions=config.answers != "masks"
        )

    @property
    def _finer_levels(self) -> int:
        """Number of the pyramid's maps that are finer than the patches."""
        count = len(self.visual.pyramid_widths)
        return count - 1 if self.visual.pyramid_includes_patches else count

    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Pictures through the visual encoder."""
        return encode_frames(self.visual, batch)

    def encode_audio(self, batch: Batch) -> Tensor:
        """Sound through the audio encoder, or stored features."""
        return encode_waveform(self.audio, batch)

    def tokens(self, batch: Batch, encoded: Encoded | None = None) -> Tokens:
        """Integrated audio and visual tokens."""
        encoded = encoded or self.encode(batch)
        visual = encoded.visual
        audio = self.audio_norm(self.audio_in(encoded.audio))
        patches = self.patch_norm(self.patch_in(visual.patches))
        patches = patches + grid_code(visual.grid, patches) * 0.5**0.5  # captions say where
        audio, patches = self.integration(audio, patches, batch.valid)
        return Tokens(
            audio=audio,
            frame=patches.mean(2),
            patches=patches,
            grid=visual.grid,
            valid=batch.valid,
            pyramid=visual.pyramid[: self._finer_levels],
            picture=batch.frames,
            expert=batch.expert,
            expert_known=batch.expert_known,
        )

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> UnderstandingOutput:
        """Masks, and logits of the batch's captions in training, generated captions else."""
        output: UnderstandingOutput = self.decoders(self.tokens(batch, encoded), batch)
        return output

    def loss(self, output: UnderstandingOutput, batch: Batch) -> Losses:
        """See `UnderstandingCriterion`."""
        return self.decoders.loss(output, batch)

    def predict(self, output: UnderstandingOutput, batch: Batch) -> Prediction:
        """`mask`, `caption` and `caption_written`, as far as they are asked for."""
        return self.decoders.predict(output, batch)

    def on_epoch_start(self, epoch: int) -> None:
        """Tell the decoders how far training is."""
        self.decoders.on_epoch_start(epoch)

    def on_evaluation_start(self) -> None:
        """Forget what was counted about the expert."""
        self.decoders.on_evaluation_start()

    def notes(self, task: str) -> list[str]:
        """Sentences about captions that were cut, and about the expert's share."""
        return self.decoders.notes()

    def region_encoder(self, task: str) -> VisualEncoder | None:
        """The image encoder of regions, else the visual encoder."""
        return self.decoders.region_encoder() or self.visual

    def set_caption_change_threshold(self, threshold: float) -> bool:
        """Repeat a caption while its source changes by less than `threshold`; returns whether there are captions."""
        return self.decoders.set_caption_change_threshold(threshold)

    def modules_of(self, task: str) -> list[nn.Module]:
        """All but what is for training alone."""
        others = [part for name, part in self.named_children() if name != "decoders"]
        return [*others, *self.decoders.answering_modules()]

    def encoders(self) -> list[nn.Module]:
        """The audio encoder, which may be frozen."""
        return [] if self.audio is None else [self.audio]
