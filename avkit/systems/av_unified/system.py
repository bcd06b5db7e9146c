# SPDX-License-Identifier: Apache-2.0
"""AV-Unified: encoders, temporal and spatial perception and the prompt's gate, shared by one head per task."""

from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from avkit.backbone.gate import PromptGate
from avkit.backbone.spatial import SpatialPerception
from avkit.backbone.streams import TokenProjection
from avkit.backbone.temporal import TemporalPerception
from avkit.batch import Batch, Losses, Output, Prediction, Tokens
from avkit.encoders import build_audio_encoder, build_text_encoder, build_visual_encoder
from avkit.encoders.base import AudioEncoder, TextEncoder, VisualEncoder, VisualFeatures
from avkit.heads.base import Head
from avkit.heads.sequence import SequenceDecoder
from avkit.nn.position import grid_code
from avkit.systems.av_unified.config import AVUnifiedConfig
from avkit.systems.av_unified.heads import make_decoder, make_heads, module_name
from avkit.systems.av_unified.patches import average_patches, stored_visual
from avkit.systems.av_unified.projection import StreamProjection
from avkit.systems.av_unified.prompt_heat import ShownOutput, prompt_heat
from avkit.systems.av_unified.streams import Streams
from avkit.systems.av_unified.texts import NameFeatures, Texts, encode_texts
from avkit.systems.base import Encoded, RunContext, System, encode_frames, encode_waveform, freeze_pretrained

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
        self.own_sound_in: StreamProjection | None = None
        if config.own_sound and any(head.needs_own_sound for head in self._all_heads()):
            self.own_sound_in = StreamProjection("audio", audio_width, audio_widths - {0}, width)
        self._names = NameFeatures(context.vocabulary.classes)
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

    def forward(self, batch: Batch, encoded: Encoded | None = None, texts: Texts | None = None) -> Output:
        """The output of the task's head; `texts` where they have been read before."""
        tokens = self.tokens(batch, encoded, texts)
        output = self.head(batch.task)(tokens, batch)
        return ShownOutput(output, tokens.shown) if tokens.shown else output

    def loss(self, output: Output, batch: Batch) -> Losses:
        """The losses of the task's head."""
        answer = output.answer if isinstance(output, ShownOutput) else output
        return self.head(batch.task).loss(answer, batch)

    def predict(self, output: Output, batch: Batch) -> Prediction:
        """The answer of the task's head, and what shows how the backbone came to it."""
        if not isinstance(output, ShownOutput):
            return self.head(batch.task).predict(output, batch)
        prediction = self.head(batch.task).predict(output.answer, batch)
        prediction.values.update(output.shown)
        return prediction

    def graph_values(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Those of the task's head."""
        answer = output.answer if isinstance(output, ShownOutput) else output
        return self.head(batch.task).graph_values(answer, batch)

    def read_texts(self, batch: Batch) -> Texts:
        """Features of all texts that belong to a batch."""
        questions = batch.text if batch.text is not None else [self.prompts[batch.task]] * len(batch)
        head = self.head(batch.task)
        second = head.second_prompts(questions)
        return Texts(
            prompts=encode_texts(self.text, self.text_in, questions),
            second=None if second is None else encode_texts(self.text, self.text_in, second).pooled,
            names=self._names.encode(self.text, self.text_in, self.tasks[batch.task].vocabulary.classes),
            captions=head.read_captions(batch) if self.training else None,
        )

    def tokens(self, batch: Batch, encoded: Encoded | None = None, texts: Texts | None = None) -> Tokens:
        """Tokens of a batch as its task's head may see them, prompted by its questions or by the task's prompt."""
        encoded = encoded or self.encode(batch)
        texts = texts or self.read_texts(batch)
        prompts = texts.prompts
        head = self.head(batch.task)
        cross_modal = self._is_cross_modal(head)
        # questions about one clip share all that does not depend on the prompt
        streams = self._perceive(encoded, batch, head, cross_modal=cross_modal).of(batch.clip)
        shown = self._weigh(streams, prompts.pooled) if cross_modal else {}
        audio, frame, patches = streams.audio[0], streams.frame, streams.patches
        if self.projection is not None:
            audio, frame, patches = self.projection(streams.audio, frame, patches)
        return Tokens(
            audio=audio,
            frame=frame,
            patches=patches,
            grid=streams.grid,
            valid=streams.valid,
            pyramid=encoded.visual.pyramid if head.needs_pixels else [],
            text=prompts.tokens,
            text_valid=prompts.valid,
            text_lengths=prompts.lengths,
            prompt=prompts.pooled,
            second_prompt=texts.second,
            names=texts.names,
            own_sound=self._own_sound(encoded, batch, head),
            captions=texts.captions,
            picture=batch.frames if head.needs_pixels else None,
            expert=batch.expert,
            expert_known=batch.expert_known,
            shown=shown,
        )

    def _perceive(self, encoded: Encoded, batch: Batch, head: Head, *, cross_modal: bool) -> Streams:
        """Features of the clips after the temporal and the spatial module."""
        visual = encoded.visual
        audio = self.audio_in(encoded.audio, batch.audio is not None)
        frame = self.frame_in(visual.frame, batch.visual is not None)
        patches = self.patch_in(visual.patches, batch.visual is not None)
        if cross_modal:  # a patch that is compared with sound alone must not carry its position
            patches = patches + grid_code(visual.grid, patches) * 0.5**0.5
        guide = audio if self.form.raw_audio_guide else None
        if self.temporal is not None:
            audio, frame = self.temporal(audio, frame, batch.valid, cross_modal=cross_modal)
        temporal_audio = audio
        attention = None
        if self.spatial is not None:
            if self._shows_gate(batch.task, cross_modal=cross_modal):
                attention = self.spatial.sound_attention(audio, patches).unflatten(-1, visual.grid)
            audio, patches = self.spatial(audio, patches, batch.valid, cross_modal=cross_modal, guide=guide)
        streams = [audio] if self.form.audio_streams == 1 else [temporal_audio, audio]
        grid = visual.grid
        if not head.needs_pixels:
            patches, grid = average_patches(patches, grid, self.config.parts)
        return Streams(streams, frame, patches, grid, batch.valid, attention)

    def _own_sound(self, encoded: Encoded, batch: Batch, head: Head) -> Tensor | None:
        """The sound of each step without the backbone, for a head that reads it."""
        if self.own_sound_in is None or not head.needs_own_sound:
            return None
        sound = self.own_sound_in(encoded.audio, batch.audio is not None)
        return sound if batch.clip is None else sound[batch.clip]

    def _weigh(self, streams: Streams, prompt: Tensor) -> dict[str, Tensor]:
        """Weigh the streams in place by prompts (B, D); returns what shows it beside an answer."""
        if self.gate is None:
            return {}
        factors = self.gate.factors(
            streams.audio[0], streams.frame, streams.audio[-1], streams.patches, prompt, streams.valid
        )
        weighed = factors.weigh(streams.audio, streams.frame, streams.patches)
        streams.audio, streams.frame, streams.patches = weighed
        if streams.attention is None:
            return {}
        return prompt_heat(streams.attention, factors, streams.grid, streams.valid)

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

    def needs_maps(self, task: str) -> bool:
        """As the task's head says."""
        head = self.head(task)
        return head.needs_pixels and head.needs_maps

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
        self._names.forget()
        return self

    def _shows_gate(self, task: str, *, cross_modal: bool) -> bool:
        """Whether answers come with what the gate makes of the sound's attention: those to questions."""
        return self.gate is not None and cross_modal and not self.training and self.tasks[task].needs_question()

    def _all_heads(self) -> list[Head]:
        return [self.head(task) for task in self.tasks]

    def _is_cross_modal(self, head: Head) -> bool:
        """Whether audio and picture attend to each other before a head."""
        if self.form.always_cross_modal:
            return True
        return head.cross_modal and not (self.training and head.trains_unimodal and self._unimodal_step)
