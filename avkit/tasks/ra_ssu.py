# SPDX-License-Identifier: Apache-2.0
"""Region-aware sound source understanding: masks of what sounds, and a sentence about it, per step."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, Caption, ClassMask, Mask, Sources
from avkit.answers.encoding import Record
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.metrics.captions import CaptionScores
from avkit.metrics.pairing import PairingAccuracy
from avkit.tasks.base import Baseline, Task
from avkit.tasks.masks import constant_masks, empty_masks, mask_metrics, mask_records, score_masks, stored_masks
from avkit.tasks.sources import add_source_records, score_sources, stored_sources
from avkit.tasks.stored import read_each, texts_entry
from avkit.text.tokenizer import split_words


class RegionAwareUnderstanding(Task):
    """A mask and a caption per step, or one of them.

    Args:
        vocabulary: The dataset's words.
        masks: Whether masks are asked for.
        captions: Whether captions are asked for.
        sources: Whether samples without a prediction have no source kept apart either, where others have some.

    Raises:
        ValueError: If captions are asked for and the dataset has no words.
    """

    name = "ra_ssu"
    default_head = "avkit.heads.regions:RegionHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (Caption, Mask, ClassMask, Sources)
    sequence_forms: ClassVar[tuple[str, ...]] = ("masks", "caption")
    targets = ("mask", "mask_known", "caption")
    required_for_training = ("caption",)
    optional: ClassVar[tuple[str, ...]] = ("class_mask", "source_mask", "source_known", "source_caption")
    stepwise = True
    sampling_weight = 2.6
    benchmark = "f-music"
    prompt = "segment what makes a sound and say what it is and does"
    if_absent = "with an empty mask and no caption"
    monitor = "BLEU-4"
    headline = ("mIoU", "BLEU-4")

    def __init__(
        self, vocabulary: Vocabulary, masks: bool = True, captions: bool = True, sources: bool = False
    ) -> None:
        super().__init__(vocabulary)
        if not vocabulary.words:
            raise ValueError(
                "Task 'ra_ssu' needs words, and the dataset's vocabulary has none. Use a dataset with captions."
            )
        self.masks = masks
        self.captions = captions
        self.sources = sources
        if not masks:
            self.headline = ("BLEU-4", "ROUGE-L")
        if not captions:
            self.headline = ("mIoU", "F")
            self.monitor = "mIoU"

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """MIoU and F of masks, pycocoevalcap's scores of captions, and pairing of sources; `quick` has BLEU alone.

        Pairing says nothing where a model keeps no sources apart, see `PairingAccuracy`.
        """
        metrics = mask_metrics() if self.masks else {}
        if self.masks:
            metrics["pairing"] = PairingAccuracy(form="probabilities")
        if self.captions and quick:
            metrics[""] = CaptionScores("plain", meteor=False, rouge=False, cider=False)
        elif self.captions:
            metrics[""] = CaptionScores()
        return metrics

    @classmethod
    def options_of(cls, protocol: Mapping[str, str], figures: Collection[str]) -> dict[str, object]:
        """Which of masks and captions were scored."""
        return {"masks": "mIoU" in figures, "captions": any(name.startswith("BLEU") for name in figures)}

    @classmethod
    def options_of_record(cls, record: Record) -> dict[str, object]:
        """Whether sources are kept apart."""
        return {"sources": True} if "sources" in record else {}

    def metric_protocol(self) -> dict[str, str]:
        """The evaluation batch, on which mIoU and F of masks depend."""
        return {"metric": "official", "evaluation batch": "1"}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score annotated masks, written captions, and sources where they are kept apart."""
        if self.masks:
            score_masks(metrics, prediction, batch)
            score_sources(metrics["pairing"], prediction, batch)
        if self.captions:
            score_captions(metrics[""], prediction, batch)

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`masks` and `levels` as in `mask_records`, `captions` of all steps, `sources` as in `add_source_records`."""
        records = mask_records(prediction, batch) if self.masks else [{"id": name} for name in batch.id]
        if self.masks:
            add_source_records(records, prediction, batch)
        if self.captions:
            for record, captions, valid in zip(records, prediction["caption"], batch.valid, strict=True):
                record["captions"] = list(captions[: int(valid.sum())])
        return records

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The masks and captions, and sources where they are kept apart."""
        values: dict[str, object] = {}
        if self.masks:
            values["mask"] = stored_masks(records, batch)
            values |= stored_sources(records, batch)
        if self.captions:
            values["caption"] = read_each(
                records, lambda record, row: texts_entry(record, "captions", int(batch.valid[row].sum()))
            )
        return Prediction(self.name, batch.id, values)

    def absent(self, batch: Batch) -> list[Record]:
        """Empty masks and empty captions."""
        records: list[Record] = empty_masks(batch) if self.masks else [{"id": name} for name in batch.id]
        if self.masks and self.sources:
            for record in records:
                record["sources"] = []
        if self.captions:
            for record, valid in zip(records, batch.valid, strict=True):
                record["captions"] = [""] * int(valid.sum())
        return records

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Constant masks, each with the commonest caption and with the most typical one."""
        texts = [text for batch in batches for clip in batch.targets["caption"] for text in clip if text]
        captions = {
            "commonest caption": Counter(texts).most_common(1)[0][0],
            "typical caption": typical_caption(texts),
        }
        rules = {}
        for mask_name, mask in constant_masks(batches).items():
            for caption_name, caption in captions.items():
                rules[f"{mask_name}, {caption_name}"] = self._constant(mask, caption)
        return rules

    def _constant(self, mask: Callable[[Batch], Tensor], caption: str) -> Baseline:
        """The same mask and caption in every step."""

        def answer(batch: Batch) -> Prediction:
            maps = mask(batch)
            captions = [[caption] * maps.shape[1] for _ in batch.id]
            return Prediction(self.name, batch.id, {"mask": maps, "caption": captions})

        return answer


def score_captions(metric: Metric, prediction: Prediction, batch: Batch) -> None:
    """Score the steps that have a written caption."""
    predicted = []
    references = []
    rows = []
    for row, (captions, written) in enumerate(zip(prediction["caption"], batch.targets["caption"], strict=True)):
        for caption, reference in zip(captions, written, strict=False):  # a padded clip has more predictions
            if reference:
                predicted.append(caption)
                references.append(reference)
                rows.append(row)
    places = None if batch.places is None else [batch.places[row] for row in rows]
    metric.update(predicted, references, [batch.id[row] for row in rows], places)


def typical_caption(texts: list[str], candidates: int = 200) -> str:
    """The caption that shares most four-word runs with the others, of the commonest `candidates`."""
    frequency = Counter(run for text in texts for run in _four_word_runs(text))

    def mean_frequency(text: str) -> float:
        runs = _four_word_runs(text)
        return sum(frequency[run] for run in runs) / max(1, len(runs))

    return max((text for text, _ in Counter(texts).most_common(candidates)), key=mean_frequency)


def _four_word_runs(text: str) -> set[tuple[str, ...]]:
    words = split_words(text)
    return {tuple(words[start : start + 4]) for start in range(len(words) - 3)}
