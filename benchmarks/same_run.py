# SPDX-License-Identifier: Apache-2.0
"""What differs between two run folders, or two folders of results, that should be the same."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import load_file, save

from avkit.reading.checksums import KEY as CHECKSUM

#: Keys of `report.json` that tell when, where and how fast, and so differ between equal runs, and the checksum of all.
_OWN = ("name", "efficiency", CHECKSUM)
_OWN_FACTS = ("speed", "provenance")

#: Levels of 256 by which pictures of one overlay, encoded twice, may differ.
_LEVELS = 8


def differences(one: Path, other: Path, *, copied: bool = False) -> list[str]:
    """What differs between two run folders, each in one line; empty if nothing does.

    Args:
        one: A run folder.
        other: Another.
        copied: Whether `other` began as a copy of `one`, so that its older checkpoints name that folder.
    """
    found = []
    if _lines(one / "history.jsonl") != _lines(other / "history.jsonl"):
        found.append("history.jsonl")
    for name in sorted({path.name for folder in (one, other) for path in (folder / "checkpoints").glob("*.ckpt")}):
        found += _differing_checkpoints(one / "checkpoints" / name, other / "checkpoints" / name, copied)
    if _report(one) != _report(other):
        found.append("report.json")
    kinds = [sorted(path.name for path in folder.glob("report*")) for folder in (one, other)]
    if kinds[0] != kinds[1]:
        found.append(f"files of the report: {kinds}")
    left = [path.name for path in other.rglob("*") if path.name.startswith(".") or path.name == "lock.json"]
    if left:
        found.append(f"left over: {', '.join(left)}")
    return found


def differing_files(one: Path, other: Path) -> list[str]:
    """Files below two folders that are not the same byte for byte; of tensors and stores, what they hold.

    Pictures of videos may differ by a few of 256 levels: x264 encodes in threads, and not twice the same.
    """
    names = {path.relative_to(folder) for folder in (one, other) for path in folder.rglob("*") if path.is_file()}
    return [str(name) for name in sorted(names) if not _is_same_file(one / name, other / name)]


def _is_same_file(one: Path, other: Path) -> bool:
    if one.suffix == ".mp4" and one.exists() and other.exists():
        first = _pictures(one)
        second = _pictures(other)
        return first.shape == second.shape and bool(np.abs(first - second).max() <= _LEVELS)
    return _bytes(one) == _bytes(other)


def _bytes(path: Path) -> bytes | None:
    if not path.exists():
        return None
    if path.suffix == ".h5":
        return _stored(path)
    if path.suffix != ".safetensors":
        return path.read_bytes()
    with safe_open(path, "pt") as file:  # whose facts stand in another order in each process
        facts = sorted((file.metadata() or {}).items())
        return repr(facts).encode() + save({name: file.get_tensor(name) for name in sorted(file.keys())})


def _stored(path: Path) -> bytes:
    """What a store of features holds; its file tells when it was written."""
    import h5py

    with h5py.File(path) as file:
        arrays = [file[name][...].tobytes() for name in sorted(file)]
        return repr(sorted(file.attrs.items())).encode() + b"".join(arrays)


def _pictures(path: Path) -> NDArray[np.int16]:
    """The pictures of a video, (N, H, W, 3)."""
    import av

    with av.open(str(path)) as video:
        return np.stack([frame.to_ndarray(format="rgb24").astype(np.int16) for frame in video.decode(video=0)])


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def _report(run: Path) -> dict[str, Any] | None:
    path = run / "report.json"
    if not path.exists():
        return None
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for key in _OWN:
        report.pop(key, None)
    for key in _OWN_FACTS:
        report["facts"].pop(key, None)
    return json.loads(json.dumps(report, sort_keys=True).replace("NaN", '"NaN"'))


def _differing_checkpoints(one: Path, other: Path, copied: bool) -> Iterator[str]:
    if not (one.exists() and other.exists()):
        yield f"{one.name} is in one run alone"
        return
    first = torch.load(one, weights_only=True)
    second = torch.load(other, weights_only=True)
    second = _placed(second, other.parent)
    if copied:
        second = _placed(second, one.parent)
    yield from _differing_values(_placed(first, one.parent), second, one.name)
    weights = [load_file(path.with_suffix(".safetensors")) for path in (one, other)]
    yield from _differing_values(weights[0], weights[1], f"{one.stem}.safetensors")


def _placed(value: Any, folder: Path) -> Any:
    """The same with paths of a folder replaced by a word."""
    if isinstance(value, dict):
        return {_placed(key, folder): _placed(entry, folder) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_placed(entry, folder) for entry in value]
    return value.replace(str(folder.resolve()), "FOLDER") if isinstance(value, str) else value


def _differing_values(one: Any, other: Any, place: str) -> Iterator[str]:
    """Where two nested values differ, bit by bit for tensors."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
        if not same and not (
            one.shape == other.shape and torch.equal(one.isnan(), other.isnan()) and one.isnan().all()
        ):
            yield place
    elif isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from _differing_values(one.get(key), other.get(key), f"{place} {key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _differing_values(first, second, f"{place} {number}")
    elif one != other and not (one != one and other != other):
        yield f"{place}: {one!r:.40} and {other!r:.40}"
