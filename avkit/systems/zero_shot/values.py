# SPDX-License-Identifier: Apache-2.0
"""Values of predictions out of observations, by the kind of answer that reads them.

Letters: B samples, T steps, K classes, H W pixels.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.answers import Answer, Caption, Choice, ClassMask, Events, Heat, Mask, ModalityLabels, StepLabels
from avkit.answers.base import StepGrid
from avkit.answers.events import active_stretches
from avkit.systems.zero_shot.observation import Observation, Track, calibrate
from avkit.systems.zero_shot.questions import choose_answer
from avkit.systems.zero_shot.sentences import step_sentences

#: Values from which answers count a class as there, and those nearest to it on either side.
_PRESENT = 0.5
_MARGIN = 0.01
#: What a vision-language model is asked for a caption.
_REQUEST = "Say in one sentence what makes the sound, where it is and what it does."


@dataclass(frozen=True)
class Sample:
    """A sample as its answers are made of it.

    Attributes:
        observation: Of its clip.
        question: Empty where none is asked.
        answers: All answers that may be given.
        ask: Puts a question to the vision-language model; None where there is none.
    """

    observation: Observation
    question: str = ""
    answers: Sequence[str] = ()
    ask: Callable[[str], str] | None = None


@dataclass(frozen=True)
class Shape:
    """Sizes of the values of a batch.

    Attributes:
        steps: T, with padding.
        size: Height and width of pictures.
        heard: Score from which a target counts as heard.
        seen: Score from which it counts as seen.
    """

    steps: int
    size: tuple[int, int]
    heard: float
    seen: float


#: Values by name of a batch; None where a part that they need is missing.
Made = dict[str, Any] | None


def heard_probability(observation: Observation, shape: Shape) -> Tensor:
    """Probability that each target is heard, (T, K): at least 0.5 exactly where it counts as heard."""
    scores = calibrate(observation.heard, shape.heard)
    raised = scores.clamp(min=_PRESENT + _MARGIN)
    lowered = scores.clamp(max=_PRESENT - _MARGIN)
    return torch.where(observation.active, raised, lowered)


def both_probability(observation: Observation, shape: Shape) -> Tensor:
    """Probability that each target is heard and seen, (T, K); heard alone, where nothing tells or can be seen."""
    heard = heard_probability(observation, shape)
    if observation.seen is None:
        return heard
    visible = torch.tensor([bool(target.object) for target in observation.targets], device=heard.device)
    both = torch.minimum(heard, calibrate(observation.seen, shape.seen))
    return torch.where(visible, both, heard)


def step_labels(samples: Sequence[Sample], shape: Shape) -> Made:
    """`event` and `event_logits`: of the targets that are heard and seen the likeliest one, else background."""
    logits = []
    names = []
    for sample in samples:
        both = both_probability(sample.observation, shape)
        background = both.new_full((len(both), 1), _PRESENT)
        scores = torch.cat([background, both], 1)
        logits.append(_padded(scores, shape.steps))
        listed = ["", *(target.name for target in sample.observation.targets)]
        labels = [listed[number] for number in scores.argmax(1).tolist()]
        names.append(labels + [""] * (shape.steps - len(labels)))
    modalities = ["heard" if sample.observation.seen is None else "both" for sample in samples]
    return {"event": names, "event_logits": torch.stack(logits), "event_modality": modalities}


def modality_labels(samples: Sequence[Sample], shape: Shape) -> Made:
    """`audio_scores`, `visual_scores` and `clip_scores`; nothing is seen where no part tells."""
    audio = []
    visual = []
    for sample in samples:
        heard = heard_probability(sample.observation, shape)
        seen = sample.observation.seen
        audio.append(_padded(heard, shape.steps))
        visual.append(_padded(torch.zeros_like(heard) if seen is None else calibrate(seen, shape.seen), shape.steps))
    audio_scores = torch.stack(audio)
    visual_scores = torch.stack(visual)
    clip = torch.maximum(audio_scores.amax(1), visual_scores.amax(1))
    return {"audio_scores": audio_scores, "visual_scores": visual_scores, "clip_scores": clip}


def event_lists(samples: Sequence[Sample], shape: Shape) -> Made:
    """`event_list`: stretches of steps in which a target is heard and seen, with the mean probability as score."""
    lists = []
    modalities = []
    for sample in samples:
        observation = sample.observation
        both = both_probability(observation, shape)
        index = {target.name: number for number, target in enumerate(observation.targets)}
        grid = StepGrid(observation.hop, observation.steps, observation.steps * observation.hop)
        rows = []
        kinds = []
        for event in active_stretches("", "both", list(index), (both >= _PRESENT).cpu().numpy(), grid):
            number = index[event.name]
            first = round(event.start / observation.hop)
            last = max(first + 1, round(event.end / observation.hop))
            rows.append([event.start, event.end, number, float(both[first:last, number].mean())])
            alone = observation.seen is None or not observation.targets[number].object
            kinds.append("heard" if alone else "both")
        lists.append(torch.tensor(rows).reshape(-1, 4))
        modalities.append(kinds)
    return {"event_list": lists, "event_list_modality": modalities}


def captions(samples: Sequence[Sample], shape: Shape) -> Made:
    """`caption`: a sentence for each source of a step, by rules, or by the vision-language model."""
    texts = []
    for sample in samples:
        sentences = step_sentences(sample.observation)
        if sample.ask is not None:
            sentences = _written(sentences, sample.ask)
        texts.append(sentences + [""] * (shape.steps - len(sentences)))
    return {"caption": texts}


def _written(sentences: Sequence[str], ask: Callable[[str], str]) -> list[str]:
    """Sentences of a vision-language model in place of those by rules; each different one is asked for once."""
    written: dict[str, str] = {"": ""}
    for sentence in sentences:
        if sentence not in written:
            written[sentence] = ask(
                f"{sentence} Say in one sentence what makes the sound, where it is and what it does."
            )
    return [written[sentence] for sentence in sentences]


def masks(samples: Sequence[Sample], shape: Shape) -> Made:
    """`mask`: the likeliest of the outlines of what is heard in a step."""
    maps = []
    for sample in samples:
        outlined = _outlines(sample.observation)
        if outlined is None:
            return None
        maps.append(_padded(_union(outlined, sample.observation, shape), shape.steps))
    return {"mask": torch.stack(maps)}


def class_masks(samples: Sequence[Sample], shape: Shape) -> Made:
    """`class_mask` and `class_logits`: the number of the likeliest heard target of each pixel, counted from 1."""
    maps = []
    for sample in samples:
        outlined = _outlines(sample.observation)
        if outlined is None:
            return None
        labels = torch.zeros(sample.observation.steps, *shape.size, dtype=torch.long)
        best = torch.full(labels.shape, _PRESENT)
        for track, outline in outlined:
            probability = _heard_alone(outline, track, sample.observation).cpu()
            nearer = probability > best
            labels[nearer] = track.target + 1
            best = torch.maximum(best, probability)
        maps.append(_padded(labels, shape.steps))
    stacked = torch.stack(maps)
    return {"class_mask": stacked, "class_logits": stacked}


def heat(samples: Sequence[Sample], shape: Shape) -> Made:
    """`heat`: outlines of what is heard, else its boxes, weighed by how well it is heard."""
    maps = []
    for sample in samples:
        observation = sample.observation
        if observation.tracks is None:
            return None
        total = torch.zeros(observation.steps, *shape.size)
        for track in observation.tracks:
            outline = _filled(track, shape.size) if track.maps is None else track.maps
            weight = observation.heard[:, track.target] * observation.active[:, track.target]
            total = torch.maximum(total, (outline * weight[:, None, None]).cpu())
        maps.append(_padded(total, shape.steps))
    return {"heat": torch.stack(maps)}


def choices(samples: Sequence[Sample], shape: Shape) -> Made:
    """`answer` and `answer_logits`, by rules, or by the vision-language model; `guessed` where neither knows."""
    answers = []
    logits = []
    guessed = []
    for sample in samples:
        chosen = choose_answer(sample.question, sample.answers, sample.observation, sample.ask)
        number = list(sample.answers).index(chosen.answer)
        answers.append(chosen.answer)
        logits.append(F.one_hot(torch.tensor(number), len(sample.answers)).float())
        guessed.append(not chosen.rule)
    return {"answer": answers, "answer_logits": torch.stack(logits), "guessed": guessed}


#: What makes the values of each kind of answer.
MAKERS: Mapping[type[Answer], Callable[[Sequence[Sample], Shape], Made]] = {
    Mask: masks,
    ClassMask: class_masks,
    Heat: heat,
    Caption: captions,
    StepLabels: step_labels,
    ModalityLabels: modality_labels,
    Events: event_lists,
    Choice: choices,
}
#: Stages beside `sound` that each kind of answer asks for.
STAGES_OF: Mapping[type[Answer], tuple[str, ...]] = {
    Mask: ("boxes", "masks"),
    ClassMask: ("boxes", "masks"),
    Heat: ("boxes",),
    Caption: ("boxes",),
    StepLabels: ("seen",),
    ModalityLabels: ("seen",),
    Events: ("seen",),
    Choice: ("boxes",),
}
#: Those of them without which there is no answer of the kind.
REQUIRED_STAGES: Mapping[type[Answer], tuple[str, ...]] = {
    Mask: ("boxes", "masks"),
    ClassMask: ("boxes", "masks"),
    Heat: ("boxes",),
}


def _outlines(observation: Observation) -> list[tuple[Track, Tensor]] | None:
    """Tracks with their outlines; None where nothing outlines them."""
    if observation.tracks is None or not observation.can_outline:
        return None
    return [(track, track.maps) for track in observation.tracks if track.maps is not None]


def _union(outlined: Sequence[tuple[Track, Tensor]], observation: Observation, shape: Shape) -> Tensor:
    total = torch.zeros(observation.steps, *shape.size, device=observation.heard.device)
    for track, outline in outlined:
        total = torch.maximum(total, _heard_alone(outline, track, observation))
    return total


def _heard_alone(outline: Tensor, track: Track, observation: Observation) -> Tensor:
    """An outline in the steps in which its target is heard, 0 in others."""
    return outline * observation.active[:, track.target, None, None]


def _filled(track: Track, size: tuple[int, int]) -> Tensor:
    """The best box of each step, filled with its probability, (T, H, W)."""
    height, width = size
    rows = (torch.arange(height, device=track.boxes.device) + 0.5) / height
    columns = (torch.arange(width, device=track.boxes.device) + 0.5) / width
    boxes = track.boxes.nan_to_num(-1)
    left, top, right, bottom = (side[:, None] for side in boxes.unbind(1))
    across = (columns >= left) & (columns <= right)
    down = (rows >= top) & (rows <= bottom)
    return (down[:, :, None] & across[:, None, :]) * track.scores[:, None, None]


def _padded(values: Tensor, steps: int) -> Tensor:
    """Values (t, ...) followed by zeros, (steps, ...)."""
    missing = steps - len(values)
    return F.pad(values, (*(0, 0) * (values.ndim - 1), 0, missing)) if missing else values
