# SPDX-License-Identifier: Apache-2.0
"""Weights of the small encoders: files of a user's, and those of avkit, which were trained on its scenes."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from avkit.encoders.pretrained import check_weights, load_weights
from avkit.encoders.small import SmallText
from avkit.errors import file_error, unknown_name
from avkit.reading.tensors import read_tensors
from avkit.reading.text import parse_json
from avkit.text.tokenizer import UNKNOWN

#: Value of `pretrained` that stands for the weights that come with avkit.
SCENES = "scenes"
#: Encoders of which there are such weights, by kind: the one that is called `small`.
SCENE_KINDS = ("visual", "audio", "text")
#: The rows of a word encoder's table that stand for no word.
_SPECIAL = UNKNOWN + 1


def scene_weights(kind: str) -> Path:
    """The file of the weights that come with avkit.

    Args:
        kind: Kind of the encoder: `visual`, `audio` or `text`.

    Raises:
        ValueError: If there are none of this kind.
    """
    if kind not in SCENE_KINDS:
        raise unknown_name("kind of encoder with weights of scenes", kind, SCENE_KINDS)
    return Path(str(files("avkit.encoders") / "scene_weights" / f"{kind}.safetensors"))


def load_small(encoder: nn.Module, path: Path) -> None:
    """Load a weight file into a small encoder.

    A file of a text encoder that names its words is read word by word: words that it lacks keep their random vectors.

    Raises:
        FileError: If the file is damaged.
        ValueError: If the weights do not fit.
    """
    if isinstance(encoder, SmallText) and path.suffix == ".safetensors":
        facts, tensors = read_tensors(path)
        if "words" in facts:
            _load_words(encoder, _stored_words(facts["words"], tensors, path), tensors, path)
            return
    load_weights(encoder, path)


def _stored_words(text: str, tensors: Mapping[str, torch.Tensor], path: Path) -> list[str]:
    """The words of a file, one for each row of its table behind the special ones."""
    words = parse_json(text, f"{path}, fact 'words'")
    rows = len(tensors.get("embed.weight", ())) - _SPECIAL
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(words) != rows:
        raise file_error(path, f"does not name the words of its {max(0, rows)} rows", "Write it again, with all words.")
    return words


def _load_words(encoder: SmallText, words: list[str], tensors: dict[str, torch.Tensor], path: Path) -> None:
    own = encoder.state_dict()
    table = tensors["embed.weight"]
    fitting = table[:1].expand(len(own["embed.weight"]), -1)  # as large as the encoder's, to be checked before
    check_weights(own, tensors | {"embed.weight": fitting}, path)
    joined = own["embed.weight"].clone()
    joined[:_SPECIAL] = table[:_SPECIAL]
    numbers = {word: number for number, word in enumerate(words, _SPECIAL)}
    for word, number in encoder.tokenizer.index.items():
        if word in numbers:
            joined[number] = table[numbers[word]]
    encoder.load_state_dict(tensors | {"embed.weight": joined})
