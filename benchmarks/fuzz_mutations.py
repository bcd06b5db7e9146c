# SPDX-License-Identifier: Apache-2.0
"""Damage to files: of bytes for all, of values and fields for text; the same seed gives the same damage."""

import json
import random
import re

#: Numbers that sizes and offsets are replaced by.
_SIZES = [0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF]
#: Texts that a number or word is replaced by.
_WORDS = [
    "", "null", "NaN", "Infinity", "-1", "0", "1e999", "-1e308", "99999999999999999999", "0.1", "true", "[]", "{}",
    '""', "[[[[[[]]]]]]", "\\ud800", "\\u0000", "../../x", "/etc/passwd", "a" * 300, "\u00e9", "%s%d", "'", '"', ",",
    "&anchor", "*anchor", "!!python/object:os.system", "\t", "x" * 140_000, "9" * 5000, "[" * 3000,
]  # fmt: skip
#: Values that a value of JSON is replaced by.
_VALUES = [None, True, 0, -1, 3.5, 1e308, 2**63, "", "a", "1", [], {}, [None], {"a": 1}, [[1]], "\0", "a/b", "x" * 5000]


def damage(data: bytes, seed: int, name: str) -> bytes:
    """Damaged content of a file.

    Args:
        data: The whole content.
        seed: Chooses the damage.
        name: Name of the file, whose ending tells text from others.
    """
    draw = random.Random(seed)
    kinds = [flip_bits, set_bytes, cut, remove, repeat, set_size, flip_bits]
    if name.endswith((".json", ".jsonl", ".csv", ".txt", ".yaml", ".xml", ".tsv")):
        kinds += [replace_word, replace_word, replace_word, latin]
    if name.endswith((".json", ".jsonl")):
        kinds += [replace_value] * 6
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        data = draw.choice(kinds)(data, draw)
    return data


def flip_bits(data: bytes, draw: random.Random) -> bytes:
    """One bit, or a few, flipped; half of the time near the start, where headers are."""
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 4, 30])):
        if changed:
            most = len(changed) if draw.random() < 0.5 else min(len(changed), 512)
            changed[draw.randrange(most)] ^= 1 << draw.randrange(8)
    return bytes(changed)


def set_bytes(data: bytes, draw: random.Random) -> bytes:
    """Some bytes in a row replaced by others."""
    start = draw.randrange(len(data) + 1)
    length = draw.choice([1, 2, 8, 64])
    return data[:start] + draw.randbytes(length) + data[start + length :]


def cut(data: bytes, draw: random.Random) -> bytes:
    """The end cut off."""
    return data[: draw.randrange(len(data) + 1)]


def remove(data: bytes, draw: random.Random) -> bytes:
    """A piece taken out."""
    start = draw.randrange(len(data) + 1)
    return data[:start] + data[start + draw.choice([1, 4, 100, 4096]) :]


def repeat(data: bytes, draw: random.Random) -> bytes:
    """A piece written twice."""
    start = draw.randrange(len(data) + 1)
    end = start + draw.choice([1, 4, 100, 4096])
    return data[:end] + data[start:]


def set_size(data: bytes, draw: random.Random) -> bytes:
    """A number of 1 to 8 bytes replaced by a small or a very large one."""
    length = draw.choice([1, 2, 4, 8])
    value = draw.choice(_SIZES) & (256**length - 1)
    most = len(data) if draw.random() < 0.5 else min(len(data), 512)
    start = draw.randrange(most + 1)
    return data[:start] + value.to_bytes(length, draw.choice(["little", "big"])) + data[start + length :]


def replace_word(data: bytes, draw: random.Random) -> bytes:
    """A number, word or separator of a text replaced."""
    words = list(re.finditer(rb"-?\d+\.?\d*|\w+|[^\w\s]", data))
    if not words:
        return data
    word = draw.choice(words)
    return data[: word.start()] + draw.choice(_WORDS).encode() + data[word.end() :]


def latin(data: bytes, draw: random.Random) -> bytes:
    """A letter that is not UTF-8."""
    start = draw.randrange(len(data) + 1)
    return data[:start] + b"\xe9\xff" + data[start:]


def replace_value(data: bytes, draw: random.Random) -> bytes:
    """A value of JSON, anywhere in it, replaced by one of another type, removed, or put under another name."""
    lines = data.split(b"\n")
    place = draw.randrange(len(lines))
    text = lines[place] if len(lines) > 1 and data.startswith(b"{") and lines[place].startswith(b"{") else data
    try:
        root = json.loads(text)
    except (ValueError, RecursionError):  # damaged before
        return data
    holder = {"root": root}
    node: dict | list = holder
    key: str | int = "root"
    while draw.random() < 0.85 and isinstance(node[key], dict | list) and node[key]:
        node = node[key]
        key = draw.choice(list(node)) if isinstance(node, dict) else draw.randrange(len(node))
    if draw.random() < 0.15 and node is not holder:
        del node[key]
    else:
        node[key] = draw.choice(_VALUES)
    changed = json.dumps(holder["root"]).encode()
    if text is data:
        return changed
    lines[place] = changed
    return b"\n".join(lines)
