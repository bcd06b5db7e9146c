# SPDX-License-Identifier: Apache-2.0
"""The table of encoders, and how one is built from its name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import torch

from avkit.encoders.base import AudioEncoder, TextEncoder, VideoEncoder, VisualEncoder, WindowEncoder
from avkit.encoders.pretrained import load_weights
from avkit.errors import AvkitError, unknown_name
from avkit.licences import check_licence
from avkit.outside import building, import_part

Kind = Literal["visual", "video", "window", "audio", "text"]

#: Base class of each kind.
_CONTRACTS: dict[Kind, type] = {
    "visual": VisualEncoder,
    "video": VideoEncoder,
    "window": WindowEncoder,
    "audio": AudioEncoder,
    "text": TextEncoder,
}

#: Module of the encoders that are trained from random weights.
_FROM_SCRATCH = "avkit.encoders.small"


@dataclass(frozen=True)
class EncoderEntry:
    """A row of the table of encoders.

    Attributes:
        location: Module and class, `package.module:Class`.
        arguments: Arguments of the class that the name stands for.
        extra: Optional dependency of avkit that the module needs.
    """

    location: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    extra: str = "pretrained"

    @property
    def module(self) -> str:
        """Name of the module."""
        return self.location.partition(":")[0]

    @property
    def class_name(self) -> str:
        """Name of the class within the module."""
        return self.location.partition(":")[2]


def _timm_pyramid(name: str) -> EncoderEntry:
    return EncoderEntry("avkit.encoders.timm:TimmPyramid", {"name": name})


def _timm_vit(name: str) -> EncoderEntry:
    return EncoderEntry("avkit.encoders.timm:TimmViT", {"name": name})


def _merging_vit(tokens: int) -> EncoderEntry:
    return EncoderEntry("avkit.encoders.merging:MergingViT", {"name": "vit_large_patch16_384", "tokens": tokens})


def _clip_image(name: str) -> EncoderEntry:
    return EncoderEntry("avkit.encoders.clip:ClipImage", {"name": name})


def _clip_text(name: str) -> EncoderEntry:
    return EncoderEntry("avkit.encoders.clip:ClipText", {"name": name})


#: All encoders by kind and name.
ENCODERS: dict[Kind, dict[str, EncoderEntry]] = {
    "visual": {
        "small": EncoderEntry("avkit.encoders.small:SmallVisual"),
        "small_embedding": EncoderEntry("avkit.encoders.small:SmallEmbedding"),
        "pvt_v2_b5": _timm_pyramid("pvt_v2_b5"),
        "pvt_v2_b2": _timm_pyramid("pvt_v2_b2"),
        "pvt_v2_b0": _timm_pyramid("pvt_v2_b0"),
        "vit_base": _timm_vit("vit_base_patch16_224"),
        "vit_large": _timm_vit("vit_large_patch16_384"),
        "vit_large_tome27": _merging_vit(27),
        "vit_large_tome14": _merging_vit(14),
        "vit_large_tome8": _merging_vit(8),
        "resnet18": _timm_pyramid("resnet18.tv_in1k"),
        "resnet18_14x14": EncoderEntry("avkit.encoders.resnet:ResNet18Visual"),
        "resnet152": _timm_pyramid("resnet152.tv_in1k"),
        "vgg19": _timm_pyramid("vgg19.tv_in1k"),
        "clip_vit_l14": _clip_image("ViT-L-14"),
        "clip_vit_l14_336": _clip_image("ViT-L-14-336"),
        "clip_vit_b32": _clip_image("ViT-B-32"),
        "llava": EncoderEntry("avkit.encoders.llava:LlavaFrames", extra="llava"),
    },
    "video": {
        "video_llava": EncoderEntry("avkit.encoders.llava:VideoLlava", extra="llava"),
    },
    "window": {
        "i3d_rgb": EncoderEntry("avkit.encoders.i3d:I3DRGB"),
        "i3d_flow": EncoderEntry("avkit.encoders.i3d:I3DFlow"),
        "r2plus1d_18": EncoderEntry("avkit.encoders.r2plus1d:R2Plus1D"),
        "one_peace_video": EncoderEntry("avkit.encoders.one_peace_video:OnePeaceVideo"),
    },
    "audio": {
        "small": EncoderEntry("avkit.encoders.small:SmallAudio"),
        "vggish": EncoderEntry("avkit.encoders.vggish:VGGishAudio"),
        "vggish_running": EncoderEntry("avkit.encoders.vggish:VGGishAudio", {"running": True}),
        "yamnet": EncoderEntry("avkit.encoders.yamnet:YAMNetAudio"),
        "yamnet_scores": EncoderEntry("avkit.encoders.yamnet:YAMNetAudio", {"keep": "scores"}),
        "one_peace_audio": EncoderEntry("avkit.encoders.one_peace_audio:OnePeaceAudio"),
    },
    "text": {
        "small": EncoderEntry("avkit.encoders.small:SmallText"),
        "clip_vit_l14": _clip_text("ViT-L-14"),
        "clip_vit_l14_336": _clip_text("ViT-L-14-336"),
        "clip_vit_b32": _clip_text("ViT-B-32"),
    },
}


def list_encoders(kind: Kind) -> list[str]:
    """Names of the encoders of a kind."""
    return list(ENCODERS[kind])


def build_visual_encoder(name: str, pretrained: str | None = None, **options: Any) -> VisualEncoder:
    """Build an encoder of single images.

    Args:
        name: A name of `list_encoders("visual")`, or `package.module:Class` of a `VisualEncoder`.
        pretrained: None for random weights, `hub` for the weights that the name stands for, a tag of the library behind
            the encoder, or a path to a weight file.
        options: Further arguments of the encoder's class.

    Raises:
        ValueError: If the name is unknown, an encoder that is trained from scratch is asked for weights of the hub,
            the weights do not fit, or the class is no `VisualEncoder`.
        AvkitError: If the library behind the encoder cannot be imported.
    """
    return _build("visual", name, pretrained, options)


def build_video_encoder(name: str, pretrained: str | None = None, **options: Any) -> VideoEncoder:
    """Build an encoder of all frames of a video together; arguments and errors as in `build_visual_encoder`."""
    return _build("video", name, pretrained, options)


def build_window_encoder(name: str, pretrained: str | None = None, **options: Any) -> WindowEncoder:
    """Build an encoder of windows of frames; arguments and errors as in `build_visual_encoder`."""
    return _build("window", name, pretrained, options)


def build_audio_encoder(name: str, pretrained: str | None = None, **options: Any) -> AudioEncoder:
    """Build an encoder of waveforms; arguments and errors as in `build_visual_encoder`."""
    return _build("audio", name, pretrained, options)


def build_text_encoder(
    name: str, pretrained: str | None = None, words: Sequence[str] = (), **options: Any
) -> TextEncoder:
    """Build an encoder of sentences; arguments and errors as in `build_visual_encoder`.

    Args:
        name: A name of `list_encoders("text")`, or `package.module:Class` of a `TextEncoder`.
        pretrained: As in `build_visual_encoder`.
        words: Vocabulary of an encoder that is trained from scratch; not used by others.
        options: Further arguments of the encoder's class.
    """
    return _build("text", name, pretrained, options, words)


def _build(kind: Kind, name: str, pretrained: str | None, options: Mapping[str, Any], words: Sequence[str] = ()) -> Any:
    entry = _find_entry(kind, name)
    encoder_class = _import_class(kind, name, entry)
    with building(f"{kind} encoder", encoder_class):
        return _construct(kind, name, entry, encoder_class, pretrained, options, words)


def _construct(
    kind: Kind,
    name: str,
    entry: EncoderEntry,
    encoder_class: Any,
    pretrained: str | None,
    options: Mapping[str, Any],
    words: Sequence[str],
) -> Any:
    if not encoder_class.from_scratch:
        if pretrained:
            check_licence("weights", name)
        encoder = encoder_class(pretrained=pretrained, **entry.arguments, **options)
        encoder.weights_from = str(pretrained) if pretrained else None
        return encoder
    _check_own_weights(kind, name, pretrained)
    vocabulary = {"words": words} if kind == "text" else {}
    encoder = encoder_class(**vocabulary, **entry.arguments, **options)
    if pretrained:
        load_weights(encoder, pretrained)
        encoder.weights_from = str(pretrained)
    return encoder


def _find_entry(kind: Kind, name: str) -> EncoderEntry:
    if ":" in name:
        return EncoderEntry(name)
    if name not in ENCODERS[kind]:
        raise unknown_name(f"{kind} encoder", name, ENCODERS[kind])
    return ENCODERS[kind][name]


def _import_class(kind: Kind, name: str, entry: EncoderEntry) -> Any:
    if ":" in name:
        return import_part(f"{kind} encoder", name, _CONTRACTS[kind])
    try:
        module = import_module(entry.module)
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        raise AvkitError(
            f"{kind} encoder {name!r} needs a library that cannot be imported: {error}. Install it with "
            f"pip install 'avkit[{entry.extra}]', and a torchvision built for torch {torch.__version__}."
        ) from error
    return vars(module)[entry.class_name]


def _check_own_weights(kind: Kind, name: str, pretrained: str | None) -> None:
    """Refuse weights other than a file for an encoder that is trained from scratch."""
    if not pretrained or Path(pretrained).is_file():
        return
    others = [other for other, entry in ENCODERS[kind].items() if entry.module != _FROM_SCRATCH]
    raise ValueError(
        f"{kind} encoder {name!r} has no pretrained weights {pretrained!r}; it takes a file of yours. "
        f"Leave it empty, or choose one of {', '.join(others)}."
    )
