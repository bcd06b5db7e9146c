# SPDX-License-Identifier: Apache-2.0
"""What the towers of ONE-PEACE share: attention and feed-forward layers, and reading a tower out of a weight file.

Source:
    Wang et al., ONE-PEACE: Exploring one general representation model toward unlimited modalities, 2023, section 3.1:
    one self-attention for all modalities, a feed-forward layer per modality (GeGLU), norms after attention and within
    the feed-forward layer, and a scale per channel on both residuals. Sizes and keys as OFA-Sys/ONE-PEACE at commit
    71cfadf publishes them; written from paper and configuration.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.pretrained import (
    HUB,
    check_weights,
    count_parameters,
    covers,
    give_file,
    read_weights,
    released_file,
)

#: Where the authors publish their weights.
ADDRESS = "https://one-peace-shanghai.oss-accelerate.aliyuncs.com"
#: Scale of the residuals before training.
_FIRST_SCALE = 1e-2
#: The authors' names of the parts of a layer, as patterns, and ours.
_NAMES = (
    (r"^(backbone|encoder_wrapper)\.", ""),
    (r"^(fusion_model|encoder)\.", ""),
    (r"\.self_attn\.(q|k|v|out)_proj\.", r".attention.\1."),
    (r"\.self_attn\.ln\.", ".attention.norm."),
    (r"\.self_attn_layer_norm\.", ".attention_norm."),
    (r"\.(image|audio)_ffn\.0\.wi_0\.", ".feed_forward.gate."),
    (r"\.(image|audio)_ffn\.0\.wi_1\.", ".feed_forward.value."),
    (r"\.(image|audio)_ffn\.2\.", ".feed_forward.norm."),
    (r"\.(image|audio)_ffn\.3\.", ".feed_forward.out."),
    (r"\.final_layer_norm\.", ".feed_forward_norm."),
    (r"\.gamma_1$", ".attention_scale"),
    (r"\.gamma_2$", ".feed_forward_scale"),
)


@dataclass(frozen=True)
class OnePeaceSizes:
    """Sizes of a tower; the defaults are those of the published one.

    Attributes:
        width: Width D.
        layers: Number of layers.
        heads: Attention heads.
        hidden: Width within the feed-forward layers.
    """

    width: int = 1536
    layers: int = 40
    heads: int = 24
    hidden: int = 6144


#: The published tower.
PUBLISHED = OnePeaceSizes()


class SelfAttention(nn.Module):
    """Self-attention with a norm before its last projection.

    Args:
        sizes: Sizes of the tower.
    """

    def __init__(self, sizes: OnePeaceSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.q = nn.Linear(sizes.width, sizes.width)
        self.k = nn.Linear(sizes.width, sizes.width, bias=False)
        self.v = nn.Linear(sizes.width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend within (N, L, D); `bias` (heads, L, L) is added to the scores."""
        q, k, v = (part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        mask = None if bias is None else bias[None].to(q.dtype)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        projected: Tensor = self.out(self.norm(mixed.transpose(1, 2).flatten(2)))
        return projected


class GatedFeedForward(nn.Module):
    """A feed-forward layer whose values are gated by a GELU, with a norm within.

    Args:
        sizes: Sizes of the tower.
    """

    def __init__(self, sizes: OnePeaceSizes) -> None:
        super().__init__()
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.value = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.norm = nn.LayerNorm(sizes.hidden)
        self.out = nn.Linear(sizes.hidden, sizes.width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each of (..., D)."""
        out: Tensor = self.out(self.norm(F.gelu(self.gate(x)) * self.value(x)))
        return out


class OnePeaceLayer(nn.Module):
    """A layer of a tower of one modality.

    Args:
        sizes: Sizes of the tower.
    """

    def __init__(self, sizes: OnePeaceSizes) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(sizes.width)
        self.attention = SelfAttention(sizes)
        self.attention_scale = nn.Parameter(torch.full((sizes.width,), _FIRST_SCALE))
        self.feed_forward_norm = nn.LayerNorm(sizes.width)
        self.feed_forward = GatedFeedForward(sizes)
        self.feed_forward_scale = nn.Parameter(torch.full((sizes.width,), _FIRST_SCALE))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """Mix tokens (N, L, D) and transform each; `bias` (heads, L, L) is of their positions."""
        x = x + self.attention_scale * self.attention(self.attention_norm(x), bias)
        return x + self.feed_forward_scale * self.feed_forward(self.feed_forward_norm(x))


def rename_layers(state: Mapping[str, Tensor], names: Sequence[tuple[str, str]] = ()) -> dict[str, Tensor]:
    """Weights by our keys.

    Args:
        state: Tensors by the authors' keys, of a pretrained or a fine-tuned network.
        names: Further patterns and what stands in their place, applied after those of all towers.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        ours = key
        for pattern, replacement in (*_NAMES, *names):
            ours = re.sub(pattern, replacement, ours)
        renamed[ours] = tensor
    return renamed


def weight_file(weights: str | Path, file: str, kind: str, build: Callable[[], nn.Module]) -> Path:
    """The weight file of a tower, which is looked for before memory is taken for the tower.

    Args:
        weights: `hub`, or a path to a file of the authors.
        file: Their file that `hub` stands for.
        kind: Kind of the encoder, for the option that names weights.
        build: Builds the tower.

    Raises:
        HubError: If it is neither in the cache nor can be downloaded.
        FileNotFoundError: If there is no such file.
    """
    if weights != HUB:
        if not Path(weights).is_file():
            raise FileNotFoundError(f"Weight file {weights} does not exist. Check the path, or pass 'hub'.")
        return Path(weights)
    name = file.rpartition("/")[2]
    advice = give_file(kind, f"the file {name}")
    return released_file(f"Weights of ONE-PEACE, {name},", f"{ADDRESS}/{file}", advice, count_parameters(build))


def load_tower(tower: nn.Module, path: Path, names: Sequence[tuple[str, str]] = ()) -> None:
    """Load a tower; what else the file holds is passed over.

    Args:
        tower: The network.
        path: A file of the authors.
        names: As in `rename_layers`.

    Raises:
        ValueError: If the weights do not fit.
    """
    own = tower.state_dict()
    fits = covers(own.keys())
    state = read_weights(path, lambda tensors: fits(rename_layers(tensors, names)))
    renamed = {key: x for key, x in rename_layers(state, names).items() if key in own}
    check_weights(own, renamed, path)
    tower.load_state_dict(renamed)
