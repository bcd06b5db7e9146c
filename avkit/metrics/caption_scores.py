# SPDX-License-Identifier: Apache-2.0
"""Caption scores: BLEU-1 to BLEU-4, ROUGE-L, METEOR and CIDEr as computed by pycocoevalcap.

Source:
    salaniz/pycocoevalcap at commit ad63453cfab5.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal

import numpy as np

from avkit.errors import unknown_name
from avkit.metrics.intervals import Floats
from avkit.metrics.java import JavaError
from avkit.metrics.meteor import meteor_scores
from avkit.metrics.ptb_tokenizer import plain_tokens, ptb_tokens

BLEU = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")
TOKENIZERS = ("auto", "ptb", "plain")

#: A caption and its references.
Pair = tuple[str, list[str]]


@dataclass
class CaptionResult:
    """Caption scores with their limitations.

    Attributes:
        values: Score of the whole set by name; NaN for an empty set and for scores that could not be run.
        notes: By score name: why it was not run, or that its tokens are not the official ones.
        per_caption: Score of each caption by name.
        bleu_counts: What each caption adds to the counts of BLEU, float64 (N, 10): n-grams made and correct for n from
            1 to 4, length of the caption and of its closest reference.
    """

    values: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)
    per_caption: dict[str, list[float]] = field(default_factory=dict)
    bleu_counts: Floats = field(default_factory=lambda: np.zeros((0, 10)))


def score_captions(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    tokenizer: Literal["auto", "ptb", "plain"] = "auto",
    meteor: bool = True,
    rouge: bool = True,
    cider: bool = True,
    timeout: float = 120.0,
) -> CaptionResult:
    """Score captions against their references.

    BLEU-n and METEOR come from statistics of the whole set, ROUGE-L and CIDEr are means over captions. CIDEr ranges
    from 0 to 10, takes its document frequencies from these references, and is 0 for a single caption. The official
    tokeniser and METEOR need Java; without it the plain tokeniser is used, METEOR is NaN, and `notes` say so.

    The official tokeniser reads all captions as one stream, see `ptb_tokens`: it is called twice, on all references and
    on all predictions, each in the order given, which for official numbers is that of the data.

    Args:
        predictions: N captions; an empty one is scored, not left out.
        references: One or several references for each caption.
        tokenizer: `ptb` (official), `plain` (no Java, fast), or `auto`: `ptb` where Java works, else `plain`.
        meteor: Whether to run METEOR, which starts one Java process with 2 GB of memory.
        rouge: Whether to compute ROUGE-L.
        cider: Whether to compute CIDEr.
        timeout: Seconds to wait for one answer of Java before it is stopped.

    Returns:
        `BLEU-1` to `BLEU-4` and, where wanted, `ROUGE-L`, `METEOR`, `CIDEr`.

    Raises:
        ValueError: If lengths differ, a caption has no reference, or the tokeniser is unknown.
        TypeError: If a caption is not a string.
        JavaError: If `tokenizer="ptb"` and Java is missing or fails.
    """
    if tokenizer not in TOKENIZERS:
        raise unknown_name("tokenizer", tokenizer, TOKENIZERS)
    pairs = pair_captions(predictions, references)
    names = list(BLEU)
    for name, wanted in (("ROUGE-L", rouge), ("METEOR", meteor), ("CIDEr", cider)):
        if wanted:
            names.append(name)
    if not pairs:
        return CaptionResult(dict.fromkeys(names, float("nan")), per_caption={name: [] for name in names})
    tokenized = _tokenize_pairs(pairs, tokenizer, timeout)
    result = CaptionResult({})
    if tokenized.note:
        result.notes = dict.fromkeys(names, tokenized.note)
    _add_bleu(result, tokenized.pairs)
    if rouge:
        _add_rouge(result, tokenized.pairs)
    if cider:
        _add_cider(result, tokenized.pairs)
    if meteor:
        _add_meteor(result, tokenized, timeout)
    result.values = {name: result.values[name] for name in names}
    return result


def pair_captions(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[Pair]:
    """Each caption with the list of its references, checked."""
    for name, texts in (("predictions", predictions), ("references", references)):
        if not isinstance(texts, str | list | tuple) and not (isinstance(texts, np.ndarray) and texts.ndim):
            raise TypeError(f"{name} is a {type(texts).__name__}; give a list of texts.")
    if isinstance(predictions, str) or isinstance(references, str) or len(predictions) != len(references):
        raise ValueError(
            f"{len(predictions)} predictions and {len(references)} references; give a list of captions and a list "
            "with one or several references for each."
        )
    pairs = []
    for number, (prediction, own) in enumerate(zip(predictions, references, strict=True)):
        if not isinstance(own, str | list | tuple | np.ndarray):
            raise TypeError(f"References {number} are {own!r}, a {type(own).__name__}; give a text or a list of texts.")
        own_references = [own] if isinstance(own, str) else list(own)
        if not own_references:
            raise ValueError(f"Caption {number}, {prediction!r}, has no reference; leave it out or give one.")
        for text in (prediction, *own_references):
            if not isinstance(text, str):
                kind = type(text).__name__
                raise TypeError(f"Caption {number} or its reference is {text!r}, a {kind}; give strings.")
        pairs.append((prediction, own_references))
    return pairs


@dataclass(frozen=True)
class _Tokenized:
    """Tokens of captions and references.

    Attributes:
        pairs: Tokens of each caption and of its references, separated by spaces.
        note: Why the tokens are not the official ones; empty where they are.
        problem: Why Java could not be run; empty where it could or was not tried.
    """

    pairs: list[Pair]
    note: str = ""
    problem: str = ""


def _tokenize_pairs(pairs: list[Pair], tokenizer: str, timeout: float) -> _Tokenized:
    predictions = [prediction for prediction, _ in pairs]
    references = [reference for _, own_references in pairs for reference in own_references]

    def tokens(tokenize: Callable[[list[str]], list[str]]) -> list[Pair]:
        of_references = iter(tokenize(references))
        of_predictions = tokenize(predictions)
        regrouped = []
        for prediction, (_, own_references) in zip(of_predictions, pairs, strict=True):
            regrouped.append((prediction, list(islice(of_references, len(own_references)))))
        return regrouped

    if tokenizer == "plain":
        return _Tokenized(tokens(plain_tokens), "plain tokeniser")
    try:
        return _Tokenized(tokens(lambda texts: ptb_tokens(texts, timeout)))
    except JavaError as error:
        if tokenizer == "ptb":
            raise
        return _Tokenized(tokens(plain_tokens), f"plain tokeniser ({error})", str(error))


def _by_number(pairs: list[Pair]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and predictions in the form that pycocoevalcap takes."""
    references = {}
    predictions = {}
    for number, (prediction, own_references) in enumerate(pairs):
        references[number] = own_references
        predictions[number] = [prediction]
    return references, predictions


def _add_bleu(result: CaptionResult, pairs: list[Pair]) -> None:
    from pycocoevalcap.bleu.bleu_scorer import BleuScorer

    scorer = BleuScorer(n=len(BLEU))
    for prediction, references in pairs:
        scorer += (prediction, references)
    totals, per_caption = scorer.compute_score(option="closest", verbose=0)
    result.values.update(zip(BLEU, totals, strict=True))
    result.per_caption.update(zip(BLEU, per_caption, strict=True))
    counts = []
    for caption in scorer.ctest:
        length = caption["testlen"]
        closest = min((abs(reference - length), reference) for reference in caption["reflen"])[1]
        counts.append([*caption["guess"], *caption["correct"], length, closest])
    result.bleu_counts = np.array(counts, np.float64)


def bleu_of_counts(counts: Floats) -> Floats:
    """BLEU-1 to BLEU-4 of R sets, (4, R), from sums of `CaptionResult.bleu_counts`, (R, 10)."""
    made, correct = counts[:, :4].T, counts[:, 4:8].T
    length, reference = counts[:, 8:].T
    order = np.arange(1, len(BLEU) + 1)[:, None]
    bleu = ((correct + 1e-15) / (made + 1e-9)).cumprod(0) ** (1 / order)
    ratio = (length + 1e-15) / (reference + 1e-9)
    return np.asarray(bleu * np.exp(np.minimum(0.0, 1 - 1 / ratio)))


def _add_rouge(result: CaptionResult, pairs: list[Pair]) -> None:
    from pycocoevalcap.rouge.rouge import Rouge

    total, per_caption = Rouge().compute_score(*_by_number(pairs))
    result.values["ROUGE-L"] = float(total)
    result.per_caption["ROUGE-L"] = per_caption.tolist()


def _add_cider(result: CaptionResult, pairs: list[Pair]) -> None:
    from pycocoevalcap.cider.cider import Cider

    total, per_caption = Cider().compute_score(*_by_number(pairs))
    result.values["CIDEr"] = float(total)
    result.per_caption["CIDEr"] = per_caption.tolist()


def _add_meteor(result: CaptionResult, tokenized: _Tokenized, timeout: float) -> None:
    result.values["METEOR"] = float("nan")
    if tokenized.problem:  # do not wait for a broken Java twice
        result.notes["METEOR"] = f"not run: {tokenized.problem}"
        return
    predictions = [prediction for prediction, _ in tokenized.pairs]
    references = [own_references for _, own_references in tokenized.pairs]
    try:
        total, per_caption = meteor_scores(predictions, references, timeout)
    except JavaError as error:
        result.notes["METEOR"] = f"not run: {error}"
    else:
        result.values["METEOR"] = total
        result.per_caption["METEOR"] = per_caption
