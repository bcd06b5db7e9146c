# SPDX-License-Identifier: Apache-2.0
"""Audio-visual segmentation: pixels of sounding objects, as one mask (S4, MS3) and as classes (AVSS)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, ClassMask, Mask
from avkit.answers.encoding import Record, encode_array
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.metrics.avss import SemanticMask, predict_labels
from avkit.nn.mask_losses import known_steps
from avkit.tasks.base import Baseline, Task
from avkit.tasks.masks import constant_masks, empty_masks, mask_metrics, mask_records, score_masks, stored_masks
from avkit.tasks.stored import array_entry, read_each, steps_entry


class Segmentation(Task):
    """Binary masks, and class masks where the dataset names classes.

    Args:
        vocabulary: The dataset's classes.
        semantic: Whether class masks are asked for too, where the dataset names classes.
        videos_per_call: Videos that the official mIoU and F of the mask score together: AVSBench takes 1, AVSegFormer
            2.
    """

    name = "avs"
    default_head = "avkit.heads.mask:MaskHead"
    answers: ClassVar[tuple[type[Answer], ...]] = (Mask, ClassMask)
    sequence_forms: ClassVar[tuple[str, ...]] = ("masks",)
    targets = ("mask", "mask_known")
    optional = ("class_mask",)
    stepwise = True
    sampling_weight = 1.0
    benchmark = "avsbench-s4"
    prompt = "segment everything in the picture that makes a sound"
    if_absent = "with an empty mask"
    monitor = "mIoU"
    headline = ("mIoU", "F")

    def __init__(self, vocabulary: Vocabulary, semantic: bool = True, videos_per_call: int = 1) -> None:
        super().__init__(vocabulary)
        self.videos_per_call = videos_per_call
        #: Classes with background; 0 where the mask alone is asked for.
        self.classes = len(vocabulary.classes) + 1 if vocabulary.classes and semantic else 0

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """MIoU and F of the mask; over classes the four of AVSS, left out where `quick`."""
        metrics = mask_metrics(self.videos_per_call)
        if self.classes and not quick:
            metrics["AVSS"] = SemanticMask(num_classes=self.classes)
        return metrics

    @classmethod
    def options_of(cls, protocol: Mapping[str, str], figures: Collection[str]) -> dict[str, object]:
        """Whether classes were scored, and the evaluation batch."""
        semantic = any(name.startswith("AVSS") for name in figures)
        return {"semantic": semantic, "videos_per_call": int(protocol.get("evaluation batch", "1"))}

    def metric_protocol(self) -> dict[str, str]:
        """The evaluation batch, on which mIoU and F of the mask depend."""
        return {"metric": "official", "evaluation batch": str(self.videos_per_call)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score annotated steps; classes where the batch has them and the prediction names them."""
        score_masks(metrics, prediction, batch)
        if "AVSS" in metrics and self._names_classes(prediction, batch):
            known = known_steps(batch)
            metrics["AVSS"].update(prediction["class_logits"], batch.targets["class_mask"], known, batch.id)

    def _names_classes(self, prediction: Prediction, batch: Batch) -> bool:
        """Whether classes are known, and predicted."""
        return bool(self.classes) and "class_mask" in batch.targets and "class_logits" in prediction.values

    def records(self, prediction: Prediction, batch: Batch) -> list[Record]:
        """`masks` and `levels` as in `mask_records`; `classes`, the class of each pixel, 0 for background."""
        records = mask_records(prediction, batch)
        if self._names_classes(prediction, batch):
            labels = prediction["class_logits"]
            if labels.ndim == 5:
                labels = predict_labels(labels)
            kind = np.uint8 if self.classes <= 256 else np.uint16
            for record, maps in zip(records, labels.cpu(), strict=True):
                if record["steps"]:
                    record["classes"] = encode_array(maps[record["steps"]].numpy().astype(kind))
        return records

    def prediction(self, records: Sequence[Record], batch: Batch) -> Prediction:
        """The masks, and the classes as labels in `class_logits` where all records have some."""
        values = {"mask": stored_masks(records, batch)}
        if self.classes and "class_mask" in batch.targets and any("classes" in record for record in records):
            values["class_logits"] = self._stored_classes(records, batch)
        return Prediction(self.name, batch.id, values)

    def _stored_classes(self, records: Sequence[Record], batch: Batch) -> Tensor:
        """The class of every pixel, int64 (B, T, H, W), 0 in steps without annotation."""
        target = batch.targets["class_mask"]
        known = known_steps(batch)
        labels = torch.zeros(target.shape, dtype=torch.long)

        def read(record: Record, row: int) -> None:
            steps = steps_entry(record, known[row].nonzero()[:, 0].tolist())
            if not steps:
                return
            maps = array_entry(record, "classes", "u", (len(steps), *target.shape[-2:]))
            if int(maps.max()) >= self.classes:
                raise ValueError(f"'classes' holds class {int(maps.max())}; the highest is {self.classes - 1}")
            for step, values in zip(steps, maps, strict=True):
                if step < labels.shape[1]:
                    labels[row, step] = torch.from_numpy(values.astype(np.int64))

        read_each(records, read)
        return labels

    def absent(self, batch: Batch) -> list[Record]:
        """Empty masks; as classes everything is background."""
        records = empty_masks(batch)
        if self.classes and "class_mask" in batch.targets:
            for record in records:
                if record["steps"]:
                    shape = (len(record["steps"]), *batch.targets["class_mask"].shape[-2:])
                    record["classes"] = encode_array(np.zeros(shape, np.uint8))
        return records

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Constant masks; as classes everything is background."""
        return {name: self._constant(mask) for name, mask in constant_masks(batches).items()}

    def _constant(self, mask: Callable[[Batch], Tensor]) -> Baseline:
        def answer(batch: Batch) -> Prediction:
            maps = mask(batch)
            values = {"mask": maps}
            if self.classes:
                scores = maps.new_zeros(1, 1, self.classes, 1, 1)
                scores[:, :, 0] = 1
                values["class_logits"] = scores.expand(*maps.shape[:2], -1, *maps.shape[2:])
            return Prediction(self.name, batch.id, values)

        return answer
