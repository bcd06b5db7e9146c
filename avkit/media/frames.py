# SPDX-License-Identifier: Apache-2.0
"""Pictures of a clip that lie as files beside each other."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from avkit.errors import MediaError
from avkit.media.image import load_picture
from avkit.media.pictures import resize

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


def picture_files(root: Path, frames: str | Sequence[str]) -> list[Path]:
    """The pictures of a clip in order: those named, or all of a folder by the numbers in their names.

    Raises:
        MediaError: If the folder is missing or has no picture.
    """
    if not isinstance(frames, str):
        return [root / name for name in frames]
    folder = root / frames
    try:
        found = [p for p in folder.iterdir() if p.suffix.lower() in _PICTURES and not p.name.startswith(".")]
    except OSError as error:
        raise MediaError(
            f"{folder} cannot be listed: {error.strerror}. Extract the frames of this clip again."
        ) from error
    if not found:
        raise MediaError(f"{folder} has no pictures. Extract the frames of this clip again.")
    return sorted(found, key=lambda p: ([int(n) for n in re.findall(r"\d+", p.stem)][-1:], p.name))


def read_pictures(
    files: Sequence[Path], steps: int, size: int | tuple[int, int] | None = None, moment: float = 0.5
) -> tuple[Tensor, tuple[int, int]]:
    """One picture per step, taken evenly from those there are.

    Args:
        files: Pictures in order, spread evenly over the clip, any number of them.
        steps: Number of steps T.
        size: Height and width to resize to, one number for both, or None for the own size of the first picture.
        moment: Place within the step, in [0, 1).

    Returns:
        uint8 (T, 3, H, W), RGB, and height and width of the first picture before resizing.

    Raises:
        MediaError: If a picture is missing or damaged.
    """
    pictures: dict[int, Tensor] = {}
    wanted = [k if len(files) == steps else int((k + moment) * len(files) / steps) for k in range(steps)]
    own: tuple[int, int] | None = None
    for k in sorted(set(wanted)):
        picture = load_picture(files[k])
        own = own or picture.shape[:2]
        pictures[k] = torch.from_numpy(resize(picture, own if size is None else size)).permute(2, 0, 1)
    assert own is not None
    return torch.stack([pictures[k] for k in wanted]), own
