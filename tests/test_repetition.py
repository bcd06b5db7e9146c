# SPDX-License-Identifier: Apache-2.0
"""Captions for users repeat no phrase; those that official metrics score are written as ever."""

import pytest
import torch

from avkit.heads.caption import CaptionDecoder
from avkit.nn.repetition import SentenceWriter, repeating_words
from avkit.scenes import sample_scene
from avkit.scenes.captioning import scene_captions
from avkit.systems.ssuformer.text_decoder import TextDecoder
from avkit.text.tokenizer import END, until

WORDS = 30


def slow(row, words):
    """The same by definition: a word repeats if the sentence then ends in a phrase twice, or in four words again."""
    found = set()
    for word in range(words):
        said = [*row, word]
        for phrase in range(1, 13):
            if len(said) >= 2 * phrase and said[-phrase:] == said[-2 * phrase : -phrase]:
                found.add(word)
        if any(said[-4:] == said[place : place + 4] for place in range(len(said) - 4)):
            found.add(word)
    return found


def test_against_the_definition():
    rows = torch.randint(0, 3, (200, 9), generator=torch.Generator().manual_seed(0))
    for length in range(10):
        fast = repeating_words(rows[:, :length], 3)
        for row, marks in zip(rows[:, :length].tolist(), fast, strict=True):
            assert set(marks.nonzero()[:, 0].tolist()) == slow(row, 3)


def test_true_captions_repeat_nothing():
    texts = set()
    for index in range(60):
        texts.update(scene_captions(sample_scene(index, "test", 0)))
    assert len(texts) > 150
    for text in texts:
        words = text.split()
        index = {word: number for number, word in enumerate(dict.fromkeys(words))}
        row = torch.tensor([[index[word] for word in words]])
        for length in range(len(words)):
            assert not repeating_words(row[:, :length], len(index))[0, row[0, length]], text


def test_pieces_of_one_word_may_repeat():
    starts = torch.tensor([True, True, False])  # book: 1 2 2, where 2 goes on with a word
    assert not repeating_words(torch.tensor([[1, 2]]), 3, starts).any()
    assert repeating_words(torch.tensor([[1, 2, 2, 1, 2]]), 3, starts).tolist() == [[False, False, True]]
    assert repeating_words(torch.tensor([[1, 2, 0]]), 3, starts).tolist() == [[True, False, False]]


def phrases_of(row):
    """Whether a row of words holds a phrase twice in a row."""
    return any(
        row[place : place + size] == row[place + size : place + 2 * size]
        for size in range(1, 13)
        for place in range(len(row) - 2 * size + 1)
    )


def caption_rows(repeats, cache=True):
    torch.manual_seed(0)
    decoder = CaptionDecoder(16, WORDS).eval()
    decoder.repeats = repeats
    decoder.out.bias.data[END] = -5  # long sentences
    return decoder.generate(torch.randn(20, 6, 16), cache=cache)


def text_rows(repeats, beams=1):
    torch.manual_seed(0)
    decoder = TextDecoder(WORDS, 16, 2, 2).eval()
    decoder.repeats = repeats
    decoder.bias.data[decoder.end] = -5
    assert decoder.end == END
    return decoder.generate(torch.randn(20, 6, 16), beams=beams)


@pytest.mark.parametrize(
    "write",
    [caption_rows, lambda repeats: caption_rows(repeats, cache=False), text_rows, lambda r: text_rows(r, beams=3)],
)
def test_decoders_repeat_nothing_when_told(write):
    free = [until(row, END) for row in write(True).tolist()]
    kept = [until(row, END) for row in write(False).tolist()]
    assert any(phrases_of(row) for row in free), "an untrained decoder stutters"
    assert not any(phrases_of(row) for row in kept)
    assert all(row for row in kept)


def test_metrics_see_free_captions():
    assert SentenceWriter.repeats
