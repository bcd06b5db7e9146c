# SPDX-License-Identifier: Apache-2.0
"""AV-Unified: encoders, temporal and spatial perception and the prompt's gate, shared by one head per task."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor, nn

from avkit.backbone.gate import PromptGate
from avkit.backbone.spatial import SpatialPerception
from avkit.backbone.streams import TokenProjection
from avkit.backbone.temporal import TemporalPerception
from avkit.batch import Batch, Losses, Output, Prediction, Tokens
from avkit.encoders import build_audio_encoder, build_text_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, TextEncoder, TextFeatures, VisualEncoder, VisualFeatures
from avkit.heads.base import Head
from avkit.heads.sequence import SequenceDecoder
from avkit.nn.position import grid_code
from avkit.systems.av_unified.config import AVUnifiedConfig
from avkit.systems.av_unified.heads import make_decoder, make_heads
from avkit.systems.av_unified.patches import average_patches, stored_visual
from avkit.systems.av_unified.projection import StreamProjection
from avkit.systems.base import (
    Encoded,
    RunContext,
    System,
    encode_frames,
    encode_waveform,
    freeze_pretrained,
)

#: Multiples of this number, modulo 1, are spread evenly: the golden ratio less one.
_GOLDEN = (5**0.5 - 1) / 2


class AVUnified(System):
    """One backbone for all tasks, and a head for each.

    Args:
        config: Its options.
        context: The tasks of the run, and what the data hold.

    Source:
        AV-Unified (arXiv 2603.06530), section III; widths, norms and positions, which it leaves open, are ours.
    """

    config: AVUnifiedConfig

    def __init__(self, config: AVUnifiedConfig, context: RunContext) -> None:
        super().__init__(config, context)
        width = config.width
        visual_widths = {widths.visual for widths in context.features.values()} or {0}
        audio_widths = {widths.audio for widths in context.features.values()} or {0}
        self.features = dict(context.features)
        self.prompts = dict(context.prompts)
        self.classes = list(context.vocabulary.classes)
        self.visual: VisualEncoder | None = None
        self.audio: AudioEncoder | None = None
        if 0 in visual_widths:
            visual = build_visual_encoder(config.visual, config.visual_weights)
            self.visual = freeze_pretrained(visual, train=config.train_encoders)
        if 0 in audio_widths:
            audio = build_audio_encoder(config.audio, config.audio_weights)
            self.audio = freeze_pretrained(audio, train=config.train_encoders)
        text = build_text_encoder(config.text, config.text_weights, context.vocabulary.words)
        self.text: TextEncoder = freeze_pretrained(text, train=config.train_encoders)
        visual_width = 0 if self.visual is None else self.visual.width
        audio_width = 0 if self.audio is None else self.audio.width
        self.frame_in = StreamProjection("frame", visual_width, visual_widths - {0}, width)
        self.patch_in = StreamProjection("patches", visual_width, visual_widths - {0}, width)
        self.audio_in = StreamProjection("audio", audio_width, audio_widths - {0}, width)
        self.text_in = nn.Linear(self.text.width, width)
        self.temporal: TemporalPerception | None = None
        self.spatial: SpatialPerception | None = None
        self.gate: PromptGate | None = None
        self.projection: TokenProjection | None = None
        form = config.backbone_form()
        self.form = form
        if config.temporal:
            self.temporal = TemporalPerception(
                width,
                config.heads,
                config.windows,
                config.dropout,
                stacked=form.stacked_windows,
                depth=form.temporal_depth,
            )
        if config.spatial:
            self.spatial = SpatialPerception(width, config.heads, config.dropout, form.feed_forward)
        if config.gate:
            self.gate = PromptGate(width, form.gate_residual)
        behind_gate = config.gate and form.gate_projection
        if behind_gate or form.audio_streams > 1:
            self.projection = TokenProjection(width, form.audio_streams, all_streams=behind_gate)
        self.decoder: SequenceDecoder | None = None
        if context.interface == "sequence":
            pyramid_widths = () if self.visual is None else tuple(self.visual.pyramid_widths)
            self.decoder = make_decoder(context, width, pyramid_widths, config.mask_blocks)
        self.heads = nn.ModuleDict(make_heads(context, width, self.pyramid_widths, self.decoder))
        self._frozen_names: Tensor | None = None
        self._unimodal_step = self._is_unimodal(0)

    def pyramid_widths(self, task: str) -> tuple[int, ...]:
        """Widths of the feature maps of a task's pictures; none where features stand for pictures."""
        if self.visual is None or self.features[task].visual:
            return ()
        return tuple(self.visual.pyramid_widths)

    def head(self, task: str) -> Head:
        """The head of a task."""
        head = self.heads[module_name(task)]
        assert isinstance(head, Head)
        return head

    def forward(self, batch: Batch, encoded: Encoded | None = None) -> Output:
        """The output of the task's head."""
        return self.head(batch.task)(self.tokens(batch, encoded), batch)

    def loss(self, output: Output, batch: Batch) -> Losses:
        """The losses of the task's head."""
        return self.head(batch.task).loss(output, batch)

    def predict(self, output: Output, batch: Batch) -> Prediction:
        """The answer of the task's head."""
        return self.head(batch.task).predict(output, batch)

    def tokens(self, batch: Batch, encoded: Encoded | None = None) -> Tokens:
        """Tokens of a batch as its task's head may see them, prompted by its questions or by the task's prompt."""
        encoded = encoded or self.encode(batch)
        head = self.head(batch.task)
        cross_modal = self._is_cross_modal(head)
        visual = encoded.visual
        audio = self.audio_in(encoded.audio, batch.audio is not None)
        frame = self.frame_in(visual.frame, batch.visual is not None)
        patches = self.patch_in(visual.patches, batch.visual is not None)
        if cross_modal:  # a patch that is compared with sound alone must not carry its position
            patches = patches + grid_code(visual.grid, patches) * 0.5**0.5
        questions = batch.text if batch.text is not None else [self.prompts[batch.task]] * len(batch)
        text = self._encode_text(questions)
        second = head.second_prompts(questions)
        guide = audio if self.form.raw_audio_guide else None
        if self.temporal is not None:
            audio, frame = self.temporal(audio, frame, batch.valid, cross_modal=cross_modal)
        temporal_audio = audio
        if self.spatial is not None:
            audio, patches = self.spatial(audio, patches, batch.valid, cross_modal=cross_modal, guide=guide)
        grid = visual.grid
        if not head.needs_pixels:
            patches, grid = average_patches(patches, grid, self.config.parts)
        valid = batch.valid
        streams = [audio] if self.form.audio_streams == 1 else [temporal_audio, audio]
        if batch.clip is not None:  # questions about one clip share all that does not depend on the prompt
            streams = [stream[batch.clip] for stream in streams]
            frame = frame[batch.clip]
            patches = patches[batch.clip]
            valid = valid[batch.clip]
        if self.gate is not None and cross_modal:
            streams, frame, patches = self.gate.weigh(streams, frame, patches, text.pooled, valid)
        audio = streams[0]
        if self.projection is not None:
            audio, frame, patches = self.projection(streams, frame, patches)
        return Tokens(
            audio=audio,
            frame=frame,
            patches=patches,
            grid=grid,
            valid=valid,
            pyramid=visual.pyramid if head.needs_pixels else [],
            text=text.tokens,
            text_valid=text.valid,
            prompt=text.pooled,
            second_prompt=None if second is None else self._encode_text(second).pooled,
            names=self._encode_names(self.tasks[batch.task].vocabulary.classes),
            picture=batch.frames if head.needs_pixels else None,
            expert=batch.expert,
            expert_known=batch.expert_known,
        )

    def encode_visual(self, batch: Batch) -> VisualFeatures:
        """Stored features as they are, or pictures through the encoder."""
        if batch.visual is not None and any(widths.visual for widths in self.features.values()):
            return stored_visual(batch.visual.float(), class_token=self.config.class_token)
        return encode_frames(self.visual, batch)

    def encode_audio(self, batch: Batch) -> Tensor:
        """Stored features as they are, or sound through the encoder."""
        if batch.audio is not None and any(widths.audio for widths in self.features.values()):
            return batch.audio.float()
        return encode_waveform(self.audio, batch)

    def on_step_start(self, step: int) -> None:
        """Decide whether the step goes without cross-modal attention: evenly spread, the same in all processes."""
        self._unimodal_step = self._is_unimodal(step)

    def _is_unimodal(self, step: int) -> bool:
        if self.form.always_cross_modal or all(head.cross_modal for head in self._all_heads()):
            return False
        return (step + 1) * _GOLDEN % 1 < self.config.unimodal_share

    def on_epoch_start(self, epoch: int) -> None:
        """Tell the heads."""
        for head in self._all_heads():
            head.on_epoch_start(epoch)

    def on_evaluation_start(self) -> None:
        """Tell the heads."""
        for head in self._all_heads():
            head.on_evaluation_start()

    def check_questions(self, task: str, questions: Mapping[str, str]) -> None:
        """Ask the task's head."""
        self.head(task).check_questions(questions)

    def notes(self, task: str) -> list[str]:
        """The notes of the task's head."""
        return self.head(task).notes()

    def set_caption_change_threshold(self, threshold: float) -> bool:
        """Tell the heads; returns whether one of them can."""
        return any([head.set_caption_change_threshold(threshold) for head in self._all_heads()])

    def region_encoder(self, task: str) -> VisualEncoder | None:
        """The encoder of regions of the task's head, else the visual encoder."""
        return self.head(task).region_encoder() or self.visual

    @property
    def reads_any_word(self) -> bool:
        """Whether the text encoder was pretrained."""
        return not self.text.from_scratch

    def shared_parameters(self) -> Iterator[nn.Parameter]:
        """Parameters of encoders and backbone."""
        for name, parameter in self.named_parameters():
            if not name.startswith(("heads.", "decoder.")):
                yield parameter

    def modules_of(self, task: str) -> list[nn.Module]:
        """Encoders and backbone, and the task's head."""
        shared = [module for name, module in self.named_children() if name != "heads"]
        return [*shared, self.head(task)]

    def parts(self) -> dict[str, nn.Module]:
        """The heads, and the decoder of sequences."""
        parts: dict[str, nn.Module] = {f"head {task}": self.head(task) for task in self.tasks}
        if self.decoder is not None:
            parts["decoder of sequences"] = self.decoder
        return parts

    def encoders(self) -> list[nn.Module]:
        """Encoders that may be frozen."""
        return [module for module in (self.visual, self.audio, self.text) if module is not None]

    def train(self, mode: bool = True) -> "AVUnified":
        """Set training mode; frozen encoders stay in evaluation mode."""
        super().train(mode)
        self._frozen_names = None
        return self

    def _all_heads(self) -> list[Head]:
        return [self.head(task) for task in self.tasks]

    def _encode_text(self, texts: Sequence[str]) -> TextFeatures:
        """Token and pooled features at the width of the tokens; equal texts are read once."""
        same = len(set(texts)) == 1
        features = self.text(list(texts[:1] if same else texts))
        features = TextFeatures(self.text_in(features.tokens), features.valid, self.text_in(features.pooled))
        if not same:
            return features
        count = len(texts)
        return TextFeatures(
            features.tokens.expand(count, -1, -1),
            features.valid.expand(count, -1),
            features.pooled.expand(count, -1),
        )

    def _is_cross_modal(self, head: Head) -> bool:
        """Whether audio and picture attend to each other before a head."""
        if self.form.always_cross_modal:
            return True
        return head.cross_modal and not (self.training and head.trains_unimodal and self._unimodal_step)

    def _encode_names(self, classes: Sequence[str]) -> Tensor | None:
        """Text features of class names, (K, D); None where there are none. A frozen text encoder reads them once."""
        if not classes:
            return None
        pooled = self._frozen_names
        if pooled is None:
            pooled = self.text([name.replace("_", " ") for name in self.classes]).pooled
            if not any(parameter.requires_grad for parameter in self.text.parameters()):
                self._frozen_names = pooled
        if list(classes) != self.classes:
            pooled = pooled[[self.classes.index(name) for name in classes]]
        names: Tensor = self.text_in(pooled.to(self.text_in.weight.device))
        return names


def module_name(task: str) -> str:
    """A task's name as a module's: torch takes no dots, which names of tasks from outside have."""
    return task.replace(".", "/")
