# SPDX-License-Identifier: Apache-2.0
"""SSUFormer's decoders as a head of `ra_ssu` on the shared backbone."""

from dataclasses import dataclass, replace
from typing import ClassVar

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.encoders.base import VisualEncoder
from avkit.heads.base import Head, HeadInputs
from avkit.systems.ssuformer.options import AnsweringOptions
from avkit.systems.ssuformer.output import UnderstandingOutput
from avkit.systems.ssuformer.task_decoders import TaskDecoders


@dataclass
class SSUFormerHeadOptions(AnsweringOptions):
    """Options of the head; the defaults train from scratch in minutes on two CPU cores.

    Attributes:
        region: The backbone's own features under the mask, which suit any pictures.
    """

    region: str = "pooled"


class SSUFormerHead(Head):
    """Masks and captions that help each other, as in SSUFormer, from the tokens of the shared backbone.

    The backbone takes the place of SSUFormer's encoders and integration. There is a router of experts only where the
    data have features of a vision-language model.

    Args:
        inputs: Width of the tokens, pyramid, words and width of the expert's features.
        options: Options of decoders and criterion; their defaults where None.

    Source:
        RA-SSU (arXiv 2603.09809), sections IV-B.3, IV-B.4 and IV-C.
    """

    Options: ClassVar[type] = SSUFormerHeadOptions

    def __init__(self, inputs: HeadInputs, options: SSUFormerHeadOptions | None = None) -> None:
        super().__init__()
        options = options or SSUFormerHeadOptions()
        expert_width = options.expert_width or inputs.expert_width
        self.decoders = TaskDecoders(options, replace(inputs, expert_width=expert_width))

    def forward(self, tokens: Tokens, batch: Batch) -> UnderstandingOutput:
        """Masks, and logits of the batch's captions in training, generated captions else."""
        output: UnderstandingOutput = self.decoders(tokens, batch)
        return output

    def loss(self, output: UnderstandingOutput, batch: Batch) -> Losses:
        """See `UnderstandingCriterion`."""
        return self.decoders.loss(output, batch)

    def predict(self, output: UnderstandingOutput, batch: Batch) -> Prediction:
        """`mask`, `caption` and `caption_written`."""
        return self.decoders.predict(output, batch)

    def on_epoch_start(self, epoch: int) -> None:
        """Tell the decoders how far training is."""
        self.decoders.on_epoch_start(epoch)

    def on_evaluation_start(self) -> None:
        """Forget what was counted about the expert."""
        self.decoders.on_evaluation_start()

    def notes(self) -> list[str]:
        """Sentences about captions that were cut, and about the expert's share."""
        return self.decoders.notes()

    def region_encoder(self) -> VisualEncoder | None:
        """The image encoder of regions, where there is one."""
        return self.decoders.region_encoder()

    def set_caption_change_threshold(self, threshold: float) -> bool:
        """Repeat a caption while its source changes by less than `threshold`; it can."""
        return self.decoders.set_caption_change_threshold(threshold)
