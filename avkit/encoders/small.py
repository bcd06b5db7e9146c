# SPDX-License-Identifier: Apache-2.0
"""Encoders small enough to train from scratch on a laptop's CPU: the default for scenes and for tests."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.base import AudioEncoder, SoftTextEncoder, TextFeatures, VisualEncoder, VisualFeatures
from avkit.media.mel import per_second_mel
from avkit.nn.padded_gru import read_padded
from avkit.nn.sent import sent
from avkit.nn.token_merging import choose_pairs, merge_pairs
from avkit.text.tokenizer import END, PAD, START, UNKNOWN, WordTokenizer


def conv_block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """3x3 convolution, group norm, ReLU."""
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(min(8, outputs // 4), outputs), nn.ReLU(inplace=True))


class SmallVisual(VisualEncoder):
    """A convolutional pyramid with strides 2 and 4, and patches at stride 8.

    Args:
        channels: Width at each stride; the last is the width of patches and frame.
    """

    from_scratch = True

    def __init__(self, channels: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.stages = nn.ModuleList(
            [
                conv_block(3, fine, stride=2),
                nn.Sequential(conv_block(fine, middle, stride=2), conv_block(middle, middle, stride=1)),
                nn.Sequential(
                    conv_block(middle, coarse, stride=2),
                    conv_block(coarse, coarse, stride=1),
                    conv_block(coarse, coarse, stride=1),
                ),
            ]
        )
        self.width = coarse
        self.pyramid_widths = [fine, middle]
        self.pyramid_strides = [2, 4]

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size from 16 pixels; `frame` is the mean."""
        x = frames.float() / 127.5 - 1 if frames.dtype == torch.uint8 else frames * 2 - 1
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        patches = x.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (x.shape[2], x.shape[3]), maps[:2])


class SmallMerging(SmallVisual):
    """`SmallVisual` whose similar patches are merged until few tokens are left, which `patches` are.

    Similar are patches whose features are; a mean counts the patches that it stands for. `sources` says which token
    each patch went into.

    Args:
        tokens: Tokens that are left of each picture; all patches where there are no more.

    Source:
        Bolya et al., Token Merging: Your ViT But Faster, ICLR 2023, section 3.
    """

    def __init__(self, tokens: int = 14) -> None:
        super().__init__()
        self.tokens = tokens

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images as `SmallVisual` does, and merge their patches."""
        features = super().forward(frames)
        x = features.patches
        size = x.new_ones(*x.shape[:2], 1)
        numbers = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        while x.shape[1] > max(2, self.tokens):
            pairs = choose_pairs(x, x.shape[1] - self.tokens)
            if pairs is None:
                break
            numbers = pairs.destinations(x.shape[1]).gather(1, numbers)
            x, size = merge_pairs(x, size, pairs)
        return VisualFeatures(features.frame, x, (1, x.shape[1]), sources=numbers.unflatten(1, features.grid))


class SmallEmbedding(VisualEncoder):
    """One vector per image, to be compared with other images or with sentences: a small counterpart of `ClipImage`.

    Its vectors are meaningful only after such training, see `scripts/write_region_weights.py`; `scenes` names weights
    that come with avkit, with those of `SmallSentence`.

    Args:
        width: Width of the vector.
    """

    from_scratch = True

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.tower = SmallVisual()
        self.norm = nn.BatchNorm1d(self.tower.width)
        self.out = nn.Linear(self.tower.width, width)
        self.width = width

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size from 16 pixels."""
        features = self.tower(frames)
        frame = self.out(self.norm(features.frame))
        return VisualFeatures(frame, features.patches, features.grid)


class SmallAudio(AudioEncoder):
    """A convolutional network over the log-mel spectrogram of each step.

    Args:
        width: Width of the output.
    """

    from_scratch = True
    by_rows = True

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 32, (2, 4), stride=(2, 4)),
            nn.ReLU(inplace=True),
            conv_block(32, 64, stride=2),
            conv_block(64, 64, stride=1),
        )
        self.out = nn.Linear(2 * 64 * 8, width)
        self.width = width

    def forward(self, waveform: Tensor, steps: int, hop: float) -> Tensor:
        """Encode waveforms (B, samples) at 16 kHz to (B, T, D)."""
        mel = per_second_mel(waveform, steps, hop, stride=320)  # a frame every 20 ms is enough here
        if mel.shape[2] == 1:  # a step of one video frame has one frame of sound, and the first layer takes two
            mel = mel.expand(-1, -1, 2, -1)
        x = (mel.flatten(0, 1)[:, None] + 2) / 3  # log-mel values range from ln 0.01 to about 4: centre them
        x = self.convs(x)
        x = torch.cat([x.mean(2), x.amax(2)], dim=1).flatten(1)
        return self.out(x).unflatten(0, mel.shape[:2])


class SmallText(SoftTextEncoder):
    """Word vectors and a bidirectional GRU.

    Args:
        words: The vocabulary; all other words share one vector.
        width: Width of the output, even.
    """

    from_scratch = True

    def __init__(self, words: Sequence[str], width: int = 128) -> None:
        super().__init__()
        self.tokenizer = WordTokenizer(words)
        self.embed = nn.Embedding(len(self.tokenizer), width, padding_idx=PAD)
        self.mix = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)
        self.width = width

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences: a word's own vector plus that of its context; `pooled` is the mean over words.

        A sentence without words is pooled over its start and end tokens.
        """
        ids = self.tokenizer.encode(texts)
        lengths = (ids != PAD).sum(1)
        return self._encode(self.embed(sent(ids, self.embed.weight.device)), lengths)

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Embeddings of W words, (W, E)."""
        ids = [self.tokenizer.index.get(word, UNKNOWN) for word in words]
        vectors: Tensor = self.embed(torch.tensor(ids, device=self.embed.weight.device))
        return vectors

    def encode_embeddings(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Encode sentences of embedded words, see `SoftTextEncoder`."""
        start = self.embed.weight[START].expand(len(words), 1, -1)
        rows = torch.cat([start, words, torch.zeros_like(start)], 1)
        end = (torch.arange(rows.shape[1], device=words.device) == lengths[:, None] + 1)[..., None]
        rows = torch.where(end, self.embed.weight[END], rows)
        return self._encode(rows, lengths.cpu() + 2).pooled

    def _encode(self, rows: Tensor, lengths: Tensor) -> TextFeatures:
        """Encode embedded tokens (N, L, E), of which start and end are the first and the last of each length."""
        longest = int(lengths.max())
        x = rows[:, :longest]
        tokens = x + read_padded(self.mix, x, lengths)
        position = torch.arange(longest)
        valid = position < lengths[:, None]
        is_word = (position > 0) & (position < lengths[:, None] - 1)
        pooled_over = is_word | (valid & ~is_word.any(1, keepdim=True))
        weights = F.normalize(sent(pooled_over, tokens.device).to(tokens.dtype), p=1, dim=1)
        pooled = torch.einsum("nld,nl->nd", tokens, weights)
        return TextFeatures(tokens, sent(valid, tokens.device), pooled, lengths)


class SmallSentence(SoftTextEncoder):
    """One vector per sentence in the space of `SmallEmbedding`: a small counterpart of CLIP's text encoder.

    Args:
        words: The vocabulary; all other words share one vector.
        width: Width of the vector.
    """

    from_scratch = True

    def __init__(self, words: Sequence[str], width: int = 64) -> None:
        super().__init__()
        self.tower = SmallText(words)
        self.norm = nn.LayerNorm(self.tower.width)
        self.out = nn.Linear(self.tower.width, width)
        self.width = width

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences; tokens are projected as the sentence is."""
        features = self.tower(texts)
        return TextFeatures(
            self._project(features.tokens), features.valid, self._project(features.pooled), features.lengths
        )

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Embeddings of W words, (W, E)."""
        return self.tower.embed_words(words)

    def encode_embeddings(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Encode sentences of embedded words, see `SoftTextEncoder`."""
        return self._project(self.tower.encode_embeddings(words, lengths))

    def _project(self, vectors: Tensor) -> Tensor:
        projected: Tensor = self.out(self.norm(vectors))
        return projected
