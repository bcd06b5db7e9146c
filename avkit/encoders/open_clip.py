# SPDX-License-Identifier: Apache-2.0
"""Any model of open_clip: SigLIP and others whose picture tower is timm's or whose text tower stands by itself.

Every token ends in the space that pictures and sentences share, as in `avkit.encoders.clip`.

Source:
    Zhai et al., Sigmoid loss for language image pre-training, ICCV 2023; Tschannen et al., SigLIP 2, 2025.
"""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import TextTransformer
from torch import Tensor

from avkit.encoders.base import TextEncoder, TextFeatures, VisualEncoder, VisualFeatures
from avkit.encoders.clip import ClipImage, ClipText, create_model, load_tokenizer, model_config
from avkit.encoders.pretrained import ImagePreprocessor
from avkit.encoders.settings import find_settings, settings_folder


def image_class(name: str) -> type[VisualEncoder]:
    """The class that runs the picture tower of a model of open_clip.

    Args:
        name: Such as `ViT-B-16-SigLIP2-256`; see `open_clip.list_models()`.

    Raises:
        ValueError: If there is no such model.
    """
    return TimmTowerImage if _tower(name, "vision_cfg").get("timm_model_name") else ClipImage


def text_class(name: str) -> type[TextEncoder]:
    """The class that runs the text tower of a model of open_clip; arguments and errors as in `image_class`."""
    stands_alone = model_config(name).get("custom_text") or _tower(name, "text_cfg").get("hf_model_name")
    return TextTower if stands_alone else ClipText


def _tower(name: str, key: str) -> Mapping[str, Any]:
    tower: Mapping[str, Any] = model_config(name).get(key) or {}
    return tower


class TimmTowerImage(VisualEncoder):
    """A picture tower of open_clip that is a network of timm, such as SigLIP's.

    `frame` equals open_clip's `encode_image`. A patch is pooled and projected by itself, as if the picture were that
    patch alone, so that it lies in the space of sentences too.

    Args:
        name: Name of an open_clip model with such a tower.
        pretrained: As in `ClipImage`; `hub` is the first of the model's tags where OpenAI has published none.

    Raises:
        ValueError: If the name or tag is unknown, the tower is of another kind, or the weights do not fit.
    """

    def __init__(self, name: str = "ViT-B-16-SigLIP2-256", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        tower = create_model(name, pretrained, "visual").visual
        if not isinstance(tower, TimmModel):
            raise ValueError(f"{name} has a picture tower of class {type(tower).__name__}. Use ClipImage for {name}.")
        self.tower = tower
        height, width = tower.image_size
        config = tower.preprocess_cfg
        self.preprocess = ImagePreprocessor(config["mean"], config["std"], (height, width))
        self.input_size = (height, width)
        self.width = int(model_config(name)["embed_dim"])

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        trunk = self.tower.trunk
        tokens = trunk.forward_features(self.preprocess(frames))
        frame = self.tower.head(trunk.forward_head(tokens))
        if tokens.ndim == 4 and tokens.shape[1] == trunk.num_features:
            rows, columns = tokens.shape[2:]
            alone = tokens.permute(0, 2, 3, 1).reshape(-1, tokens.shape[1], 1, 1)
        elif tokens.ndim == 4:  # channels last, as Swin has them
            rows, columns = tokens.shape[1:3]
            alone = tokens.reshape(-1, 1, 1, tokens.shape[3])
        else:
            prefix = trunk.num_prefix_tokens
            rows, columns = _grid(trunk, tokens.shape[1] - prefix)
            # the patch is put in the place of class tokens, where there are any
            alone = tokens[:, prefix:].reshape(-1, 1, tokens.shape[2]).expand(-1, prefix + 1, -1)
        patches = self.tower.head(trunk.forward_head(alone))
        return VisualFeatures(frame, patches.unflatten(0, (len(frames), rows * columns)), (rows, columns))


def _grid(trunk: Any, patches: int) -> tuple[int, int]:
    """Rows and columns of so many patches."""
    rows, columns = trunk.patch_embed.grid_size
    if rows * columns != patches:  # ViTamin's embedding has a pyramid of its own
        rows = columns = isqrt(patches)
    return rows, columns


class TextTower(TextEncoder):
    """A text tower of open_clip that stands by itself, such as SigLIP's: every token is projected.

    `pooled` equals open_clip's `encode_text`.

    Args:
        name: Name of an open_clip model with such a tower.
        pretrained: As in `TimmTowerImage`.

    Raises:
        ValueError: If the name or tag is unknown, the tower is of another kind, or the weights do not fit.
    """

    def __init__(self, name: str = "ViT-B-16-SigLIP2-256", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        tower = vars(create_model(name, pretrained, "text"))["_modules"].get("text")
        if not isinstance(tower, TextTransformer):
            raise ValueError(
                f"{name} has a text tower of class {type(tower).__name__}, which is not run here. Take a model with "
                "open_clip's own, such as ViT-B-16-SigLIP2-256 or ViT-B-32."
            )
        tower.output_tokens = True
        self.tower = tower
        stored = None if pretrained else find_settings("text", f"open_clip:{name}")
        self.tokenizer = load_tokenizer(name, stored)
        self.name = name
        self.width = int(model_config(name)["embed_dim"])

    def save_settings(self, root: Path) -> None:
        """Write the words of a tokenizer that open_clip does not carry."""
        if isinstance(self.tokenizer, HFTokenizer):
            self.tokenizer.tokenizer.save_pretrained(settings_folder(root, "text", f"open_clip:{self.name}"))

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences; L is the network's length."""
        ids = self.tokenizer(texts).to(self.tower.positional_embedding.device)
        pooled, tokens = self.tower(ids)
        projection = self.tower.text_projection
        if isinstance(projection, torch.nn.Linear):
            tokens = projection(tokens)
        elif projection is not None:
            tokens = tokens @ projection
        valid = ids[:, : tokens.shape[1]] != self.tower.pad_id
        valid[:, 0] = True  # of an empty sentence
        return TextFeatures(tokens, valid, pooled)
