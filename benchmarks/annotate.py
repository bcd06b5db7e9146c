# SPDX-License-Identifier: Apache-2.0
"""The helpers of `avkit annotate` that need no weights, on real pictures and clips.

GrabCut: overlap (IoU) with the official mask of a picture, from the box of that mask and from a point at its middle.
Flow: no clip here has a mask of every second, so a mask is followed forward and back again. Printed is the overlap with
where it began, 1 for a tracker that loses nothing, and the step in which it says that it lost the object.
"""

import argparse
import platform
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avkit.annotation.helpers import HelperChoice, HelperError, Request
from avkit.annotation.helpers.opencv import OpticalFlow, grab_cut
from avkit.annotation.values import mask_value, read_mask
from avkit.datasets.manifest_lines import read_manifest
from avkit.datasets.pixels import pixel_number, read_pixels
from avkit.media.decode import open_clip, read_frames

MANIFEST = Path(__file__).parent / "real" / "manifest.jsonl"
#: Clips, and the box of their object in the first second, in shares of width and height.
BOXES = {
    "avsbench/single_source/p04SYXuBSQ.mp4": (0.34, 0.18, 0.8, 0.84),
    "crab/-en7GAdXAQk.mp4": (0.22, 0.37, 0.4, 0.995),
}
#: Longer side of pictures in pixels.
SIDE = 512


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder of the real data, above 'clips'")
    parser.add_argument("--steps", type=int, default=5, help="seconds that masks are followed")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}")
    for line in read_manifest(MANIFEST, options.root):
        if line.picture is not None and line.masks:
            outline(line)
    for name, box in BOXES.items():
        follow(options.root / "clips" / name, box, options.steps)


def overlap(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Intersection over union of two masks (H, W)."""
    return float((first & second).sum() / max((first | second).sum(), 1))


def size_of(height: int, width: int) -> tuple[int, int]:
    """Height and width of pictures that the helpers are given."""
    scale = min(1.0, SIDE / max(height, width))
    return round(height * scale), round(width * scale)


def request(path: Path, size: tuple[int, int], **more) -> Request:
    """What a person asks for, of the first step unless it is said."""
    return Request(path, 1.0, 60, 60.0, size, 1, **{"step": 0, "last": 0, **more})


def outline(line) -> None:
    """Print how well a picture's mask is found from its box, and from a point."""
    picture = Image.open(line.root / line.picture).convert("RGB")
    size = size_of(picture.height, picture.width)
    frame = np.asarray(picture.resize(size[::-1]))
    mask = line.masks[0]
    pixels = read_pixels(line.root / mask.file, line, mask.file)
    whole = np.isin(pixels, [pixel_number(value) for value, name in mask.classes.items() if name is not None])
    truth = np.asarray(Image.fromarray(whole).resize(size[::-1]), bool)
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    inside = np.argwhere(truth)
    row, column = inside[np.abs(inside - inside.mean(0)).sum(1).argmin()]
    by_box = grab_cut(frame, request(line.root, size, box=box))
    by_point = grab_cut(frame, request(line.root, size, points=((float(column), float(row), True),)))
    box_alone = np.zeros_like(truth)
    box_alone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    figures = [overlap(found, truth) for found in (by_box, by_point, box_alone)]
    print(f"{line.id:20} box {figures[0]:.2f}  point {figures[1]:.2f}  the box itself {figures[2]:.2f}")


def follow(path: Path, box: tuple[float, float, float, float], steps: int) -> None:
    """Print what is left of a mask that is followed for 1 to `steps` seconds and back."""
    height, width = open_clip(path).info.size
    size = size_of(height, width)
    frame = read_frames(open_clip(path), [0.5], size=size).permute(0, 2, 3, 1).numpy()[0]
    corners = tuple(share * side for share, side in zip(box, (*size[::-1], *size[::-1]), strict=True))
    start = grab_cut(frame, request(path, size, box=corners))
    flow = OpticalFlow(HelperChoice("tracker", "flow"))
    there = {}
    try:
        for proposal in flow.propose(request(path, size, last=steps, mask=mask_value(start))):
            there |= {key.step: value for key, value in proposal.values.items()}
            if proposal.note:
                print(f"{path.name:20} {proposal.note}")
    except HelperError as error:
        print(f"{path.name:20} {error}")
    for step, mask in there.items():
        back = list(flow.propose(request(path, size, step=step, last=0, mask=mask)))
        masks = [read_mask(value) for proposal in back for key, value in proposal.values.items() if key.step == 0]
        left = f"{overlap(masks[0], start):.2f}" if masks else "lost on the way back"
        print(f"{path.name:20} {step} s there and back: {left}")


if __name__ == "__main__":
    main()
