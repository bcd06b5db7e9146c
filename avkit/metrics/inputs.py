# SPDX-License-Identifier: Apache-2.0
"""What people give to metrics, as tensors: arrays, lists, names of classes."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avkit.errors import unknown_name

#: A tensor, a numpy array, or a list of numbers, lists or tensors.
ArrayLike: TypeAlias = Tensor | NDArray[Any] | Sequence[Any]

#: Name by which steps without a class are told, beside the empty text that answers have there.
BACKGROUND = "background"


def to_tensor(name: str, values: ArrayLike) -> Tensor:
    """Numbers as a tensor; a tensor is returned as it is.

    Args:
        name: What they are, for errors.
        values: A tensor, a numpy array of any byte order, or a list.

    Raises:
        TypeError: If it is none of these, or holds what is no real number.
        ValueError: If rows of a list differ in length.
    """
    if isinstance(values, Tensor):
        if values.is_complex():
            raise TypeError(f"{name} is {values.dtype}; give real numbers.")
        return values
    if isinstance(values, list | tuple) and values and all(isinstance(entry, Tensor) for entry in values):
        return _stack(name, values)
    array = _to_array(name, values)
    if array.dtype.kind in "US" or (array.dtype.kind == "O" and any(isinstance(x, str) for x in array.flat)):
        raise TypeError(f"{name} holds text, such as {_example(array)!r}; give numbers.")
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} is of {array.dtype}; give real numbers.")
    if array.dtype.itemsize > 8 or array.dtype.type is np.uint64:
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)
    # torch takes the machine's own byte order and writable memory without steps backwards
    return torch.from_numpy(np.array(array, dtype=array.dtype.newbyteorder("=")))


def to_labels(name: str, values: ArrayLike, classes: Sequence[str] | None, kind: str = "class") -> Tensor:
    """Whole numbers of classes; names are looked up in `classes`.

    Args:
        name: What they are, for errors.
        values: As in `to_tensor`, or names of classes; the empty name is the background, where `classes` has one.
        classes: Names of classes in index order, or None.
        kind: What the names name, for errors.

    Raises:
        TypeError: As `to_tensor`, and for names where there are no `classes`.
        ValueError: If a name is not one of `classes`.
    """
    if isinstance(values, Tensor):
        return to_tensor(name, values)
    if isinstance(values, str):
        raise TypeError(f"{name} is the text {values!r}; give a list.")
    if isinstance(values, list | tuple) and values and all(isinstance(entry, Tensor) for entry in values):
        return to_tensor(name, values)
    array = _to_array(name, values)
    if array.dtype.kind not in "UO":
        return to_tensor(name, array)
    if not all(isinstance(entry, str) for entry in array.flat):
        raise TypeError(f"{name} mixes names and other things, or holds no numbers; give names or numbers of classes.")
    if classes is None:
        raise TypeError(
            f"{name} holds names such as {_example(array)!r}, and the metric was given no classes. Make it with "
            "classes=[...], the names in index order, or give numbers."
        )
    number = {entry: index for index, entry in enumerate(classes)}
    if BACKGROUND in number:
        number.setdefault("", number[BACKGROUND])
    for entry in array.flat:
        if entry not in number:
            raise unknown_name(kind, str(entry), classes)
    numbers = np.array([number[entry] for entry in array.flat], np.int64)
    return torch.from_numpy(numbers.reshape(array.shape))


def scores_or_names(scores: ArrayLike, classes: Sequence[str] | None, kind: str = "class") -> Tensor:
    """Predictions as a tensor: numbers as in `to_tensor`, names as in `to_labels`."""
    return to_labels("scores", scores, classes, kind) if holds_names(scores) else to_tensor("scores", scores)


def holds_names(values: ArrayLike) -> bool:
    """Whether values are names of classes, going by the first."""
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "U" or bool(values.size and isinstance(values.flat[0], str))
    while isinstance(values, list | tuple) and values:
        values = values[0]
    return isinstance(values, str)


def to_names(name: str, values: object, count: int) -> list[str]:
    """Names, such as those of clips, as a list of texts.

    Args:
        name: What they are, for errors.
        values: A list, tuple or array of texts or whole numbers.
        count: How many there must be.

    Raises:
        TypeError: If it is no list of texts.
        ValueError: If there are more or fewer.
    """
    entries = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(entries, list | tuple):
        raise TypeError(f"{name} is a {type(values).__name__}; give a list of {count} names.")
    for entry in entries:
        if isinstance(entry, bool) or not isinstance(entry, str | int):
            raise TypeError(f"{name} holds {entry!r}, a {type(entry).__name__}; give names as texts.")
    if len(entries) != count:
        raise ValueError(f"{len(entries)} {name} for {count} rows; give one each.")
    return [str(entry) for entry in entries]


def clip_names(clips: object | None, count: int) -> list[str] | None:
    """Checked names of clips, see `to_names`; None where there are none."""
    return None if clips is None else to_names("clips", clips, count)


def class_count(num_classes: int | None, classes: Sequence[str] | None, default: int) -> int:
    """The number of classes that a metric was told, by number, by names, or not at all.

    Raises:
        ValueError: If number and names differ, or a name is there twice.
    """
    if classes is None:
        return default if num_classes is None else num_classes
    if isinstance(classes, str) or len(set(classes)) < len(classes):
        raise ValueError(f"classes is {classes!r}; give a list with each name once, in index order.")
    if num_classes not in (None, len(classes)):
        raise ValueError(f"num_classes={num_classes} and {len(classes)} names of classes; give one of the two.")
    return len(classes)


def class_labels(name: str, labels: Tensor, num_classes: int) -> Tensor:
    """Labels as int64, checked to be classes from 0 to `num_classes` - 1.

    Raises:
        ValueError: If they are floats or out of range.
    """
    if labels.is_floating_point() or labels.dtype == torch.bool:
        values = sorted(set(labels.flatten().tolist()))[:8]
        raise ValueError(f"{name} is {labels.dtype} with values {values}; give integers from 0 to {num_classes - 1}.")
    labels = labels.long()
    if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        values = sorted(set(labels.flatten().tolist()))[:8]
        raise ValueError(f"{name} is {labels.dtype} with values {values}; give integers from 0 to {num_classes - 1}.")
    return labels


def check_one_hot(name: str, rows: Tensor) -> None:
    """Raise ValueError unless rows hold 0 and 1 only."""
    if rows.dtype != torch.bool and not bool(((rows == 0) | (rows == 1)).all()):
        raise ValueError(f"{name} has values other than 0 and 1.")


def valid_flags(valid: ArrayLike | None, clips: Tensor) -> Tensor:
    """Flags of the steps to score of clips (B, T, ...), bool (B, T) on their device; all where None.

    Raises:
        ValueError: If they are no flags, or of another shape.
    """
    shape = tuple(clips.shape[:2])
    if valid is None:
        return torch.ones(shape, dtype=torch.bool, device=clips.device)
    flags = to_tensor("valid", valid)
    if tuple(flags.shape) != shape or flags.dtype != torch.bool:
        raise ValueError(
            f"valid is {flags.dtype} of shape {tuple(flags.shape)}; give a bool tensor (B, T), here {shape}."
        )
    return flags.to(clips.device)


def _to_array(name: str, values: ArrayLike) -> NDArray[Any]:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        raise TypeError(f"{name} is a {type(values).__name__}; give a tensor, a numpy array or a list.")
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise ValueError(f"{name} cannot be read as an array ({error}); give rows of equal length.") from None


def _stack(name: str, values: Sequence[Tensor]) -> Tensor:
    shapes = {tuple(entry.shape) for entry in values}
    if len(shapes) > 1:
        raise ValueError(f"{name} is a list of tensors of shapes {sorted(shapes)}; give tensors of one shape.")
    return torch.stack(list(values))


def _example(array: NDArray[Any]) -> str:
    return next((str(entry) for entry in array.flat if isinstance(entry, str)), "")
