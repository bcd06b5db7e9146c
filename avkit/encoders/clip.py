# SPDX-License-Identifier: Apache-2.0
"""CLIP's image and text encoders through open_clip; both end in the embedding space that images and sentences share.

Source:
    Radford et al., Learning transferable visual models from natural language supervision, ICML 2021.
"""

from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from avkit.encoders.base import TextEncoder, TextFeatures, VisualEncoder, VisualFeatures
from avkit.encoders.pretrained import HUB, ImagePreprocessor, count_parameters, give_file, load_weights
from avkit.reading.hub import from_hub, hugging_face

#: The tag that `hub` stands for: the weights of the paper's authors.
HUB_TAG = "openai"


class ClipImage(VisualEncoder):
    """CLIP's image encoder: class token and patches, normalised and projected in the same way.

    Images are resized to the network's own size. `frame` equals open_clip's `encode_image`.

    Args:
        name: Name of an open_clip model with a vision transformer. The weights of OpenAI were trained with an
            approximate GELU: open_clip selects it by the tag; for a path, add `-quickgelu` to the name.
        pretrained: None or False for random weights, `hub` for those of OpenAI, a tag of open_clip, or a path to
            weights of both encoders.

    Raises:
        ValueError: If the name or tag is unknown, the encoder is of another kind, or the weights do not fit.
    """

    def __init__(self, name: str = "ViT-L-14", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        tower = _create(name, pretrained, "visual").visual
        if getattr(tower, "pool_type", None) != "tok" or tower.final_ln_after_pool or tower.attn_pool is not None:
            raise ValueError(
                f"{name} has a picture tower of class {type(tower).__name__} without a plain class token. "
                "Choose a model named ViT-..., such as ViT-L-14."
            )
        tower.output_tokens = True
        self.tower = tower
        height, width = tower.image_size
        self.preprocess = ImagePreprocessor(tower.preprocess_cfg["mean"], tower.preprocess_cfg["std"], (height, width))
        self.input_size = (height, width)
        self.width = tower.output_dim

    def forward(self, frames: Tensor) -> VisualFeatures:
        """Encode images, uint8 or float in [0, 1], (N, 3, H, W) of any size."""
        frame, patches = self.tower(self.preprocess(frames))
        if self.tower.proj is not None:  # open_clip projects the class token only
            patches = patches @ self.tower.proj
        rows, columns = self.tower.grid_size
        return VisualFeatures(frame, patches, (rows, columns))


class ClipText(TextEncoder):
    """CLIP's text encoder: one projected vector per token; the pooled vector is that of the end-of-text token.

    `pooled` equals open_clip's `encode_text`. Sentences are cut at the network's length, 77 tokens.

    Args:
        name: As in `ClipImage`.
        pretrained: As in `ClipImage`.

    Raises:
        ValueError: If the name or tag is unknown, the encoder is of another kind, or the weights do not fit.
    """

    mask: Tensor

    def __init__(self, name: str = "ViT-L-14", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        model = _create(name, pretrained, "text")
        if getattr(model, "text_pool_type", None) != "argmax" or not isinstance(model.text_projection, nn.Parameter):
            raise ValueError(f"{name} has a text tower of another kind than CLIP's. Choose one such as ViT-L-14.")
        self.tokenizer = open_clip.get_tokenizer(name)
        self.embed = model.token_embedding
        self.position = model.positional_embedding
        self.transformer = model.transformer
        self.norm = model.ln_final
        self.projection = model.text_projection
        self.register_buffer("mask", model.attn_mask, persistent=False)
        self.width = self.projection.shape[1]

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences; L is the number of tokens of the longest one."""
        ids = self.tokenizer(texts).to(self.embed.weight.device)
        end = ids.argmax(1)  # the end-of-text token has the highest index
        ids = ids[:, : int(end.max()) + 1]  # attention is causal, so padding after the end changes nothing
        length = ids.shape[1]
        x = self.embed(ids) + self.position[:length]
        x = self.norm(self.transformer(x, attn_mask=self.mask[:length, :length])) @ self.projection
        valid = torch.arange(length, device=ids.device) <= end[:, None]
        rows = torch.arange(len(x), device=ids.device)
        return TextFeatures(x, valid, pooled=x[rows, end])


def _create(name: str, pretrained: str | Path | bool | None, kind: str) -> Any:
    """An open_clip model with both encoders; the caller keeps one, of a kind, and the other is freed."""
    if open_clip.get_model_config(name) is None:
        near = get_close_matches(name, open_clip.list_models(), n=5, cutoff=0.5)
        raise ValueError(
            f"open_clip knows no model {name!r}. Similar: {', '.join(near) or 'none'}; see open_clip.list_models()."
        )
    if not pretrained:
        return open_clip.create_model(name, pretrained=None, device=torch.get_default_device())
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = HUB_TAG if pretrained is True or pretrained == HUB else str(pretrained)
    if tag in tags:
        kind_of_file = "a path to a weight file of open_clip"
        config = open_clip.get_pretrained_cfg(name, tag)
        repository = str(config.get("hf_hub", "")).rpartition("/")[0]
        address = hugging_face(repository) if repository else str(config.get("url", ""))
        with from_hub(
            f"Weights {tag!r} of CLIP {name}",
            address,
            give_file(kind, kind_of_file),
            lambda: count_parameters(lambda: open_clip.create_model(name, pretrained=None, device="meta")),
        ):
            return open_clip.create_model(name, pretrained=tag)
    if tag == HUB_TAG or not Path(tag).exists():
        raise ValueError(
            f"{name} has no pretrained weights {tag!r}, and there is no file of that name. "
            f"Tags of {name}: {', '.join(tags) or 'none'}."
        )
    model = open_clip.create_model(name, pretrained=None)
    load_weights(model, tag)
    return model
