# SPDX-License-Identifier: Apache-2.0
"""Tensors in `.safetensors` and PyTorch files; those that avkit writes carry a checksum."""

import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from avkit.errors import FileError, file_error
from avkit.reading.boundary import file_errors
from avkit.reading.checksums import KEY, changed_error, crc32, refuse_lost_checksum
from avkit.reading.copies import local_copy
from avkit.reading.pairs import check_pair

_ADVICE = "Copy or download it again."


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """Write `.safetensors` with a checksum of tensors and facts among the facts.

    Args:
        path: The file, which is written in place: give the temporary file of `avkit.files.atomic`.
        tensors: Tensors by name.
        facts: Texts by name, kept as the file's metadata.
    """
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(contiguous, path, {**facts, KEY: _checksum(contiguous, facts)})


def read_tensors(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Facts and tensors of a `.safetensors`, on the CPU; a checksum among the facts is checked and left out.

    Raises:
        FileError: If the file is missing, damaged, has changed since it was written, or is of another checkpoint than
            the one beside it.
    """
    from safetensors import safe_open

    with (
        file_errors(path, "cannot be read as .safetensors", _ADVICE),
        local_copy(path) as here,
        safe_open(here, "pt") as file,
    ):
        facts = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    stated = facts.pop(KEY, None)
    if stated is None:
        refuse_lost_checksum(facts, path)
    elif stated != _checksum(tensors, facts):
        raise changed_error(path)
    check_pair(Path(path), facts)
    return facts, tensors


def read_facts(path: str | Path) -> dict[str, str]:
    """Facts of a `.safetensors` without its tensors, so that its checksum is not checked; `read_tensors` does that.

    Raises:
        FileError: If the file is missing, or is no such file.
    """
    from safetensors import safe_open

    with (
        file_errors(path, "cannot be read as .safetensors", _ADVICE),
        local_copy(path) as here,
        safe_open(here, "pt") as file,
    ):
        facts = dict(file.metadata() or {})
    facts.pop(KEY, None)
    return facts


def read_fitting_tensors(path: str | Path, own: Mapping[str, Tensor], facts: str) -> dict[str, Tensor]:
    """Tensors of a `.safetensors` that have the names and shapes of a module's own.

    Args:
        path: The file.
        own: The module's tensors by name.
        facts: The file that the module was built by, for the error.

    Raises:
        FileError: If it cannot be read, or a tensor is missing, unknown or of another shape.
    """
    _, tensors = read_tensors(path)
    wrong = [name for name in own.keys() | tensors.keys() if name not in own or name not in tensors]
    wrong += [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if wrong:
        raise file_error(
            path,
            f"does not fit {facts}: {len(wrong)} tensors differ, such as {min(wrong)}",
            "Use files saved together.",
        )
    return tensors


def _checksum(tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> str:
    value = 0
    for name in sorted(tensors):
        tensor = tensors[name].cpu()
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode()
        flat = tensor.reshape(-1).view(torch.uint8) if tensor.numel() else torch.zeros(0, dtype=torch.uint8)
        value = crc32(head, flat.numpy().data, start=value)
    for name in sorted(facts):
        value = crc32(f"{name}={facts[name]}\n".encode(), start=value)
    return f"{value:08x}"


def read_torch(path: str | Path) -> object:
    """What a PyTorch file holds: tensors and plain values, on the CPU, nothing that could run code.

    The file's own checksums are checked, which `torch.load` leaves out.

    Raises:
        FileError: If the file is missing, damaged, or holds other objects.
    """
    with (
        file_errors(path, "cannot be read as a PyTorch file of tensors and plain values", _ADVICE),
        local_copy(path) as here,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of what else a damaged file may be
        if zipfile.is_zipfile(here):
            _check_archive(here)
        content: object = torch.load(here, map_location="cpu", weights_only=True)
    return content


def _check_archive(path: Path) -> None:
    """Refuse an archive whose parts do not fit their checksums, or unpack to more than the file holds."""
    with zipfile.ZipFile(path) as archive:
        stated = sum(info.file_size for info in archive.infolist())
        if stated > path.stat().st_size:  # PyTorch does not compress
            raise file_error(path, f"is damaged: its parts state {stated} bytes, more than the file has", _ADVICE)
        damaged = archive.testzip()
    if damaged is not None:
        raise changed_error(path)


def check_finite(tensors: Mapping[str, Tensor], path: str | Path, advice: str) -> None:
    """Refuse weights that are not finite numbers: a network that holds them answers nothing but NaN.

    Args:
        tensors: Tensors by key.
        path: Their file, for the error.
        advice: What to do next, a sentence.

    Raises:
        FileError: If one holds NaN or an infinite number, with counts and examples.
    """
    bad = [key for key, x in tensors.items() if x.is_floating_point() and not bool(torch.isfinite(x).all())]
    if bad:
        more = ", ..." if len(bad) > 3 else ""
        raise FileError(
            f"{path} holds NaN or infinite numbers in {len(bad)} of {len(tensors)} tensors "
            f"({', '.join(bad[:3])}{more}): training diverged before it was saved. {advice}"
        )
