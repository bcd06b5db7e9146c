# SPDX-License-Identifier: Apache-2.0
"""Caption scores: BLEU-1 to BLEU-4, ROUGE-L, METEOR and CIDEr as computed by pycocoevalcap.

Source:
    salaniz/pycocoevalcap at commit ad63453cfab5.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import ScoreMetric
from avkit.metrics.java import JavaError
from avkit.metrics.meteor import meteor_scores
from avkit.metrics.ptb_tokenizer import plain_tokens, ptb_tokens

BLEU = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4")
TOKENIZERS = ("auto", "ptb", "plain")


@dataclass
class CaptionResult:
    """Caption scores and what a reader has to know about them.

    Attributes:
        values: Score of the whole set by name; NaN for an empty set and for what could not be run.
        notes: By score name: why it was not run, or that it departs from the official tokens.
        per_caption: Score of each caption by name.
    """

    values: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)
    per_caption: dict[str, list[float]] = field(default_factory=dict)


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

    BLEU-n and METEOR come from statistics of the whole set, ROUGE-L and CIDEr are means over captions. CIDEr runs from
    0 to 10, takes its document frequencies from the references at hand, and is 0 for a single caption. The official
    tokeniser and METEOR need Java; without it the plain tokeniser steps in, METEOR is NaN, and `notes` say so.

    Args:
        predictions: N captions; an empty one is scored, not left out.
        references: For each one or several references.
        tokenizer: `ptb` (official), `plain` (no Java, fast), or `auto`: `ptb` where Java works, else `plain`.
        meteor: Whether to run METEOR, which starts a Java process of 2 GB once.
        rouge: Whether to compute ROUGE-L.
        cider: Whether to compute CIDEr.
        timeout: Seconds for one answer of Java until it is stopped.

    Returns:
        `BLEU-1` to `BLEU-4` and, where asked for, `ROUGE-L`, `METEOR`, `CIDEr`.

    Raises:
        ValueError: If lengths differ, a caption has no reference, or the tokeniser is unknown.
        TypeError: If a caption is not a string.
        JavaError: If `tokenizer="ptb"` and Java is missing or fails.
    """
    if tokenizer not in TOKENIZERS:
        raise unknown_name("tokenizer", tokenizer, TOKENIZERS)
    pairs = _pair(predictions, references)
    asked = {"ROUGE-L": rouge, "METEOR": meteor, "CIDEr": cider}
    names = [*BLEU, *(name for name, wanted in asked.items() if wanted)]
    if not pairs:
        return CaptionResult(dict.fromkeys(names, float("nan")), per_caption={name: [] for name in names})
    tokens, note, problem = _tokenize([text for p, refs in pairs for text in (p, *refs)], tokenizer, timeout)
    words = iter(tokens)
    tokenized = [(next(words), [next(words) for _ in refs]) for _, refs in pairs]
    result = CaptionResult({}, dict.fromkeys(names, note) if note else {})
    _add_python_scores(result, tokenized, rouge, cider)
    if meteor:
        _add_meteor(result, tokenized, problem, timeout)
    result.values = {name: result.values[name] for name in names}
    return result


class CaptionScores(ScoreMetric):
    """Scores of captions as a metric; see `score_captions` for what each means.

    After `compute`, `notes` holds by score name what a reader has to know, such as why METEOR was not run. For
    validation within training, `CaptionScores("plain", meteor=False, rouge=False, cider=False)` needs no Java.

    Args:
        tokenizer: `auto`, `ptb` or `plain`.
        meteor: Whether to run METEOR. In distributed runs every rank runs it on the gathered captions.
        rouge: Whether to compute ROUGE-L.
        cider: Whether to compute CIDEr.
        timeout: Seconds for one answer of Java until it is stopped.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: If the tokeniser is unknown.
    """

    #: Lines of JSON in UTF-8, uint8: text in the one form that ranks can gather.
    captions: list[Tensor]

    def __init__(
        self,
        tokenizer: Literal["auto", "ptb", "plain"] = "auto",
        meteor: bool = True,
        rouge: bool = True,
        cider: bool = True,
        timeout: float = 120.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if tokenizer not in TOKENIZERS:
            raise unknown_name("tokenizer", tokenizer, TOKENIZERS)
        self.options: dict[str, Any] = {
            "tokenizer": tokenizer,
            "meteor": meteor,
            "rouge": rouge,
            "cider": cider,
            "timeout": timeout,
        }
        self.notes: dict[str, str] = {}
        self.add_state("captions", default=[], dist_reduce_fx="cat")

    def update(self, predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> None:
        """Add captions.

        Args:
            predictions: N captions.
            references: For each one or several references.

        Raises:
            ValueError: If lengths differ or a caption has no reference.
            TypeError: If a caption is not a string.
        """
        lines = "".join(json.dumps(pair) + "\n" for pair in _pair(predictions, references))
        if lines:
            self.captions.append(torch.frombuffer(bytearray(lines, "utf-8"), dtype=torch.uint8).to(self.device))

    def compute(self) -> dict[str, float]:
        """Scores by name; NaN for an empty set and for what could not be run, see `notes`."""
        lines = self.captions if isinstance(self.captions, list) else [self.captions]
        pairs = [json.loads(line) for x in lines for line in x.cpu().numpy().tobytes().splitlines()]
        result = score_captions([p for p, _ in pairs], [refs for _, refs in pairs], **self.options)
        self.notes = result.notes
        return result.values

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the captions of all ranks."""
        if isinstance(self.captions, list) and not self.captions:
            # torchmetrics would stand in float32 for a rank without data, which cannot be gathered with uint8
            self.captions.append(torch.zeros(0, dtype=torch.uint8, device=self.device))
        super().sync(*args, **kwargs)


def _pair(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[tuple[str, list[str]]]:
    if isinstance(predictions, str) or isinstance(references, str) or len(predictions) != len(references):
        raise ValueError(
            f"{len(predictions)} predictions and {len(references)} references; give a list of captions and a list "
            "with one or several references for each."
        )
    pairs = [(p, [r] if isinstance(r, str) else list(r)) for p, r in zip(predictions, references, strict=True)]
    for number, (prediction, refs) in enumerate(pairs):
        if not refs:
            raise ValueError(f"Caption {number}, {prediction!r}, has no reference; leave it out or give one.")
        wrong = [text for text in (prediction, *refs) if not isinstance(text, str)]
        if wrong:
            kind = type(wrong[0]).__name__
            raise TypeError(f"Caption {number} or its reference is {wrong[0]!r}, a {kind}; give strings.")
    return pairs


def _tokenize(texts: list[str], tokenizer: str, timeout: float) -> tuple[list[str], str, str]:
    """Tokens; a note where they are not the official ones; and what is wrong with Java, where that is known."""
    if tokenizer == "plain":
        return plain_tokens(texts), "plain tokeniser", ""
    try:
        return ptb_tokens(texts, timeout), "", ""
    except JavaError as error:
        if tokenizer == "ptb":
            raise
        return plain_tokens(texts), f"plain tokeniser ({error})", str(error)


def _add_python_scores(result: CaptionResult, pairs: list[tuple[str, list[str]]], rouge: bool, cider: bool) -> None:
    from pycocoevalcap.bleu.bleu import Bleu

    predicted = {number: [prediction] for number, (prediction, _) in enumerate(pairs)}
    true = {number: refs for number, (_, refs) in enumerate(pairs)}
    totals, each = Bleu(len(BLEU)).compute_score(true, predicted, verbose=0)
    result.values.update(zip(BLEU, totals, strict=True))
    result.per_caption.update(zip(BLEU, each, strict=True))
    scorers: dict[str, Any] = {}
    if rouge:
        from pycocoevalcap.rouge.rouge import Rouge

        scorers["ROUGE-L"] = Rouge()
    if cider:
        from pycocoevalcap.cider.cider import Cider

        scorers["CIDEr"] = Cider()
    for name, scorer in scorers.items():
        total, values = scorer.compute_score(true, predicted)
        result.values[name], result.per_caption[name] = float(total), values.tolist()


def _add_meteor(result: CaptionResult, pairs: list[tuple[str, list[str]]], problem: str, timeout: float) -> None:
    result.values["METEOR"] = float("nan")
    if problem:  # do not wait for a broken Java twice
        result.notes["METEOR"] = f"not run: {problem}"
        return
    try:
        total, each = meteor_scores([prediction for prediction, _ in pairs], [refs for _, refs in pairs], timeout)
    except JavaError as error:
        result.notes["METEOR"] = f"not run: {error}"
    else:
        result.values["METEOR"], result.per_caption["METEOR"] = total, each
