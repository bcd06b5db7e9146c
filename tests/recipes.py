# SPDX-License-Identifier: Apache-2.0
"""Options of recipes, and widths of the stored features that they name."""

from pathlib import Path

from avkit.datasets import DATASETS, find_dataset

CONFIGS = Path(__file__).parents[1] / "avkit" / "configs"
#: Widths of stored features that are no released features of a dataset, by name of the store.
WIDTHS = {
    "vit_large": 1024,
    "tome27": 1024,
    "tome8": 1024,
    "clip_frame": 768,
    "clip_patches": 1024,
    "llava": 4096,
    "video_llava": 4096,
}


def width(dataset, name):
    """Width of stored features: of released ones, or of a store by the name of its file."""
    stem = Path(name).stem
    released = getattr(find_dataset(dataset), "released", {})
    if name in released:
        return channels(released[name].shape)
    for other in DATASETS:
        released = getattr(find_dataset(other), "released", {})
        if stem in released:
            return channels(released[stem].shape)
    return WIDTHS[stem]


def channels(shape):
    """Width of features by their published shape: time first, then maybe rows and columns."""
    return max(length for length in shape[1:] if length is not None)
