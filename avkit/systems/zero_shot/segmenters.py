# SPDX-License-Identifier: Apache-2.0
"""SAM 2: outlines of boxes in pictures, and through a video by its tracker, by transformers.

Source:
    Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


class SAM2(nn.Module):
    """Outlines the thing in a box, in its picture or through all pictures of a clip.

    Args:
        path: Folder that `save_pretrained` wrote; the weights of the video model serve single pictures too.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        from transformers import Sam2VideoModel, Sam2VideoProcessor

        self.path = path
        self.processor = Sam2VideoProcessor.from_pretrained(path, local_files_only=True)
        self.network = Sam2VideoModel.from_pretrained(path, local_files_only=True)

    @cached_property
    def _picture_model(self) -> tuple[Any, Any]:
        """Processor and network for single pictures."""
        from transformers import Sam2Model, Sam2Processor

        network = Sam2Model.from_pretrained(self.path, local_files_only=True).eval()
        processor = Sam2Processor(self.processor.image_processor)
        return processor, network

    @torch.inference_mode()
    def outline(self, frame: Tensor, corners: Tensor) -> Tensor:
        """Probability that a pixel is of the thing in each box.

        Args:
            frame: uint8 (3, H, W).
            corners: Left, top, right, bottom in pixels, (N, 4).

        Returns:
            (N, H, W).
        """
        processor, network = self._picture_model
        network.to(frame.device)
        inputs = processor(images=[frame.cpu()], input_boxes=[corners.tolist()], return_tensors="pt")
        output = network(**inputs.to(frame.device), multimask_output=False)
        maps = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], binarize=False)
        return maps[0][:, 0].sigmoid().to(frame.device)

    @torch.inference_mode()
    def segment(
        self, frame: Tensor, box: Sequence[float] | None, points: Sequence[tuple[float, float, bool]]
    ) -> Tensor:
        """Probability that a pixel is of the one thing that a person points at, (H, W).

        Args:
            frame: uint8 (3, H, W).
            box: Left, top, right, bottom in pixels.
            points: Column, row, and whether it lies on the thing; a box or one point at least.
        """
        processor, network = self._picture_model
        network.to(frame.device)
        inputs = processor(images=[frame.cpu()], **prompts_of(box, points), return_tensors="pt")
        output = network(**inputs.to(frame.device), multimask_output=False)
        maps = processor.post_process_masks(output.pred_masks, inputs["original_sizes"], binarize=False)
        return maps[0][0, 0].sigmoid().to(frame.device)

    @torch.inference_mode()
    def follow(self, frames: Tensor, mask: Tensor) -> Iterator[Tensor]:
        """Probability that a pixel is of the thing of a mask, (H, W), in each picture after the first.

        Args:
            frames: uint8 (T, 3, H, W).
            mask: bool (H, W), of the first picture.
        """
        session = self._session(frames)
        self.processor.add_inputs_to_inference_session(
            inference_session=session, frame_idx=0, obj_ids=1, input_masks=mask.cpu().float()[None, None]
        )
        self.network(inference_session=session, frame_idx=0)
        size = [[session.video_height, session.video_width]]
        for output in self.network.propagate_in_video_iterator(session, start_frame_idx=0):
            if output.frame_idx:
                maps = self.processor.post_process_masks([output.pred_masks], original_sizes=size, binarize=False)[0]
                yield maps[0, 0].sigmoid()

    def _session(self, frames: Tensor) -> Any:
        """What the tracker remembers of a clip."""
        return self.processor.init_video_session(
            video=list(frames.cpu().permute(0, 2, 3, 1).numpy()), inference_device=frames.device
        )

    @torch.inference_mode()
    def track(self, frames: Tensor, step: int, corners: Tensor) -> Tensor:
        """Probability that a pixel is of the thing in each box, in all pictures of a clip.

        Args:
            frames: uint8 (T, 3, H, W).
            step: The picture of the boxes.
            corners: Left, top, right, bottom in pixels, (N, 4).

        Returns:
            (N, T, H, W).
        """
        height, width = frames.shape[-2:]
        maps = torch.zeros(len(corners), len(frames), height, width, device=frames.device)
        for reverse in (False, True):
            for number, probabilities in self._propagate(frames, step, corners.tolist(), reverse=reverse):
                maps[:, number] = probabilities
        return maps

    def _propagate(
        self, frames: Tensor, step: int, corners: Sequence[Sequence[float]], *, reverse: bool
    ) -> list[tuple[int, Tensor]]:
        """The maps (N, H, W) of the pictures from `step` on, or back from it, with their numbers."""
        session = self._session(frames)
        self.processor.add_inputs_to_inference_session(
            inference_session=session,
            frame_idx=step,
            obj_ids=list(range(1, len(corners) + 1)),
            input_boxes=[[list(box) for box in corners]],
        )
        self.network(inference_session=session, frame_idx=step)
        size = [[session.video_height, session.video_width]]
        outlined = []
        for output in self.network.propagate_in_video_iterator(session, start_frame_idx=step, reverse=reverse):
            maps = self.processor.post_process_masks([output.pred_masks], original_sizes=size, binarize=False)[0]
            outlined.append((output.frame_idx, maps[:, 0].sigmoid()))
        return outlined


def prompts_of(box: Sequence[float] | None, points: Sequence[tuple[float, float, bool]]) -> dict[str, Any]:
    """A box and points about one thing in one picture, as processors of transformers take them."""
    prompts: dict[str, Any] = {}
    if box is not None:
        prompts["input_boxes"] = [[list(box)]]
    if points:
        prompts["input_points"] = [[[[x, y] for x, y, _ in points]]]
        prompts["input_labels"] = [[[int(is_inside) for _, _, is_inside in points]]]
    return prompts
