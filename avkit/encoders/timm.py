# SPDX-License-Identifier: Apache-2.0
"""Visual encoders of the timm library: pyramids such as PVT v2, and networks with tokens of one scale such as ViTs."""

from math import isqrt
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import ImagePreprocessor
from avkit.encoders.timm_weights import check_name, create_network
from avkit.nn.recompute import Recomputable


def timm_class(name: str) -> type[VisualEncoder]:
    """The class that runs a network of timm: `TimmPyramid` where its maps have several strides, else `TimmViT`.

    Args:
        name: Any name of timm, such as `convnext_tiny` or `vit_small_patch14_dinov2.lvd142m`.

    Raises:
        ValueError: If timm has no such network.
    """
    check_name(name)
    with torch.device("meta"):  # no memory for the weights
        network = timm.create_model(name, features_only=True)
    return TimmPyramid if len(set(network.feature_info.reduction())) > 1 else TimmViT


class TimmPyramid(VisualEncoder, Recomputable):
    """A timm network with feature maps at several strides; the map of one stride gives the patches.

    Images are resized where the network takes one size alone, such as Hiera.

    Args:
        name: Any timm model with `features_only`, such as `pvt_v2_b5`.
        pretrained: None or False for random weights, `hub` or True for those that timm downloads, or a path to weights
            with timm's keys or, where timm can convert them, the authors' own (PVT v2: yes).
        patch_stride: Stride of the map that gives the patches, in pixels; by default the coarsest.
        drop_path: Stochastic depth: share of samples that skip the last block's residual branch in training, rising
            linearly from 0 at the first block.

    Raises:
        ValueError: If timm has no such network, the weights do not fit, or there is no map of that stride.
    """

    def __init__(
        self,
        name: str = "pvt_v2_b5",
        pretrained: str | Path | bool | None = None,
        patch_stride: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        options = {"drop_path_rate": drop_path} if drop_path else {}  # VGG, for one, takes none
        self.network = create_network(name, pretrained, features_only=True, **options)
        config = self.network.pretrained_cfg
        is_fixed = config.get("fixed_input_size") or config.get("min_input_size")
        self.input_size = _image_size(config) if is_fixed else None
        self.preprocess = _preprocessor(config, self.input_size)
        self.pyramid_widths = list(self.network.feature_info.channels())
        strides = list(self.network.feature_info.reduction())
        self.pyramid_strides = [] if self.input_size else strides
        self.pyramid_includes_patches = True
        stride = strides[-1] if patch_stride is None else patch_stride
        if stride not in strides:
            raise ValueError(f"{name} has no map of stride {stride}; patch_stride may be one of {strides}.")
        self._patch_level = strides.index(stride)
        self.width = self.pyramid_widths[self._patch_level]

    @property
    def recompute(self) -> bool:
        """Whether activations are recomputed in training, block by block where the network can."""
        return any(vars(part).get("grad_checkpointing", False) for part in self._checkpointed_parts())

    @recompute.setter
    def recompute(self, recompute: bool) -> None:
        for part in self._checkpointed_parts():
            part.grad_checkpointing = recompute

    def _checkpointed_parts(self) -> list[Any]:
        """Stages of the network with timm's switch for recomputing; the network itself where no stage has it."""
        stages = [part for part in self.network.children() if "grad_checkpointing" in vars(part)]
        return stages or [self.network]

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W); `frame` is the mean of the patches."""
        pairs = zip(self.network(self.preprocess(frames)), self.pyramid_widths, strict=True)
        maps = [_channels_first(x, width) for x, width in pairs]
        patch_map = maps[self._patch_level]
        patches = patch_map.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (patch_map.shape[2], patch_map.shape[3]), maps)


class TimmViT(VisualEncoder):
    """A timm network with tokens of one scale: vision transformers, and others without a pyramid.

    Images are resized to the network's own size. `frame` is what the network itself pools for its classifier: the class
    token, a pool by attention (SigLIP, PE), or the mean; `patches` are the tokens of patches, without class token and
    registers.

    Args:
        name: A timm network, such as `vit_base_patch16_224` or `vit_small_patch14_dinov2`.
        pretrained: As in `TimmPyramid`.

    Raises:
        ValueError: If timm has no such network, it has a pyramid, or the weights do not fit.
    """

    def __init__(self, name: str = "vit_base_patch16_224", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        if timm_class(name) is TimmPyramid:
            raise ValueError(f"{name} is not a vision transformer: it has a pyramid. Use TimmPyramid for {name}.")
        self.network = create_network(name, pretrained, num_classes=0)
        config = self.network.pretrained_cfg
        embedding = vars(self.network)["_modules"].get("patch_embed")
        size = _pair_of(embedding, "img_size") or _image_size(config)
        self.preprocess = _preprocessor(config, size)
        self.input_size = size
        self.width = self.network.num_features
        self._grid = _pair_of(embedding, "grid_size")

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        tokens = self.network.forward_features(self.preprocess(frames))
        if tokens.ndim == 4:
            patch_map = _channels_first(tokens, self.width)
            grid = (patch_map.shape[2], patch_map.shape[3])
            patches = patch_map.flatten(2).transpose(1, 2)
        else:
            grid = self._grid or _square(tokens.shape[1])
            patches = tokens[:, tokens.shape[1] - grid[0] * grid[1] :]
        return VisualFeatures(self._pool(tokens, patches), patches, grid)

    def _pool(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """What the network pools; the mean where it pools nothing, or to another width."""
        try:
            pooled: Tensor = self.network.forward_head(tokens, pre_logits=True)
        except NotImplementedError:  # encoders of language models
            return patches.mean(1)
        return pooled if pooled.shape == (len(tokens), self.width) else patches.mean(1)


def _image_size(config: dict[str, Any]) -> tuple[int, int]:
    """Height and width that a network was trained with."""
    _, height, width = config["input_size"]
    return height, width


def _pair_of(embedding: nn.Module | None, name: str) -> tuple[int, int] | None:
    """A pair of numbers that a network's patch embedding states, such as its grid; None where it has none."""
    pair = vars(embedding).get(name) if embedding is not None else None
    return (int(pair[0]), int(pair[1])) if pair is not None else None


def _square(tokens: int) -> tuple[int, int]:
    """The largest square grid of so many tokens; what is over are class token and registers, which come first."""
    side = isqrt(tokens)
    return side, side


def _channels_first(x: Tensor, width: int) -> Tensor:
    """A feature map as (N, width, h, w), of networks that end in (N, h, w, width) too."""
    return x if x.shape[1] == width else x.permute(0, 3, 1, 2)


def _preprocessor(config: dict[str, Any], size: tuple[int, int] | None) -> ImagePreprocessor:
    return ImagePreprocessor(config["mean"], config["std"], size)
