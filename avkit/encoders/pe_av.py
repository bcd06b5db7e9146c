# SPDX-License-Identifier: Apache-2.0
"""PE Audio Video: sound, sight and text in one space, through transformers.

Source:
    Vyas et al., Pushing the frontier of audiovisual perception with large-scale multimodal correspondence learning
    (PE-AV), 2025; `facebook/pe-av-large`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, PeAudioVideoConfig, PeAudioVideoModel

from avkit.batch import SAMPLE_RATE
from avkit.encoders.base import (
    TextEncoder,
    TextFeatures,
    VisualEncoder,
    VisualFeatures,
    WindowAudioEncoder,
    WindowEncoder,
)
from avkit.encoders.clap import tokenize
from avkit.encoders.pretrained import ImagePreprocessor
from avkit.encoders.transformers_weights import PublishedNetwork
from avkit.media.resample import upsample

#: Weights that `hub` stands for.
REPOSITORY = "facebook/pe-av-large"
#: Samples per second that the network takes, and how many of them make a token.
_RATE = 48_000
_TOKEN = 1920
#: Mean and deviation of pictures.
_HALF = (0.5, 0.5, 0.5)
#: Which of a video's and a sound's texts a sentence is.
Space = Literal["audio_video", "audio", "video"]


class PEAVRows(nn.Module):
    """PE-AV's audio tower on windows of samples: its first token, projected.

    Args:
        pretrained: As in `PEAVAudio`.
    """

    def __init__(self, pretrained: str | Path | bool | None) -> None:
        super().__init__()
        self.published = _published("audio", pretrained)
        model = self.published.network(PeAudioVideoModel, PeAudioVideoConfig)
        self.tower = model.audio_model.audio_encoder
        self.head = model.audio_model.audio_head

    def forward(self, samples: Tensor) -> Tensor:
        """Encode windows (N, n) at 16 kHz to (N, D)."""
        x = upsample(samples, _RATE // SAMPLE_RATE)
        x = F.pad(x, (0, -x.shape[1] % _TOKEN))
        encoded: Tensor = self.head(self.tower(input_values=x[:, None]).pooler_output)
        return encoded


class PEAVAudio(WindowAudioEncoder):
    """PE-AV's audio tower over a window from the start of each step.

    The convolutions of its first part take no gradient in transformers.

    Args:
        pretrained: None for random weights, `hub` for `facebook/pe-av-large`, another `owner/name` of the hub, or a
            folder that `save_pretrained` wrote.
        seconds: Length of a window.

    Raises:
        ValueError: If the weights are those of another network.
    """

    at_once = 16

    def __init__(self, pretrained: str | Path | bool | None = None, seconds: float = 1.0) -> None:
        super().__init__(seconds)
        rows = PEAVRows(pretrained)
        self.network = rows
        self.published = rows.published
        self.width = int(rows.head.proj.out_features)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network."""
        self.published.save(root)


class PEAVVideo(WindowEncoder):
    """PE-AV's video tower over windows of frames: its first token, projected.

    Args:
        pretrained: As in `PEAVAudio`.
    """

    def __init__(self, pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        self.published = _published("window", pretrained)
        model = self.published.network(PeAudioVideoModel, PeAudioVideoConfig)
        self.tower = model.video_model.video_encoder
        self.head = model.video_model.video_head
        self.width = int(self.head.proj.out_features)
        self.preprocess = _preprocessor(self.tower)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network."""
        self.published.save(root)

    def prepare(self, frames: Tensor) -> Tensor:
        """Resize and normalise the frames of a clip, uint8 (T, 3, H, W)."""
        prepared: Tensor = self.preprocess(frames)
        return prepared

    def forward(self, windows: Tensor) -> Tensor:
        """Encode N windows of F prepared frames, (N, F, 3, H, W), to (N, D)."""
        encoded: Tensor = self.head(self.tower(pixel_values_videos=windows).pooler_output)
        return encoded


class PEAVImage(VisualEncoder):
    """PE-AV's video tower over single pictures, each a video of one frame.

    A patch is encoded as if the picture were that patch alone, so that it lies in the same space; before that, patches
    are averaged to a coarser grid, since each passes the tower's layers over time.

    Args:
        pretrained: As in `PEAVAudio`.
        grid: Most rows and columns of patches.
    """

    def __init__(self, pretrained: str | Path | bool | None = None, grid: int = 8) -> None:
        super().__init__()
        self.published = _published("visual", pretrained)
        model = self.published.network(PeAudioVideoModel, PeAudioVideoConfig)
        self.tower = model.video_model.video_encoder
        self.head = model.video_model.video_head
        self.width = int(self.head.proj.out_features)
        self.preprocess = _preprocessor(self.tower)
        self.input_size = self.preprocess.size
        self.grid = grid

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network."""
        self.published.save(root)

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        network = self._picture_network()
        tokens = network.forward_features(self.preprocess(frames))
        frame = self._over_time(network.forward_head(tokens))
        rows, columns = network.patch_embed.grid_size
        patches = tokens[:, tokens.shape[1] - rows * columns :].transpose(1, 2).unflatten(2, (rows, columns))
        grid = (min(rows, self.grid), min(columns, self.grid))
        coarse = F.adaptive_avg_pool2d(patches, grid).flatten(2).transpose(1, 2)
        # the patch stands for the class token too
        alone = coarse.flatten(0, 1)[:, None].expand(-1, network.num_prefix_tokens + 1, -1)
        encoded = self._over_time(network.forward_head(alone)).unflatten(0, (len(frames), grid[0] * grid[1]))
        return VisualFeatures(frame, encoded, grid)

    def _picture_network(self) -> Any:
        """The network of timm that sees single pictures."""
        return self.tower.embedder.vision_model.timm_model

    def _over_time(self, pictures: Tensor) -> Tensor:
        """Vectors of pictures (N, C) as those of videos of one frame, (N, D)."""
        tower = self.tower
        embedder = tower.embedder
        x, _ = tower.patch_embedder(embedder.data_proj(embedder.proj(F.normalize(pictures, dim=-1)))[:, None])
        places = torch.arange(x.shape[1], device=x.device)[None]
        turns = tower.rotary_emb(x, places)
        for layer in tower.layers:
            x = layer(x, position_embeddings=turns)
        encoded: Tensor = self.head(tower.output(tower.norm(x))[:, 0])
        return encoded


class PEAVText(TextEncoder):
    """PE-AV's text encoder: a vector per token, each projected as the first token's, which is `pooled`.

    Args:
        pretrained: As in `PEAVAudio`; there are no random words, so it must be given to encode.
        space: Which head projects: that for videos with sound, for sounds, or for pictures.
    """

    def __init__(self, pretrained: str | Path | bool | None = None, space: Space = "audio_video") -> None:
        super().__init__()
        self.published = _published("text", pretrained)
        model = self.published.network(PeAudioVideoModel, PeAudioVideoConfig)
        heads: dict[Space, Callable[[Tensor], Tensor]] = {
            "audio_video": model.text_audio_video_head,
            "audio": model.audio_model.text_audio_head,
            "video": model.video_model.text_video_head,
        }
        self.network = model.text_model
        self.head = heads[space]
        self.tokenizer: Any = self.published.part(AutoTokenizer)
        self.width = int(model.config.text_config.hidden_size)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network and its words."""
        self.published.save(root)

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences; L is the number of tokens of the longest one."""
        inputs = tokenize(self.tokenizer, texts, self.network.device, "pe_av")
        states = self.network(**inputs, output_hidden_states=True).hidden_states[-1]
        tokens = self.head(states)
        return TextFeatures(tokens, inputs["attention_mask"].bool(), tokens[:, 0])


def _published(kind: str, pretrained: str | Path | bool | None) -> PublishedNetwork:
    """The whole model; each encoder keeps a tower, and the others are freed."""
    return PublishedNetwork("pe_av", kind, REPOSITORY, pretrained)


def _preprocessor(tower: Any) -> ImagePreprocessor:
    """Pictures of the size that the tower takes, from -1 to 1."""
    height, width = tower.embedder.vision_model.timm_model.patch_embed.img_size
    return ImagePreprocessor(_HALF, _HALF, (height, width))
