# SPDX-License-Identifier: Apache-2.0
"""PSTP-Net's network: self-attention over sounds, pictures and words, and in `paper` also over what is selected."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.errors import unknown_name
from avkit.nn.answers import QuestionOutput
from avkit.nn.fast_attention import EncoderLayer
from avkit.nn.hybrid_attention import HybridAttention
from avkit.nn.masked_mean import masked_mean
from avkit.nn.query_attention import QueryAttention
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.official_keys import rename
from avkit.systems.pstp.official_names import NAMES, unused_shapes
from avkit.systems.pstp.selection import RegionSelection, SegmentSelection, gather_regions

#: Values of the option `fusion`.
FUSIONS = ("published", "paper")


@dataclass
class PSTPOptions:
    """Options of PSTP-Net.

    Attributes:
        width: Width D.
        inner: Width of the feed-forward layers.
        fusion: `published`: the sequence holds sounds, pictures and words alone, and selection does not run, since
            nothing of it reaches the authors' output. `paper`: the sequence also holds the selected steps and regions,
            what sounds in them, and audio and visual features after cross-modal attention. That is avkit's reading of
            the paper: no weights of the authors were trained so.
        segments: Number of segments of equal length in a clip.
        topk: Number of segments that are selected.
        topm: Number of regions of each picture that are selected.
        dropout: Dropout rate in training.
    """

    width: int = 512
    inner: int = 512
    fusion: str = "published"
    segments: int = 12
    topk: int = 2
    topm: int = 25
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise unknown_name("fusion", self.fusion, FUSIONS)


@exportable
@dataclass(kw_only=True)
class PSTPOutput(QuestionOutput):
    """What PSTP-Net answers; as published it selects nothing. `chosen` and `shown` are the steps of selected segments.

    Attributes:
        sequence: The sequence after self-attention, (B, L, D).
    """

    sequence: Tensor


@exportable
@dataclass
class Selection:
    """What the question selected.

    Attributes:
        tokens: Sequences (B, N, D) to join to the others.
        weights: Weight of each step's segment, (B, T).
        steps: Indices of the steps of selected segments, int64 (B, k).
        parts: Weights of the regions of their pictures, (B, k, P).
    """

    tokens: list[Tensor]
    weights: Tensor
    steps: Tensor
    parts: Tensor


class PSTP(OfficialNetwork):
    """The network of "Progressive Spatio-temporal Perception for Audio-Visual Question Answering" (ACM MM 2023).

    Args:
        options: Options of the network.
        audio: Width of audio features.
        visual: Width of features of frames and regions.
        text: Width of features of questions and their words.
        answers: Number of answers K.
    """

    name = "pstp"
    source = "GeWu-Lab/PSTP-Net at commit 6ea3966c819d"
    Options = PSTPOptions

    def __init__(
        self, options: PSTPOptions, audio: int = 128, visual: int = 512, text: int = 512, answers: int = 42
    ) -> None:
        super().__init__(options, audio=audio, visual=visual, text=text, answers=answers)
        width, dropout = options.width, options.dropout
        self.options = options
        self.text_width = text
        self.audio_in = nn.Linear(audio, width)
        self.visual_in = nn.Linear(visual, width)
        self.region_in = nn.Linear(visual, width)
        self.word_in = nn.Linear(text, width)
        self.question_in = nn.Linear(text, width)
        self.segment_selection = SegmentSelection(width, options.segments, options.topk, dropout)
        self.region_selection = RegionSelection(width, options.topm, dropout)
        self.audio_attention = QueryAttention(width, 4, dropout)
        self.cross_modal = HybridAttention(width, 1, options.inner, dropout)
        self.self_attention = EncoderLayer(width, 1, options.inner, dropout)
        self.answer = nn.Linear(width, answers)

    @property
    def selects(self) -> bool:
        """Whether the answer depends on selected segments and regions."""
        return self.options.fusion == "paper"

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        words: Tensor,
        question: Tensor,
        regions: Tensor | None = None,
        words_valid: Tensor | None = None,
        clip: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> PSTPOutput:
        """Answer questions about clips.

        Args:
            audio: (C, T, width of audio).
            visual: Frame features, (C, T, V).
            words: Features of the words of each question, (B, L, width of text).
            question: (B, width of text).
            regions: Features of regions, (C, T, P, V); read only if `fusion` is `paper`.
            words_valid: bool (B, L), False on padding; all valid where None, as with the authors, who read padding.
            clip: Clip of each question, int64 (B,); one each where None.
            valid: bool (C, T), False on padding; all valid where None.

        Raises:
            ValueError: If segments or regions cannot be selected.
        """
        audio = self.audio_in(audio)
        visual = self.visual_in(visual)
        question = self.question_in(question)
        rows = torch.arange(len(question), device=question.device) if clip is None else clip
        tokens = [audio[rows], visual[rows], self.word_in(words)]
        selection = self._select(question, audio, visual, regions, rows) if self.selects else None
        if selection is not None:
            tokens += selection.tokens
        sequence_valid = self._sequence_valid(tokens, None if valid is None else valid[rows], words_valid)
        sequence = self.self_attention(torch.cat(tokens, 1), None if sequence_valid is None else ~sequence_valid)
        logits = self.answer((masked_mean(sequence, sequence_valid) * question).tanh())
        if selection is None:
            return PSTPOutput(logits=logits, sequence=sequence)
        return PSTPOutput(
            logits=logits,
            sequence=sequence,
            weights=selection.weights,
            chosen=selection.steps,
            shown=selection.steps,
            parts=selection.parts,
        )

    def _sequence_valid(self, tokens: list[Tensor], valid: Tensor | None, words_valid: Tensor | None) -> Tensor | None:
        """Which of the tokens of the whole sequence are no padding, bool (B, L); None if all are.

        Args:
            tokens: The parts of the sequence: sounds, pictures, words, and what was selected.
            valid: bool (B, T), for sounds and pictures.
            words_valid: bool (B, words).
        """
        if valid is None and words_valid is None:
            return None
        masks = [torch.ones(part.shape[:2], dtype=torch.bool, device=part.device) for part in tokens]
        if valid is not None:
            masks[0] = valid
            masks[1] = valid
        if words_valid is not None:
            masks[2] = words_valid
        return torch.cat(masks, 1)

    def _select(
        self, question: Tensor, audio: Tensor, visual: Tensor, regions: Tensor | None, rows: Tensor
    ) -> Selection:
        """Select segments and regions by the question (B, D), from audio and visual features (C, T, D).

        Raises:
            ValueError: If regions are missing, or cannot be selected.
        """
        if regions is None:
            raise ValueError("fusion 'paper' chooses regions of pictures, and only vectors of pictures are given.")
        count = audio.shape[1]
        weights, segments = self.segment_selection(question, audio[rows], visual[rows])
        steps = self.segment_selection.steps_of(segments, count)
        at = (rows[:, None], steps)
        places = self.region_in(regions[at])
        indices, parts = self.region_selection(question, places)
        selected_regions = gather_regions(places, indices)
        attended_regions = self.attend_to_regions(audio[at], selected_regions)
        cross_audio, cross_visual = self.cross_modal(audio, visual)
        tokens = [
            audio[at],
            visual[at],
            selected_regions.flatten(1, 2),
            attended_regions,
            cross_audio[rows],
            cross_visual[rows],
        ]
        step_weights = weights.repeat_interleave(count // weights.shape[1], 1)
        return Selection(tokens, step_weights, steps, parts)

    def attend_to_regions(self, audio: Tensor, regions: Tensor) -> Tensor:
        """What the sound of each step, (B, k, D), finds in the regions of its picture, (B, k, m, D): (B, k, D)."""
        attended, _ = self.audio_attention(audio.flatten(0, 1)[:, None], regions.flatten(0, 1))
        return attended[:, 0].unflatten(0, audio.shape[:2])

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments that official weights tell."""
        if "GlobalSelf_Module.layers.0.linear1.weight" not in state:
            return None
        return {
            "audio": state["fc_a.weight"].shape[1],
            "visual": state["fc_v.weight"].shape[1],
            "text": state["fc_word.weight"].shape[1],
            "width": len(state["fc_a.weight"]),
            "inner": len(state["GlobalSelf_Module.layers.0.linear1.weight"]),
            "answers": len(state["fc_answer_pred.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        return rename(key, NAMES)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Layers that are never called, or whose result is never read."""
        return unused_shapes(self.options.width, self.options.inner, self.text_width)

    def untrained(self) -> list[str]:
        """The modules that select, whose indices carry no gradient; as published also those that read the selection."""
        if self.selects:
            return ["segment_selection.", "region_selection."]
        return ["region_in.", "segment_selection.", "region_selection.", "audio_attention.", "cross_modal."]
