# SPDX-License-Identifier: Apache-2.0
"""Masks by the first SAM, from a box and points, by transformers.

Source:
    Kirillov et al., Segment Anything, ICCV 2023; the model of RA-SSU's labelling system (paper, Fig. 4).
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from avkit.annotation.helpers import HelperChoice, HelperError, Proposal, Request
from avkit.annotation.helpers.models import load_model, read_steps
from avkit.annotation.values import Key, mask_value
from avkit.systems.zero_shot.catalogue import Part
from avkit.systems.zero_shot.segmenters import prompts_of

PART = Part(
    "masks",
    "sam",
    "SAM ViT-B",
    "facebook/sam-vit-base",
    "Apache-2.0",
    375,
    "SA-1B",
    "avkit.annotation.helpers.sam:SAM",
)


class SAM(nn.Module):
    """Outlines the thing that a box and points mean.

    Args:
        path: Folder that `save_pretrained` wrote.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        from transformers import SamModel, SamProcessor

        self.processor = SamProcessor.from_pretrained(path, local_files_only=True)
        self.network = SamModel.from_pretrained(path, local_files_only=True)

    @torch.inference_mode()
    def segment(
        self, frame: Tensor, box: Sequence[float] | None, points: Sequence[tuple[float, float, bool]]
    ) -> Tensor:
        """Whether a pixel is of the thing, bool (H, W); as `SAM2.segment`."""
        picture = frame.permute(1, 2, 0).cpu().numpy()
        inputs = self.processor(images=picture, **prompts_of(box, points), return_tensors="pt")
        sizes = inputs["original_sizes"], inputs["reshaped_input_sizes"]
        output = self.network(**inputs.to(frame.device), multimask_output=False)
        (maps,) = self.processor.image_processor.post_process_masks(output.pred_masks.cpu(), *sizes)
        return maps[0, 0].bool()


class Outliner:
    """Outlines what a box and points mean."""

    def __init__(self, choice: HelperChoice) -> None:
        self.choice = choice
        self.model: SAM | None = None

    def propose(self, request: Request) -> Iterator[Proposal]:
        """The mask of the step."""
        if request.box is None and not request.points:
            raise HelperError("Draw a box around the object, or click on it, then ask for its mask.")
        self.model = self.model or load_model(self.choice, SAM, PART)
        frame = read_steps(request, [(request.step + 0.5) * request.hop], self.model.network.device)[0]
        mask = self.model.segment(frame, request.box, request.points)
        if not mask.any():
            raise HelperError("SAM sees nothing there. Draw the box wider, or paint the mask.")
        yield Proposal({Key("mask", request.object, request.step): mask_value(mask.numpy(), self.choice.name)})
