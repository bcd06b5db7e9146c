# SPDX-License-Identifier: Apache-2.0
"""Frames of a clip that are stored as image files."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from avkit.errors import MediaError
from avkit.media.image import load_image
from avkit.media.video import resize
from avkit.reading.remote import is_folder, list_names

_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def list_image_files(root: Path, frames: str | Sequence[str]) -> list[Path]:
    """The image files of a clip in temporal order.

    Args:
        root: Folder that the paths start from.
        frames: Paths of the files, or of a folder, whose files are ordered by the last number in their names.

    Raises:
        MediaError: If the folder is missing or has no image.
    """
    if not isinstance(frames, str):
        return [root / name for name in frames]
    folder = root / frames
    if not is_folder(folder):
        raise MediaError(f"{folder} cannot be listed: there is no such folder. Extract the frames of this clip again.")
    names = [name for name in list_names(folder) if not name.startswith(".")]
    files = [folder / name for name in names if Path(name).suffix.lower() in _ENDINGS]
    if not files:
        raise MediaError(f"{folder} has no pictures. Extract the frames of this clip again.")
    return sorted(files, key=_number_and_name)


def read_image_files(
    files: Sequence[Path], steps: int, size: int | tuple[int, int] | None = None, offset: float = 0.5
) -> tuple[Tensor, tuple[int, int]]:
    """Read one image per step, taken evenly from the files.

    Args:
        files: Images in order, spread evenly over the clip, any number of them.
        steps: Number of steps T.
        size: Height and width to resize to, one number for both, or None for the first image's own size.
        offset: Place within the step, in [0, 1).

    Returns:
        Frames, uint8 (T, 3, H, W), RGB, and height and width of the first image before resizing.

    Raises:
        MediaError: If an image is missing or damaged.
    """
    indices = [_index_of_step(step, steps, len(files), offset) for step in range(steps)]
    images: dict[int, Tensor] = {}
    source_size: tuple[int, int] | None = None
    for index in sorted(set(indices)):
        image = load_image(files[index])
        if source_size is None:
            source_size = (image.shape[0], image.shape[1])
        resized = resize(image, source_size if size is None else size)
        images[index] = torch.from_numpy(resized).permute(2, 0, 1)
    assert source_size is not None
    return torch.stack([images[index] for index in indices]), source_size


def _index_of_step(step: int, steps: int, count: int, offset: float) -> int:
    """Index of the image that a step shows, out of `count` images."""
    if count == steps:
        return step
    return int((step + offset) * count / steps)


def _number_and_name(path: Path) -> tuple[list[int], str]:
    numbers = re.findall(r"\d+", path.stem)
    return list(map(int, numbers[-1:])), path.name
