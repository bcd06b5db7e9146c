# SPDX-License-Identifier: Apache-2.0
"""Texts of a graph are constants: what an encoder made of them once takes the encoder's place."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from avkit.encoders.base import TextEncoder, TextFeatures
from avkit.systems.questions import CachedTextEncoder


class RecordedTexts(nn.Module):
    """Encodes texts as an encoder does, and then without it those that it has encoded before.

    Args:
        encoder: The encoder.
    """

    def __init__(self, encoder: TextEncoder | CachedTextEncoder) -> None:
        super().__init__()
        self.width = encoder.width
        #: The encoder; None once only recorded texts are read.
        self.encoder: TextEncoder | CachedTextEncoder | None = encoder
        self._numbers: dict[tuple[str, ...], int] = {}

    def forward(self, texts: Sequence[str]) -> TextFeatures:
        """Features of the texts.

        Raises:
            KeyError: If they are no recorded ones and the encoder has been dropped.
        """
        key = tuple(texts)
        if self.encoder is None:
            number = self._numbers[key]
            return TextFeatures(*(self.get_buffer(f"{part}{number}") for part in ("tokens", "valid", "pooled")))
        with torch.no_grad():
            features: TextFeatures = self.encoder(list(texts))
        if key not in self._numbers:
            self._record(key, features)
        return features

    def drop_encoder(self) -> None:
        """Leave the encoder with its weights out."""
        self.encoder = None

    def _record(self, key: tuple[str, ...], features: TextFeatures) -> None:
        number = len(self._numbers)
        self._numbers[key] = number
        self.register_buffer(f"tokens{number}", features.tokens.clone())
        self.register_buffer(f"valid{number}", features.valid.clone())
        self.register_buffer(f"pooled{number}", features.pooled.clone())


@contextmanager
def recorded_texts(module: nn.Module) -> Iterator[list[RecordedTexts]]:
    """Recorders in the places of all text encoders inside a module, which are put back at the end."""
    places = list(_text_encoders(module))
    recorders = []
    for parent, name, encoder in places:
        recorder = RecordedTexts(encoder)
        parent.add_module(name, recorder)
        recorders.append(recorder)
    try:
        yield recorders
    finally:
        for parent, name, encoder in places:
            parent.add_module(name, encoder)


def _text_encoders(module: nn.Module) -> Iterator[tuple[nn.Module, str, TextEncoder | CachedTextEncoder]]:
    """Text encoders, each with the module that it is in and its name there."""
    for name, child in module.named_children():
        if isinstance(child, TextEncoder | CachedTextEncoder):
            yield module, name, child
        else:
            yield from _text_encoders(child)
