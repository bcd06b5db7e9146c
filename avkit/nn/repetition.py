# SPDX-License-Identifier: Apache-2.0
"""Words that would repeat a phrase of a sentence that is being written."""

import torch
from torch import Tensor, nn

#: Longest phrase in words that is not written twice in a row.
LONGEST_PHRASE = 12
#: Words of a phrase that is not written twice in one sentence. True captions of scenes repeat two words at most.
ANYWHERE = 4


class SentenceWriter(nn.Module):
    """A decoder that writes sentences word by word.

    Attributes:
        repeats: Whether it may repeat phrases, as it does where official metrics score it. A predictor forbids it, see
            `repeating_words`.
    """

    repeats: bool = True


def repeating_words(rows: Tensor, words: int, starts: Tensor | None = None) -> Tensor:
    """Which next words would repeat a phrase: directly behind itself, or one of four words anywhere.

    >>> repeating_words(torch.tensor([[5, 3, 4, 3]]), 6).nonzero()[:, 1].tolist()  # 3 after 3; 4 after 3 4 3
    [3, 4]

    Args:
        rows: Words so far without the word that starts a sentence, int64 (N, L).
        words: Size of the vocabulary V.
        starts: Which entries of the vocabulary begin a word, bool (V,), where the others go on with one; None where all
            are words. Then only phrases that begin with a word count, and only those directly behind themselves.

    Returns:
        bool (N, V).
    """
    repeating = torch.zeros(len(rows), words, dtype=torch.bool, device=rows.device)
    length = rows.shape[1]
    for phrase in range(1, min(LONGEST_PHRASE, (length + 1) // 2) + 1):
        first = length - 2 * phrase + 1
        said = rows[:, first : first + phrase - 1]
        again = rows[:, first + phrase :]
        same = (said == again).all(1)
        if starts is not None:
            same &= starts[rows[:, first]]
        _mark(repeating, rows[:, first + phrase - 1], same)
    if starts is None and length >= ANYWHERE:
        phrases = rows.unfold(1, ANYWHERE, 1)
        same = (phrases[..., :-1] == rows[:, None, 1 - ANYWHERE :]).all(2)
        for place in range(phrases.shape[1]):
            _mark(repeating, phrases[:, place, -1], same[:, place])
    return repeating


def _mark(repeating: Tensor, word: Tensor, chosen: Tensor) -> None:
    """Mark a word of each chosen row."""
    row = torch.arange(len(word), device=word.device)
    repeating[row, word] |= chosen
