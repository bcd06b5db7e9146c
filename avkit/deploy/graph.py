# SPDX-License-Identifier: Apache-2.0
"""One task of a system as a function of tensors, with everything that is fixed in an exported file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from avkit.batch import SAMPLE_RATE, Batch, FeatureWidths
from avkit.systems.base import System


@dataclass(frozen=True)
class GraphOptions:
    """What is fixed in an exported file.

    Attributes:
        task: The task.
        steps: Number of steps T.
        hop: Seconds per step.
        size: Height and width of pictures in pixels.
        widths: Widths of stored features; 0 where pictures or sound are read.
        patches: Patches P of a step of stored visual features.
        question: The question that is answered, of a task that answers some; else empty.
    """

    task: str
    steps: int
    hop: float
    size: tuple[int, int]
    widths: FeatureWidths = FeatureWidths()  # noqa: RUF009, a tuple
    patches: int = 1
    question: str = ""

    def example(self, seed: int) -> dict[str, Tensor]:
        """Random inputs by name, in the order in which the graph takes them.

        `frames` uint8 (1, T, 3, H, W) or `visual` float32 (1, T, P, D); `waveform` float32 (1, samples) at 16 kHz in
        [-1, 1] or `audio` float32 (1, T, D).
        """
        draws = torch.Generator().manual_seed(seed)
        inputs: dict[str, Tensor] = {}
        if self.widths.visual:
            inputs["visual"] = torch.randn(1, self.steps, self.patches, self.widths.visual, generator=draws)
        else:
            coarse = torch.rand(self.steps, 3, 4, 4, generator=draws)
            smooth = nn.functional.interpolate(coarse, self.size, mode="bilinear")
            inputs["frames"] = (255 * smooth).to(torch.uint8)[None]
        if self.widths.audio:
            inputs["audio"] = torch.randn(1, self.steps, self.widths.audio, generator=draws)
        else:
            samples = round(self.steps * self.hop * SAMPLE_RATE)
            inputs["waveform"] = 0.1 * torch.randn(1, samples, generator=draws)
        return inputs


@dataclass
class GraphFacts:
    """What a file says of itself, as JSON.

    Attributes:
        task: The task.
        inputs: Shape and dtype of each input by name, in order.
        outputs: The same of each output.
        hop: Seconds per step.
        sample_rate: Samples of sound per second.
        classes: Names of classes in index order, without background.
        answers: Answers in index order.
        question: The question that is answered, or empty.
        provenance: Run, weights and version.
    """

    task: str
    inputs: dict[str, str]
    outputs: dict[str, str]
    hop: float
    classes: list[str]
    answers: list[str]
    question: str
    sample_rate: int = SAMPLE_RATE
    provenance: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> str:
        """The facts as one line."""
        return json.dumps(vars(self))


class TaskGraph(nn.Module):
    """A system that answers one task about one clip without padding.

    Args:
        system: The system, in evaluation mode.
        options: What is fixed.
    """

    def __init__(self, system: System, options: GraphOptions) -> None:
        super().__init__()
        self.system = system
        self.options = options

    def forward(self, pictures: Tensor, sound: Tensor) -> dict[str, Tensor]:
        """Answers by name, see `System.graph_values`; inputs as in `GraphOptions.example`."""
        batch = self._batch(pictures, sound)
        return self.system.graph_values(self.system(batch), batch)

    def _batch(self, pictures: Tensor, sound: Tensor) -> Batch:
        options = self.options
        return Batch(
            task=options.task,
            id=["clip"],
            duration=torch.full((1,), options.steps * options.hop, device=pictures.device),
            hop=options.hop,
            valid=torch.ones(1, options.steps, dtype=torch.bool, device=pictures.device),
            frames=None if options.widths.visual else pictures,
            visual=pictures if options.widths.visual else None,
            waveform=None if options.widths.audio else sound,
            audio=sound if options.widths.audio else None,
            text=[options.question] if options.question else None,
        )


def describe(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Dtype and shape of tensors by name, such as `uint8 (1, 10, 3, 112, 112)`."""
    return {name: f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}" for name, x in tensors.items()}
