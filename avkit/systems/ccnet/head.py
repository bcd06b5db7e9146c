# SPDX-License-Identifier: Apache-2.0
"""CCNet's granularity collaboration, dependency module and decoder as a head of `davel` on the shared backbone."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.batch import Batch, Losses, Prediction, Tokens
from avkit.heads.base import Head, HeadInputs
from avkit.nn.event_criterion import EventCriterion
from avkit.nn.event_decoder import EventDecoder
from avkit.nn.event_decoding import decode_events
from avkit.nn.event_levels import EventLevel
from avkit.nn.event_options import EventLossOptions
from avkit.nn.masked_conv import PyramidBlock, subsample
from avkit.systems.ccnet.granularity import GranularityCollaboration, GranularityOptions


@dataclass
class CCNetHeadOptions(EventLossOptions, GranularityOptions):
    """Options of the head; those of CCNet's network, with defaults that train from scratch on two CPU cores.

    Attributes:
        width: Width of the pyramid.
    """

    length: int = 32
    levels: int = 4
    inner: int = 16
    channels: int = 96
    depth: int = 2
    mixed: bool = False
    drop_path: float = 0.0
    normaliser: float = 50.0
    width: int = 96


class CCNetHead(Head):
    """Dense events by collaboration of temporal granularities, on the tokens of the shared backbone.

    Audio and frame tokens of a step are joined, and blocks of strided attention make coarser levels of them, which take
    the place of CCNet's cross-modal pyramid: the backbone has already let the modalities attend to each other. The
    collaboration (MTGC with its dependency module), the decoder and the criterion are those of CCNet.

    Weights of the collaboration are tied to `length` steps. Longer clips are answered in windows of `length` that
    overlap by half, of which each point is taken from the window in whose middle it lies. The windows of a clip depend
    on its own length alone, so padding in a batch changes nothing.

    Args:
        inputs: Width of the tokens and classes.
        options: Sizes and switches.

    Raises:
        ValueError: If the length is no multiple of 2 to the power of the number of levels.
    """

    Options = CCNetHeadOptions
    needs_maps = False

    def __init__(self, inputs: HeadInputs, options: CCNetHeadOptions | None = None) -> None:
        super().__init__()
        options = options or CCNetHeadOptions()
        classes = inputs.need_classes()
        width = options.width
        unit = 2**options.levels
        if options.length % unit:
            raise ValueError(
                f"length is {options.length}; a head with {options.levels} levels needs a multiple of {unit}."
            )
        self.length = options.length
        self.norm = nn.LayerNorm(2 * inputs.width)
        self.enter = nn.Linear(2 * inputs.width, width)
        self.down = nn.ModuleList(
            PyramidBlock(width, 4, stride=2, drop_path=options.drop_path) for _ in range(options.levels - 1)
        )
        self.neck = GranularityCollaboration(width, classes, options)
        self.decoder = EventDecoder(width, classes, options)
        self.criterion = EventCriterion(options)

    def forward(self, tokens: Tokens, batch: Batch) -> list[EventLevel]:
        """The levels, finest first."""
        x = self.enter(self.norm(torch.cat([tokens.audio, tokens.frame], -1)))
        x = x * tokens.valid[..., None]
        steps = x.shape[1]
        if steps <= self.length:
            return self._window(_pad(x, self.length), _pad(tokens.valid, self.length))
        return self._long(x, tokens.valid)

    def loss(self, output: Sequence[EventLevel], batch: Batch) -> Losses:
        """`classes` and `segments`."""
        losses: Losses = self.criterion(output, batch)
        return losses

    def predict(self, output: Sequence[EventLevel], batch: Batch) -> Prediction:
        """`event_list`, see `decode_events`."""
        return Prediction(batch.task, batch.id, {"event_list": decode_events(output, batch)})

    def _window(self, x: Tensor, valid: Tensor) -> list[EventLevel]:
        """Events of `length` steps (B, length, D)."""
        levels = [x]
        masks = [valid]
        for block in self.down:
            levels.append(block(levels[-1], levels[-1], masks[-1]))
            masks.append(subsample(masks[-1], 2))
        output: list[EventLevel] = self.decoder(self.neck(levels, masks), masks)
        return output

    def _long(self, x: Tensor, valid: Tensor) -> list[EventLevel]:
        """Events of more than `length` steps, from windows that overlap by half."""
        half = self.length // 2
        count = -(-x.shape[1] // half) - 1
        total = (count + 1) * half
        x = _pad(x, total)
        valid = _pad(valid, total)
        windows = []
        for number in range(count):
            part = slice(number * half, number * half + self.length)
            windows.append(self._window(x[:, part], valid[:, part]))
        last = self._last_window(valid)
        return [_join([window[level] for window in windows], last) for level in range(len(windows[0]))]

    def _last_window(self, valid: Tensor) -> Tensor:
        """Number of the last window that each clip of valid steps (B, T) needs, int64 (B,)."""
        half = self.length // 2
        beyond = (valid.sum(1) - self.length).clamp(min=0)
        return (beyond + half - 1) // half


def _pad(x: Tensor, steps: int) -> Tensor:
    """Tensor (B, T) or (B, T, D) with zeros up to `steps`."""
    missing = steps - x.shape[1]
    return F.pad(x, (0, 0, 0, missing) if x.ndim == 3 else (0, missing))


def _join(windows: Sequence[EventLevel], last: Tensor) -> EventLevel:
    """One level of windows that overlap by half: the middle of each, the start of the first and the end of the last.

    Args:
        windows: The level in every window, P points each.
        last: Number of each clip's last window, int64 (B,).
    """
    clips, points = windows[0].valid.shape
    half = points // 2
    position = torch.arange((len(windows) + 1) * half, device=last.device)
    middle = (position - points // 4).div(half, rounding_mode="floor").clamp(min=0)
    window = torch.minimum(middle, last[:, None])  # (B, N)
    place = position - window * half
    inside = place < points
    index = (window, torch.arange(clips, device=last.device)[:, None], place.clamp(max=points - 1))
    logits = torch.stack([level.logits for level in windows])[index]
    offsets = torch.stack([level.offsets for level in windows])[index]
    valid = torch.stack([level.valid for level in windows])[index] & inside
    return EventLevel(logits, offsets, valid, windows[0].stride, windows[0].first)
