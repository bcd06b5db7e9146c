# SPDX-License-Identifier: Apache-2.0
"""What a run on scenes has learnt of captions and questions, kind by kind: `python benchmarks/learnt.py RUN`.

For a run of the default heads of `ra_ssu` and `avqa`, on test scenes:

- words of captions by kind: how many of the true ones are written, and how many of the written ones are true, as the
  run is, in silence, and with the true regions in place of its own, which leaves out what poor masks cost;
- the same words with the true words before them: how often the likeliest next word is the true one, and where the last
  layer looks for it: at the sound, the picture, the region, the tokens of classes that sound in view and of others, and
  the patches;
- verbs, which tell a class and its rhythm: how often a small network beside the run reads the rhythm of each class that
  sounds off the encoder's features, by the number of things that sound, which shows whether the features hold it;
- questions by type: as the run is, in silence, before black pictures, and with the true presence of each class in every
  step and patch in place of what was heard and seen, which leaves out what poor perception costs.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch
from avkit.collate import collate
from avkit.datasets.scenes import Scenes
from avkit.heads import regions as region_head
from avkit.heads.answer import AnswerHead
from avkit.heads.regions import RegionHead
from avkit.inference.run_model import load_model
from avkit.scenes import BACKGROUNDS, CLASSES, COLOURS, SIZES
from avkit.scenes.captioning import PLACES, VERBS
from avkit.scenes.world import track
from avkit.systems.av_unified.system import AVUnified
from avkit.tasks import find_task
from avkit.text.tokenizer import PAD
from avkit.training.run_folder import RunFolder

#: Words of captions by what they tell; the rest belongs to the sentence.
WORD_KINDS = {
    "class": frozenset(CLASSES),
    "colour": frozenset(COLOURS),
    "size": frozenset(SIZES),
    "verb": frozenset(verb for verbs in VERBS.values() for verb in verbs),
    "place": frozenset(word for row in PLACES for place in row for word in place.split()) - {"at", "the", "on", "in"},
    "motion": frozenset({"drifts", "swells", "fades", "stays"}),
    "wall": frozenset(BACKGROUNDS),
    "out of view": frozenset({"view", "somewhere"}),
}
OTHERS = "other words"


def kind_of(word: str) -> str:
    """What a word of a caption tells."""
    return next((kind for kind, words in WORD_KINDS.items() if word in words), OTHERS)


def batches(task: str, clips: int, size: int = 8) -> Iterator[tuple[Batch, range]]:
    """Test scenes of a task, and their numbers."""
    kind = find_task(task)
    scenes = Scenes("test", clips, image_size=64)
    fields = frozenset((*kind.targets, *kind.optional)) & scenes.provides
    for first in range(0, clips, size):
        numbers = range(first, min(first + size, clips))
        yield collate([scenes.item(number, fields) for number in numbers], task), numbers


def silent(batch: Batch) -> Batch:
    """The batch without sound."""
    assert batch.waveform is not None
    return replace(batch, waveform=torch.zeros_like(batch.waveform))


def black(batch: Batch) -> Batch:
    """The batch with black pictures."""
    assert batch.frames is not None
    return replace(batch, frames=torch.zeros_like(batch.frames))


def with_true_regions(batch: Batch) -> AbstractContextManager[object]:
    """Within it the head writes about the true regions, where they are annotated."""

    def true_maps(mask: Tensor) -> Tensor:
        own = own_maps(mask)
        true = region_head.true_regions(batch, own)
        return torch.where(true.isnan(), own, true)

    own_maps = region_head.region_maps
    return patch.object(region_head, "region_maps", true_maps)


class WordCounts:
    """True and written words by kind."""

    def __init__(self) -> None:
        self.true: Counter[str] = Counter()
        self.written: Counter[str] = Counter()
        self.both: Counter[str] = Counter()

    def add(self, true: str, written: str) -> None:
        """Count the words of a step's captions, in whatever order they stand."""
        words = [Counter(text.split()) for text in (true, written)]
        for counter, counted in zip((self.true, self.written, self.both), (*words, words[0] & words[1]), strict=True):
            for word, number in counted.items():
                counter[kind_of(word)] += number

    def cell(self, kind: str) -> str:
        """Recall and precision of a kind in percent."""
        return f"{self.both[kind] / self.true[kind]:.0%} {self.both[kind] / max(1, self.written[kind]):.0%}"


def count_words(system: AVUnified, clips: int) -> dict[str, WordCounts]:
    """Words that are written, by row of the table."""
    rows: dict[str, WordCounts] = defaultdict(WordCounts)
    for batch, _ in batches("ra_ssu", clips):
        for name, given, context in (
            ("as it is", batch, nullcontext()),
            ("true regions", batch, with_true_regions(batch)),
            ("in silence", silent(batch), nullcontext()),
        ):
            with context:
                captions = system.predict(system(given), given)["caption"]
            for true, written in zip(batch.targets["caption"], captions, strict=True):
                for step, sentence in enumerate(true):
                    rows[name].add(sentence, written[step])
    return rows


class NextWords:
    """How often the likeliest next word is the true one, and where the last layer looks, by kind of word."""

    PLACES = ("sound", "picture", "region", "classes in view that sound", "other classes", "patches")

    def __init__(self) -> None:
        self.count: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.looks: dict[str, Tensor] = defaultdict(lambda: torch.zeros(len(self.PLACES)))

    def add(self, kinds: Sequence[str], right: Sequence[bool], looks: Tensor) -> None:
        """Count words with their shares of attention (N, places)."""
        for kind, is_right, look in zip(kinds, right, looks, strict=True):
            self.count[kind] += 1
            self.right[kind] += is_right
            self.looks[kind] += look


def read_next_words(system: AVUnified, clips: int) -> NextWords:
    """Next words of test captions after the true words before them."""
    head = system.head("ra_ssu")
    assert isinstance(head, RegionHead)
    decoder = head.caption
    table = NextWords()
    for batch, _ in batches("ra_ssu", clips):
        tokens = system.tokens(batch)
        maps = region_head.region_maps(head.mask(tokens).maps)
        regions, presence = head.regions(tokens, maps)
        captions = head.read_captions(batch)
        memory = decoder.memory(tokens, regions).index_select(0, captions.rows)
        present = presence.flatten(0, 1).index_select(0, captions.rows)
        logits, _ = decoder(memory, captions.words[:, :-1], present)
        weights = look_of_last_layer(head, memory, captions.words[:, :-1])
        sounding = sounding_classes(batch, regions.shape[2]).flatten(0, 1).index_select(0, captions.rows)
        looks = share_of_places(weights, sounding)
        target = captions.words[:, 1:]
        kept = target > PAD
        words = [head.tokenizer.words[number] for number in target[kept].tolist()]
        right = (logits.argmax(-1) == target)[kept].tolist()
        table.add([kind_of(word) for word in words], right, looks[kept])
    return table


def look_of_last_layer(head: RegionHead, memory: Tensor, words: Tensor) -> Tensor:
    """Attention of the last layer to the memory, mean of its heads, (N, L, M)."""
    decoder = head.caption
    topic = decoder.topic(memory[:, :2].flatten(1))[:, None]
    x = decoder.embed(words) + decoder.position[: words.shape[1]] + topic
    *before, last = decoder.layers
    for layer in before:
        x = layer(x, memory, causal=True)
    normed = last.norm_self(x)
    x = x + last.own(normed, last.own.keys(normed), None, causal=True)
    attention = last.memory
    query = attention.query(last.norm_memory(x)).unflatten(-1, (attention.heads, -1))
    keys = attention.keys(memory)[0]
    match = torch.einsum("nlhd,nhmd->nhlm", query, keys) / query.shape[-1] ** 0.5
    return match.softmax(-1).mean(1)


def sounding_classes(batch: Batch, regions: int) -> Tensor:
    """Which tokens of classes stand for one that sounds in view, bool (B, T, regions - 1)."""
    numbers = torch.arange(1, regions)
    return (batch.targets["class_mask"].flatten(2)[..., None] == numbers).any(2)


def share_of_places(weights: Tensor, sounding: Tensor) -> Tensor:
    """Attention (N, L, M) by `NextWords.PLACES`, (N, L, places)."""
    classes = weights[..., 3 : 3 + sounding.shape[1]]
    present = (classes * sounding[:, None]).sum(-1)
    parts = [*weights[..., :3].unbind(-1), present, classes.sum(-1) - present]
    return torch.stack([*parts, weights[..., 3 + sounding.shape[1] :].sum(-1)], dim=-1)


def with_true_presence(
    head: AnswerHead, numbers: Sequence[int], steps: int, clips: int
) -> AbstractContextManager[object]:
    """Within it the table of classes holds the true presence of each in every step and patch."""
    scenes = Scenes("test", clips, image_size=64)
    states = [(scene, track(scene)) for scene, _ in (scenes.scene(number, question=True) for number in numbers)]

    def presence(match: Tensor, patches: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        side = round(patches.shape[2] ** 0.5)
        audible = match.new_zeros(match.shape)
        cells = match.new_zeros(*patches.shape[:3], len(names))
        for row, (scene, state) in enumerate(states):
            for number, thing in enumerate(scene.things):
                sounding = torch.from_numpy(state.sounding[number][:steps]).to(match.dtype)
                audible[row, : len(sounding), thing.kind] = torch.maximum(
                    audible[row, : len(sounding), thing.kind], sounding
                )
                for step in state.visible[number][:steps].nonzero()[0]:
                    x, y = (state.centre[number, step] * side).clip(0, side - 1).astype(int)
                    cells[row, step, y * side + x, thing.kind] = 1
        return audible, cells

    return patch.object(head.table, "presence", presence)


@dataclass
class Rhythms:
    """Steps in which something sounds.

    Attributes:
        features: Of the audio encoder, (N, D).
        rhythm: 1 where a class pulses, 0 where it is steady, NaN where it is silent, (N, classes).
        sounds: Number of things that sound, (N,).
    """

    features: Tensor
    rhythm: Tensor
    sounds: Tensor


def read_rhythms(system: AVUnified, split: str, clips: int) -> Rhythms:
    """Steps of scenes with their rhythms."""
    scenes = Scenes(split, clips, image_size=32)
    features, rhythms, sounds = [], [], []
    for number in range(clips):
        scene, _ = scenes.scene(number)
        features.append(system.encode_audio(collate([scenes.item(number, frozenset())], "ra_ssu"))[0])
        sounding = torch.from_numpy(track(scene).sounding)
        rhythm = torch.full((sounding.shape[1], len(CLASSES)), torch.nan)
        for thing, steps in zip(scene.things, sounding, strict=True):
            rhythm[steps, thing.kind] = float(thing.rhythm)
        rhythms.append(rhythm)
        sounds.append(sounding.sum(0))
    return Rhythms(torch.cat(features), torch.cat(rhythms), torch.cat(sounds))


def learn_rhythms(train: Rhythms, test: Rhythms) -> dict[int, float]:
    """Share of rhythms that a network of one hidden layer reads right on test scenes, by number of sounds."""
    mean, deviation = train.features.mean(0), train.features.std(0) + 1e-5
    torch.manual_seed(0)
    width = train.features.shape[1]
    network = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, len(CLASSES)))
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=0.05)
    for _ in range(1500):
        rows = torch.randint(len(train.features), (256,))
        known = ~train.rhythm[rows].isnan()
        logits = network((train.features[rows] - mean) / deviation)[known]
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, train.rhythm[rows][known]).backward()
        optimizer.step()
    pulses = network((test.features - mean) / deviation) > 0
    right = {}
    for count in (1, 2, 3):
        rhythm = test.rhythm[test.sounds == count]
        known = ~rhythm.isnan()
        right[count] = float((pulses[test.sounds == count][known] == rhythm[known].bool()).float().mean())
    return right


def count_answers(system: AVUnified, clips: int) -> dict[str, dict[str, list[bool]]]:
    """Whether questions are answered right, by type and row of the table."""
    head = system.head("avqa")
    assert isinstance(head, AnswerHead)
    table: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for batch, numbers in batches("avqa", clips):
        rows: tuple[tuple[str, Batch, Callable[[], AbstractContextManager[object]]], ...] = (
            ("as it is", batch, nullcontext),
            ("true presence", batch, lambda: with_true_presence(head, numbers, batch.valid.shape[1], clips)),  # noqa: B023
            ("in silence", silent(batch), nullcontext),
            ("black pictures", black(batch), nullcontext),
        )
        for name, given, context in rows:
            with context():
                answers = system.predict(system(given), given)["answer"]
            for kind, answer, true in zip(
                batch.targets["question_type"], answers, batch.targets["answer"], strict=True
            ):
                table[kind][name].append(answer == true)
    return table


@torch.inference_mode()
def main() -> None:
    """Print the tables."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path, help="folder of a run on scenes")
    p.add_argument("--clips", type=int, default=256)
    options = p.parse_args()
    torch.set_num_threads(1)
    model, _ = load_model(RunFolder(options.run))
    system = model.eval().system
    assert isinstance(system, AVUnified)
    kinds = [*WORD_KINDS, OTHERS]
    if "ra_ssu" in model.tasks:
        words = count_words(system, options.clips)
        print("Words of captions: true ones that are written, written ones that are true\n")
        print(f"| word | true ones | {' | '.join(words)} |\n|---|--:|{'--:|' * len(words)}")
        for kind in kinds:
            print(
                f"| {kind} | {words['as it is'].true[kind]} | {' | '.join(row.cell(kind) for row in words.values())} |"
            )
        following = read_next_words(system, options.clips)
        print("\nNext word after the true ones: right, and where the last layer looks\n")
        print(f"| word | right | {' | '.join(following.PLACES)} |\n|---|--:|{'--:|' * len(following.PLACES)}")
        for kind in kinds:
            shares = " | ".join(f"{share:.0%}" for share in following.looks[kind] / following.count[kind])
            print(f"| {kind} | {following.right[kind] / following.count[kind]:.0%} | {shares} |")
        with torch.inference_mode(False), torch.no_grad():
            train, test = read_rhythms(system, "train", 3 * options.clips), read_rhythms(system, "test", options.clips)
        with torch.inference_mode(False):
            rhythms = learn_rhythms(train, test)
        shares = ", ".join(f"{share:.0%} where {count} sound" for count, share in rhythms.items())
        print(f"\nRhythm of a class, read off the encoder's features by a small network: {shares}")
    if "avqa" in model.tasks:
        answers = count_answers(system, options.clips)
        names = list(next(iter(answers.values())))
        print(f"\nQuestions\n\n| type | number | {' | '.join(names)} |\n|---|--:|{'--:|' * len(names)}")
        for kind, by_row in sorted(answers.items()):
            cells = " | ".join(f"{sum(by_row[name]) / len(by_row[name]):.0%}" for name in names)
            print(f"| {kind} | {len(by_row[names[0]])} | {cells} |")


if __name__ == "__main__":
    main()
