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

#: A caption and its references.
Pair = tuple[str, list[str]]


@dataclass
class CaptionResult:
    """Caption scores with their limitations.

    Attributes:
        values: Score of the whole set by name; NaN for an empty set and for scores that could not be run.
        notes: By score name: why it was not run, or that its tokens are not the official ones.
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

    BLEU-n and METEOR come from statistics of the whole set, ROUGE-L and CIDEr are means over captions. CIDEr ranges
    from 0 to 10, takes its document frequencies from these references, and is 0 for a single caption. The official
    tokeniser and METEOR need Java; without it the plain tokeniser is used, METEOR is NaN, and `notes` say so.

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
    pairs = _pair(predictions, references)
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


class CaptionScores(ScoreMetric):
    """Scores of captions as a metric, see `score_captions`.

    After `compute`, `notes` holds the limitations by score name, such as why METEOR was not run. For validation during
    training, `CaptionScores("plain", meteor=False, rouge=False, cider=False)` needs no Java.

    Args:
        tokenizer: `auto`, `ptb` or `plain`.
        meteor: Whether to run METEOR. In distributed runs every rank runs it on the gathered captions.
        rouge: Whether to compute ROUGE-L.
        cider: Whether to compute CIDEr.
        timeout: Seconds to wait for one answer of Java before it is stopped.
        **kwargs: For `torchmetrics.Metric`.

    Raises:
        ValueError: If the tokeniser is unknown.
    """

    #: Lines of JSON in UTF-8 as uint8, since ranks can gather tensors only.
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
            references: One or several references for each caption.

        Raises:
            ValueError: If lengths differ or a caption has no reference.
            TypeError: If a caption is not a string.
        """
        lines = "".join(json.dumps(pair) + "\n" for pair in _pair(predictions, references))
        if lines:
            self.captions.append(torch.frombuffer(bytearray(lines, "utf-8"), dtype=torch.uint8).to(self.device))

    def compute(self) -> dict[str, float]:
        """Scores by name; NaN for an empty set and for scores that could not be run, see `notes`."""
        updates = self.captions if isinstance(self.captions, list) else [self.captions]
        predictions = []
        references = []
        for update in updates:
            for line in update.cpu().numpy().tobytes().splitlines():
                prediction, own_references = json.loads(line)
                predictions.append(prediction)
                references.append(own_references)
        result = score_captions(predictions, references, **self.options)
        self.notes = result.notes
        return result.values

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the captions of all ranks."""
        if isinstance(self.captions, list) and not self.captions:
            # for a rank without data torchmetrics would gather float32, which does not fit the other ranks' uint8
            self.captions.append(torch.zeros(0, dtype=torch.uint8, device=self.device))
        super().sync(*args, **kwargs)


def _pair(predictions: Sequence[str], references: Sequence[str | Sequence[str]]) -> list[Pair]:
    """Each caption with the list of its references, checked."""
    if isinstance(predictions, str) or isinstance(references, str) or len(predictions) != len(references):
        raise ValueError(
            f"{len(predictions)} predictions and {len(references)} references; give a list of captions and a list "
            "with one or several references for each."
        )
    pairs = []
    for number, (prediction, own) in enumerate(zip(predictions, references, strict=True)):
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
    texts = []
    for prediction, references in pairs:
        texts += [prediction, *references]
    if tokenizer == "plain":
        return _Tokenized(_regroup(plain_tokens(texts), pairs), "plain tokeniser")
    try:
        return _Tokenized(_regroup(ptb_tokens(texts, timeout), pairs))
    except JavaError as error:
        if tokenizer == "ptb":
            raise
        return _Tokenized(_regroup(plain_tokens(texts), pairs), f"plain tokeniser ({error})", str(error))


def _regroup(texts: list[str], pairs: list[Pair]) -> list[Pair]:
    """A flat list of captions and references, grouped as `pairs` are."""
    regrouped = []
    start = 0
    for _, references in pairs:
        end = start + 1 + len(references)
        regrouped.append((texts[start], texts[start + 1 : end]))
        start = end
    return regrouped


def _by_number(pairs: list[Pair]) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """References and predictions in the form that pycocoevalcap takes."""
    references = {}
    predictions = {}
    for number, (prediction, own_references) in enumerate(pairs):
        references[number] = own_references
        predictions[number] = [prediction]
    return references, predictions


def _add_bleu(result: CaptionResult, pairs: list[Pair]) -> None:
    from pycocoevalcap.bleu.bleu import Bleu

    totals, per_caption = Bleu(len(BLEU)).compute_score(*_by_number(pairs), verbose=0)
    result.values.update(zip(BLEU, totals, strict=True))
    result.per_caption.update(zip(BLEU, per_caption, strict=True))


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
