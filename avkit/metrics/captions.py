# SPDX-License-Identifier: Apache-2.0
"""Caption scores as a metric, see `avkit.metrics.caption_scores`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from avkit.errors import unknown_name
from avkit.metrics.base import BLOCKS, ScoreMetric, clip_number, rank_and_processes
from avkit.metrics.caption_scores import (
    BLEU,
    TOKENIZERS,
    CaptionResult,
    bleu_of_counts,
    pair_captions,
    score_captions,
)
from avkit.metrics.inputs import clip_names
from avkit.metrics.intervals import Floats

__all__ = ["CaptionResult", "CaptionScores", "score_captions"]


class CaptionScores(ScoreMetric):
    """Scores of captions as a metric, see `score_captions`.

    Captions are scored in the order of the data, however they were batched, ordered or distributed, if `update` is told
    their places; else in the order of updates, those of several processes in turn.

    After `compute`, `notes` holds the limitations by score name, such as why METEOR was not run. For validation during
    training, `CaptionScores("plain", meteor=False, rouge=False, cider=False)` needs no Java.

    Examples:
        >>> metric = CaptionScores(tokenizer="plain", meteor=False)
        >>> metric.update(["a dog barks"], ["a dog barks"])
        >>> round(metric.compute()["BLEU-2"], 3)
        1.0

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

    unbounded = ("CIDEr",)

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
        self.add_list_state("captions", torch.zeros(0, dtype=torch.uint8))
        self._result = CaptionResult({})
        #: Clip of each caption of `_result`.
        self._clips: list[str] = []

    def update(
        self,
        predictions: Sequence[str],
        references: Sequence[str | Sequence[str]],
        clips: Sequence[str] | None = None,
        places: Sequence[int] | None = None,
    ) -> None:
        """Add captions.

        Args:
            predictions: N captions.
            references: One or several references for each caption.
            clips: Name of the clip of each caption, for the interval. None takes every caption for a clip of its own.
            places: Place in the data of each caption, or of its clip; captions of one place stay in their order. Give
                them in all updates or in none.

        Raises:
            ValueError: If lengths differ, a caption has no reference, or only some updates have places.
            TypeError: If a caption is not a string.
        """
        pairs = pair_captions(predictions, references)
        names = clip_names(clips, len(pairs)) or [""] * len(pairs)
        ordered = None if places is None else _whole_numbers(places, len(pairs))
        if not pairs:
            return
        numbers = self._places(len(pairs)) if ordered is None else ordered
        lines = []
        for place, name, pair in zip(numbers, names, pairs, strict=True):
            lines.append(json.dumps([places is not None, place, name, *pair]) + "\n")
        text = bytearray("".join(lines), "utf-8")
        self.captions.append(torch.frombuffer(text, dtype=torch.uint8).to(self.device))

    def _places(self, count: int) -> list[int]:
        """Places of captions that were given without: of one process all the same, so that they stay in their order."""
        _, processes = rank_and_processes()
        return [0] * count if processes == 1 else self.running_numbers(count)

    def compute(self) -> dict[str, float]:
        """Scores by name; NaN for an empty set and for scores that could not be run, see `notes`."""
        records = [json.loads(line) for line in self.joined("captions").cpu().numpy().tobytes().splitlines()]
        if len({placed for placed, *_ in records}) > 1:
            raise ValueError("Some captions were given with places and some without; give places in all updates.")
        records.sort(key=lambda record: record[1])
        predictions = [record[3] for record in records]
        references = [record[4] for record in records]
        self._clips = [record[2] or f"caption {number}" for number, record in enumerate(records)]
        self.counted = "clips" if any(record[2] for record in records) else "captions"
        self._result = score_captions(predictions, references, **self.options)
        self.notes = self._result.notes
        return self._result.values

    def units(self) -> Floats:
        """Clips with the sums of their captions: captions, counts of BLEU, and the score of each by name."""
        columns = [np.ones(len(self._clips))[:, None], self._result.bleu_counts]
        columns += [np.asarray(scores)[:, None] for scores in self._result.per_caption.values()]
        captions = np.concatenate(columns, 1) if self._clips else np.zeros((0, 1))
        names, unit = np.unique([clip_number(clip) % BLOCKS for clip in self._clips], return_inverse=True)
        sums = np.zeros((len(names), captions.shape[1]))
        np.add.at(sums, unit, captions)
        return np.concatenate([np.ones((len(sums), 1)), sums], 1)

    def scores_of_sums(self, sums: Floats) -> Mapping[str, Floats]:
        """The same of drawn clips; METEOR as the mean of captions, CIDEr with word weights of the whole set."""
        means = (sums[:, 12:] / sums[:, 1:2]).T
        draws = dict(zip(self._result.per_caption, means, strict=True))
        return draws | dict(zip(BLEU, bleu_of_counts(sums[:, 2:12]), strict=True))


def _whole_numbers(places: object, captions: int) -> list[int]:
    """Checked places of captions."""
    numbers = places.tolist() if isinstance(places, Tensor | np.ndarray) else places
    if not isinstance(numbers, list | tuple | range) or not all(isinstance(number, int) for number in numbers):
        raise TypeError(f"places is {places!r}; give a list of whole numbers.")
    if len(numbers) != captions:
        raise ValueError(f"{len(numbers)} places for {captions} captions; give one each.")
    return list(numbers)
