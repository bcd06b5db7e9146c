# SPDX-License-Identifier: Apache-2.0
"""The authors' weight file of YAMNet, `yamnet.h5`, brought to the keys of `avkit.encoders.yamnet`.

Source:
    tensorflow/models, research/audioset/yamnet, `yamnet.py`: convolutions without bias, each followed by a batch norm
    with centre and without scale, epsilon 1e-4.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from avkit.errors import file_error
from avkit.reading.arrays import open_hdf5, read_dataset

#: Endings of HDF5 files.
HDF5_SUFFIXES = (".h5", ".hdf5")

#: Epsilon of the batch norms.
_EPSILON = 1e-4
#: Our name of a layer's convolution by the authors'.
_CONVOLUTIONS = {"conv": "conv", "depthwise_conv": "depthwise", "pointwise_conv": "pointwise"}
#: Keras repeats the name of a layer in the path of its arrays, so the last occurrence counts.
_ARRAY = re.compile(
    r"(?:^|.*/)(?:layer(?P<layer>\d+)/(?P<convolution>conv|depthwise_conv|pointwise_conv)(?P<norm>/bn)?|logits)"
    r"/(?P<name>kernel|depthwise_kernel|bias|beta|gamma|moving_mean|moving_variance)(?::0)?$"
)


def read_yamnet_hdf5(path: Path) -> dict[str, Tensor]:
    """Weights of `yamnet.h5` with batch norms folded into the convolutions before them.

    Raises:
        FileError: If the file is damaged, or holds other arrays.
    """
    arrays = _read_arrays(path)
    state: dict[str, Tensor] = {}
    for key in [key for key in arrays if key.endswith("/kernel")]:
        target = key.removesuffix("/kernel")
        if target == "classifier":
            state["classifier.weight"] = arrays[key].transpose(0, -1).contiguous()
            state["classifier.bias"] = _array(arrays, f"{target}/bias", path)
            continue
        weight, bias = _fold(arrays, target, path)
        state[f"{target}.weight"] = weight
        state[f"{target}.bias"] = bias
    if not state:
        raise file_error(
            path,
            "holds no layers of YAMNet, such as layer1/conv",
            "Give the authors' yamnet.h5, or weights as .safetensors.",
        )
    return state


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """Arrays by our name of the layer and theirs of the array, such as `layer2.depthwise/beta`."""
    arrays: dict[str, Tensor] = {}
    names: list[str] = []
    with open_hdf5(path) as file:

        def note(name: str, entry: Any) -> None:
            names.append(name)

        file.visititems(note)
        for name in names:
            match = _ARRAY.match(name)
            if match is None:
                continue
            target = "classifier"
            if match["layer"]:
                target = f"layer{int(match['layer'])}.{_CONVOLUTIONS[match['convolution']]}"
            kind = match["name"].removeprefix("depthwise_")
            arrays[f"{target}/{kind}"] = torch.from_numpy(read_dataset(file, path, name)).float()
    return arrays


def _fold(arrays: dict[str, Tensor], target: str, path: Path) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution with its batch norm folded in."""
    kernel = arrays[f"{target}/kernel"]
    if kernel.ndim != 4:
        raise file_error(path, f"has a kernel of shape {tuple(kernel.shape)} in {target}", "Download the file again.")
    # TensorFlow: height, width, inputs, outputs; of depthwise convolutions height, width, channels, 1
    order = (2, 3, 0, 1) if target.endswith(".depthwise") else (3, 2, 0, 1)
    weight = kernel.permute(*order)
    mean = _array(arrays, f"{target}/moving_mean", path)
    variance = _array(arrays, f"{target}/moving_variance", path)
    scale = (variance + _EPSILON).rsqrt()
    if f"{target}/gamma" in arrays:
        scale = scale * arrays[f"{target}/gamma"]
    bias = _array(arrays, f"{target}/beta", path) - mean * scale
    return (weight * scale[:, None, None, None]).contiguous(), bias


def _array(arrays: dict[str, Tensor], key: str, path: Path) -> Tensor:
    if key not in arrays:
        raise file_error(path, f"lacks the array {key!r} of YAMNet", "Download the file again.")
    return arrays[key]
