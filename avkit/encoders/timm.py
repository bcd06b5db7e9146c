# SPDX-License-Identifier: Apache-2.0
"""Visual encoders of the timm library: pyramids such as PVT v2, and vision transformers."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import (
    HUB,
    ImagePreprocessor,
    check_weights,
    count_parameters,
    covers,
    give_file,
    read_weights,
)
from avkit.nn.recompute import Recomputable
from avkit.reading.hub import from_hub, hugging_face


class TimmPyramid(VisualEncoder, Recomputable):
    """A timm network with feature maps at several strides; the map of one stride gives the patches.

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
        self.network = _create(name, pretrained, features_only=True, **options)
        self.preprocess = _preprocessor(self.network.pretrained_cfg, size=None)
        self.pyramid_widths = list(self.network.feature_info.channels())
        self.pyramid_strides = list(self.network.feature_info.reduction())
        self.pyramid_includes_patches = True
        stride = self.pyramid_strides[-1] if patch_stride is None else patch_stride
        if stride not in self.pyramid_strides:
            raise ValueError(
                f"{name} has no map of stride {stride}; patch_stride may be one of {self.pyramid_strides}."
            )
        self._patch_level = self.pyramid_strides.index(stride)
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
        maps: list[Tensor] = list(self.network(self.preprocess(frames)))
        patch_map = maps[self._patch_level]
        patches = patch_map.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (patch_map.shape[2], patch_map.shape[3]), maps)


class TimmViT(VisualEncoder):
    """A timm vision transformer: `frame` is the class token, `patches` are the other tokens.

    Images are resized to the network's own size. Without a class token, `frame` is the mean of the patches.

    Args:
        name: A timm vision transformer, such as `vit_base_patch16_224`.
        pretrained: As in `TimmPyramid`.

    Raises:
        ValueError: If timm has no such network, it is not a vision transformer, or the weights do not fit.
    """

    def __init__(self, name: str = "vit_base_patch16_224", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        self.network = _create(name, pretrained, num_classes=0)
        if not hasattr(self.network, "num_prefix_tokens"):
            raise ValueError(f"{name} is not a vision transformer with tokens. Use TimmPyramid for {name}.")
        height, width = self.network.patch_embed.img_size
        self.preprocess = _preprocessor(self.network.pretrained_cfg, size=(height, width))
        self.input_size = (height, width)
        self.width = self.network.embed_dim

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        tokens = self.network.forward_features(self.preprocess(frames))
        patches = tokens[:, self.network.num_prefix_tokens :]
        frame = tokens[:, 0] if self.network.cls_token is not None else patches.mean(1)
        rows, columns = self.network.patch_embed.grid_size
        return VisualFeatures(frame, patches, (rows, columns))


def _create(name: str, pretrained: str | Path | bool | None, **options: Any) -> Any:
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=5, cutoff=0.5)
        raise ValueError(f"timm knows no model {name!r}. Similar: {', '.join(near) or 'none'}; see timm.list_models().")
    if not pretrained:
        return timm.create_model(name, pretrained=False, **options)
    if pretrained is True or pretrained == HUB:
        with timm_weights(name):
            return timm.create_model(name, pretrained=True, **options)
    state = _read(name, pretrained)
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)


def timm_weights(name: str) -> AbstractContextManager[bool]:
    """A block in which timm loads the published weights of a model."""
    config = timm.get_pretrained_cfg(name)
    address = "https://huggingface.co/timm"
    if config is not None:
        address = hugging_face(config.hf_hub_id) if config.hf_hub_id else config.url or address
    return from_hub(
        f"Weights of {name}", address, give_file("visual"), lambda: count_parameters(lambda: timm.create_model(name))
    )


def _read(name: str, path: str | Path) -> dict[str, Tensor]:
    """Weights with timm's keys, checked against the whole model, since `features_only` ignores keys that do not fit."""
    whole = timm.create_model(name, num_classes=0)
    filter_checkpoint = vars(import_module(type(whole).__module__)).get("checkpoint_filter_fn")
    has_keys = covers(whole.state_dict().keys())

    def convert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The state by timm's keys."""
        return dict(state if filter_checkpoint is None else filter_checkpoint(dict(state), whole))

    def fits(state: Mapping[str, Tensor]) -> bool:
        try:
            return has_keys(convert(state))
        except (KeyError, IndexError, ValueError, RuntimeError, AttributeError):  # weights of something else
            return False

    state = read_weights(path, fits)
    if fits(state):
        state = convert(state)
    classifier = whole.pretrained_cfg.get("classifier") or ()
    prefixes = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    check_weights(whole.state_dict(), state, path, prefixes)
    return state


def _preprocessor(config: dict[str, Any], size: tuple[int, int] | None) -> ImagePreprocessor:
    return ImagePreprocessor(config["mean"], config["std"], size)
