# SPDX-License-Identifier: Apache-2.0
"""Tokens of captions: by the Penn Treebank tokeniser of the official caption scores, or by a plain approximation.

Source:
    salaniz/pycocoevalcap at commit ad63453cfab5, `tokenizer/ptbtokenizer.py`: Stanford PTBTokenizer 3.4.1 with lower
    case, then punctuation removed.
"""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from avkit.metrics.java import JavaError, JavaProcess, find_jar

#: Tokens that are dropped. The official list also has -LRB- and the like, which never occur after lower-casing:
#: brackets remain as -lrb- and -rrb-.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])

#: Characters that the Stanford tokeniser reads as the end of a line; one of them would shift all later captions.
_LINE_BREAKS = re.compile("[\n\r\x0b\x0c\x85\u2028\u2029]")
#: What is never without a token.
_WORD = re.compile("[A-Za-z0-9]")


def ptb_tokens(captions: Sequence[str], timeout: float = 120.0) -> list[str]:
    """Tokens by the official tokeniser, which needs Java.

    It reads all captions as one stream, so what it makes of the end of one may depend on the next: `plays a.` is `plays
    a.` before `the dog` and `plays a .` before `The dog`. Give the captions that an official call has, in its order.

    Args:
        captions: N captions; line breaks inside one count as spaces.
        timeout: Seconds until Java is stopped.

    Returns:
        N strings, lower case, tokens separated by one space.

    Raises:
        JavaError: If Java is missing, fails or takes too long.
    """
    if not captions:
        return []
    jar = find_jar("tokenizer", "stanford-corenlp-3.4.1.jar")
    options = ["-encoding", "UTF-8", "-preserveLines", "-lowerCase"]
    process = JavaProcess("-cp", jar, "edu.stanford.nlp.process.PTBTokenizer", *options)
    # no break after the last: before the end of its input the tokeniser splits some tokens that it else does not
    lines = process.run("\n".join(_LINE_BREAKS.sub(" ", caption) for caption in captions), timeout).split("\n")
    cut = not lines[-1] and _WORD.search(captions[-1]) is not None
    if cut or len(lines) != len(captions):
        raise JavaError(f"the tokeniser gave {len(lines) - cut} lines for {len(captions)} captions")
    # one space, not any white space: some tokens, such as 1 1/2, have a no-break space inside
    return [_join(line.rstrip().split(" ")) for line in lines]


def plain_tokens(captions: Sequence[str]) -> list[str]:
    """Tokens by regular expressions that follow the official tokeniser on everyday English, without Java.

    Examples:
        >>> plain_tokens(["The dog's owner (a man) can't sing!"])
        ["the dog 's owner -lrb- a man -rrb- ca n't sing"]

    Known differences: rare abbreviations, and sentences glued together without a space.

    Args:
        captions: N captions.

    Returns:
        N strings, lower case, tokens separated by one space.
    """
    return [_plain_line(caption) for caption in captions]


@lru_cache(maxsize=2**16)  # the same references are tokenised again for every system
def _plain_line(caption: str) -> str:
    return _join(_plain(caption))


_REPLACED = {
    **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'),
    **dict.fromkeys("\u2013\u2014", " -- "),
    "\u2026": "...",
    # this version of the tokeniser drops characters outside the basic plane: emoji, and their joiners
    **dict.fromkeys("\ufe0f\u200d", " "),
}
_REPLACE = re.compile(f"[{''.join(_REPLACED)}]|[\U00010000-\U0010ffff]|\\.\\.\\.")

_SPLIT = re.compile(
    r"\b(can)(?=not\b)|\b(gon|wan)(?=na\b)|\b(got)(?=ta\b)|\b(lem|gim)(?=me\b)|(\w)(?=n't\b)",
)

_TOKEN = re.compile(
    r"""
    https?://\S+ | www\.\S+ | [\w.+-]+@[\w-]+(?:\.\w+)+   # addresses
  | </?[a-z][^<>\s]*>                                     # markup
  | (?:[a-z]\.){2,}                                       # p.m.
  | \b(?:mr|mrs|ms|dr|st|jr|sr|vs|etc|prof|no|inc|co)\.(?=\s|$)
  | n't\b | '(?:s|re|ve|ll|d|m)\b                         # endings of contractions
  | \d+(?:[.,:/]\d+)+                                     # 7:30, 1/3, 1,000.50
  | [#@]\w+
  | \w+(?:[-/](?!-)\w+|'(?!(?:s|re|ve|ll|d|m)\b)\w+)*     # words, with hyphens or o'clock
  | [:;=]-?[()]                                           # a smile
  | [!?]{2,} | -+ | \.{2,} | \S
    """,
    re.VERBOSE,
)

_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_BRACKET = re.compile(r"[()\[\]{}]")


def _plain(caption: str) -> Iterable[str]:
    text = _REPLACE.sub(_replaced, caption)
    text = _SPLIT.sub(r"\g<0> ", text.lower())
    for token in _TOKEN.findall(text):
        if not token.strip('"-') or not token.strip("."):
            continue
        if token.startswith(("http", "www")):
            yield token
        else:
            yield _BRACKET.sub(lambda match: _BRACKETS[match[0]], token)


def _replaced(match: re.Match[str]) -> str:
    if match[0] == "...":
        return " ... "
    return _REPLACED.get(match[0], " ")


def _join(tokens: Iterable[str]) -> str:
    return " ".join(token for token in tokens if token not in PUNCTUATION)
