# SPDX-License-Identifier: Apache-2.0
"""Prompts, questions and names of classes as features of the width of the tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avkit.batch import CaptionWords
from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.nn.sent import sent


@dataclass
class Texts:
    """What a batch says in words. It is made before a step is compiled: a graph would hold the words as constants.

    Attributes:
        prompts: Features of the questions, or of the task's prompt, one per sample.
        second: Pooled features of a further text that the head asks for, (B, D), or None.
        names: Features of the names of the task's classes, (K, D), or None.
        captions: Captions to learn from, or None.
    """

    prompts: TextFeatures
    second: Tensor | None = None
    names: Tensor | None = None
    captions: CaptionWords | None = None


def encode_texts(encoder: TextEncoder, projection: nn.Linear, texts: Sequence[str]) -> TextFeatures:
    """Token and pooled features of texts at the width of `projection`; equal texts are read once."""
    same = len(set(texts)) == 1
    features = encoder(list(texts[:1] if same else texts))
    features = TextFeatures(projection(features.tokens), features.valid, projection(features.pooled), features.lengths)
    if not same:
        return features
    count = len(texts)
    return TextFeatures(
        features.tokens.expand(count, -1, -1),
        features.valid.expand(count, -1),
        features.pooled.expand(count, -1),
        None if features.lengths is None else features.lengths.expand(count),
    )


class NameFeatures:
    """Features of the names of classes; a frozen encoder reads them once.

    Args:
        classes: Names of all classes of a run.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = list(classes)
        self._pooled: Tensor | None = None

    def forget(self) -> None:
        """Read the names again the next time."""
        self._pooled = None

    def encode(self, encoder: TextEncoder, projection: nn.Linear, classes: Sequence[str]) -> Tensor | None:
        """Features of some of the classes at the width of `projection`, (K, D); None where there are none."""
        if not classes:
            return None
        pooled = self._pooled
        if pooled is None:
            pooled = encoder([name.replace("_", " ") for name in self.classes]).pooled
            is_frozen = not any(parameter.requires_grad for parameter in encoder.parameters())
            if is_frozen and not torch.compiler.is_compiling():  # what a traced graph makes must not outlive it
                self._pooled = pooled
        if list(classes) != self.classes:
            numbers = torch.tensor([self.classes.index(name) for name in classes])
            pooled = pooled.index_select(0, sent(numbers, pooled.device))
        names: Tensor = projection(pooled.to(projection.weight.device))
        return names
