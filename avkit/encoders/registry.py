# SPDX-License-Identifier: Apache-2.0
"""How an encoder is built from its name."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from avkit.encoders.base import AudioEncoder, TextEncoder, VideoEncoder, VisualEncoder, WindowEncoder
from avkit.encoders.table import ENCODERS as ENCODERS
from avkit.encoders.table import SCENES, Kind, find_entry
from avkit.encoders.table import EncoderEntry as EncoderEntry
from avkit.errors import AvkitError
from avkit.licences import check_licence, find_licence
from avkit.outside import building, import_part, is_outside
from avkit.reading.hub import HubError

#: Base class of each kind.
_CONTRACTS: dict[Kind, type] = {
    "visual": VisualEncoder,
    "video": VideoEncoder,
    "window": WindowEncoder,
    "audio": AudioEncoder,
    "text": TextEncoder,
}

#: Module of the encoders that are trained from random weights.
_FROM_SCRATCH = "avkit.encoders.small"


def build_visual_encoder(name: str, pretrained: str | None = None, **options: Any) -> VisualEncoder:
    """Build an encoder of single images.

    Args:
        name: A name of `list_encoders("visual")`, `timm:NAME` or `open_clip:NAME` for any network of these libraries,
            or `package.module:Class` of a `VisualEncoder`.
        pretrained: None for random weights, `hub` for the weights that the name stands for, a tag of the library behind
            the encoder, or a path to a weight file.
        options: Further arguments of the encoder's class.

    Raises:
        ValueError: If the name is unknown, an encoder that is trained from scratch is asked for weights of the hub,
            the weights do not fit, or the class is no `VisualEncoder`.
        AvkitError: If the library behind the encoder cannot be imported.
    """
    return _build("visual", name, pretrained, options)


def build_video_encoder(name: str, pretrained: str | None = None, **options: Any) -> VideoEncoder:
    """Build an encoder of all frames of a video together; arguments and errors as in `build_visual_encoder`."""
    return _build("video", name, pretrained, options)


def build_window_encoder(name: str, pretrained: str | None = None, **options: Any) -> WindowEncoder:
    """Build an encoder of windows of frames; arguments and errors as in `build_visual_encoder`."""
    return _build("window", name, pretrained, options)


def build_audio_encoder(name: str, pretrained: str | None = None, **options: Any) -> AudioEncoder:
    """Build an encoder of waveforms; arguments and errors as in `build_visual_encoder`."""
    return _build("audio", name, pretrained, options)


def build_text_encoder(
    name: str, pretrained: str | None = None, words: Sequence[str] = (), **options: Any
) -> TextEncoder:
    """Build an encoder of sentences; arguments and errors as in `build_visual_encoder`.

    Args:
        name: A name of `list_encoders("text")`, `open_clip:NAME`, or `package.module:Class` of a `TextEncoder`.
        pretrained: As in `build_visual_encoder`.
        words: Vocabulary of an encoder that is trained from scratch; not used by others.
        options: Further arguments of the encoder's class.
    """
    return _build("text", name, pretrained, options, words)


def _build(kind: Kind, name: str, pretrained: str | None, options: Mapping[str, Any], words: Sequence[str] = ()) -> Any:
    entry = find_entry(kind, name)
    encoder_class = _import_class(kind, name, entry)
    with building(f"{kind} encoder", encoder_class):
        return _construct(kind, name, entry, encoder_class, pretrained, options, words)


def _construct(
    kind: Kind,
    name: str,
    entry: EncoderEntry,
    encoder_class: Any,
    pretrained: str | None,
    options: Mapping[str, Any],
    words: Sequence[str],
) -> Any:
    if not encoder_class.from_scratch:
        if pretrained:
            check_licence("weights", name)
        with _licence_told(name):
            encoder = encoder_class(pretrained=pretrained, **entry.arguments, **options)
        encoder.weights_from = str(pretrained) if pretrained else None
        return encoder
    path = _own_file(kind, name, pretrained) if pretrained else None
    vocabulary = {"words": words} if kind == "text" else {}
    encoder = encoder_class(**vocabulary, **entry.arguments, **options)
    if path is not None:
        from avkit.encoders.small_weights import load_small

        load_small(encoder, path)
        encoder.weights_from = str(pretrained)
    return encoder


@contextmanager
def _licence_told(name: str) -> Iterator[None]:
    """Say the licence of weights that are missing."""
    try:
        yield
    except HubError as error:
        row = find_licence("weights", name)
        if row is None:
            raise
        raise HubError(f"{error} Licence: {row.description}.") from error


def _import_class(kind: Kind, name: str, entry: EncoderEntry) -> Any:
    if is_outside(name):
        return import_part(f"{kind} encoder", name, _CONTRACTS[kind])
    try:
        module = import_module(entry.module)
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        package = f"'avkit[{entry.extra}]'" if entry.extra else "avkit"
        raise AvkitError(
            f"{kind} encoder {name!r} needs a library that cannot be imported: {error}. Install it with "
            f"pip install {package}, and a torchvision built for torch {torch.__version__}."
        ) from error
    part = vars(module)[entry.class_name]
    return part(entry.arguments["name"]) if entry.library else part


def _own_file(kind: Kind, name: str, pretrained: str) -> Path:
    """The weight file of an encoder that is trained from scratch: a user's, or the one that comes with avkit."""
    from avkit.encoders.small_weights import SCENE_FILES, scene_weights

    have_weights = (kind, name) in SCENE_FILES
    if have_weights and pretrained == SCENES:
        return scene_weights(kind, name)
    if Path(pretrained).is_file():
        return Path(pretrained)
    ours = f"{SCENES!r}, weights that come with avkit, or " if have_weights else ""
    others = [other for other, entry in ENCODERS[kind].items() if entry.module != _FROM_SCRATCH]
    raise ValueError(
        f"{kind} encoder {name!r} has no pretrained weights {pretrained!r}; it takes {ours}a file of yours. "
        f"Leave it empty, or choose one of {', '.join(others)}."
    )
