# SPDX-License-Identifier: Apache-2.0
"""PSTP-Net: as published a self-attention over sounds, pictures and words; as its paper means it, on what matters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.errors import unknown_name
from avkit.nn.fast_attention import EncoderLayer
from avkit.nn.hybrid_attention import HybridAttention
from avkit.nn.query_attention import Querying
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.questions import QuestionConfig, Texts, asked
from avkit.systems.questions_task import Answered
from avkit.systems.tspm.network import hybrid_names, querying_names

#: What becomes one sequence: sounds, pictures and words alone, or also what was selected.
FUSIONS = ("published", "paper")


@dataclass
class PSTPOutput:
    """What PSTP-Net says, and what it selected.

    Attributes:
        logits: Of the answers, (B, K).
        mixed: The sequence after self-attention, (B, L, D).
        weights: How much each second matters, (B, T): its segment's weight; None as published.
        chosen: Numbers of the seconds of chosen segments, (B, k); None as published.
        parts: How much each region of their pictures mattered, (B, k, P); None as published.
        shown: The same seconds again, or None.
    """

    logits: Tensor
    mixed: Tensor
    weights: Tensor | None = None
    chosen: Tensor | None = None
    parts: Tensor | None = None
    shown: Tensor | None = None


class SegmentSelection(nn.Module):
    """The segments of a clip that a question is about.

    Args:
        width: Width D.
        segments: Equal segments of a clip.
        topk: Segments that are chosen.
        dropout: In training.
    """

    def __init__(self, width: int, segments: int = 12, topk: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.segments, self.topk = segments, topk
        self.join, self.query = nn.Linear(2 * width, width), Querying(width, 4, dropout)

    def forward(self, question: Tensor, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """Choose of sounds and pictures (B, T, D) by a question (B, D).

        Returns:
            Weights (B, segments), and the chosen segments, int64 (B, topk), rising.

        Raises:
            ValueError: If the seconds are no multiple of the segments, or fewer segments are there than wanted.
        """
        if audio.shape[1] % self.segments or self.topk > self.segments:
            raise ValueError(
                f"{audio.shape[1]} seconds do not make {self.segments} equal segments of which {self.topk} are chosen. "
                "Set segments to a divisor of the seconds, and topk to no more."
            )
        means = [x.unflatten(1, (self.segments, -1)).mean(2) for x in (audio, visual)]
        segments = self.join(torch.cat(means, -1).tanh())
        weights = self.query(question[:, None], segments, weights=True)[1]
        assert weights is not None
        chosen = weights[:, 0].topk(self.topk, -1).indices.sort(-1).values
        return weights[:, 0], chosen

    def seconds(self, chosen: Tensor, steps: int) -> Tensor:
        """Numbers of the seconds of chosen segments, (B, topk * steps / segments)."""
        length = steps // self.segments
        return (chosen[..., None] * length + torch.arange(length, device=chosen.device)).flatten(1)


class RegionSelection(nn.Module):
    """The regions of chosen pictures that a question is about.

    Args:
        width: Width D.
        topm: Regions of each picture that are chosen.
        dropout: In training.
    """

    def __init__(self, width: int, topm: int = 25, dropout: float = 0.1) -> None:
        super().__init__()
        self.topm, self.query = topm, Querying(width, 4, dropout)

    def forward(self, question: Tensor, regions: Tensor, published: bool = False) -> tuple[Tensor, Tensor]:
        """Choose of regions (B, k, P, D) by a question (B, D).

        Args:
            question: One per sample.
            regions: Of each chosen picture.
            published: As the authors' code does: for all pictures the last of the regions chosen in the first picture
                of the first sample, `topm` times.

        Returns:
            Chosen regions (B, k, topm, D), and weights of all, (B, k, P).

        Raises:
            ValueError: If pictures have fewer regions.
        """
        batch, steps, count = regions.shape[:3]
        if self.topm > count:
            raise ValueError(f"{self.topm} regions are to be chosen, and a picture has {count}. Set topm to less.")
        query = question[:, None].expand(-1, steps, -1).flatten(0, 1)[:, None]
        weights = self.query(query, regions.flatten(0, 1), weights=True)[1]
        assert weights is not None
        weights = weights[:, 0].unflatten(0, (batch, steps))
        index = weights.topk(self.topm, -1).indices.sort(-1).values
        if published:
            index = index[0, 0, -1].expand_as(index)
        return regions.gather(2, index[..., None].expand(-1, -1, -1, regions.shape[-1])), weights


class PSTP(OfficialNetwork):
    """The network of "Progressive Spatio-temporal Perception for Audio-Visual Question Answering" (ACM MM 2023).

    Args:
        audio: Width of sound.
        visual: Width of pictures and regions.
        text: Width of questions and their words.
        answers: Answers K.
        width: Width D.
        inner: Width of the feed-forward layers.
        fusion: `published`: sounds, pictures and words alone make the sequence, and what selects never runs: nothing
            of it reaches the authors' output. `paper`: also the chosen segments and regions, what sounds in them, and
            what sound and sight make of each other. That is ours: no weights of the authors were trained so.
        segments: Equal segments of a clip.
        topk: Segments that are chosen.
        topm: Regions of each picture that are chosen.
        dropout: In training.
    """

    name = "pstp"
    source = "GeWu-Lab/PSTP-Net at commit 6ea3966c819d"

    def __init__(
        self,
        audio: int = 128,
        visual: int = 512,
        text: int = 512,
        answers: int = 42,
        width: int = 512,
        inner: int = 512,
        fusion: str = "published",
        segments: int = 12,
        topk: int = 2,
        topm: int = 25,
        dropout: float = 0.1,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        super().__init__()
        if fusion not in FUSIONS:
            raise unknown_name("fusion", fusion, FUSIONS)
        self.paper = fusion == "paper"
        self.audio_in, self.visual_in = nn.Linear(audio, width), nn.Linear(visual, width)
        self.region_in = nn.Linear(visual, width)
        self.word_in, self.question_in = nn.Linear(text, width), nn.Linear(text, width)
        self.segments = SegmentSelection(width, segments, topk, dropout)
        self.regions = RegionSelection(width, topm, dropout)
        self.listen = Querying(width, 4, dropout)
        self.meeting = HybridAttention(width, 1, inner, dropout)
        self.mix = EncoderLayer(width, 1, inner, dropout)
        self.answer = nn.Linear(width, answers)

    def forward(
        self,
        audio: Tensor,
        visual: Tensor,
        words: Tensor,
        question: Tensor,
        regions: Tensor | None = None,
        spoken: Tensor | None = None,
        clip: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> PSTPOutput:
        """Answer questions about clips.

        Args:
            audio: (C, T, A).
            visual: Pictures as one vector each, (C, T, V).
            words: Of the question, (B, L, Q).
            question: (B, Q).
            regions: Of the pictures, (C, T, P, V); read by `paper` alone.
            spoken: bool (B, L), words that are some; all where None, as with the authors, who read padding too.
            clip: Clip of each question, (B,); one each where None.
            valid: bool (C, T), seconds that count; all where None.

        Raises:
            ValueError: If segments or regions cannot be chosen.
        """
        heard, seen, asked = self.audio_in(audio), self.visual_in(visual), self.question_in(question)
        row = slice(None) if clip is None else clip
        parts = [heard[row], seen[row], self.word_in(words)]
        out = PSTPOutput(asked, asked)
        if self.paper:
            parts += self._selected(out, heard, seen, asked, regions, row)
        x = torch.cat(parts, 1)
        keep = None
        if valid is not None or spoken is not None:
            times = heard.new_ones(heard.shape[:2], dtype=torch.bool) if valid is None else valid
            said = words.new_ones(words.shape[:2], dtype=torch.bool) if spoken is None else spoken
            keep = F.pad(
                torch.cat([times[row], times[row], said], 1),
                (0, x.shape[1] - 2 * heard.shape[1] - said.shape[1]),
                value=True,
            )
        out.mixed = self.mix(x, None if keep is None else ~keep)
        mean = out.mixed.mean(1)
        if keep is not None:
            mean = (out.mixed * keep[..., None]).sum(1) / keep.sum(1, keepdim=True)
        out.logits = self.answer((mean * asked).tanh())
        return out

    def _selected(
        self, out: PSTPOutput, heard: Tensor, seen: Tensor, asked: Tensor, regions: Tensor | None, row: Any
    ) -> list[Tensor]:
        if regions is None:
            raise ValueError("fusion 'paper' chooses regions of pictures, and only vectors of pictures are given.")
        weights, segments = self.segments(asked, heard[row], seen[row])
        steps = heard.shape[1]
        seconds = self.segments.seconds(segments, steps)
        number = torch.arange(len(asked), device=asked.device)
        clips = (number if isinstance(row, slice) else row)[:, None]
        sound, places = heard[clips, seconds], self.region_in(regions[clips, seconds])
        chosen, told = self.regions(asked, places)
        listened = self.listen(sound.flatten(0, 1)[:, None], chosen.flatten(0, 1))[0][:, 0].unflatten(
            0, sound.shape[:2]
        )
        met = self.meeting(heard, seen)
        out.weights, out.parts = weights.repeat_interleave(steps // weights.shape[1], 1), told
        out.chosen = out.shown = seconds
        return [sound, seen[clips, seconds], chosen.flatten(1, 2), listened, *(x[row] for x in met)]

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
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
        """What the authors call our key."""
        return rename(key, _NAMES)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Layers that nothing calls, or whose result nothing reads."""
        w, inner = self.made_with["width"], self.made_with["inner"]
        linear = {
            "fc_spat_q": (w, self.made_with["text"]),
            "SpatRegsSelect_Module.patch_fc": (w, w),
            "audio_fusion": (w, w),
            "visual_fusion": (w, w),
            "SM_fusion": (w, 2 * w),
            "fc_av_fusion": (w, 2 * w),
            "TempSegsSelect_Module.clip_attn.linear1": (inner, w),
            "TempSegsSelect_Module.clip_attn.linear2": (w, inner),
        }
        dead: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linear.items()}
        dead |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        for part in ("TempSegsSelect_Module.clip_attn.self_attn", "TempSegsSelect_Module.clip_attn.cm_attn"):
            dead |= attention_shapes(part, w)
        dead |= attention_shapes("GlobalSelf_Module.layers.0.cm_attn", w)
        norms = [f"TempSegsSelect_Module.clip_attn.norm{i}" for i in (1, 2)]
        norms += ["GlobalLocal_Module.norm1", "GlobalLocal_Module.norm2", "GlobalSelf_Module.norm2"]
        return dead | {f"{name}.{x}": (w,) for name in norms for x in ("weight", "bias")}

    def untrained(self) -> list[str]:
        """What selects, where nothing reads what was selected; in `paper` what weighs regions but not their choice."""
        return [] if self.paper else ["region_in.", "segments.", "regions.", "listen.", "meeting."]


def attention_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of an attention's weights."""
    return {
        f"{name}.in_proj_weight": (3 * width, width),
        f"{name}.in_proj_bias": (3 * width,),
        f"{name}.out_proj.weight": (width, width),
        f"{name}.out_proj.bias": (width,),
    }


_QUERY = ("qst_query_linear{}", "qst_query_visual_norm")
_NAMES = {
    "audio_in.": "fc_a.",
    "visual_in.": "fc_v.",
    "region_in.": "fc_p.",
    "word_in.": "fc_word.",
    "question_in.": "fc_q.",
    "segments.join.": "TempSegsSelect_Module.clip_fc.",
    **querying_names("segments.query", "TempSegsSelect_Module.", *_QUERY),
    **querying_names("regions.query", "SpatRegsSelect_Module.", *_QUERY),
    **querying_names(
        "listen",
        "AudioGuidedVisualAttn.",
        "audio_query_linear{}",
        "audio_query_visual_norm",
        "attn_audio_query",
    ),
    **hybrid_names("meeting", "GlobalLocal_Module.layers.0"),
    "mix.": "GlobalSelf_Module.layers.0.",
    "answer.": "fc_answer_pred.",
}


@dataclass
class PSTPConfig(QuestionConfig):
    """PSTP-Net for `avqa`: sounds, pictures and words as one sequence.

    Attributes:
        name: Of the system.
        first: The first of a picture's tokens is the picture as a whole, as CLIP's class token is; else their mean is.
        words: Words that each question is padded to and reads, 77 as the authors do; 0 reads those that there are.
        width: Width D.
        inner: Width of the feed-forward layers.
        fusion: `published` or `paper`, see `PSTP`.
        segments: Equal segments of a clip.
        topk: Segments that are chosen.
        topm: Regions of each picture that are chosen.
        dropout: In training.
    """

    answers: ClassVar = {"avqa": Answered}

    name: Literal["pstp"] = "pstp"
    first: bool = False
    words: int = 0
    width: int = 512
    inner: int = 512
    fusion: str = "published"
    segments: int = 12
    topk: int = 2
    topm: int = 25
    dropout: float = 0.1

    def network(self, visual: int, audio: int, vocabulary: Vocabulary, text: int = 0) -> PSTP:
        """The network."""
        return PSTP(audio, visual, text, len(vocabulary.answers), **self.own("first", "words"))

    def run(self, network: nn.Module, senses: Senses, batch: Batch, texts: Texts | None = None) -> PSTPOutput:
        """Answers of a batch."""
        assert texts is not None
        patches = senses.seen.patches
        frame, regions = (patches[:, :, 0], patches[:, :, 1:]) if self.first else (senses.seen.frame, patches)
        read = texts.encode(asked(batch))
        words, spoken = read.tokens, None if self.words or read.valid.all() else read.valid
        if self.words:
            words = words[:, : self.words]
            words = F.pad(words, (0, 0, 0, self.words - words.shape[1]))
        valid = None if batch.valid.all() else batch.valid
        found: PSTPOutput = network(senses.heard, frame, words, read.pooled, regions, spoken, batch.clip, valid)
        return found
