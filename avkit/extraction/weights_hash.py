# SPDX-License-Identifier: Apache-2.0
"""A hash that identifies the weights of an encoder."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a state dict, 16 hexadecimal digits: names, shapes and bytes in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        x = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(x.shape)} {x.dtype}".encode())
        if x.numel():
            digest.update(x.reshape(-1).view(dtype=torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
