# SPDX-License-Identifier: Apache-2.0
"""CLIP's image and text encoders through open_clip; both end in the embedding space that images and sentences share.

Source:
    Radford et al., Learning transferable visual models from natural language supervision, ICML 2021.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from open_clip.tokenizer import HFTokenizer
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from avkit.encoders.base import SoftTextEncoder, TextFeatures, VisualEncoder, VisualFeatures
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
        pretrained: None or False for random weights, `hub` for those of OpenAI or, where there are none, the first of
            open_clip's tags, one of these tags, or a path to weights of both encoders.

    Raises:
        ValueError: If the name or tag is unknown, the encoder is of another kind, or the weights do not fit.
    """

    def __init__(self, name: str = "ViT-L-14", pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        tower = create_model(name, pretrained, "visual").visual
        plain = isinstance(tower, VisionTransformer) and tower.attn_pool is None
        if not plain or tower.pool_type not in ("tok", "avg"):
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
        if self.tower.final_ln_after_pool:  # the mean alone is normalised by open_clip
            patches = self.tower.ln_post(patches)
        if self.tower.proj is not None:  # open_clip projects the class token only
            patches = patches @ self.tower.proj
        rows, columns = self.tower.grid_size
        return VisualFeatures(frame, patches, (rows, columns))


class ClipText(SoftTextEncoder):
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
        model = create_model(name, pretrained, "text")
        if getattr(model, "text_pool_type", None) != "argmax" or not isinstance(model.text_projection, nn.Parameter):
            raise ValueError(f"{name} has a text tower of another kind than CLIP's. Choose one such as ViT-L-14.")
        self.tokenizer = load_tokenizer(name)
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

    def embed_words(self, words: Sequence[str]) -> Tensor:
        """Embeddings of W words, (W, E), the mean over the tokens of each."""
        ids = self.tokenizer(list(words)).to(self.embed.weight.device)
        position = torch.arange(ids.shape[1], device=ids.device)
        within = (position > 0) & (position < ids.argmax(1, keepdim=True))
        weights = F.normalize(within.to(self.embed.weight), p=1, dim=1)
        return torch.einsum("wle,wl->we", self.embed(ids), weights)

    def encode_embeddings(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Encode sentences of embedded words, see `SoftTextEncoder`; they are cut at the network's length."""
        most = len(self.position) - 2
        words = words[:, :most]
        end = lengths.clamp(max=most) + 1
        start_id, end_id = self.tokenizer([""])[0, :2].tolist()
        start = self.embed.weight[start_id].expand(len(words), 1, -1)
        rows = torch.cat([start, words, torch.zeros_like(start)], 1)
        length = rows.shape[1]
        is_end = torch.arange(length, device=rows.device) == end[:, None]
        rows = torch.where(is_end[..., None], self.embed.weight[end_id], rows) + self.position[:length]
        x = self.norm(self.transformer(rows, attn_mask=self.mask[:length, :length])) @ self.projection
        pooled: Tensor = x[torch.arange(len(x), device=x.device), end]
        return pooled


def model_config(name: str) -> dict[str, Any]:
    """Sizes and towers of an open_clip model.

    Raises:
        ValueError: If open_clip knows no such model; names the nearest.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        near = get_close_matches(name, open_clip.list_models(), n=5, cutoff=0.5)
        raise ValueError(
            f"open_clip knows no model {name!r}. Similar: {', '.join(near) or 'none'}; see open_clip.list_models()."
        )
    return dict(config)


def create_model(name: str, pretrained: str | Path | bool | None, kind: str) -> Any:
    """An open_clip model with both encoders; the caller keeps one, of a kind, and the other is freed.

    Raises:
        ValueError: If the name or tag is unknown, or the weights do not fit.
        HubError: If weights are neither in the cache nor can they be downloaded.
    """
    model_config(name)
    if not pretrained:
        return open_clip.create_model(name, pretrained=None, device=torch.get_default_device())
    tags = open_clip.list_pretrained_tags_by_model(name)
    tag = str(pretrained)
    if pretrained is True or pretrained == HUB:
        tag = HUB_TAG if HUB_TAG in tags or not tags else tags[0]
    if tag in tags:
        with _published(name, tag, kind):
            return open_clip.create_model(name, pretrained=tag)
    if tag == HUB_TAG or not Path(tag).exists():
        raise ValueError(
            f"{name} has no pretrained weights {tag!r}, and there is no file of that name. "
            f"Tags of {name}: {', '.join(tags) or 'none'}."
        )
    model = open_clip.create_model(name, pretrained=None)
    load_weights(model, tag)
    return model


def load_tokenizer(name: str, stored: Path | None = None) -> Any:
    """The tokenizer of an open_clip model; that of SigLIP is on the Hugging Face hub.

    Args:
        name: Name of the model.
        stored: Folder that a tokenizer of the hub was saved in.

    Raises:
        HubError: If it is neither in the cache nor can it be downloaded.
    """
    repository = (model_config(name).get("text_cfg") or {}).get("hf_tokenizer_name")
    if not repository:
        return open_clip.get_tokenizer(name)
    if stored is not None:
        text = model_config(name)["text_cfg"]
        options = text.get("tokenizer_kwargs") or {}
        return HFTokenizer(str(stored), context_length=text.get("context_length", 77), **options)
    with from_hub(f"The words of the tokenizer of {name}", hugging_face(repository), _TOKENIZER_ADVICE):
        return open_clip.get_tokenizer(name)


#: What to do without a tokenizer.
_TOKENIZER_ADVICE = (
    "Run it once where there is a network and copy the cache (HF_HOME), or take a model whose tokenizer open_clip "
    "carries, such as ViT-B-32."
)


def _published(name: str, tag: str, kind: str) -> AbstractContextManager[bool]:
    """A block in which open_clip loads published weights."""
    config = open_clip.get_pretrained_cfg(name, tag)
    repository = str(config.get("hf_hub", "")).rpartition("/")[0]
    address = hugging_face(repository) if repository else str(config.get("url", ""))
    return from_hub(
        f"Weights {tag!r} of CLIP {name}",
        address,
        give_file(kind, "a path to a weight file of open_clip"),
        lambda: count_parameters(lambda: open_clip.create_model(name, pretrained=None, device="meta")),
    )
