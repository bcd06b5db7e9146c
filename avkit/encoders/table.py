# SPDX-License-Identifier: Apache-2.0
"""The table of encoders: which class a name stands for, and names of the networks of whole libraries."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from avkit.errors import unknown_name
from avkit.outside import is_outside

Kind = Literal["visual", "video", "window", "audio", "text"]


@dataclass(frozen=True)
class EncoderEntry:
    """A row of the table of encoders.

    Attributes:
        location: Module and class, `package.module:Class`; of a library, a function that gives the class by the name of
            the network.
        arguments: Arguments of the class that the name stands for.
        extra: Optional dependency of avkit that the module needs; empty where an ordinary one is enough.
        library: Library of which `arguments` name a network; empty where the location is a class.
    """

    location: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    extra: str = "pretrained"
    library: str = ""

    @property
    def module(self) -> str:
        """Name of the module."""
        return self.location.partition(":")[0]

    @property
    def class_name(self) -> str:
        """Name of the class, or of the function, within the module."""
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


def _by_transformers(location: str) -> EncoderEntry:
    return EncoderEntry(f"avkit.encoders.{location}", extra="")


def _pe_av(class_name: str) -> EncoderEntry:
    return EncoderEntry(f"avkit.encoders.pe_av:{class_name}")  # its pictures are seen by a network of timm


#: Value of weights that stands for those of small encoders that come with avkit.
SCENES = "scenes"
#: All encoders by kind and name.
ENCODERS: dict[Kind, dict[str, EncoderEntry]] = {
    "visual": {
        "small": EncoderEntry("avkit.encoders.small:SmallVisual"),
        "small_tome14": EncoderEntry("avkit.encoders.small:SmallMerging", {"tokens": 14}),
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
        "pe_av": _pe_av("PEAVImage"),
        "llava": EncoderEntry("avkit.encoders.llava:LlavaFrames", extra=""),
    },
    "video": {
        "video_llava": EncoderEntry("avkit.encoders.llava:VideoLlava", extra=""),
    },
    "window": {
        "i3d_rgb": EncoderEntry("avkit.encoders.i3d:I3DRGB"),
        "i3d_flow": EncoderEntry("avkit.encoders.i3d:I3DFlow"),
        "r2plus1d_18": EncoderEntry("avkit.encoders.r2plus1d:R2Plus1D"),
        "one_peace_video": EncoderEntry("avkit.encoders.one_peace_video:OnePeaceVideo"),
        "pe_av": _pe_av("PEAVVideo"),
    },
    "audio": {
        "small": EncoderEntry("avkit.encoders.small:SmallAudio"),
        "vggish": EncoderEntry("avkit.encoders.vggish:VGGishAudio"),
        "vggish_running": EncoderEntry("avkit.encoders.vggish:VGGishAudio", {"running": True}),
        "yamnet": EncoderEntry("avkit.encoders.yamnet:YAMNetAudio"),
        "yamnet_scores": EncoderEntry("avkit.encoders.yamnet:YAMNetAudio", {"keep": "scores"}),
        "one_peace_audio": EncoderEntry("avkit.encoders.one_peace_audio:OnePeaceAudio"),
        "ast": _by_transformers("ast:ASTAudio"),
        "beats": EncoderEntry("avkit.encoders.beats:BEATsAudio"),
        "clap": _by_transformers("clap:CLAPAudio"),
        "htsat": _by_transformers("clap:HTSATAudio"),
        "pe_av": _pe_av("PEAVAudio"),
    },
    "text": {
        "small": EncoderEntry("avkit.encoders.small:SmallText"),
        "small_sentence": EncoderEntry("avkit.encoders.small:SmallSentence"),
        "clip_vit_l14": _clip_text("ViT-L-14"),
        "clip_vit_l14_336": _clip_text("ViT-L-14-336"),
        "clip_vit_b32": _clip_text("ViT-B-32"),
        "clap": _by_transformers("clap:CLAPText"),
        "pe_av": _pe_av("PEAVText"),
        "minilm": _by_transformers("sentences:SentenceText"),
    },
}

#: The function that gives the class of a network of a library, by library and kind.
_LIBRARIES: dict[str, dict[Kind, str]] = {
    "timm": {"visual": "avkit.encoders.timm:timm_class"},
    "open_clip": {
        "visual": "avkit.encoders.open_clip:image_class",
        "text": "avkit.encoders.open_clip:text_class",
    },
}


def find_entry(kind: Kind, name: str) -> EncoderEntry:
    """The entry of an encoder.

    Args:
        kind: What it encodes.
        name: A name of the table, `LIBRARY:NAME`, or `package.module:Class`.

    Raises:
        ValueError: If the name is unknown, or the library has no encoders of this kind.
    """
    if is_outside(name):
        return EncoderEntry(name)
    library, colon, network = name.partition(":")
    if not colon:
        if name not in ENCODERS[kind]:
            raise unknown_name(f"{kind} encoder", name, ENCODERS[kind])
        return ENCODERS[kind][name]
    by_kind = _LIBRARIES[library]
    if kind not in by_kind:
        raise ValueError(
            f"{kind} encoder {name!r}: {library} has encoders of kind {', '.join(by_kind)} alone. Choose one of "
            f"{', '.join(ENCODERS[kind])}."
        )
    return EncoderEntry(by_kind[kind], {"name": network}, library=library)
