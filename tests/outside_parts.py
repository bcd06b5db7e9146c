# SPDX-License-Identifier: Apache-2.0
"""Parts that another package could bring; tests name them as `outside_parts:Class`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from avkit.answers import Answer, Values
from avkit.datasets.scenes import Scenes
from avkit.encoders.base import RowAudioEncoder, VisualEncoder, VisualFeatures, WindowEncoder
from avkit.tasks.avs import Segmentation


class OwnClips(Scenes):
    """Scenes under a name of their own."""

    name = "own_clips"


class OwnSegmentation(Segmentation):
    """Segmentation under a name of its own."""

    name = "own_segmentation"
    benchmark = None
    default_head = "avkit.heads.mask:MaskHead"


class BenchmarkedSegmentation(Segmentation):
    """Segmentation with a usual dataset from outside."""

    name = "benchmarked_segmentation"
    default_head = "avkit.heads.mask:MaskHead"
    benchmark = "outside_parts:OwnClips"


@dataclass(eq=False)
class Cover(Answer):
    """How much of the picture sounds, on average: a kind of answer that avkit does not know."""

    kind: ClassVar[str] = "cover"
    prediction_values: ClassVar[tuple[str, ...]] = ("mask",)
    target_fields: ClassVar[tuple[str, ...]] = ("mask",)

    share: float

    @classmethod
    def from_values(cls, values, row, scope):
        return cls(scope.task, float(values["mask"][row][: scope.grid.steps].float().mean()))

    from_targets = from_values

    @classmethod
    def join(cls, parts):
        return cls(parts[0].task, sum(part.share for part in parts) / len(parts))


class CoverTask(OwnSegmentation):
    """Answers with a kind of its own."""

    name = "cover"
    answers = (Cover,)


class OpenTask(OwnSegmentation):
    """Declares no kind of answer."""

    name = "open"
    answers = (Values,)


class TinyWindows(WindowEncoder):
    """The mean colour of each frame and its change to the next, over a window."""

    spare_frames = 1

    def __init__(self, pretrained=None):
        super().__init__()
        self.layer = nn.Linear(6, 8)
        self.width = 8

    def prepare(self, frames):
        colour = frames.float().mean((2, 3)) / 255
        return torch.cat([colour[:-1], colour.diff(dim=0)], 1)

    def forward(self, windows):
        return self.layer(windows.mean(1))


class TinyMerged(VisualEncoder):
    """Three tokens, the mean colours of bands of 4 by 4 patches, and which token each patch went into."""

    def __init__(self, pretrained=None):
        super().__init__()
        self.layer = nn.Linear(3, 6)
        self.width = 6

    def forward(self, frames):
        cells = nn.functional.adaptive_avg_pool2d(frames.float() / 255, (4, 4)).flatten(2).transpose(1, 2)
        numbers = torch.tensor([0] * 4 + [1] * 8 + [2] * 4)
        tokens = torch.stack([self.layer(cells[:, numbers == k]).mean(1) for k in range(3)], 1)
        sources = numbers.view(1, 4, 4).expand(len(frames), -1, -1)
        return VisualFeatures(tokens.mean(1), tokens, (1, 3), sources=sources)


class TinySound(RowAudioEncoder):
    """A few sums over the samples of a window."""

    takes_samples = True

    def __init__(self, pretrained=None):
        super().__init__()
        self.network = nn.Sequential(nn.AdaptiveAvgPool1d(10), nn.Linear(10, 6))
        self.width = 6

    def forward(self, waveform, steps, hop):
        return self.network(waveform.unflatten(1, (steps, -1)))


class SampleIds(Callback):
    """Writes which samples each process takes in each step.

    Args:
        folder: Folder of a file for each process.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        """Add a line for the batch."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as file:
            file.write(json.dumps([trainer.global_step, batch.task, batch.id]) + "\n")
