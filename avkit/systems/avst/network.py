# SPDX-License-Identifier: Apache-2.0
"""AVST's network: sound is grounded in pictures, then the question attends to both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import exportable
from avkit.encoders.resnet import ResNet18, resnet_name
from avkit.nn.answers import QuestionOutput
from avkit.nn.masked_mean import masked_mean
from avkit.nn.query_attention import QueryAttention, query_attention_names
from avkit.systems.avst.question_encoder import WORDS, QuestionEncoder
from avkit.systems.checkpoints import OfficialNetwork
from avkit.systems.official_keys import rename


@dataclass
class AVSTOptions:
    """Options of AVST's network.

    Attributes:
        width: Width D, which must be that of the visual features: audio features are compared with them.
        dropout: Dropout rate in training.
    """

    width: int = 512
    dropout: float = 0.1


@exportable
@dataclass(kw_only=True)
class AVSTOutput(QuestionOutput):
    """What AVST answers; it selects no steps.

    Attributes:
        match: Whether each step's own picture belongs to its sound, logits of no and yes, (N, 2) for N valid steps of
            all clips; None without pictures of other clips.
        mismatch: The same for pictures of other clips, or None.
        attention: How much each position of a picture matched the sound, (C, T, P).
    """

    match: Tensor | None
    mismatch: Tensor | None
    attention: Tensor


class AVST(OfficialNetwork):
    """The network of "Learning to Answer Questions in Dynamic Audio-Visual Scenarios" (CVPR 2022).

    Args:
        options: Options of the network.
        audio: Width of audio features.
        visual: Width of the features of a position.
        words: Known words of questions, in index order.
        answers: Number of answers K.

    Raises:
        ValueError: If the width is not that of the visual features.
    """

    name = "avst"
    source = "GeWu-Lab/MUSIC-AVQA at commit cc8809514a2e, net_grd_avst"
    Options = AVSTOptions

    def __init__(
        self,
        options: AVSTOptions,
        audio: int = 128,
        visual: int = 512,
        words: Sequence[str] = WORDS,
        answers: int = 42,
    ) -> None:
        super().__init__(options, audio=audio, visual=visual, words=list(words), answers=answers)
        width = options.width
        if width != visual:
            raise ValueError(
                f"AVST compares audio features with visual features: the visual ones are {visual} wide and width is "
                f"{width}. Leave system.width out."
            )
        self.question = QuestionEncoder(words, width)
        self.audio_in = nn.ModuleList([nn.Linear(audio, width), nn.Linear(width, width)])
        self.grounding = nn.Linear(2 * visual, width)
        match_widths = (2 * width, width, width // 2, width // 4, 2)
        self.match = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(match_widths))
        self.visual_attention = QueryAttention(width, 4, options.dropout)
        self.audio_attention = QueryAttention(width, 4, options.dropout)
        self.fusion = nn.Linear(2 * width, width)
        self.answer = nn.Linear(width, answers)

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        question: Tensor,
        other: Tensor | None = None,
        clip: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> AVSTOutput:
        """Answer questions about clips.

        Args:
            audio: (C, T, width of audio).
            visual: Features of positions, (C, T, P, V).
            question: Word ids, int64 (B, L).
            other: Pictures of other clips, (C, T, P, V), to be told apart from the own ones.
            clip: Clip of each question, int64 (B,); one each where None.
            valid: bool (C, T), False on padding; all valid where None.
        """
        query = self.question(question)
        audio = self._project_audio(audio)
        grounded, attention = self._ground(audio, visual)
        match, mismatch = None, None
        if other is not None:
            grounded_other, _ = self._ground(audio, other)
            match = self._match_logits(audio, grounded, valid)
            mismatch = self._match_logits(audio, grounded_other, valid)
        attended_visual = self._attend(self.visual_attention, query, grounded, clip, valid)
        attended_audio = self._attend(self.audio_attention, query, audio, clip, valid)
        fused = self.fusion(torch.cat([attended_audio, attended_visual], -1).tanh())
        logits = self.answer((fused * query).tanh())
        return AVSTOutput(logits=logits, match=match, mismatch=mismatch, attention=attention)

    def _project_audio(self, audio: Tensor) -> Tensor:
        """Audio features (C, T, D)."""
        first, second = self.audio_in
        return second(first(audio).relu())

    def _ground(self, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Ground the sound of each step in its picture.

        Positions are compared and summed after division by their norms, which is done in the weights instead of in all
        features.

        Returns:
            The picture's mean and its positions weighted by their similarity to the sound, joined, (C, T, D), and the
            weights, (C, T, P).
        """
        norms = visual.norm(dim=-1).clamp(min=1e-12)
        similarity = (visual @ F.normalize(audio, dim=-1)[..., None])[..., 0] / norms
        weights = similarity.softmax(-1)
        attended = ((weights / norms)[..., None, :] @ visual)[..., 0, :]
        return self.grounding(torch.cat([visual.mean(-2), attended], -1).tanh()), weights

    def _match_logits(self, audio: Tensor, grounded: Tensor, valid: Tensor | None) -> Tensor:
        """Whether sounds and pictures belong together, logits of no and yes of all valid steps, (N, 2)."""
        joined = torch.cat([audio, grounded], -1)
        x = joined.flatten(0, 1) if valid is None else joined[valid]
        for layer in self.match[:-1]:
            x = layer(x).relu()
        return self.match[-1](x)

    def _attend(
        self, attention: nn.Module, query: Tensor, steps: Tensor, clip: Tensor | None, valid: Tensor | None
    ) -> Tensor:
        """What a question (B, D) finds in the steps (C, T, D) of its clip, plus their mean, (B, D)."""
        mean = masked_mean(steps, valid)
        padded = None if valid is None else ~valid
        if clip is not None:
            steps = steps[clip]
            mean = mean[clip]
            padded = None if padded is None else padded[clip]
        attended, _ = attention(query[:, None], steps, padded)
        return attended[:, 0] + mean

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments that official weights tell; they do not tell `words` where these are not MUSIC-AVQA's."""
        if "question_encoder.word2vec.weight" not in state or "fc_gl.weight" not in state:
            return None
        return {
            "audio": state["fc_a1.weight"].shape[1],
            "visual": state["fc_gl.weight"].shape[1] // 2,
            "answers": len(state["fc_ans.weight"]),
            "width": len(state["fc_a1.weight"]),
        }

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        return rename(key, _NAMES)

    def unused_keys(self) -> dict[str, tuple[int, ...]]:
        """Layers that are never read, and the network that made the visual features, which is `encoders.resnet`."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, shape in _UNUSED_LAYERS.items():
            shapes[f"{name}.weight"] = shape
            shapes[f"{name}.bias"] = shape[:1]
        for key, tensor in ResNet18(stride=16).state_dict().items():
            shapes[f"visual_net.{resnet_name(key)}"] = tuple(tensor.shape)
        shapes["visual_net.conv1_a.weight"] = (64, 1, 7, 7)
        shapes["visual_net.fc.weight"] = (1000, 512)
        shapes["visual_net.fc.bias"] = (1000,)
        return shapes


#: Shapes of the weights of official layers that are never read; their biases have the first of these sizes.
_UNUSED_LAYERS: dict[str, tuple[int, ...]] = {
    "fc_v": (512, 2048),
    "fc_st": (512, 512),
    "fc": (512, 1024),
    "fc_aq": (512, 512),
    "fc_vq": (512, 512),
    "fc_a1_pure": (512, 128),
    "fc_a2_pure": (512, 512),
    "norm3": (512,),
}
_NAMES = {
    "question.embed.": "question_encoder.word2vec.",
    "question.recurrent.": "question_encoder.lstm.",
    "question.out.": "question_encoder.fc.",
    "audio_in.0.": "fc_a1.",
    "audio_in.1.": "fc_a2.",
    "grounding.": "fc_gl.",
    **{f"match.{layer}.": f"fc{layer + 1}." for layer in range(4)},
    **query_attention_names("visual_attention", "", "linear1{}", "norm1", "attn_v"),
    **query_attention_names("audio_attention", "", "linear2{}", "norm2", "attn_a"),
    "fusion.": "fc_fusion.",
    "answer.": "fc_ans.",
}
