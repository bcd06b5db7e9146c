# SPDX-License-Identifier: Apache-2.0
"""Sentence encoders of the Sentence-BERT kind: a BERT whose mean over tokens says what a sentence means.

Source:
    Reimers and Gurevych, Sentence-BERT, EMNLP 2019; MiniLM's weights by sentence-transformers.
"""

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from transformers import AutoTokenizer, BertConfig, BertModel

from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.encoders.clap import tokenize
from avkit.encoders.transformers_weights import PublishedNetwork

#: Weights that `hub` stands for.
REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
#: Sizes of these weights.
_WIDTH = 384
_LAYERS = 6
_FEED_FORWARD = 1536


def _minilm() -> BertConfig:
    return BertConfig(
        hidden_size=_WIDTH, num_hidden_layers=_LAYERS, num_attention_heads=12, intermediate_size=_FEED_FORWARD
    )


class SentenceText(TextEncoder):
    """Hidden states of the last layer, a vector per token; `pooled` is their mean, brought to length 1.

    Args:
        pretrained: `hub` for `all-MiniLM-L6-v2`, another `owner/name` of the hub, or a folder that `save_pretrained`
            wrote; there are no random words, so it must be given to encode.

    Raises:
        ValueError: If the weights are those of another network.
    """

    def __init__(self, pretrained: str | Path | bool | None = None) -> None:
        super().__init__()
        self.published = PublishedNetwork("minilm", "text", REPOSITORY, pretrained)
        self.network = self.published.network(BertModel, _minilm)
        self.tokenizer: Any = self.published.part(AutoTokenizer)
        self.width = int(self.network.config.hidden_size)

    def save_settings(self, root: Path) -> None:
        """Write the sizes of the network and its words."""
        self.published.save(root)

    def forward(self, texts: list[str]) -> TextFeatures:
        """Encode N sentences; L is the number of tokens of the longest one."""
        inputs = tokenize(self.tokenizer, texts, self.network.device, "minilm")
        tokens = self.network(**inputs).last_hidden_state
        weight = inputs["attention_mask"][..., None].to(tokens)
        mean = (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)
        return TextFeatures(tokens, inputs["attention_mask"].bool(), F.normalize(mean, dim=-1))
