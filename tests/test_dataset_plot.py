# SPDX-License-Identifier: Apache-2.0
"""Samples of datasets as figures."""

from io import BytesIO

import numpy as np
import pytest
import torch

from avkit.batch import Item
from avkit.datasets import find_dataset
from avkit.datasets.base import DatasetOptions
from avkit.datasets.plot import plot_item


def lanes_of(figure):
    """Names on the time line."""
    return [label.get_text() for label in figure.axes[-1].get_yticklabels()]


def pixels(figure):
    from PIL import Image

    with BytesIO() as file:
        figure.savefig(file, format="png", dpi=40)
        return np.asarray(Image.open(file).convert("RGB"))


def test_a_scene_is_shown_with_masks_sound_and_events():
    scenes = find_dataset("scenes").open("val", DatasetOptions(size=2, image_size=32))
    figure = scenes.plot(1)
    assert len(figure.axes) == 3
    assert pixels(figure).std() > 5
    item = scenes.item(1)
    heard = item.targets["audio_segments"].any(0).nonzero()[:, 0].tolist()
    names = {f"{scenes.vocabulary.classes[kind]} (heard)" for kind in heard}
    assert names <= set(lanes_of(figure))
    assert scenes.plot(-1).axes
    with pytest.raises(IndexError, match="Sample 2 was asked for, and there are 2, numbered from 0"):
        scenes.plot(2)


def test_a_mask_tints_the_frame_and_an_unknown_one_does_not():
    frames = torch.full((2, 3, 8, 8), 100, dtype=torch.uint8)
    mask = torch.zeros(2, 4, 4, dtype=torch.uint8)
    mask[:, 2:] = 1
    known = torch.tensor([True, False])
    item = Item("a", 2.0, frames=frames, targets={"mask": mask, "mask_known": known})
    (axes,) = plot_item(item, []).axes
    shown = axes.images[0].get_array()
    assert np.allclose(shown[:4], 100 / 255)
    assert not np.allclose(shown[4:, :8], 100 / 255)
    assert np.allclose(shown[:, 8:], 100 / 255)


def test_features_events_questions_and_captions():
    targets = {"events": torch.tensor([[0.5, 2.0, 1.0], [3.0, 4.0, 1.0]]), "answer": ["yes"], "caption": ["", "a dog"]}
    item = Item("a", 4.0, audio=torch.randn(4, 6), text=["is it a dog"], targets=targets)
    figure = plot_item(item, ["cat", "dog"])
    assert lanes_of(figure) == ["dog"]
    title = figure.get_suptitle()
    assert "is it a dog yes" in title
    assert "a dog" in title.splitlines()[-1]
    spans = figure.axes[-1].collections[0].get_paths()
    assert [tuple(path.get_extents().intervalx) for path in spans] == [(0.5, 2.0), (3.0, 4.0)]
    assert pixels(figure).std() > 1
