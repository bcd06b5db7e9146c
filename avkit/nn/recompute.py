# SPDX-License-Identifier: Apache-2.0
"""Recomputation of activations: less memory in training, for more time."""

from torch import nn


class Recomputable:
    """A mixin for modules that can drop activations after the forward pass and compute them again for the backward one.

    Attributes:
        recompute: Whether the module does so in training.
    """

    recompute: bool = False


def recompute_activations(module: nn.Module) -> None:
    """Let every part of a module that is `Recomputable` recompute its activations in training."""
    for part in module.modules():
        if isinstance(part, Recomputable):
            part.recompute = True
