# SPDX-License-Identifier: Apache-2.0
"""TSPM's network: it selects the steps that matter to a question, and attends to the parts that sound in them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.errors import DataError
from avkit.nn.answers import QuestionOutput
from avkit.nn.decoder_layer import mlp
from avkit.nn.fast_attention import EncoderLayer
from avkit.nn.hybrid_attention import HybridAttention
from avkit.nn.masked_mean import masked_mean
from avkit.nn.query_attention import KeySteps, QueryAttention, check_step_count
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.official_keys import rename
from avkit.systems.tspm.equations import KeyProjection, add_attended
from avkit.systems.tspm.official_names import NAMES, unused_shapes
from avkit.systems.tspm.options import TSPMOptions
from avkit.systems.tspm.selection import Selection, repeat_last


@exportable
@dataclass(kw_only=True)
class TSPMOutput(QuestionOutput):
    """What TSPM answers; `chosen` and `shown` are always set, `weights` is None where all steps are used.

    Attributes:
        spatial: Sound-guided features of the pictures of the selected steps, (B, k, D).
        cross_modal: Audio and visual features after they attended to each other, (C, T, D) each.
    """

    spatial: Tensor
    cross_modal: tuple[Tensor, Tensor]


class TSPM(OfficialNetwork):
    """The network of "Boosting Audio Visual Question Answering via Key Semantic-Aware Cues" (ACM MM 2024).

    Args:
        options: Options of the network.
        audio: Width of audio features.
        visual: Width of frame features.
        patches: Width of patch features.
        text: Width of features of questions and prompts.
        answers: Number of answers K.
    """

    name = "tspm"
    source = "GeWu-Lab/TSPM at commit 0106ce4127b8"
    Options = TSPMOptions

    def __init__(
        self,
        options: TSPMOptions,
        audio: int = 128,
        visual: int = 768,
        patches: int = 1024,
        text: int = 768,
        answers: int = 42,
    ) -> None:
        super().__init__(options, audio=audio, visual=visual, patches=patches, text=text, answers=answers)
        self.options = options
        width, dropout = options.width, options.dropout
        self.audio_in = nn.Linear(audio, width)
        self.visual_in = nn.Linear(visual, width)
        self.patch_in = nn.Linear(patches, width)
        self.question_in = nn.Linear(text, width)
        self.prompt_in = nn.Linear(text, width)
        self.cross_modal = HybridAttention(width, 1, options.inner, dropout)
        self.key_steps: KeySteps | KeyProjection
        if options.selection == "key":
            self.key_steps = KeyProjection(visual, text)
        else:
            self.key_steps = KeySteps(width, 4, dropout)
        self.patch_attention = EncoderLayer(width, 1, options.inner, dropout)
        self.spatial_attention = QueryAttention(width, 4, dropout)
        self.question_attention = QueryAttention(width, 4, dropout)
        self.fusion: nn.Linear | None = None
        self.answer: nn.Module
        if options.fusion == "concatenation":
            self.answer = mlp(7 * width, 2 * width, answers)
        else:
            self.fusion = nn.Linear((6 if options.reads_clip else 3) * width, width)
            self.answer = nn.Linear(width, answers)

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        patches: Tensor,
        question: Tensor,
        prompt: Tensor | None = None,
        clip: Tensor | None = None,
        valid: Tensor | None = None,
        *,
        allow_fewer: bool = False,
    ) -> TSPMOutput:
        """Answer questions about clips.

        Args:
            audio: (C, T, width of audio).
            visual: Frame features, (C, T, width of frames).
            patches: (C, T, P, width of patches).
            question: (B, width of text).
            prompt: Text that steps are compared with, (B, width of text); the question where None.
            clip: Clip of each question, int64 (B,); one each where None.
            valid: bool (C, T), False on padding; all valid where None.
            allow_fewer: Use all steps of a clip that has fewer than `topk`.

        Raises:
            ValueError: If a clip has fewer than `topk` steps, unless `allow_fewer`.
        """
        audio = self.audio_in(audio)
        query = question if prompt is None else prompt
        frames = visual
        visual = self.visual_in(visual)
        question = self.question_in(question)
        if self.options.selection == "attention":
            query = question if prompt is None else self.prompt_in(prompt)
            frames = visual
        selection = self._select_steps(query, frames, clip, valid, allow_fewer)
        cross_modal = self._attend_across_modalities(audio, visual, valid)
        selected_audio, selected_visual = self._selected_features(selection, audio, visual)
        shown, spatial, parts = self._attend_to_patches(selection, selected_audio, selected_visual, patches)
        mean_audio = masked_mean(selected_audio, selection.valid)
        mean_spatial = masked_mean(spatial, selection.valid)
        if self.options.reads_clip:
            grounded_audio, grounded_spatial = self._ground(question, selected_audio, spatial, selection.valid)
            clip_audio = masked_mean(cross_modal[0], valid)[selection.clip]
            clip_visual = masked_mean(cross_modal[1], valid)[selection.clip]
            features = [grounded_audio, clip_audio, mean_audio, grounded_spatial, clip_visual, mean_spatial]
        else:
            features = [mean_audio, masked_mean(selected_visual, selection.valid), mean_spatial]
        return TSPMOutput(
            logits=self._score_answers(question, features),
            weights=selection.weights,
            chosen=selection.chosen,
            shown=shown,
            parts=parts,
            spatial=spatial,
            cross_modal=cross_modal,
        )

    def _attend_across_modalities(self, audio: Tensor, visual: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Audio and visual features, (C, T, D) each, after they attended to each other."""
        if not self.options.cross_modal or not self.options.reads_clip:
            return audio, visual
        attended: tuple[Tensor, Tensor] = self.cross_modal(audio, visual, None if valid is None else ~valid)
        return attended

    def _select_steps(
        self, query: Tensor, frames: Tensor, clip: Tensor | None, valid: Tensor | None, allow_fewer: bool
    ) -> Selection:
        """The steps whose frames (C, T, ...) match the query (B, ...) best; all without the temporal module."""
        steps = frames.shape[1]
        if clip is None:
            clip = torch.arange(len(query), device=query.device)
        step_valid = None if valid is None else valid[clip]
        if not self.options.temporal:
            every_step = torch.arange(steps, device=query.device).expand(len(clip), -1)
            return Selection(clip, every_step, None, step_valid)
        if not allow_fewer:
            check_step_count(self.options.topk, steps, valid)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.options.select_grad != "none"):
            weights, chosen = self.key_steps(query, frames[clip], min(self.options.topk, steps), step_valid)
        if step_valid is None or not allow_fewer:
            return Selection(clip, chosen, weights, None)
        chosen_valid = step_valid.gather(1, chosen)
        return Selection(clip, repeat_last(chosen, chosen_valid), weights, chosen_valid)

    def _selected_features(self, selection: Selection, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Audio and frame features of the selected steps, (B, k, D) each."""
        selected_audio = selection.of(audio, selection.chosen)
        selected_visual = selection.of(visual, selection.chosen)
        if selection.weights is None or self.options.select_grad != "straight_through":
            return selected_audio, selected_visual
        factors = selection.straight_through()
        return selected_audio * factors, selected_visual * factors

    def _attend_to_patches(
        self, selection: Selection, audio: Tensor, visual: Tensor, patches: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Let the sound of each selected step attend to the patches of one picture.

        Args:
            selection: The selected steps.
            audio: Their audio features, (B, k, D).
            visual: Their frame features, (B, k, D), the result without the spatial module.
            patches: (C, T, P, width of patches).

        Returns:
            Indices of the steps whose pictures are attended to, (B, k); what the sound finds in them, (B, k, D); and
            the weights of their patches, (B, k, P), None in training and without the spatial module.
        """
        as_published = self.options.temporal and self.options.patch_select == "first"
        shown = selection.first() if as_published else selection.chosen
        if not self.options.spatial:
            return shown, visual, None
        tokens = self.patch_in(selection.of(patches, shown)).flatten(0, 1)
        attended, weights = self._read_tokens(tokens, audio.flatten(0, 1))
        shape = audio.shape[:2]
        parts = None if self.training else weights.unflatten(0, shape)
        return shown, attended.unflatten(0, shape), parts

    def _read_tokens(self, tokens: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        """What sounds (N, D) find in tokens (N, P, D), (N, D), and the weights of the tokens, (N, P)."""
        if self.options.patch_attention == "sum":
            added, weights = add_attended(tokens, audio)
            return added.mean(1), weights
        attended, weights = self.spatial_attention(audio[:, None], self.patch_attention(tokens))
        return attended[:, 0], weights[:, 0]

    def _ground(self, question: Tensor, audio: Tensor, spatial: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """What the question finds in the audio and the spatial features of the selected steps, (B, D) each."""
        if not self.options.grounding:
            return masked_mean(audio, valid), masked_mean(spatial, valid)
        padded = None if valid is None else torch.cat([~valid, ~valid])
        queries = torch.cat([question, question])[:, None]
        attended, _ = self.question_attention(queries, torch.cat([audio, spatial]), padded)
        grounded_audio, grounded_spatial = attended[:, 0].chunk(2)
        return grounded_audio, grounded_spatial

    def _score_answers(self, question: Tensor, features: list[Tensor]) -> Tensor:
        """Logits (B, K) from the question (B, D) and features (B, D) of sound and sight."""
        logits: Tensor
        if self.fusion is None:
            logits = self.answer(torch.cat([*features, question], -1))
            return logits
        clip = torch.cat(features, -1)
        if self.options.reads_clip:
            logits = self.answer((self.fusion(clip.tanh()) * question).tanh())
        else:
            logits = self.answer(self.fusion(clip) * question)
        return logits

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments that official weights tell; they do not tell `topk`."""
        if "input_qst_prompt.weight" not in state:
            return None
        return {
            "audio": state["input_a.weight"].shape[1],
            "visual": state["input_v.weight"].shape[1],
            "patches": state["input_v_patch.weight"].shape[1],
            "text": state["input_qst.weight"].shape[1],
            "width": len(state["input_a.weight"]),
            "inner": len(state["AV_Attn.layers.0.linear1.weight"]),
            "answers": len(state["answer_pred_fc.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        return rename(key, NAMES)

    def to_official(self) -> dict[str, Tensor]:
        """Weights under the authors' names.

        Raises:
            DataError: If an option asks for a part that the authors' network does not have.
        """
        for name, official in (("fusion", "product"), ("selection", "attention"), ("patch_attention", "sequential")):
            value = vars(self.options)[name]
            if value != official:
                raise DataError(
                    f"The authors' TSPM has no {name} {value!r}; weights of {name} {official!r} alone have a way back."
                )
        return super().to_official()

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Norms that are never called, and the layers behind the attention that selects steps."""
        return unused_shapes(self.options.width)

    def untrained(self) -> list[str]:
        """The modules that select steps, unless the selection is trained, and those that options switch off."""
        options = self.options
        prefixes = ["prompt_in." if options.selection == "key" else "key_steps.attention.out_proj."]
        if not options.temporal or options.select_grad == "none":
            prefixes = ["prompt_in.", "key_steps."]
        if not options.cross_modal or not options.reads_clip:
            prefixes.append("cross_modal.")
        if not options.spatial:
            prefixes.append("patch_in.")
        if not options.spatial or options.patch_attention == "sum":
            prefixes += ["patch_attention.", "spatial_attention."]
        if not options.grounding or not options.reads_clip:
            prefixes.append("question_attention.")
        return prefixes
