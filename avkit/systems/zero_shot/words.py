# SPDX-License-Identifier: Apache-2.0
"""A sentence encoder that matches names by meaning, for names that no table has."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Least cosine at which two names mean the same.
_NEAR = 0.5


class SentenceEncoder(nn.Module):
    """Mean of the last hidden states of a BERT that was trained on pairs of sentences.

    Args:
        path: Folder that `save_pretrained` wrote.

    Source:
        Reimers and Gurevych, Sentence-BERT, EMNLP 2019; MiniLM's weights by sentence-transformers.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        from transformers import AutoModel, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
        self.network = AutoModel.from_pretrained(path, local_files_only=True)

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """Vectors of length 1, (N, D)."""
        plain = [text.replace("_", " ") for text in texts]
        device = next(self.network.parameters()).device
        inputs = self.tokenizer(plain, return_tensors="pt", padding=True, truncation=True).to(device)
        states = self.network(**inputs).last_hidden_state
        valid = inputs["attention_mask"][..., None].to(states)
        return F.normalize((states * valid).sum(1) / valid.sum(1).clamp(min=1), dim=-1)

    def nearest(self, name: str, names: Sequence[str]) -> str | None:
        """The name of `names` that means most nearly the same; None where none is near."""
        vectors = self.embed([name, *names])
        cosines = vectors[1:] @ vectors[0]
        best = int(cosines.argmax())
        return names[best] if float(cosines[best]) >= _NEAR else None
