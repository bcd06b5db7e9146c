# SPDX-License-Identifier: Apache-2.0
"""VGGish, the audio encoder of most audio-visual datasets.

Source:
    Hershey et al., CNN architectures for large-scale audio classification, ICASSP 2017; state-dict keys as in
    harritaylor/torchvggish at commit f3f90969, so that its weights load as they are.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from avkit.encoders.base import RowAudioEncoder
from avkit.encoders.pretrained import HUB, give_file, load_weights, released_file
from avkit.errors import FileError
from avkit.media.mel import EXAMPLE_FRAMES, EXAMPLE_SAMPLES, MEL_BANDS, cut_steps, log_mel
from avkit.reading.arrays import read_npz

#: The released weights, converted from TensorFlow; the name carries the hash that is checked.
WEIGHTS_URL = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"

#: Output channels of the convolutions; M is max-pooling by 2.
_LAYERS: tuple[int | str, ...] = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")
#: The post-processor clips values to plus or minus this number before it rounds them to 8 bits.
_PCA_RANGE = 2.0


class VGGish(nn.Module):
    """Convolutional network from a log-mel example of 0.975 s to 128 non-negative numbers.

    Args:
        pretrained: None for random weights, `hub` for the released weights, or a path.

    Raises:
        ValueError: If the weights do not fit.
    """

    width = 128

    def __init__(self, pretrained: str | Path | None = None) -> None:
        super().__init__()
        self.features = _convolutions()
        self.embeddings = nn.Sequential(
            nn.Linear(512 * (EXAMPLE_FRAMES // 16) * (MEL_BANDS // 16), 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, self.width),
            nn.ReLU(inplace=True),  # the released network ends with a ReLU
        )
        if pretrained == HUB:
            count = sum(x.numel() for x in self.parameters())
            load_weights(self, released_file("Weights of VGGish", WEIGHTS_URL, give_file("audio"), count))
        elif pretrained:
            load_weights(self, pretrained)

    def forward(self, mel: Tensor) -> Tensor:
        """Encode log-mel examples.

        Args:
            mel: (N, 96, 64) or (N, 1, 96, 64), time before frequency.

        Returns:
            (N, 128).

        Raises:
            ValueError: If an example is not 96 frames of 64 bands.
        """
        if tuple(mel.shape[-2:]) != (EXAMPLE_FRAMES, MEL_BANDS):
            raise ValueError(
                f"VGGish takes log-mel examples (N, {EXAMPLE_FRAMES}, {MEL_BANDS}), got {tuple(mel.shape)}. "
                "Cut them with avkit.media.mel.vggish_examples."
            )
        x = self.features(mel.reshape(-1, 1, EXAMPLE_FRAMES, MEL_BANDS))
        # TensorFlow flattens with channels last, and the weights of the linear layers expect that order
        embedding: Tensor = self.embeddings(x.permute(0, 2, 3, 1).flatten(1))
        return embedding


class VGGishPostprocessor(nn.Module):
    """The released post-processing of VGGish features: PCA with whitening, clipping to [-2, 2], 8-bit quantisation.

    Args:
        path: `vggish_pca_params.npz` as released, or a state dict with the same two keys; None fills both with zeros.

    Raises:
        ValueError: If the file lacks `pca_eigen_vectors` (128, 128) or `pca_means` (128, 1).
    """

    pca_eigen_vectors: Tensor
    pca_means: Tensor

    def __init__(self, path: str | Path | None = None) -> None:
        super().__init__()
        self.register_buffer("pca_eigen_vectors", torch.zeros(VGGish.width, VGGish.width))
        self.register_buffer("pca_means", torch.zeros(VGGish.width, 1))
        if path is not None:
            self._load(Path(path))

    def project(self, embedding: Tensor) -> Tensor:
        """Whitened features before clipping and quantisation, (N, 128)."""
        return (embedding - self.pca_means.T) @ self.pca_eigen_vectors.T

    def forward(self, embedding: Tensor) -> Tensor:
        """Quantise VGGish features (N, 128) to whole numbers from 0 to 255, as float (N, 128)."""
        clipped = self.project(embedding).clamp(-_PCA_RANGE, _PCA_RANGE)
        return ((clipped + _PCA_RANGE) * (255 / (2 * _PCA_RANGE))).round()

    def _load(self, path: Path) -> None:
        if path.suffix != ".npz":
            load_weights(self, path)
            return
        try:
            arrays = read_npz(path, sorted(self.state_dict()))
        except FileError as error:
            raise ValueError(str(error)) from error
        state = {key: torch.from_numpy(array).float() for key, array in arrays.items()}
        self.load_state_dict(state | {"pca_means": state["pca_means"].reshape(-1, 1)})


class VGGishAudio(RowAudioEncoder):
    """VGGish over the first 0.975 s of each step, as the features of MUSIC-AVQA and LLP were extracted.

    A shorter step is padded with silence, so that its features do not depend on the next step.

    Args:
        pretrained: As in `VGGish`.
        running: Take successive examples 0.96 s apart, one per step whatever the hop, and repeat the last one where
            they are too few, as AVSBench's features were extracted. At one step per second, example k begins k times
            0.04 s before its step.
    """

    width = VGGish.width

    def __init__(self, pretrained: str | Path | None = None, running: bool = False) -> None:
        super().__init__()
        self.network = VGGish(pretrained)
        self.running = running
        self.by_rows = not running

    def forward(self, waveform: Tensor, steps: int, hop: float) -> Tensor:
        """Encode waveforms (B, samples) at 16 kHz in [-1, 1] to (B, T, 128); `hop` is seconds per step."""
        if self.running:
            mel = _successive_examples(waveform, steps)
        else:
            mel = log_mel(cut_steps(waveform, steps, hop, EXAMPLE_SAMPLES))
        embedding: Tensor = self.network(mel.flatten(0, 1)).unflatten(0, (len(waveform), steps))
        return embedding


def _successive_examples(waveform: Tensor, steps: int) -> Tensor:
    """Log-mel examples of waveforms (B, samples), 0.96 s apart; the last one is repeated up to `steps` of them."""
    missing = EXAMPLE_SAMPLES - waveform.shape[1]
    mel = log_mel(torch.nn.functional.pad(waveform, (0, max(0, missing))))
    count = min(steps, mel.shape[1] // EXAMPLE_FRAMES)
    examples = mel[:, : count * EXAMPLE_FRAMES].unflatten(1, (count, EXAMPLE_FRAMES))
    repeated = examples[:, -1:].expand(-1, steps - count, -1, -1)
    return torch.cat([examples, repeated], 1)


def _convolutions() -> nn.Sequential:
    layers: list[nn.Module] = []
    inputs = 1
    for layer in _LAYERS:
        if isinstance(layer, str):
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(inputs, layer, 3, padding=1), nn.ReLU(inplace=True)]
            inputs = layer
    return nn.Sequential(*layers)
