# SPDX-License-Identifier: Apache-2.0
"""TSPM: the seconds that matter to a question, and in their pictures the parts that sound."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.errors import unknown_name
from avkit.nn.fast_attention import EncoderLayer
from avkit.nn.hybrid_attention import HybridAttention
from avkit.nn.query_attention import KeySteps, Querying
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.questions import QuestionConfig, Texts, asked
from avkit.systems.questions_task import Answered
from avkit.systems.tspm.declarative import Declarations

#: Values of switches.
PATCHES = ("first", "index")
GRADIENTS = ("none", "straight_through")
PROMPTS = ("declarative", "question")


@dataclass
class TSPMOutput:
    """What TSPM says, and why.

    Attributes:
        logits: Of the answers, (B, K).
        weights: How much each second matters, (B, T); None where none are chosen.
        chosen: Numbers of the chosen seconds, (B, k).
        spatial: What sounds in their pictures, (B, k, D).
        parts: How much each token of these pictures counted, (B, k, P); None in training, or where nothing looks.
        shown: Numbers of the seconds whose pictures were looked at, (B, k).
        meeting: Sound and sight after they met, (C, T, D) each.
    """

    logits: Tensor
    weights: Tensor | None
    chosen: Tensor
    spatial: Tensor
    parts: Tensor | None
    shown: Tensor
    meeting: tuple[Tensor, Tensor]


class TSPM(OfficialNetwork):
    """The network of "Boosting Audio Visual Question Answering via Key Semantic-Aware Cues" (ACM MM 2024).

    Args:
        audio: Width of sound.
        visual: Width of a picture's vector.
        patches: Width of a picture's tokens.
        text: Width of questions and prompts.
        answers: Answers K.
        width: Width D.
        inner: Width of the feed-forward layers.
        topk: Seconds that are chosen.
        patch_select: Whose pictures are looked at: `first`, those of the first seconds, whatever was chosen, as the
            authors' code does; `index`, those of the chosen seconds, as the paper says.
        select_grad: `none`, as theirs: what chooses never learns. `straight_through`: chosen seconds count as they are,
            and their gradient reaches the logarithm of their weights.
        temporal: Choose seconds; else all go on (the paper's "w/o TPM" and "w/o TPC").
        spatial: Look into pictures; else the vector of a chosen second's picture stands for that ("w/o SPM").
        meeting: Let sound and sight meet first; else they go on as they are.
        grounding: Let the question read what was chosen; else its mean goes on. All four off is "w/o all".
        dropout: In training.
    """

    name = "tspm"
    source = "GeWu-Lab/TSPM at commit 0106ce4127b8"

    def __init__(
        self,
        audio: int = 128,
        visual: int = 768,
        patches: int = 1024,
        text: int = 768,
        answers: int = 42,
        width: int = 512,
        inner: int = 512,
        topk: int = 10,
        patch_select: str = "first",
        select_grad: str = "none",
        temporal: bool = True,
        spatial: bool = True,
        meeting: bool = True,
        grounding: bool = True,
        dropout: float = 0.1,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        if patch_select not in PATCHES:
            raise unknown_name("patch_select", patch_select, PATCHES)
        if select_grad not in GRADIENTS:
            raise unknown_name("select_grad", select_grad, GRADIENTS)
        if topk < 1:
            raise ValueError(f"topk is {topk}; choose 1 second or more, or set temporal to false to keep all.")
        self.topk, self.patch_select, self.select_grad = topk, patch_select, select_grad
        self.temporal, self.spatial, self.with_meeting, self.with_grounding = temporal, spatial, meeting, grounding
        self.audio_in, self.visual_in = nn.Linear(audio, width), nn.Linear(visual, width)
        self.patch_in = nn.Linear(patches, width)
        self.question_in, self.prompt_in = nn.Linear(text, width), nn.Linear(text, width)
        self.meeting = HybridAttention(width, 1, inner, dropout)
        self.select = KeySteps(width, 4, dropout)
        self.tokens = EncoderLayer(width, 1, inner, dropout)
        self.look, self.ask = Querying(width, 4, dropout), Querying(width, 4, dropout)
        self.fusion, self.answer = nn.Linear(6 * width, width), nn.Linear(width, answers)

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        patches: Tensor,
        question: Tensor,
        prompt: Tensor | None = None,
        clip: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> TSPMOutput:
        """Answer questions about clips.

        Args:
            audio: (C, T, A).
            visual: (C, T, V).
            patches: (C, T, P, W).
            question: (B, Q).
            prompt: What chooses seconds, (B, Q); the question where None.
            clip: Clip of each question, (B,); one each where None.
            valid: bool (C, T), seconds that count; all where None.

        Raises:
            ValueError: If a clip has fewer than `topk` seconds.
        """
        heard, seen, asked = self.audio_in(audio), self.visual_in(visual), self.question_in(question)
        padded = None if valid is None else ~valid
        met = self.meeting(heard, seen, padded) if self.with_meeting else (heard, seen)
        row = torch.arange(len(asked), device=asked.device) if clip is None else clip
        if self.temporal:
            hint = asked if prompt is None else self.prompt_in(prompt)
            weights, chosen = self._choose(hint, seen, clip, valid)
        else:
            weights, chosen = None, torch.arange(heard.shape[1], device=asked.device).expand(len(row), -1)
        keep = None if valid is None or self.temporal else valid[row]
        sound, sight = heard[row[:, None], chosen], seen[row[:, None], chosen]
        if weights is not None and self.select_grad == "straight_through":
            told = weights.gather(1, chosen)[..., None].clamp(min=1e-12).log()
            sound, sight = (x * (1 + (told - told.detach())) for x in (sound, sight))
        published = self.temporal and self.patch_select == "first"
        shown = torch.arange(self.topk, device=row.device).expand(len(row), -1) if published else chosen
        spatial, parts = self._look(sound, patches[row[:, None], shown]) if self.spatial else (sight, None)
        if self.with_grounding:
            away = None if keep is None else torch.cat([~keep, ~keep])
            found = self.ask(torch.cat([asked, asked])[:, None], torch.cat([sound, spatial]), away)[0]
            of_sound, of_sight = found[:, 0].chunk(2)
        else:
            of_sound, of_sight = _mean(sound, keep), _mean(spatial, keep)
        means = [_mean(x, valid) if clip is None else _mean(x, valid)[clip] for x in met]
        whole = [of_sound, means[0], _mean(sound, keep), of_sight, means[1], _mean(spatial, keep)]
        joined = self.fusion(torch.cat(whole, -1).tanh())
        return TSPMOutput(self.answer((joined * asked).tanh()), weights, chosen, spatial, parts, shown, met)

    def _choose(self, hint: Tensor, seen: Tensor, clip: Tensor | None, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.select_grad != "none"):
            found: tuple[Tensor, Tensor] = self.select(hint, seen, self.topk, clip, valid)
        return found

    def _look(self, sound: Tensor, patches: Tensor) -> tuple[Tensor, Tensor | None]:
        """What sounds in pictures whose tokens are (B, k, P, W), by the sound of a second each, (B, k, D)."""
        tokens = self.tokens(self.patch_in(patches).flatten(0, 1))
        found, parts = self.look(sound.flatten(0, 1)[:, None], tokens, weights=not self.training)
        shape = sound.shape[:2]
        return found[:, 0].unflatten(0, shape), None if parts is None else parts[:, 0].unflatten(0, shape)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `topk`."""
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
        """What the authors call our key."""
        return rename(key, _NAMES)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Norms that nothing calls, and what comes after the attention that chooses."""
        width = self.made_with["width"]
        wide: tuple[int, ...] = (width,)
        norms = {f"AV_Attn.norm{i}.{x}": wide for i in (1, 2) for x in ("weight", "bias")}
        part = "TemporalPerception.qst_query_"
        after: dict[str, tuple[int, ...]] = {f"{part}linear{i}.weight": (width, width) for i in (1, 2)}
        after |= {f"{part}linear{i}.bias": wide for i in (1, 2)}
        return norms | after | {f"{part}visual_norm.{x}": wide for x in ("weight", "bias")}

    def untrained(self) -> list[str]:
        """What chooses, unless it learns."""
        return ["prompt_in.", "select."] if self.select_grad == "none" else []


def _mean(x: Tensor, keep: Tensor | None) -> Tensor:
    """Mean over steps of (N, T, D), of those that count."""
    if keep is None:
        return x.mean(1)
    return (x * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)


def querying_names(ours: str, theirs: str, linear: str, norm: str, attention: str = "attn_qst_query") -> dict[str, str]:
    """Names of a `Querying` and of what the authors have for it."""
    return {
        f"{ours}.attention.": f"{theirs}{attention}.",
        f"{ours}.first.": f"{theirs}{linear.format(1)}.",
        f"{ours}.second.": f"{theirs}{linear.format(2)}.",
        f"{ours}.norm.": f"{theirs}{norm}.",
    }


def hybrid_names(ours: str, theirs: str) -> dict[str, str]:
    """Names of a `HybridAttention` and of what the authors have for it."""
    return {
        f"{ours}.across.": f"{theirs}.cm_attn.",
        f"{ours}.within.": f"{theirs}.self_attn.",
        f"{ours}.first.": f"{theirs}.linear1.",
        f"{ours}.second.": f"{theirs}.linear2.",
        f"{ours}.norms.0.": f"{theirs}.norm1.",
        f"{ours}.norms.1.": f"{theirs}.norm2.",
    }


_QUERY = ("qst_query_linear{}", "qst_query_visual_norm")
_NAMES = {
    "audio_in.": "input_a.",
    "visual_in.": "input_v.",
    "patch_in.": "input_v_patch.",
    "question_in.": "input_qst.",
    "prompt_in.": "input_qst_prompt.",
    **hybrid_names("meeting", "AV_Attn.layers.0"),
    "select.attention.": "TemporalPerception.attn_qst_query.",
    "tokens.": "SpatioPerception.TokensAttn.",
    **querying_names("look", "SpatioPerception.", *_QUERY),
    **querying_names("ask", "QstTempGrd_Module.", *_QUERY),
    "fusion.": "av_fusion_fc.",
    "answer.": "answer_pred_fc.",
}


@dataclass
class TSPMConfig(QuestionConfig):
    """TSPM for `avqa`: a prompt chooses seconds, sounds choose parts of their pictures.

    Attributes:
        name: Of the system.
        prompt: What chooses seconds: `declarative`, a sentence made of the question, or the `question` itself.
        prompts: Table of the sentences for the question templates, a CSV file with columns `question_template` and
            `declarative_prompt`, such as the authors' spreadsheet; ours where empty.
        frame: How many of the last visual features are of the picture as a whole, not of its tokens: 768 for
            `tome14+clip`. With 0 the mean of the tokens stands for it.
        width: Width D.
        inner: Width of the feed-forward layers.
        topk: Seconds that are chosen.
        patch_select: Whose pictures are looked at: `first` or `index`, see `TSPM`.
        select_grad: `none` or `straight_through`, see `TSPM`.
        temporal: Choose seconds.
        spatial: Look into pictures.
        meeting: Let sound and sight meet first.
        grounding: Let the question read what was chosen.
        dropout: In training.
    """

    answers: ClassVar = {"avqa": Answered}

    name: Literal["tspm"] = "tspm"
    prompt: str = "declarative"
    prompts: str | None = None
    frame: int = 0
    width: int = 512
    inner: int = 512
    topk: int = 10
    patch_select: str = "first"
    select_grad: str = "none"
    temporal: bool = True
    spatial: bool = True
    meeting: bool = True
    grounding: bool = True
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.prompt not in PROMPTS:
            raise unknown_name("system.prompt", self.prompt, PROMPTS)

    def network(self, visual: int, audio: int, vocabulary: Vocabulary, text: int = 0) -> TSPM:
        """The network."""
        seen = self.frame or visual
        own = self.own("prompt", "prompts", "frame")
        return TSPM(audio, seen, visual - self.frame, text, len(vocabulary.answers), **own)

    def run(self, network: nn.Module, senses: Senses, batch: Batch, texts: Texts | None = None) -> TSPMOutput:
        """Answers of a batch."""
        assert texts is not None
        patches = senses.seen.patches
        if self.frame:
            patches, whole = patches.split([patches.shape[-1] - self.frame, self.frame], -1)
            frame = whole[:, :, 0]
        else:
            frame = senses.seen.frame
        question = texts.encode(asked(batch)).pooled
        prompt = None
        if self.prompt == "declarative":
            prompt = texts.encode([self.declared(text) for text in asked(batch)]).pooled
        valid = None if batch.valid.all() else batch.valid
        found: TSPMOutput = network(senses.heard, frame, patches, question, prompt, batch.clip, valid)
        return found

    @cached_property
    def declared(self) -> Declarations:
        """What makes sentences of questions."""
        return Declarations.load(self.prompts)
