# SPDX-License-Identifier: Apache-2.0
"""Sentences about several sources as one sentence about all that sounds."""

from collections.abc import Iterable


def join_sentences(sentences: Iterable[str]) -> str:
    """Sentences that hold at the same time, joined by "and"; empty ones are left out.

    Examples:
        >>> join_sentences(["a dog barks", "", "a bell rings"])
        'a dog barks and a bell rings'
    """
    return " and ".join(sentence for sentence in sentences if sentence)
