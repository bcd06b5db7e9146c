# SPDX-License-Identifier: Apache-2.0
"""CLAP: how well the sound of each step fits the names of targets, by an embedding that sound and text share.

Source:
    Wu et al., Large-scale contrastive language-audio pretraining, ICASSP 2023; weights and code by transformers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from avkit.batch import SAMPLE_RATE
from avkit.systems.zero_shot.pooled import pooled
from avkit.systems.zero_shot.taggers import Tagger, sound_windows
from avkit.systems.zero_shot.targets import Target

#: Samples per second that CLAP takes.
_RATE = 48_000
#: Text for a target, and texts that stand for everything else.
_TEMPLATE = "the sound of {}"
_OTHERS = ("background noise", "silence")


class CLAPTagger(Tagger):
    """CLAP over windows around the same moments as YAMNet's.

    A target's probability is its share in the softmax over all targets and texts for background noise and silence, so
    at most one or two targets of a window are likely.

    Args:
        path: Folder that `save_pretrained` wrote.
        seconds: Length of a window.
        at_once: Windows that pass the network together.
    """

    def __init__(self, path: Path, seconds: float = 2.0, at_once: int = 8) -> None:
        super().__init__()
        from transformers import AutoModel, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(path, local_files_only=True)
        self.network = AutoModel.from_pretrained(path, local_files_only=True)
        self.samples = round(seconds * SAMPLE_RATE)
        self.at_once = at_once

    def encode(self, waveform: Tensor) -> Tensor:
        """Embeddings of length 1 of the windows, (windows, D)."""
        vectors = []
        for part in sound_windows(waveform, self.samples).split(self.at_once):
            # three samples for each one, in a straight line between neighbours
            samples = F.interpolate(part[:, None], scale_factor=_RATE // SAMPLE_RATE, mode="linear")[:, 0]
            inputs = self.processor(audio=list(samples.cpu().numpy()), sampling_rate=_RATE, return_tensors="pt")
            features = self.network.get_audio_features(**inputs.to(waveform.device))
            vectors.append(F.normalize(pooled(features), dim=-1))
        return torch.cat(vectors)

    def score(self, features: Tensor, targets: Sequence[Target]) -> Tensor:
        """Shares of the targets in the softmax."""
        texts = [_TEMPLATE.format(target.name.replace("_", " ")) for target in targets]
        inputs = self.processor(text=[*texts, *_OTHERS], return_tensors="pt", padding=True)
        text = F.normalize(pooled(self.network.get_text_features(**inputs.to(features.device))), dim=-1)
        scale = self.network.logit_scale_a.exp()
        logits = scale * F.normalize(features, dim=-1) @ text.T
        return logits.softmax(-1)[..., : len(targets)]
