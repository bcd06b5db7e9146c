# SPDX-License-Identifier: Apache-2.0
"""The contracts of encoders and the features that they return."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from avkit.batch import SAMPLE_RATE, exportable
from avkit.media.mel import windows_from_starts


@exportable
@dataclass
class VisualFeatures:
    """Features of N images.

    Attributes:
        frame: One vector per image, (N, D).
        patches: One vector per patch, (N, P, D), row by row over `grid`.
        grid: Rows and columns of the patches.
        pyramid: Feature maps (N, C, h, w), finest first; empty for encoders without a pyramid.
        sources: Where patches are merged tokens, the number of the token that each patch of the image went into,
            integers (N, h, w), row by row; else None.
    """

    frame: Tensor
    patches: Tensor
    grid: tuple[int, int]
    pyramid: list[Tensor] = field(default_factory=list)
    sources: Tensor | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> "VisualFeatures":
        """Apply a function to every tensor."""
        pyramid = [change(x) for x in self.pyramid]
        sources = None if self.sources is None else change(self.sources)
        return VisualFeatures(change(self.frame), change(self.patches), self.grid, pyramid, sources)


@exportable
@dataclass
class TextFeatures:
    """Features of N sentences.

    Attributes:
        tokens: One vector per token, (N, L, D).
        valid: Which tokens are no padding, bool (N, L).
        pooled: One vector per sentence, (N, D).
        lengths: Tokens of each sentence, int64 (N,), on the CPU, where an encoder counted them there, else None.
    """

    tokens: Tensor
    valid: Tensor
    pooled: Tensor
    lengths: Tensor | None = None


class Encoder(nn.Module):
    """What all encoders share: where their weights come from.

    Attributes:
        width: Width D of the features.
        weights_from: `hub`, a tag, a path, or `a checkpoint`; None while the weights are random. `build_visual_encoder`
            and its like set it, and so does loading a state dict.
    """

    #: Whether it is small enough to be trained from random weights together with a system; others are pretrained.
    from_scratch: ClassVar[bool] = False

    width: int
    weights_from: str | None = None

    def save_settings(self, root: Path) -> None:
        """Write what weights do not tell, see `avkit.encoders.settings`; by default nothing.

        Args:
            root: Folder of all settings of a run.
        """

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *arguments: Any) -> None:
        """Note that weights are loaded, also where a module around this one loads them."""
        super()._load_from_state_dict(state_dict, prefix, *arguments)
        if self.weights_from is None and any(key.startswith(prefix) for key in state_dict):
            self.weights_from = "a checkpoint"


class VisualEncoder(Encoder, ABC):
    """Encodes each image by itself.

    A subclass calls `super().__init__()`, sets `width`, and sets the other attributes where they differ from their
    defaults. Its constructor takes `pretrained` (None, `hub`, or a path), unless it is `from_scratch`.

    Attributes:
        width: Width D of `frame` and `patches`.
        pyramid_widths: Channels of the pyramid's maps, finest first; empty without a pyramid, the default.
        pyramid_strides: Strides of the pyramid's maps in pixels, finest first; empty where not constant or not known.
        pyramid_includes_patches: Whether the pyramid already has the patches as one of its maps, by default the
            coarsest one.
        input_size: Height and width in pixels that images are resized to; None (default) where they keep their size.
    """

    width: int
    pyramid_widths: list[int]
    pyramid_strides: list[int]
    pyramid_includes_patches: bool
    input_size: tuple[int, int] | None

    def __init__(self) -> None:
        super().__init__()
        self.pyramid_widths = []
        self.pyramid_strides = []
        self.pyramid_includes_patches = False
        self.input_size = None

    if TYPE_CHECKING:

        def __call__(self, frames: Tensor) -> VisualFeatures:
            """The result of `forward`."""

    @abstractmethod
    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images (N, 3, H, W), uint8 or float in [0, 1]."""


class VideoEncoder(Encoder, ABC):
    """Encodes all frames of one video together.

    Attributes:
        width: Width D of the tokens.
    """

    width: int

    if TYPE_CHECKING:

        def __call__(self, frames: Tensor) -> Tensor:
            """The result of `forward`."""

    @abstractmethod
    def forward(self, frames: Tensor) -> Tensor:
        """Encode the frames of one video, uint8 (T, 3, H, W), to M tokens (M, D)."""


class WindowEncoder(Encoder, ABC):
    """Encodes short windows of frames, each window by itself, to one vector each.

    A clip's frames are prepared once, and windows are cut out of what `prepare` returns, so that what belongs to single
    frames or to pairs of neighbours is computed once however much windows overlap.

    Attributes:
        width: Width D of the vectors.
        spare_frames: Frames that `prepare` takes and does not return: 1 where the motion to the next frame is read.
    """

    width: int
    spare_frames: ClassVar[int] = 0

    if TYPE_CHECKING:

        def __call__(self, windows: Tensor) -> Tensor:
            """The result of `forward`."""

    @abstractmethod
    def prepare(self, frames: Tensor) -> Tensor:
        """Input of the windows, (T - spare_frames, ...), of all frames of a clip, uint8 (T, 3, H, W)."""

    @abstractmethod
    def forward(self, windows: Tensor) -> Tensor:
        """Encode N windows of F prepared frames, (N, F, ...), to (N, D)."""


class AudioEncoder(Encoder, ABC):
    """Encodes a waveform to one vector per step.

    Attributes:
        width: Width D of the vectors.
        by_rows: Whether each step's vector depends on the sound of that step alone, so that recipes can extract it.
    """

    width: int
    by_rows: bool = False

    if TYPE_CHECKING:

        def __call__(self, waveform: Tensor, steps: int, hop: float) -> Tensor:
            """The result of `forward`."""

    @abstractmethod
    def forward(self, waveform: Tensor, steps: int, hop: float) -> Tensor:
        """Encode waveforms (B, samples) at 16 kHz in [-1, 1] to (B, T, D); T is `steps`, `hop` is seconds per step."""


class RowAudioEncoder(AudioEncoder, ABC):
    """An audio encoder whose `network` takes one row per step, so that extraction can batch rows across clips.

    Attributes:
        network: Encodes rows to (N, D).
        takes_samples: Whether a row is the samples of a window, float (n,), and not a log-mel example, (96, 64).
        by_rows: Whether each step's vector depends on its own row alone.
    """

    takes_samples: ClassVar[bool] = False

    network: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.by_rows = True


class WindowAudioEncoder(RowAudioEncoder, ABC):
    """An audio encoder whose `network` encodes the samples of a window; it hears each step from its start on.

    Where the window is longer than a step, windows overlap; beyond the end of the sound there is silence.

    Args:
        seconds: Length of a window.
    """

    takes_samples: ClassVar[bool] = True
    #: Windows that pass the network together, which bounds memory.
    at_once: ClassVar[int] = 64

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.samples = round(seconds * SAMPLE_RATE)

    def forward(self, waveform: Tensor, steps: int, hop: float) -> Tensor:
        """Encode waveforms (B, samples) at 16 kHz in [-1, 1] to (B, T, D); `hop` is seconds per step."""
        windows = windows_from_starts(waveform, steps, hop, self.samples).flatten(0, 1)
        encoded = torch.cat([self.network(part) for part in windows.split(self.at_once)])
        return encoded.unflatten(0, (len(waveform), steps))


class TextEncoder(Encoder, ABC):
    """Encodes sentences to a vector per token and one per sentence.

    A subclass that is `from_scratch` takes `words`, its vocabulary, in its constructor.

    Attributes:
        width: Width D of the vectors.
    """

    width: int

    if TYPE_CHECKING:

        def __call__(self, texts: list[str]) -> TextFeatures:
            """The result of `forward`."""

    @abstractmethod
    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences."""


class SoftTextEncoder(TextEncoder, ABC):
    """A text encoder that also encodes sentences of embedded words, so that a gradient reaches who chose the words."""

    @abstractmethod
    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Embeddings of W words, (W, E); where the encoder has several tokens for a word, their mean."""

    @abstractmethod
    def encode_embeddings(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Encode N sentences of embedded words.

        Args:
            words: Embeddings of the words, without start and end, (N, L, E).
            lengths: Number of words of each sentence, int64 (N,), from 0 to L; what follows is not read.

        Returns:
            What `pooled` is for the same sentences in letters, (N, D).
        """
