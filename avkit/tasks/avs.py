# SPDX-License-Identifier: Apache-2.0
"""Audio-visual segmentation: the pixels of what sounds, as one mask (S4, MS3) and as classes (AVSS)."""

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn
from torchmetrics import Metric

from avkit.answers import Answer, ClassMask, Mask
from avkit.batch import Batch, Prediction
from avkit.heads.mask import MaskHead, MaskOutput
from avkit.metrics.avss import SemanticMask
from avkit.tasks.base import Baseline, Task
from avkit.tasks.masks import (
    constant_masks,
    count_classes,
    known_steps,
    mask_losses,
    mask_metrics,
    picture_size,
    score_masks,
    upsample,
)


class Segmentation(Task):
    """Binary masks, and class masks where the dataset names classes.

    The head's first map is the binary mask, the others are background and classes.
    Loss: binary cross-entropy and Dice for the mask, cross-entropy for the classes (AVSBench, AVSegFormer), see
    `mask_losses`.
    """

    name = "avs"
    answers: ClassVar[tuple[type[Answer], ...]] = (Mask, ClassMask)
    forms: ClassVar[tuple[str, ...]] = ("masks",)
    targets = ("mask", "mask_known")
    optional = ("class_mask",)
    stepwise = True
    sampling_weight = 1.5
    benchmark = "avsbench-s4"
    prompt = "segment everything in the picture that makes a sound"
    monitor = "mIoU"
    headline = ("mIoU", "F")

    @property
    def classes(self) -> int:
        """Classes with background, 0 where the dataset names none."""
        return count_classes(self.vocabulary)

    def head(self, width: int, pyramid_widths: Sequence[int]) -> nn.Module:
        """One map for the mask and one per class, background included."""
        return MaskHead(width, pyramid_widths, self.classes)

    def loss(self, out: MaskOutput, batch: Batch) -> dict[str, Tensor]:
        """`mask` and, with classes, `classes` and `heard`; over annotated steps alone."""
        losses = mask_losses(out, batch)
        return {"loss": sum(losses.values(), out.maps.new_zeros(())), **losses}

    def predict(self, out: MaskOutput, batch: Batch) -> Prediction:
        """`mask`, `mask_logits` and, with classes, `class_scores` and `class_mask`."""
        logits = upsample(out.maps, picture_size(batch, out.maps)).float()
        values: dict[str, Any] = {"mask": logits[:, :, 0].sigmoid(), "mask_logits": logits[:, :, 0]}
        if self.classes:
            values |= {"class_scores": logits[:, :, 1:], "class_mask": logits[:, :, 1:].argmax(2)}
        return Prediction(self.name, batch.id, values)

    def metrics(self, quick: bool = False) -> dict[str, Metric]:
        """MIoU and F of the mask; over classes the four of AVSS, left out where `quick`."""
        semantic = {"AVSS": SemanticMask(num_classes=self.classes)} if self.classes and not quick else {}
        return mask_metrics() | semantic

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score annotated steps; classes where the batch has them and the prediction names them."""
        score_masks(metrics, prediction, batch)
        if "AVSS" in metrics and "class_mask" in batch.targets and "class_scores" in prediction.values:
            metrics["AVSS"].update(prediction["class_scores"], batch.targets["class_mask"], known_steps(batch))

    def baselines(self, batches: Sequence[Batch]) -> dict[str, Baseline]:
        """Constant masks; as classes everything is background."""

        def rule(mask: Any) -> Baseline:
            def answer(batch: Batch) -> Prediction:
                logits = mask(batch)
                values = {"mask": logits.sigmoid(), "mask_logits": logits}
                if self.classes:
                    scores = logits.new_zeros(1, 1, self.classes, 1, 1)
                    scores[:, :, 0] = 1
                    values["class_scores"] = scores.expand(*logits.shape[:2], -1, *logits.shape[2:])
                return Prediction(self.name, batch.id, values)

            return answer

        return {name: rule(mask) for name, mask in constant_masks(batches).items()}
