# SPDX-License-Identifier: Apache-2.0
"""Vectors of pictures, sounds and texts out of what transformers return, which differs between its versions."""

from typing import Any

from torch import Tensor


def pooled(features: Any) -> Tensor:
    """One vector per input, (N, D): transformers 4 returns it, transformers 5 an object that holds it."""
    return features if isinstance(features, Tensor) else features.pooler_output
