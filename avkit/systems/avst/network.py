# SPDX-License-Identifier: Apache-2.0
"""AVST: sound grounded in pictures, then read by the question; also whether picture and sound belong together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Vocabulary
from avkit.encoders.resnet import ResNet18, resnet_name
from avkit.errors import DataError
from avkit.nn.query_attention import Querying
from avkit.systems.base import Senses
from avkit.systems.checkpoints import OfficialNetwork, rename
from avkit.systems.features import FeatureConfig
from avkit.systems.questions import asked
from avkit.systems.questions_task import MatchedAnswers

#: Words of MUSIC-AVQA's questions in the order of the train file, behind the padding.
WORDS = [
    "How", "many", "instruments", "are", "sounding", "in", "the", "video", "What", "kind", "of", "instrument",
    "is", "leftest", "musical", "it", "did", "not", "sound", "from", "beginning", "to", "end", "Is", "on", "left",
    "louder", "than", "right", "guzheng", "types", "accordion", "always", "playing", "clarinet", "there", "a",
    "voiceover", "this", "cello", "violin", "flute", "pipa", "piano", "Which", "that", "sounds", "at", "same",
    "time", "as", "acoustic_guitar", "Where", "first", "electric_bass", "drum", "more", "rhythmic", "ukulele",
    "banjo", "saxophone", "trumpet", "erhu", "middle", "congas", "entire", "tuba", "bagpipe", "loudest", "comes",
    "xylophone", "bassoon", "suona", "second", "appeared", "performance", "rightest", "coming", "third", "last",
    "Are", "and", "makes", "before", "after", "lowest", "fourth", "longer", "fifth", "were", "heard",
    "throughout",
]  # fmt: skip
#: Words of the longest question.
LONGEST = 14


@dataclass
class AVSTOutput:
    """What AVST says.

    Attributes:
        logits: Of the answers, (B, K).
        match: Whether each step's own picture goes with its sound, logits of no and yes, (C T, 2), or None.
        mismatch: The same of another picture, or None.
        attention: How much each position of a picture matched the sound, (C, T, P).
    """

    logits: Tensor
    match: Tensor | None
    mismatch: Tensor | None
    attention: Tensor


class QuestionWords(nn.Module):
    """A question as one vector: embedded words, then the last states of an LSTM, padding read too.

    Args:
        words: Words in index order, behind the padding. Those of MUSIC-AVQA are all that its questions have, so another
            one is an error; of other data, whose test may have words that the training did not, it is read as padding.
        width: Width D.
    """

    def __init__(self, words: Sequence[str], width: int) -> None:
        super().__init__()
        self.closed = list(words) == WORDS
        self.index = {word: i + 1 for i, word in enumerate(words)}
        self.folded = {word.lower(): i for word, i in reversed(self.index.items())}
        self.embed = nn.Embedding(len(words) + 1, width)
        self.recurrent = nn.LSTM(width, width, batch_first=True)
        self.out = nn.Linear(2 * width, width)

    def ids(self, questions: Sequence[str]) -> Tensor:
        """Numbers of words, padded with 0, int64 (B, 14), or wider for longer questions.

        Raises:
            DataError: If a word is unknown, and the words are those of MUSIC-AVQA.
        """
        rows = [[self._number(word, text) for word in words_of(text)] for text in questions]
        out = torch.zeros(len(rows), max(LONGEST, *map(len, rows)), dtype=torch.long)
        for line, row in zip(out, rows, strict=True):
            line[: len(row)] = torch.tensor(row, dtype=torch.long)
        return out

    def _number(self, word: str, text: str) -> int:
        found = self.index.get(word, self.folded.get(word.lower()))
        if found is None and not self.closed:
            return 0
        if found is None:
            from difflib import get_close_matches

            near = get_close_matches(word.lower(), self.folded, 3)
            hint = f" Similar: {', '.join(near)}." if near else ""
            raise DataError(
                f"AVST does not know the word {word!r} of {text!r}; it knows {len(self.index)} of its training "
                f"questions.{hint} Ask with known words, or use a system with a pretrained text encoder, such as tspm."
            )
        return found

    def forward(self, ids: Tensor) -> Tensor:
        """From (B, L) to (B, D)."""
        _, (hidden, cell) = self.recurrent(self.embed(ids).tanh())
        read: Tensor = self.out(torch.cat([hidden[0], cell[0]], -1).tanh())
        return read


def words_of(question: str) -> list[str]:
    """A question's words as AVST cuts them: at blanks, without the mark at the end."""
    return question.strip().rstrip("?\uff1f.!").split()


class AVST(OfficialNetwork):
    """The network of "Learning to Answer Questions in Dynamic Audio-Visual Scenarios" (CVPR 2022).

    Args:
        audio: Width of sound.
        visual: Width of a position's features.
        words: Known words of questions, in index order.
        answers: Answers K.
        width: Width D, which is that of the pictures: sounds are compared with them as they are.
        dropout: In training.

    Raises:
        ValueError: If it is another.
    """

    name = "avst"
    source = "GeWu-Lab/MUSIC-AVQA at commit cc8809514a2e, net_grd_avst"

    def __init__(
        self,
        audio: int = 128,
        visual: int = 512,
        words: Sequence[str] = WORDS,
        answers: int = 42,
        width: int = 512,
        dropout: float = 0.1,
    ) -> None:
        self.made_with = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.made_with["words"] = list(words)
        super().__init__()
        if width != visual:
            raise ValueError(
                f"AVST compares sounds with pictures as they are: pictures are {visual} wide and width is {width}. "
                "Leave system.width out."
            )
        self.question = QuestionWords(words, width)
        self.audio_in = nn.ModuleList([nn.Linear(audio, width), nn.Linear(width, width)])
        self.ground = nn.Linear(2 * visual, width)
        sizes = (2 * width, width, width // 2, width // 4, 2)
        self.pair = nn.ModuleList(nn.Linear(*pair) for pair in pairwise(sizes))
        self.read_sight, self.read_sound = Querying(width, 4, dropout), Querying(width, 4, dropout)
        self.fusion, self.answer = nn.Linear(2 * width, width), nn.Linear(width, answers)

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
            audio: (C, T, A).
            visual: Pictures, (C, T, P, V).
            question: Numbers of words, (B, L).
            other: Pictures of other clips, (C, T, P, V), to tell from the own ones.
            clip: Clip of each question, (B,); one each where None.
            valid: bool (C, T), steps that count; all where None.
        """
        asked, (first, second) = self.question(question), self.audio_in
        heard = second(first(audio).relu())
        seen, attention = self._ground(heard, visual)
        match, mismatch = None, None
        if other is not None:
            keep = slice(None) if valid is None else valid
            match = self._match(heard[keep], seen[keep]).flatten(0, -2)
            mismatch = self._match(heard[keep], self._ground(heard, other)[0][keep]).flatten(0, -2)
        padded, count = (None if valid is None else ~valid), heard.shape[1]
        if valid is not None:
            heard, seen, count = heard * valid[..., None], seen * valid[..., None], valid.sum(1, keepdim=True)
        means = [x.sum(1) / count for x in (heard, seen)]
        if clip is not None:
            heard, seen, *means = (x[clip] for x in (heard, seen, *means))
            padded = None if padded is None else padded[clip]
        query = asked[:, None]
        of_sight = self.read_sight(query, seen, padded)[0][:, 0] + means[1]
        of_sound = self.read_sound(query, heard, padded)[0][:, 0] + means[0]
        joined = self.fusion(torch.cat([of_sound, of_sight], -1).tanh())
        return AVSTOutput(self.answer((joined * asked).tanh()), match, mismatch, attention)

    def _ground(self, heard: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
        """A picture as its mean and as what of it goes with the sound: (C, T, D), and how much each position counted.

        Positions are compared and summed by direction alone; their lengths are divided out of the weights instead of
        out of all features.
        """
        lengths = visual.norm(dim=-1).clamp(min=1e-12)
        match = (visual @ F.normalize(heard, dim=-1)[..., None])[..., 0] / lengths
        weights = match.softmax(-1)
        found = ((weights / lengths)[..., None, :] @ visual)[..., 0, :]
        return self.ground(torch.cat([visual.mean(-2), found], -1).tanh()), weights

    def _match(self, heard: Tensor, seen: Tensor) -> Tensor:
        x = torch.cat([heard, seen], -1)
        for layer in self.pair[:-1]:
            x = layer(x).relu()
        logits: Tensor = self.pair[-1](x)
        return logits

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them; they do not tell `words` where these are not MUSIC-AVQA's."""
        if "question_encoder.word2vec.weight" not in state or "fc_gl.weight" not in state:
            return None
        facts: dict[str, Any] = {
            "audio": state["fc_a1.weight"].shape[1],
            "visual": state["fc_gl.weight"].shape[1] // 2,
            "answers": len(state["fc_ans.weight"]),
            "width": len(state["fc_a1.weight"]),
        }
        return facts

    @classmethod
    def official_name(cls, key: str) -> str:
        """What the authors call our key."""
        return rename(key, _NAMES)

    def official_dead(self) -> dict[str, tuple[int, ...]]:
        """Layers that nothing reads, and the network that made the features of pictures: `encoders.resnet` has it."""
        linear = {"fc_v": (512, 2048), "fc_st": (512, 512), "fc": (512, 1024), "fc_aq": (512, 512), "fc_vq": (512, 512)}
        linear |= {"fc_a1_pure": (512, 128), "fc_a2_pure": (512, 512)}
        dead: dict[str, tuple[int, ...]] = {f"{name}.weight": shape for name, shape in linear.items()}
        dead |= {f"{name}.bias": shape[:1] for name, shape in linear.items()}
        dead |= {"norm3.weight": (512,), "norm3.bias": (512,)}
        trunk = {resnet_name(key): tuple(x.shape) for key, x in ResNet18(stride=16).state_dict().items()}
        trunk |= {"conv1_a.weight": (64, 1, 7, 7), "fc.weight": (1000, 512), "fc.bias": (1000,)}
        return dead | {f"visual_net.{key}": shape for key, shape in trunk.items()}


_NAMES = {
    "question.embed.": "question_encoder.word2vec.",
    "question.recurrent.": "question_encoder.lstm.",
    "question.out.": "question_encoder.fc.",
    "audio_in.0.": "fc_a1.",
    "audio_in.1.": "fc_a2.",
    "ground.": "fc_gl.",
    **{f"pair.{i}.": f"fc{i + 1}." for i in range(4)},
    "read_sight.attention.": "attn_v.",
    "read_sight.first.": "linear11.",
    "read_sight.second.": "linear12.",
    "read_sight.norm.": "norm1.",
    "read_sound.attention.": "attn_a.",
    "read_sound.first.": "linear21.",
    "read_sound.second.": "linear22.",
    "read_sound.norm.": "norm2.",
    "fusion.": "fc_fusion.",
    "answer.": "fc_ans.",
}


@dataclass
class AVSTConfig(FeatureConfig):
    """AVST for `avqa`: sound grounded in pictures, questions by words of the data.

    Attributes:
        name: Of the system.
        every: Of the steps every which is read; 6 for MUSIC-AVQA's 60.
        width: Width D; 0 for that of the pictures, which it has to be.
        dropout: In training.
    """

    answers: ClassVar = {"avqa": MatchedAnswers}

    #: As with the small text encoder words are the data's own, and a prediction says which were never seen.
    text: ClassVar[str] = "small"

    name: Literal["avst"] = "avst"
    every: int = 1
    width: int = 0
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"system.every is {self.every}; 1 reads every step, 6 every sixth.")

    def network(self, visual: int, audio: int, vocabulary: Vocabulary) -> AVST:
        """The network; words of MUSIC-AVQA in the authors' order where the data have no others."""
        official = {part for word in WORDS for part in word.lower().split("_")}
        words = WORDS if set(vocabulary.words) - {"?"} <= official else vocabulary.words
        own = self.own("every") | {"width": self.width or visual}
        return AVST(audio, visual, words, len(vocabulary.answers), **own)

    def run(self, network: nn.Module, senses: Senses, batch: Batch) -> AVSTOutput:
        """Answers of a batch; in training the pictures to tell apart are of its other clips."""
        assert isinstance(network, AVST)
        part = slice(None, None, self.every)
        audio, visual, valid = senses.heard[:, part], senses.seen.patches[:, part], batch.valid[:, part]
        ids = network.question.ids(asked(batch)).to(audio.device)
        other = strangers(visual, valid, clip_names(batch)) if network.training else None
        found: AVSTOutput = network(audio, visual, ids, other, batch.clip, None if valid.all() else valid)
        return found


def clip_names(batch: Batch) -> list[str]:
    """What tells clips apart: where each question is a clip of its own, clips may come twice under different ids."""
    if batch.clip is None:
        return list(batch.id)
    return [batch.id[int((batch.clip == k).nonzero()[0])] for k in range(len(batch.valid))]


def strangers(visual: Tensor, valid: Tensor, names: Sequence[str]) -> Tensor | None:
    """For every step a picture of another clip, drawn at random; None where there is only one clip.

    Args:
        visual: (C, T, ...).
        valid: bool (C, T).
        names: Of the clips, C of them.
    """
    kinds = {name: i for i, name in enumerate(dict.fromkeys(names))}
    if len(kinds) < 2:
        return None
    clips, steps = valid.shape
    kind = torch.tensor([kinds[name] for name in names], device=valid.device).repeat_interleave(steps)
    allowed = (kind[:, None] != kind[None]) & valid.flatten()[None]
    drawn = torch.multinomial(allowed.float(), 1)[:, 0]
    return visual.flatten(0, 1)[drawn].unflatten(0, (clips, steps))
