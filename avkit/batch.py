# SPDX-License-Identifier: Apache-2.0
"""What travels from file to report: Item, Batch, Tokens, Prediction, and the vocabulary record.

Letters used in every shape of the project: B clips, T steps of `hop` seconds, P patches of a frame, L text tokens,
D width, K classes, H W pixels. Time-like targets carry T first, so that a batch can pad them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

#: Sample rate of every waveform inside avkit, in Hz.
SAMPLE_RATE = 16_000

#: The targets a dataset may provide and a task may read, by field name.
FIELDS: dict[str, str] = {
    "mask": "uint8 (T, H, W), 1 where something visible sounds, 0 elsewhere",
    "mask_known": "bool (T,), which steps have a mask that was annotated",
    "class_mask": "uint8 (T, H, W), 0 background, k + 1 for class k that is visible and sounds",
    "instance_mask": "uint8 (T, H, W), 0 background, i + 1 for object i, sounding or not",
    "boxes": "float32 (T, N, 4), x1 y1 x2 y2 in [0, 1] of each object, NaN where it is not visible",
    "source": "float32 (T, H, W) in [0, 1], how far each pixel counts as where the sound comes from; 0 where unknown",
    "caption": "T strings, what sounds at each step and how; the empty string where nothing was written",
    "audio_segments": "uint8 (T, K), classes heard at each step",
    "visual_segments": "uint8 (T, K), classes seen at each step",
    "video_labels": "uint8 (K,), classes heard or seen anywhere in the clip",
    "events": "float32 (N, 3), start s, end s and class index of each event both heard and seen",
    "answer": "string, the answer to the item's question",
    "choices": "strings, the answers to choose from where a question has few of its own; empty ones are none",
    "question_type": "string, such as 'Audio-Visual Counting'",
}


@dataclass
class Vocabulary:
    """The words a dataset speaks: what a task needs to size its head and to name its answers.

    Where tasks have datasets of their own, each task speaks its dataset's classes and answers, see `of`, and all share
    the words; `classes` and `answers` then hold those of all of them.

    Attributes:
        classes: Names of sounding classes in index order, background not among them.
        answers: Answers of `avqa` in index order.
        words: Words of questions, prompts and captions, in index order.
        pieces: Word pieces of captions in index order, of systems that write in pieces and not in words.
        tasks: Classes and answers by task, as dictionaries, of tasks on datasets of their own.
    """

    classes: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    tasks: dict[str, Any] = field(default_factory=dict)
    pieces: list[str] = field(default_factory=list)

    def of(self, task: str) -> "Vocabulary":
        """What a task speaks."""
        own = self.tasks.get(task)
        return self if own is None else Vocabulary(own["classes"], own["answers"], self.words, pieces=self.pieces)


def join_vocabularies(by_task: dict[str, Vocabulary]) -> Vocabulary:
    """One vocabulary of several tasks' datasets; that of the dataset itself where there is only one."""
    every = list(by_task.values())
    if all(v == every[0] for v in every):
        return every[0]

    def joined(name: str) -> list[str]:
        return list(dict.fromkeys(x for v in every for x in getattr(v, name)))

    own = {task: {"classes": v.classes, "answers": v.answers} for task, v in by_task.items()}
    return Vocabulary(joined("classes"), joined("answers"), joined("words"), own)


@dataclass
class Item:
    """One clip, with a question or several where it is asked about.

    Attributes:
        id: Name of the clip, unique in its split.
        duration: Length in seconds.
        hop: Seconds per step.
        offset: Seconds from the start of the clip to the start of step 0; features whose window is longer than their
            hop have one.
        frames: uint8 (T, 3, H, W), RGB, one picture per step; None where `visual` is given.
        waveform: float32 (samples,), mono in [-1, 1] at `SAMPLE_RATE`; None where `audio` is given.
        visual: Stored visual features instead of frames, float (T, P, Dv).
        audio: Stored audio features instead of the waveform, float (T, Da).
        text: Question, or several about the same clip, or what to look for, or None.
        targets: Ground truth by field name, see `FIELDS`; with several questions `answer` and `question_type` are lists
            of as many.
    """

    id: str
    duration: float
    hop: float = 1.0
    frames: Tensor | None = None
    waveform: Tensor | None = None
    visual: Tensor | None = None
    audio: Tensor | None = None
    text: str | list[str] | None = None
    targets: dict[str, Any] = field(default_factory=dict)
    offset: float = 0.0
    expert: Tensor | None = None

    @property
    def steps(self) -> int:
        """Number of steps T."""
        for x in (self.frames, self.visual, self.audio):
            if x is not None:
                return len(x)
        raise ValueError(f"Item {self.id!r} has neither frames nor features.")


@dataclass
class Batch:
    """Items of one task side by side; shapes as in `Item` with B in front, padded with zeros.

    Where clips have several questions each question is a sample: id, text and targets then have B entries, pictures and
    sound only C, one per clip, so that a clip is encoded once however much is asked about it.

    Attributes:
        task: The one task this batch is for.
        valid: bool (B, T), False on padding.
        text: One question per sample, or None.
        targets: Tensors padded to (B, T, ...) or (B, N, ...); `events` and what is no tensor as a list of B.
        clip: int64 (B,), the clip that each sample is about, or None where every clip is one sample.
        offset: Seconds from the start of a clip to the start of step 0.
        expert: (C, M, E), zeros where unknown, or None where no clip has any.
        expert_known: bool (C, M).
    """

    task: str
    id: list[str]
    duration: Tensor
    hop: float
    valid: Tensor
    frames: Tensor | None = None
    waveform: Tensor | None = None
    visual: Tensor | None = None
    audio: Tensor | None = None
    text: list[str] | None = None
    targets: dict[str, Any] = field(default_factory=dict)
    clip: Tensor | None = None
    offset: float = 0.0
    expert: Tensor | None = None
    expert_known: Tensor | None = None

    def __len__(self) -> int:
        """Number of samples B."""
        return len(self.id)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        """The same batch with every tensor on `device`."""

        def move(x: Any) -> Any:
            if isinstance(x, Tensor):
                return x.to(device, non_blocking=non_blocking)
            if isinstance(x, list) and x and isinstance(x[0], Tensor):
                return [move(v) for v in x]
            return {k: move(v) for k, v in x.items()} if isinstance(x, dict) else x

        return replace(self, **{f.name: move(getattr(self, f.name)) for f in fields(self)})


@dataclass
class Tokens:
    """What encoders make, the backbone mixes and heads read.

    Attributes:
        audio: (B, T, D).
        frame: (B, T, D), one token per picture.
        patches: (B, T, P, D), row by row over `grid`.
        grid: Rows and columns of the patches.
        valid: bool (B, T).
        pyramid: Feature maps (B, T, C, h, w), finest first; empty where no pixels are asked for.
        text: (B, L, D) tokens of the prompt or question, or None.
        text_valid: bool (B, L).
        prompt: (B, D), the pooled prompt or question, or None.
        names: (K, D), the text features of the dataset's classes, or None.
        picture: uint8 (B, T, 3, H, W), the pictures themselves, or None where only features are known.
        expert: What a large vision-language model made of each clip, (B, M, E), or None.
        expert_known: bool (B, M).
    """

    audio: Tensor
    frame: Tensor
    patches: Tensor
    grid: tuple[int, int]
    valid: Tensor
    pyramid: list[Tensor] = field(default_factory=list)
    text: Tensor | None = None
    text_valid: Tensor | None = None
    prompt: Tensor | None = None
    names: Tensor | None = None
    picture: Tensor | None = None
    expert: Tensor | None = None
    expert_known: Tensor | None = None


@dataclass
class Prediction:
    """What a task answers for one batch, in the user's units: seconds, pixels, words.

    Attributes:
        task: Name of the task.
        id: Clip ids, B of them.
        values: By field name as in `FIELDS`, with B in front: `mask` is float32 (B, T, H, W), the probability that the
            pixel shows something sounding; `mask_logits` the same before the sigmoid; `class_scores` float32
            (B, T, K + 1, H, W), logits with background first; `class_mask` its argmax; `caption` B lists of T strings;
            `answer` B strings; `answer_scores` float32 (B, answers); `event` B lists of T class names, empty for none;
            `event_scores` float32 (B, T, K + 1), logits with background first; `audio_scores` and `visual_scores`
            float32 (B, T, K) and `clip_scores` (B, K), probabilities; `heat` float32 (B, T, h, w); `event_list` B
            tensors (N, 4) of start s, end s, class index and score.
    """

    task: str
    id: list[str]
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """The predicted field `name`."""
        return self.values[name]


def crop(item: Item, start: int, steps: int) -> Item:
    """The part of a clip from step `start`, at most `steps` long; sound, pictures and targets by step go along."""
    total = item.steps
    if steps >= total:
        return item
    part = slice(start, start + steps)
    rate = round(item.hop * SAMPLE_RATE)
    sound = item.waveform[start * rate : (start + steps) * rate] if item.waveform is not None else None
    duration = min(
        steps * item.hop + 2 * item.offset, item.duration - start * item.hop
    )  # to the end of the last window
    by_step = {name for name, shape in FIELDS.items() if "(T" in shape or shape.startswith("T ")}
    targets = {name: x[part] if name in by_step else x for name, x in item.targets.items()}
    if "events" in targets:
        times = (targets["events"][:, :2] - start * item.hop).clamp(0, duration)
        targets["events"] = torch.cat([times, targets["events"][:, 2:]], 1)[times[:, 1] > times[:, 0]]
    by_row = ["frames", "visual", "audio"]
    if item.expert is not None and len(item.expert) == total:
        by_row.append("expert")
    return replace(
        item,
        duration=duration,
        waveform=sound,
        targets=targets,
        **{name: x[part] for name in by_row if (x := getattr(item, name)) is not None},
    )


def collate(items: Sequence[Item], task: str) -> Batch:
    """Put clips side by side, padding each with zeros to the longest.

    Raises:
        ValueError: If clips carry different fields, hops or picture sizes, or a feature is not a finite number.
    """
    first = items[0]
    for item in items:
        if (item.hop, item.offset) != (first.hop, first.offset):
            raise ValueError(
                f"Items {first.id!r} and {item.id!r} have hops of {first.hop} and {item.hop} s, offsets of "
                f"{first.offset} and {item.offset} s; one batch takes one hop and one offset."
            )
        if item.targets.keys() != first.targets.keys():
            raise ValueError(
                f"Items {first.id!r} and {item.id!r} carry different targets: {sorted(first.targets)} "
                f"and {sorted(item.targets)}."
            )
        _check_finite(item)
    steps = [item.steps for item in items]
    valid = torch.arange(max(steps))[None] < torch.tensor(steps)[:, None]
    stacked = {
        name: _stack([getattr(item, name) for item in items], name, items)
        for name in ("frames", "waveform", "visual", "audio")
    }
    expert, expert_known = _experts(items)
    asked = [len(item.text) if isinstance(item.text, list) else 1 for item in items]
    clip = torch.arange(len(items)).repeat_interleave(torch.tensor(asked)) if max(asked) > 1 else None
    texts = [text for item in items for text in (item.text if isinstance(item.text, list) else [item.text])]
    return Batch(
        task=task,
        id=[item.id for item, count in zip(items, asked, strict=True) for _ in range(count)],
        duration=torch.tensor([item.duration for item in items], dtype=torch.float32),
        hop=first.hop,
        offset=first.offset,
        valid=valid,
        text=[t or "" for t in texts] if any(t is not None for t in texts) else None,
        targets={name: _targets(name, items) for name in first.targets},
        clip=clip,
        expert=expert,
        expert_known=expert_known,
        **stacked,
    )


def _experts(items: Sequence[Item]) -> tuple[Tensor | None, Tensor | None]:
    """What is known of an expert's features, padded, and where."""
    given = [item.expert for item in items if item.expert is not None]
    if not given:
        return None, None
    if len({x.shape[1] for x in given}) > 1:
        widths = {item.id: item.expert.shape[1] for item in items if item.expert is not None}
        raise ValueError(f"The expert's features have different widths in one batch: {widths}. Take them of one store.")
    filled = [x if x is not None else given[0].new_zeros(0, given[0].shape[1]) for x in (i.expert for i in items)]
    counts = torch.tensor([len(x) for x in filled])
    known = torch.arange(int(counts.max()))[None] < counts[:, None]
    return torch.nn.utils.rnn.pad_sequence(filled, batch_first=True), known


def _targets(name: str, items: Sequence[Item]) -> Any:
    """A target of all items; of several questions one after the other."""
    values = [item.targets[name] for item in items]
    if name == "events":  # as many as there are: padding would be an event
        return values
    if name == "boxes":
        return _stack(_pad_boxes(values), name, items)
    if name not in ("answer", "question_type"):
        return _stack(values, name, items)
    return [v for value in values for v in (value if isinstance(value, list) else [value])]


def _pad_boxes(values: list[Tensor]) -> list[Tensor]:
    """Boxes (T, N, 4) with rows of NaN up to the same N."""
    most = max(x.shape[1] for x in values)
    return [torch.nn.functional.pad(x, (0, 0, 0, most - x.shape[1]), value=torch.nan) for x in values]


def _check_finite(item: Item) -> None:
    for name in ("waveform", "visual", "audio", "expert"):
        x = getattr(item, name)
        if x is not None and not torch.isfinite(x).all():
            bad = int((~torch.isfinite(x)).sum())
            raise ValueError(
                f"Item {item.id!r}: {bad} of {x.numel()} values of {name!r} are NaN or infinite. Extract "
                "or export this clip again, or leave it out."
            )


def _stack(values: list[Any], name: str, items: Sequence[Item]) -> Any:
    """Tensors padded along their first axis and stacked; None where all are None; else the list itself."""
    if all(v is None for v in values):
        return None
    if any(v is None for v in values):
        raise ValueError(
            f"{name!r} is missing in {[i.id for i, v in zip(items, values, strict=True) if v is None]} "
            "and present in the rest of the batch."
        )
    if not all(isinstance(v, Tensor) for v in values):
        return values
    if len({v.shape[1:] for v in values}) > 1:
        sizes = {i.id: tuple(v.shape[1:]) for i, v in zip(items, values, strict=True)}
        raise ValueError(f"{name!r} has different sizes in one batch: {sizes}. Read the clips at one size.")
    out = values[0].new_zeros((len(values), max(len(v) for v in values), *values[0].shape[1:]))
    for row, v in zip(out, values, strict=True):
        row[: len(v)] = v
    return out
