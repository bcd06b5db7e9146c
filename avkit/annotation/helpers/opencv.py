# SPDX-License-Identifier: Apache-2.0
"""Masks without any weights: GrabCut from a box and points, and optical flow from step to step, by OpenCV.

Source:
    Rother et al., GrabCut, SIGGRAPH 2004; Kroeger et al., Fast Optical Flow using Dense Inverse Search, ECCV 2016.
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from avkit.annotation.folder import open_video
from avkit.annotation.helpers import HelperChoice, HelperError, Proposal, Request
from avkit.annotation.values import Key, mask_value, read_mask
from avkit.media import decode

#: Longest side in pixels at which GrabCut and flow work; larger pictures are scaled down.
_SIDE = 480
_ROUNDS = 5
#: Share of the picture's longer side that a click marks for sure, and that it takes for likely without a box.
_CLICK = 0.012
_LIKELY = 0.15
#: Pictures per second between which flow is measured.
_RATE = 10.0
#: Share of the mask's pixels whose flow leads there and back, below which the object counts as lost.
_MIN_CONSISTENT = 0.4
#: Width of the edge that is drawn anew in each step, as a share of the root of the area; and least overlap with before.
_EDGE = 0.12
_MIN_AGREEMENT = 0.6
#: Pixels that there and back may differ by, besides a share of the motion.
_TOLERANCE = 1.5
#: Share of the first area below which, and factor above which, the object counts as lost.
_MIN_AREA = 0.1
_MAX_AREA = 6.0
#: Likeness of colours to those of the first mask (correlation) below which the object counts as lost.
_MIN_LIKENESS = 0.25

Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]


class GrabCut:
    """Outlines what differs in colour from its surroundings, within a box or around points."""

    def __init__(self, choice: HelperChoice) -> None:
        self.name = choice.name

    def propose(self, request: Request) -> Iterator[Proposal]:
        """The mask of the step."""
        if request.box is None and not request.points:
            raise HelperError("Draw a box around the object, or click on it, then ask for its mask.")
        size = _working_size(request.size)
        frames = decode.read_frames(open_video(request.path), [(request.step + 0.5) * request.hop], size=size)
        frame = np.ascontiguousarray(frames[0].permute(1, 2, 0).numpy())
        mask = grab_cut(frame, request)
        if not mask.any():
            raise HelperError("Nothing in the box stands out from its surroundings. Draw it wider, or paint the mask.")
        value = mask_value(_resize(mask, request.size), self.name)
        yield Proposal({Key("mask", request.object, request.step): value})


def grab_cut(frame: Picture, request: Request) -> Mask:
    """The mask of a box and points in a picture (H, W, 3), at its size."""
    height, width = frame.shape[:2]
    scale_y = height / request.size[0]
    scale_x = width / request.size[1]
    marks = np.full((height, width), cv2.GC_BGD, np.uint8)
    if request.box is not None:
        left, top, right, bottom = request.box
        rows = slice(max(0, int(top * scale_y)), max(1, int(np.ceil(bottom * scale_y))))
        columns = slice(max(0, int(left * scale_x)), max(1, int(np.ceil(right * scale_x))))
        marks[rows, columns] = cv2.GC_PR_FGD
    else:
        marks[:] = cv2.GC_PR_BGD
        for x, y, is_inside in request.points:
            if is_inside:
                centre = (round(x * scale_x), round(y * scale_y))
                cv2.circle(marks, centre, round(_LIKELY * max(height, width)), int(cv2.GC_PR_FGD), -1)
    for x, y, is_inside in request.points:
        centre = (round(x * scale_x), round(y * scale_y))
        mark = cv2.GC_FGD if is_inside else cv2.GC_BGD
        cv2.circle(marks, centre, max(2, round(_CLICK * max(height, width))), int(mark), -1)
    inside = np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))
    if not inside.any() or inside.all():  # it needs both to learn from
        return np.asarray(inside)
    return _clean(_run_grab_cut(frame, marks, _ROUNDS), request.points, (scale_x, scale_y))


def _clean(mask: Mask, points: tuple[tuple[float, float, bool], ...], scale: tuple[float, float]) -> Mask:
    """Without specks and holes: parts of a tenth of the largest, or with a point of the person's on them."""
    smooth = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, facts, _ = cv2.connectedComponentsWithStats(smooth)
    if count < 2:
        return mask
    areas = facts[1:, cv2.CC_STAT_AREA]
    kept = {int(part) + 1 for part in np.flatnonzero(areas >= areas.max() / 10)}
    for x, y, is_inside in points:
        row = min(int(y * scale[1]), mask.shape[0] - 1)
        column = min(int(x * scale[0]), mask.shape[1] - 1)
        if is_inside and labels[row, column]:
            kept.add(int(labels[row, column]))
    filled = np.isin(labels, list(kept)).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(filled, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0)


class OpticalFlow:
    """Carries a mask along the motion of its pixels, and stops where the object is lost."""

    def __init__(self, choice: HelperChoice) -> None:
        self.name = choice.name

    def propose(self, request: Request) -> Iterator[Proposal]:
        """A mask for each step after, or before, that of the request."""
        if request.mask is None:
            raise HelperError("There is no mask in this step to follow. Draw one first.")
        first = read_mask(request.mask)
        if not first.any():
            raise HelperError("The mask of this step is empty, so there is nothing to follow.")
        direction = 1 if request.last >= request.step else -1
        size = _working_size(request.size)
        start = _resize(first, size)
        frames = self._frames(request, request.step, size)[-1:]
        colours = _colours(frames[0], start)
        mask = start.astype(np.float32)
        for step in range(request.step + direction, request.last + direction, direction):
            between = self._frames(request, step, size, before=step - direction)
            lost = ""
            for frame in between:
                mask, consistent = carry(frames[-1], frame, mask)
                frames = [frame]
                lost = lost or _loss(mask > 0.5, start, consistent, frame, colours)
            if lost:
                yield Proposal(note=f"The tracker lost the object in step {step + 1}: {lost}. It stopped there.")
                return
            mask = refine(frames[0], mask)
            carried = _resize(mask > 0.5, request.size)
            yield Proposal({Key("mask", request.object, step): mask_value(carried, self.name)})

    def _frames(self, request: Request, step: int, size: tuple[int, int], before: int | None = None) -> list[Picture]:
        """The picture of a step, after those on the way from the step before."""
        end = (step + 0.5) * request.hop
        times = np.array([end])
        if before is not None:
            start = (before + 0.5) * request.hop
            count = max(1, round(abs(end - start) * _RATE))
            times = np.linspace(start, end, count + 1)[1:]
        frames = decode.read_frames(open_video(request.path), times.tolist(), size=size)
        return [np.ascontiguousarray(frame) for frame in frames.permute(0, 2, 3, 1).numpy()]


def carry(before: Picture, after: Picture, mask: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """A mask, (H, W) from 0 to 1, moved from a picture (H, W, 3) to the next one.

    Returns:
        The mask, and the share of its pixels whose motion there and back leads to where they were.
    """
    grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (before, after)]
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    back = flow.calc(grey[1], grey[0], None)
    there = flow.calc(grey[0], grey[1], None)
    height, width = mask.shape
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    source_x = columns + back[..., 0]
    source_y = rows + back[..., 1]
    moved = cv2.remap(mask, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    returned = cv2.remap(there, source_x, source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    error = np.linalg.norm(back + returned, axis=-1)
    is_consistent = error < _TOLERANCE + 0.1 * np.linalg.norm(back, axis=-1)
    inside = moved > 0.5
    share = float(is_consistent[inside].mean()) if inside.any() else 0.0
    return np.asarray(moved, np.float32), share


def refine(frame: Picture, mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """A carried mask whose edge is drawn anew where colours change; as it was where that leads far away."""
    inside = (mask > 0.5).astype(np.uint8)
    reach = max(1, round(_EDGE * float(inside.sum()) ** 0.5))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    marks = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    marks[cv2.dilate(inside, kernel) > 0] = cv2.GC_PR_BGD
    marks[inside > 0] = cv2.GC_PR_FGD
    marks[cv2.erode(inside, kernel) > 0] = cv2.GC_FGD
    if not np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD)).any() or not (marks == cv2.GC_BGD).any():
        return mask
    drawn = _run_grab_cut(frame, marks, rounds=2)
    both = (drawn & (inside > 0)).sum()
    union = (drawn | (inside > 0)).sum()
    return drawn.astype(np.float32) if both > _MIN_AGREEMENT * union else mask


def _run_grab_cut(frame: Picture, marks: NDArray[np.uint8], rounds: int) -> Mask:
    background = np.zeros((1, 65), np.float64)
    foreground = np.zeros((1, 65), np.float64)
    cv2.setRNGSeed(0)
    cv2.grabCut(frame[..., ::-1].copy(), marks, None, background, foreground, rounds, cv2.GC_INIT_WITH_MASK)
    return np.isin(marks, (cv2.GC_FGD, cv2.GC_PR_FGD))


def _loss(mask: Mask, start: Mask, consistent: float, frame: Picture, colours: NDArray[np.float32]) -> str:
    """Why the object counts as lost; empty where it does not."""
    area = mask.sum() / start.sum()
    if area < _MIN_AREA:
        return "it left the picture or is hidden"
    if area > _MAX_AREA:
        return "its mask spread over the picture"
    if consistent < _MIN_CONSISTENT:
        return "the picture changes too much"
    likeness = cv2.compareHist(colours, _colours(frame, mask), cv2.HISTCMP_CORREL)
    return "what is there looks different" if likeness < _MIN_LIKENESS else ""


def _colours(frame: Picture, mask: Mask) -> NDArray[np.float32]:
    """Histogram of hue and saturation within a mask."""
    hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
    histogram = cv2.calcHist([hsv], [0, 1], mask.astype(np.uint8), [18, 8], [0, 180, 0, 256])
    return np.asarray(cv2.GaussianBlur(histogram, (3, 3), 0), np.float32)


def _working_size(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _resize(mask: Mask, size: tuple[int, int]) -> Mask:
    """A mask at another height and width, with smooth edges where it grows."""
    if mask.shape == size:
        return mask
    grown = cv2.resize(mask.astype(np.float32), size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(grown > 0.5)
