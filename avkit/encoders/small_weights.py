# SPDX-License-Identifier: Apache-2.0
"""Weights of the small encoders: files of a user's, and those of avkit, which were trained on its scenes."""

from importlib.resources import files
from pathlib import Path

import torch
from torch import nn

from avkit.encoders.pretrained import check_weights, load_weights
from avkit.encoders.small import SmallSentence, SmallText
from avkit.errors import file_error, unknown_name
from avkit.reading.tensors import read_tensors
from avkit.reading.text import parse_json
from avkit.text.tokenizer import UNKNOWN

#: Encoders of which there are such weights, by kind and name, with the name of the file.
SCENE_FILES = {
    ("visual", "small"): "visual",
    ("visual", "small_tome14"): "visual",
    ("audio", "small"): "audio",
    ("text", "small"): "text",
    ("visual", "small_embedding"): "region_image",
    ("text", "small_sentence"): "region_sentence",
}
#: The rows of a word encoder's table that stand for no word.
_SPECIAL = UNKNOWN + 1


def scene_weights(kind: str, name: str = "small") -> Path:
    """The file of the weights that come with avkit.

    Args:
        kind: Kind of the encoder: `visual`, `audio` or `text`.
        name: Name of the encoder.

    Raises:
        ValueError: If there are none for this encoder.
    """
    if (kind, name) not in SCENE_FILES:
        accepted = [f"{known} {encoder}" for known, encoder in SCENE_FILES]
        raise unknown_name("encoder with weights of scenes", f"{kind} {name}", accepted)
    return Path(str(files("avkit.encoders") / "scene_weights" / f"{SCENE_FILES[kind, name]}.safetensors"))


def load_small(encoder: nn.Module, path: Path) -> None:
    """Load a weight file into a small encoder, unless it has sizes alone (device `meta`).

    A file of a text encoder that names its words is read word by word: words that it lacks keep their random vectors.

    Raises:
        FileError: If the file is damaged.
        ValueError: If the weights do not fit.
    """
    if any(parameter.is_meta for parameter in encoder.parameters()):
        return
    if isinstance(encoder, SmallText | SmallSentence) and path.suffix == ".safetensors":
        facts, tensors = read_tensors(path)
        if "words" in facts:
            _load_words(encoder, facts["words"], tensors, path)
            return
    load_weights(encoder, path)


def _stored_words(text: str, rows: int, path: Path) -> list[str]:
    """The words of a file, one for each row of its table behind the special ones."""
    words = parse_json(text, f"{path}, fact 'words'")
    rows -= _SPECIAL
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words) or len(words) != rows:
        raise file_error(path, f"does not name the words of its {max(0, rows)} rows", "Write it again, with all words.")
    return words


def _load_words(encoder: SmallText | SmallSentence, text: str, tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Load a text encoder; `text` has the words of the rows of the file's table."""
    name, tower = ("embed.weight", encoder) if isinstance(encoder, SmallText) else ("tower.embed.weight", encoder.tower)
    table = tensors.get(name, torch.empty(0, 0))
    words = _stored_words(text, len(table), path)
    own = encoder.state_dict()
    fitting = table[:1].expand(len(own[name]), -1)  # as large as the encoder's, to be checked before
    check_weights(own, tensors | {name: fitting}, path)
    joined = own[name].clone()
    joined[:_SPECIAL] = table[:_SPECIAL]
    numbers = {word: number for number, word in enumerate(words, _SPECIAL)}
    for word, number in tower.tokenizer.index.items():
        if word in numbers:
            joined[number] = table[numbers[word]]
    encoder.load_state_dict(tensors | {name: joined})
