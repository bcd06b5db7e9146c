# SPDX-License-Identifier: Apache-2.0
"""CLIP or SigLIP: how likely each of some targets is seen in each picture.

Source:
    Radford et al., ICML 2021 (CLIP); Zhai et al., ICCV 2023 (SigLIP); weights and code by transformers.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from avkit.systems.zero_shot.pooled import pooled
from avkit.systems.zero_shot.targets import Target

#: Text for a target, and texts that stand for everything else.
_TEMPLATE = "a photo of a {}"
_OTHERS = ("a photo of something else", "an empty scene", "a blurry picture")


class Presence(nn.Module):
    """Says of pictures what is seen in them, from an embedding that pictures and texts share.

    SigLIP gives each target a probability of its own. With CLIP it is the target's share against texts for everything
    else, asked target by target, so that several may be seen.

    Args:
        path: Folder that `save_pretrained` wrote.
        at_once: Pictures that pass the network together.
    """

    def __init__(self, path: Path, at_once: int = 16) -> None:
        super().__init__()
        from transformers import AutoModel, AutoProcessor

        self.processor = AutoProcessor.from_pretrained(path, local_files_only=True)
        self.network = AutoModel.from_pretrained(path, local_files_only=True)
        self.at_once = at_once

    def embed(self, frames: Tensor) -> Tensor:
        """Vectors of length 1, (N, D), of pictures, uint8 (N, 3, H, W)."""
        vectors = []
        for part in frames.split(self.at_once):
            inputs = self.processor(images=list(part.cpu()), return_tensors="pt")
            features = self.network.get_image_features(pixel_values=inputs["pixel_values"].to(frames.device))
            vectors.append(F.normalize(pooled(features), dim=-1))
        return torch.cat(vectors)

    def score(self, embedding: Tensor, targets: Sequence[Target]) -> Tensor:
        """Probability that each target is seen, (..., K), from embeddings (..., D); 0 of what nobody can see."""
        texts = [_TEMPLATE.format(target.object or target.name.replace("_", " ")) for target in targets]
        text = self._embed_texts([*texts, *_OTHERS], embedding.device)
        logits = self.network.logit_scale.exp() * embedding @ text.T
        own = logits[..., : len(targets)]
        bias = self._bias()
        if bias is None:
            others = logits[..., len(targets) :].logsumexp(-1, keepdim=True)
            scores = (own - others).sigmoid()
        else:
            scores = (own + bias).sigmoid()
        visible = torch.tensor([bool(target.object) for target in targets], device=scores.device)
        return scores * visible

    def _bias(self) -> Tensor | None:
        """SigLIP's bias; None for CLIP."""
        parameters = dict(self.network.named_parameters())
        return parameters.get("logit_bias")

    def _embed_texts(self, texts: Sequence[str], device: torch.device) -> Tensor:
        length = self.network.config.text_config.max_position_embeddings
        inputs = self.processor.tokenizer(
            list(texts), return_tensors="pt", padding="max_length", truncation=True, max_length=length
        ).to(device)
        features = self.network.get_text_features(
            input_ids=inputs["input_ids"], attention_mask=inputs.get("attention_mask")
        )
        return F.normalize(pooled(features), dim=-1)
