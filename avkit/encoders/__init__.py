# SPDX-License-Identifier: Apache-2.0
"""Encoders from pixels, waveform and words to features; each is looked up by name and loaded when asked for."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from avkit.errors import AvkitError, unknown_name

#: Visual encoders: name, where it lives, and its arguments.
VISUAL: dict[str, tuple[str, dict[str, Any]]] = {
    "small": ("avkit.encoders.small:SmallVisual", {}),
    "small_embedding": ("avkit.encoders.small:SmallEmbedding", {}),
    "pvt_v2_b5": ("avkit.encoders.timm:TimmPyramid", {"name": "pvt_v2_b5"}),
    "pvt_v2_b2": ("avkit.encoders.timm:TimmPyramid", {"name": "pvt_v2_b2"}),
    "pvt_v2_b0": ("avkit.encoders.timm:TimmPyramid", {"name": "pvt_v2_b0"}),
    "vit_base": ("avkit.encoders.timm:TimmViT", {"name": "vit_base_patch16_224"}),
    "vit_large": ("avkit.encoders.timm:TimmViT", {"name": "vit_large_patch16_384"}),
    "vit_large_tome27": ("avkit.encoders.merging:MergingViT", {"name": "vit_large_patch16_384", "tokens": 27}),
    "vit_large_tome14": ("avkit.encoders.merging:MergingViT", {"name": "vit_large_patch16_384", "tokens": 14}),
    "vit_large_tome8": ("avkit.encoders.merging:MergingViT", {"name": "vit_large_patch16_384", "tokens": 8}),
    "resnet18": ("avkit.encoders.timm:TimmPyramid", {"name": "resnet18.tv_in1k"}),
    "resnet18_14x14": ("avkit.encoders.resnet:ResNet18Pictures", {}),
    "resnet152": ("avkit.encoders.timm:TimmPyramid", {"name": "resnet152.tv_in1k"}),
    "clip_vit_l14": ("avkit.encoders.clip:ClipImage", {"name": "ViT-L-14"}),
    "clip_vit_l14_336": ("avkit.encoders.clip:ClipImage", {"name": "ViT-L-14-336"}),
    "clip_vit_b32": ("avkit.encoders.clip:ClipImage", {"name": "ViT-B-32"}),
    "llava": ("avkit.encoders.llava:LlavaFrames", {}),
    "video_llava": ("avkit.encoders.llava:VideoLlavaClip", {}),
}
#: Audio encoders.
AUDIO: dict[str, tuple[str, dict[str, Any]]] = {
    "small": ("avkit.encoders.small:SmallAudio", {}),
    "vggish": ("avkit.encoders.vggish:VGGishAudio", {}),
    "vggish_running": ("avkit.encoders.vggish:VGGishAudio", {"running": True}),
}
#: Text encoders.
TEXT: dict[str, tuple[str, dict[str, Any]]] = {
    "small": ("avkit.encoders.small:SmallText", {}),
    "clip_vit_l14": ("avkit.encoders.clip:ClipText", {"name": "ViT-L-14"}),
    "clip_vit_l14_336": ("avkit.encoders.clip:ClipText", {"name": "ViT-L-14-336"}),
    "clip_vit_b32": ("avkit.encoders.clip:ClipText", {"name": "ViT-B-32"}),
}


def build_encoder(
    kind: str,
    table: dict[str, tuple[str, dict[str, Any]]],
    name: str,
    pretrained: str | None = None,
    words: Sequence[str] = (),
    **options: Any,
) -> nn.Module:
    """Make an encoder.

    Args:
        kind: What the table holds, for the error's text.
        table: `VISUAL`, `AUDIO` or `TEXT`.
        name: Its name there.
        pretrained: None for random weights, `hub` for those that the name stands for, a tag of the library, or a path.
        words: Known words, for text encoders trained from scratch.
        options: More arguments of the encoder.

    Raises:
        ValueError: If the name is unknown, or `small` is asked to load weights from a hub.
        AvkitError: If the library behind it is missing or does not fit this torch.
    """
    if name not in table:
        raise unknown_name(f"{kind} encoder", name, table)
    where, arguments = table[name]
    own = name.startswith("small")
    if own:
        if pretrained and not Path(pretrained).is_file():
            raise ValueError(
                f"{kind} encoder {name!r} has no pretrained weights {pretrained!r}; it takes a file of yours. "
                f"Leave it empty, or choose one of {', '.join(n for n in table if not n.startswith('small'))}."
            )
        arguments = {"words": words} if kind == "text" else {}
    else:
        arguments = arguments | {"pretrained": pretrained}
    module, _, attribute = where.partition(":")
    try:
        found = import_module(module)
        if module.endswith(".llava"):
            import_module("transformers")
    except (ImportError, RuntimeError) as e:  # a torchvision of another torch raises the second
        extra = "llava" if module.endswith(".llava") else "pretrained"
        raise AvkitError(
            f"{kind} encoder {name!r} needs a library that cannot be imported: {e}. Install it with "
            f"pip install 'avkit[{extra}]', and a torchvision built for torch {torch.__version__}."
        ) from e
    encoder: nn.Module = getattr(found, attribute)(**arguments, **options)
    if own and pretrained:
        from avkit.encoders.pretrained import load_weights

        load_weights(encoder, pretrained)
    return encoder
