# SPDX-License-Identifier: Apache-2.0
"""EZ-VSL: the best position of a picture is more similar to its own sound than to any other."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from avkit.encoders.resnet import resnet_name
from avkit.systems.official_keys import rename
from avkit.systems.sources import TwoStreamNetwork, init_like_the_authors


@dataclass
class EZVSLOptions:
    """Options of EZ-VSL's network.

    Attributes:
        width: Width D of the embeddings.
    """

    width: int = 512


class EZVSL(TwoStreamNetwork):
    """The network of "Localizing Visual Sounds the Easy Way" (ECCV 2022).

    Args:
        options: Width of the embeddings.
    """

    name = "ez_vsl"
    source = "stoneMo/EZ-VSL at commit 95ff5bff3019"
    Options = EZVSLOptions

    def __init__(self, options: EZVSLOptions) -> None:
        super().__init__(options, 32)
        self.visual_out = nn.Conv2d(512, options.width, 1)
        self.audio_out = nn.Linear(512, options.width)
        init_like_the_authors([*self.sound.modules(), self.visual_out])
        nn.init.trunc_normal_(self.audio_out.weight, 0, 0.01)

    def embed_pictures(self, frames: Tensor) -> Tensor:
        """Vectors of length 1 of normalised pictures (N, 3, H, W): (N, D, h, w)."""
        return F.normalize(self.visual_out(self.picture(frames)), dim=1)

    def embed_sounds(self, spectrogram: Tensor) -> Tensor:
        """Vectors of length 1 of spectrograms (N, 1, F, L): (N, D)."""
        return F.normalize(self.audio_out(self.sound(spectrogram).amax((2, 3))), dim=1)

    @classmethod
    def recognise(cls, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Arguments as official weights tell them."""
        return {"width": len(state["aud_proj.weight"])} if "aud_proj.weight" in state else None

    @classmethod
    def official_name(cls, key: str) -> str:
        """The authors' name of our key."""
        for ours, theirs in (("picture.", "imgnet."), ("sound.", "audnet.")):
            if key.startswith(ours):
                return theirs + resnet_name(key.removeprefix(ours))
        return rename(key, {"visual_out.": "img_proj.", "audio_out.": "aud_proj."})
