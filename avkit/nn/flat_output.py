# SPDX-License-Identifier: Apache-2.0
"""The tensors of a head's or system's output by name, for what takes and gives nothing but tensors."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass

from torch import Tensor

from avkit.batch import Output


def flat_tensors(output: Output, name: str = "output") -> dict[str, Tensor]:
    """Tensors of records, mappings and sequences by their path, such as `mask.maps` or `0.logits`; others are left out.

    Args:
        output: The output.
        name: Name of an output that is a tensor itself.
    """
    if isinstance(output, Tensor):
        return {name: output}
    tensors: dict[str, Tensor] = {}
    for part, value in _parts(output):
        for path, tensor in flat_tensors(value, "").items():
            tensors[f"{part}.{path}" if path else part] = tensor
    return tensors


def _parts(output: Output) -> Iterator[tuple[str, Output]]:
    """Names and values inside a record, mapping or sequence; nothing inside of others."""
    if is_dataclass(output):
        for field in fields(output):
            yield field.name, getattr(output, field.name)
    elif isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, list | tuple):
        for number, value in enumerate(output):
            yield str(number), value
