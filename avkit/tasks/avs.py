# SPDX-License-Identifier: Apache-2.0
"""Audio-visual segmentation: pixels of sounding objects, as one mask (S4, MS3) and as classes (AVSS)."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor
from torchmetrics import Metric

from avkit.answers import Answer, ClassMask, Mask
from avkit.batch import Batch, Prediction, Vocabulary
from avkit.metrics.avss import SemanticMask
from avkit.nn.mask_losses import known_steps
from avkit.tasks.base import Baseline, Task
from avkit.tasks.masks import constant_masks, mask_metrics, score_masks


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
    sampling_weight = 1.5
    benchmark = "avsbench-s4"
    prompt = "segment everything in the picture that makes a sound"
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

    def metric_protocol(self) -> dict[str, str]:
        """The evaluation batch, on which mIoU and F of the mask depend."""
        return {"metric": "official", "evaluation batch": str(self.videos_per_call)}

    def score(self, metrics: dict[str, Metric], prediction: Prediction, batch: Batch) -> None:
        """Score annotated steps; classes where the batch has them and the prediction names them."""
        score_masks(metrics, prediction, batch)
        if "AVSS" in metrics and "class_mask" in batch.targets and "class_logits" in prediction.values:
            known = known_steps(batch)
            metrics["AVSS"].update(prediction["class_logits"], batch.targets["class_mask"], known, batch.id)

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
