# SPDX-License-Identifier: Apache-2.0
"""Visual encoders of the timm library: pyramids such as PVT v2, and vision transformers."""

from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import timm
from torch import Tensor

from avkit.encoders.base import VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import HUB, Pixels, check_weights, read_weights
from avkit.nn.recompute import Recomputable


class TimmPyramid(VisualEncoder, Recomputable):
    """A network with feature maps at several strides; the patches are those of one stride.

    Args:
        name: Any timm model with `features_only`, such as `pvt_v2_b5`.
        pretrained: None or False for random weights, `hub` or True for those that timm downloads, or a path to weights
            with timm's keys or, where timm converts them, the authors' own (PVT v2: yes).
        patch_stride: Stride of the map that makes the patches, in pixels; by default the coarsest.
        drop_path: Share of samples that go without the last block's residual branch in training, less before it.

    Raises:
        ValueError: If timm does not know the name, the weights do not fit, or there is no map of that stride.
    """

    def __init__(
        self,
        name: str = "pvt_v2_b5",
        pretrained: str | Path | bool | None = None,
        patch_stride: int | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = _create(name, pretrained, features_only=True, drop_path_rate=drop_path)
        self.pixels = _pixels(self.network.pretrained_cfg, size=None)
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
        """Whether training keeps little for the backward pass and computes it again, block by block where it can."""
        return any(getattr(part, "grad_checkpointing", False) for part in self._recomputing())

    @recompute.setter
    def recompute(self, wanted: bool) -> None:
        for part in self._recomputing():
            part.grad_checkpointing = wanted

    def _recomputing(self) -> list[Any]:
        stages = [part for part in self.network.children() if hasattr(part, "grad_checkpointing")]
        return stages or [self.network]

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode pictures, uint8 or float in [0, 1], (N, 3, H, W); `frame` is the mean of the patches."""
        maps: list[Tensor] = list(self.network(self.pixels(frames)))
        chosen = maps[self._patch_level]
        patches = chosen.flatten(2).transpose(1, 2)
        return VisualFeatures(patches.mean(1), patches, (chosen.shape[2], chosen.shape[3]), maps)


class TimmViT(VisualEncoder):
    """A vision transformer: the class token is the frame, the other tokens are its patches.

    Pictures are resized to the network's own size. A network without class token gives the mean of its patches.

    Args:
        name: A timm vision transformer, such as `vit_base_patch16_224`.
        pretrained: As in `TimmPyramid`.

    Raises:
        ValueError: If timm does not know the name, it is no vision transformer, or the weights do not fit.
    """

    def __init__(self, name: str = "vit_base_patch16_224", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        self.network = _create(name, pretrained, num_classes=0)
        if not hasattr(self.network, "num_prefix_tokens"):
            raise ValueError(f"{name} is not a vision transformer with tokens. Use TimmPyramid for {name}.")
        height, width = self.network.patch_embed.img_size
        self.pixels = _pixels(self.network.pretrained_cfg, size=(height, width))
        self.input_size = (height, width)
        self.width = self.network.embed_dim

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode pictures, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        tokens = self.network.forward_features(self.pixels(frames))
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
        return timm.create_model(name, pretrained=True, **options)
    state = _read(name, pretrained)
    return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": state}, **options)


def _read(name: str, path: str | Path) -> dict[str, Tensor]:
    """Weights with timm's keys. Checked here against the whole model, because `features_only` would skip a misfit."""
    state = read_weights(path)
    whole = timm.create_model(name, num_classes=0)
    convert = getattr(import_module(type(whole).__module__), "checkpoint_filter_fn", None)
    if convert is not None:
        state = convert(state, whole)
    classifier = whole.pretrained_cfg.get("classifier") or ()
    check_weights(whole.state_dict(), state, path, (classifier,) if isinstance(classifier, str) else tuple(classifier))
    return state


def _pixels(config: dict[str, Any], size: tuple[int, int] | None) -> Pixels:
    return Pixels(config["mean"], config["std"], size)
