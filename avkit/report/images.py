# SPDX-License-Identifier: Apache-2.0
"""Pictures of masks over frames: tint, outline, strip, and pictures inside HTML.

A label map is an integer array (H, W): 0 is background, every other value an object or class with its own colour.
"""

import base64
import colorsys
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Labels = NDArray[np.integer[Any]]

_FIRST_HUE = 0.53  # cyan: rare in rooms, skin and instruments, so the tint stands out
#: Pixels on a side below which a border of two would cover what is small.
_SMALL_PICTURE = 128
_GOLDEN = 0.61803  # steps of the golden ratio keep neighbouring classes far apart in hue


@cache
def palette() -> Pixels:
    """One colour for each label of a byte, uint8 (256, 3); row 0, the background, is black."""
    rows = [(0.0, 0.0, 0.0)]
    for k in range(255):
        hue = (_FIRST_HUE + _GOLDEN * k) % 1
        saturation = (1.0, 0.65)[k // 8 % 2]
        value = (1.0, 0.85)[k // 16 % 2]
        rows.append(colorsys.hsv_to_rgb(hue, saturation, value))
    colors: Pixels = np.rint(np.array(rows) * 255).astype(np.uint8)
    return colors


def fit_labels(mask: NDArray[Any], size: tuple[int, int]) -> Labels:
    """A mask as label map of another size.

    Args:
        mask: (h, w); floats are probabilities, resized bilinearly and then cut at 0.5; integers and booleans are
            labels, resized to the nearest.
        size: Height and width wanted.

    Raises:
        ValueError: If the mask is not two-dimensional, or a label exceeds 255.
    """
    if mask.ndim != 2:
        raise ValueError(f"A mask has shape (h, w); received {mask.shape}. Pass one step at a time.")
    if np.issubdtype(mask.dtype, np.floating):
        image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.float32))
        return (np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)) >= 0.5).astype(np.uint8)
    if mask.size and not 0 <= int(mask.min()) <= int(mask.max()) <= 255:
        raise ValueError(f"Labels lie in 0..255; received {mask.min()}..{mask.max()}.")
    image = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8))
    return np.asarray(image.resize(size[::-1], Image.Resampling.NEAREST))


def outline(labels: Labels, width: int = 1) -> NDArray[np.bool_]:
    """The inner border of every region, `width` pixels wide; the edge of the picture is no border."""
    edge: NDArray[np.bool_] = np.zeros(labels.shape, dtype=bool)
    rows = labels[1:] != labels[:-1]
    columns = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= rows
    edge[:-1] |= rows
    edge[:, 1:] |= columns
    edge[:, :-1] |= columns
    edge &= labels > 0
    for _ in range(width - 1):
        edge = grow(edge)
        edge &= labels > 0
    return edge


def grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask and its direct neighbours up, down, left and right."""
    out: NDArray[np.bool_] = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def tint(labels: Labels, alpha: float = 0.45, line: int = 2) -> Pixels:
    """Regions as a transparent picture, uint8 RGBA (H, W, 4): coloured with `alpha`, their border opaque."""
    rgba = np.zeros((*labels.shape, 4), dtype=np.uint8)
    rgba[..., :3] = palette()[labels]
    rgba[..., 3] = (labels > 0) * round(alpha * 255)
    rgba[outline(labels, line), 3] = 255
    return rgba


def truth_outline(labels: Labels) -> Pixels:
    """Regions as a white border with a dark halo, uint8 RGBA (H, W, 4), to be seen on any picture."""
    line = outline(labels, 2)
    rgba = np.zeros((*labels.shape, 4), dtype=np.uint8)
    rgba[grow(line)] = (0, 0, 0, 200)
    rgba[line] = 255
    return rgba


@dataclass(frozen=True)
class Layer:
    """A transparent picture ready to be laid over many frames of one size.

    Attributes:
        keep: uint16 (H, W, 1), how much of the frame stays, out of 256.
        add: uint16 (H, W, 3), what is added, times 256.
    """

    keep: NDArray[np.uint16]
    add: NDArray[np.uint16]

    @classmethod
    def of(cls, rgba: Pixels) -> "Layer":
        """The layer of an RGBA picture (H, W, 4)."""
        opacity = (rgba[..., 3:].astype(np.uint32) * 256 + 127) // 255
        return cls((256 - opacity).astype(np.uint16), (rgba[..., :3] * opacity).astype(np.uint16))

    def over(self, image: Pixels) -> Pixels:
        """The image (H, W, 3) under this layer; pixels without layer stay exactly as they are."""
        mixed = image * self.keep
        mixed += self.add
        mixed >>= 8
        return mixed.astype(np.uint8)


def picture(image: Pixels, width: int, mask: NDArray[Any] | None = None, truth: NDArray[Any] | None = None) -> Pixels:
    """A frame at most `width` pixels wide, a mask tinted on it and a true mask outlined; see `fit_labels`."""
    height, full = image.shape[:2]
    size = (max(1, round(height * min(1, width / full))), min(width, full))
    out = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.LANCZOS))
    if mask is not None:
        line = 1 if min(size) < _SMALL_PICTURE else 2
        out = Layer.of(tint(fit_labels(mask, size), line=line)).over(out)
    if truth is not None:
        out = Layer.of(truth_outline(fit_labels(truth, size))).over(out)
    return out


def heat_picture(heat: NDArray[Any], size: tuple[int, int] | None) -> Pixels:
    """A heat map (h, w) from 0 at its coldest to 255 at its hottest, uint8 of `size`; black where it is even."""
    low = float(heat.min())
    high = float(heat.max())
    span = high - low if high > low else 1.0
    level = (heat.astype(np.float32) - low) / span
    image = Image.fromarray(np.ascontiguousarray(255 * level))
    if size is not None:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    return np.rint(np.asarray(image)).clip(0, 255).astype(np.uint8)


def warm(image: Pixels, heat: NDArray[Any]) -> Pixels:
    """A frame (H, W, 3) with the upper part of a heat map glowing on it."""
    color, share = _glow(heat, image.shape[:2])
    return np.rint(image * (1 - share) + color * share).astype(np.uint8)


def glow(heat: NDArray[Any], size: tuple[int, int]) -> Pixels:
    """The upper part of a heat map as a transparent picture of `size`, uint8 RGBA (H, W, 4); see `warm`."""
    color, share = _glow(heat, size)
    return np.rint(np.concatenate([color, 255 * share], -1)).astype(np.uint8)


def _glow(heat: NDArray[Any], size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Colour (H, W, 3) of a heat map, and its share of the picture (H, W, 1)."""
    level = heat_picture(heat, size)[..., None].astype(np.float32) / 255
    share = 0.75 * ((level - 0.5) / 0.5).clip(0, 1)
    color = np.concatenate([np.full_like(level, 255), 220 * level, 40 * level], -1)
    return color, share


def cut_middle(image: Pixels, share: float) -> Pixels:
    """The square in the middle of a picture (H, W, 3), its side a share of the shorter one; the picture for 0."""
    if not share:
        return image
    height, width = image.shape[:2]
    side = max(1, round(share * min(height, width)))
    top = (height - side) // 2
    left = (width - side) // 2
    return image[top : top + side, left : left + side]


def strip(images: Sequence[Pixels], gap: int = 4, color: Sequence[int] = (255, 255, 255)) -> Pixels:
    """Pictures of one height side by side, `gap` pixels of a colour between them."""
    space = np.broadcast_to(np.array(color, dtype=np.uint8), (images[0].shape[0], gap, 3))
    parts = [images[0]]
    for image in images[1:]:
        parts += [space, image]
    return np.concatenate(parts, axis=1)


def png(image: NDArray[np.uint8]) -> bytes:
    """A picture (H, W) or (H, W, 3) as PNG file."""
    return _encoded(image, "PNG", optimize=False)


def png_uri(data: bytes) -> str:
    """A PNG file as the address of a picture inside HTML."""
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def jpeg(image: Pixels) -> bytes:
    """A photograph (H, W, 3) as JPEG file, good enough to look at and small."""
    return _encoded(image, "JPEG", quality=80, subsampling=0, optimize=True)


def jpeg_uri(image: Pixels) -> str:
    """A photograph (H, W, 3) as the address of a picture inside HTML."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg(image)).decode("ascii")


def png_as_jpeg_uri(data: bytes) -> str:
    """A PNG file as JPEG inside HTML, which is a fifth of its size where it holds photographs."""
    return jpeg_uri(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


def stretch(image: Pixels, size: tuple[int, int]) -> Pixels:
    """A frame with the shape of a picture of `size` (height, width), its own height kept."""
    height = image.shape[0]
    return resize(image, (height, max(1, round(height * size[1] / size[0]))))


def resize(image: Pixels, size: tuple[int, ...]) -> Pixels:
    """A frame at another height and width."""
    height, width = size
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def _encoded(image: NDArray[np.uint8], form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(buffer, form, **options)
    return buffer.getvalue()
