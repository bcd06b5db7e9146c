# SPDX-License-Identifier: Apache-2.0
"""What to extract: small YAML files that name networks, rates and what to keep."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import yaml

from avkit.errors import DataError, unknown_name

#: Recipes that come with avkit.
FOLDER = Path(__file__).with_name("recipes")

_OF = ("pictures", "sound", "text")
_KEEP = ("frame", "patches", "clip")
_TEXTS = ("questions", "classes")


@dataclass(frozen=True)
class Stream:
    """One network and what it is run over.

    Attributes:
        name: Name of the store.
        of: `pictures`, `sound` or `text`.
        encoder: A name of `avkit.encoders.list_encoders`; a video encoder where `keep` is `clip`.
        weights: `hub`, a tag, a path, or None for random ones.
        keep: Of pictures: `frame`, one vector each, `patches`, or `clip`, what a network makes of all of them at once.
        hop: Seconds from one step to the next.
        window: Of sound: seconds that a step hears.
        resize: Of pictures: shorter side in pixels, before `crop`; 0 squeezes them to the network's size.
        crop: Of pictures: side of the square cut from their middle.
        texts: Of text: `questions` of the dataset, or names of its `classes`.
        template: Of text: the sentence, with `{}` for the question or name.
        dtype: `float16` or `float32`.
    """

    name: str
    of: str
    encoder: str
    weights: str | None = "hub"
    keep: str = "frame"
    hop: float = 1.0
    window: float = 0.96
    resize: int = 0
    crop: int = 0
    texts: str = "questions"
    template: str = "{}"
    dtype: str = "float16"

    def check(self, where: str) -> None:
        """Refuse what cannot be meant.

        Raises:
            DataError: Naming the stream and the key.
        """
        for key, known in (("of", _OF), ("keep", _KEEP), ("texts", _TEXTS), ("dtype", ("float16", "float32"))):
            if getattr(self, key) not in known:
                raise DataError(f"{where}, stream {self.name!r}: {unknown_name(key, str(getattr(self, key)), known)}")
        if not self.hop > 0 or not self.window > 0 or self.resize < 0 or self.crop < 0:
            raise DataError(f"{where}, stream {self.name!r}: hop and window are above 0, resize and crop not below.")
        if bool(self.resize) != bool(self.crop) or self.crop > self.resize:
            raise DataError(
                f"{where}, stream {self.name!r}: resize is {self.resize} and crop {self.crop}; give both, the crop no "
                "larger, or neither."
            )


@dataclass(frozen=True)
class Recipe:
    """Streams under one name.

    Attributes:
        name: Name of the file.
        about: Paper and use, for `avkit extract --list`.
        streams: What to run; empty where the networks cannot be had.
        bring: Why they cannot, and what to bring instead.
    """

    name: str
    about: str
    streams: tuple[Stream, ...]
    bring: str = ""

    def with_weights(self, weights: str | None) -> "Recipe":
        """The same with other weights: `none` for random ones, one value for all streams, or `stream=path,...`.

        Raises:
            ValueError: If a stream is unknown.
        """
        if weights is None:
            return self
        pairs = {name: value for name, _, value in (part.rpartition("=") for part in weights.split(","))}
        for name in pairs:
            if name and name not in {s.name for s in self.streams}:
                raise unknown_name(f"stream of recipe {self.name}", name, [s.name for s in self.streams])
        streams = [replace(s, weights=_or_none(pairs.get(s.name, pairs.get("", s.weights)))) for s in self.streams]
        return replace(self, streams=tuple(streams))


def _or_none(weights: str | None) -> str | None:
    return None if weights == "none" else weights


def recipes() -> list[str]:
    """Names of the recipes that come with avkit."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or from a file of yours.

    Raises:
        ValueError: If there is no such recipe.
        DataError: If the file is no recipe; names stream and key.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if not path.is_file():
        if path.parent == FOLDER:
            raise unknown_name("recipe", str(name), recipes())
        raise DataError(f"Recipe {path} does not exist. Check the path, or take one of {', '.join(recipes())}.")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no YAML: {error}") from error
    if not isinstance(content, Mapping) or not {"streams", "bring"} & content.keys():
        raise DataError(f"{path} has no 'streams'. See {FOLDER / 'av_unified.yaml'} for a recipe.")
    listed = content.get("streams") or {}
    if not isinstance(listed, Mapping):
        raise DataError(f"{path}: 'streams' is a mapping from a name to what to run.")
    streams = tuple(_stream(key, value, str(path)) for key, value in listed.items())
    return Recipe(path.stem, str(content.get("about", "")), streams, str(content.get("bring", "")))


def _stream(name: Any, given: Any, where: str) -> Stream:
    known = [f.name for f in fields(Stream) if f.name != "name"]
    if not isinstance(given, Mapping) or not {"of", "encoder"} <= given.keys():
        raise DataError(f"{where}, stream {name!r}: give at least 'of' and 'encoder'.")
    for key in given:
        if key not in known:
            raise DataError(f"{where}, stream {name!r}: {unknown_name('key', str(key), known)}")
    try:
        numbers = {key: float(given[key]) for key in ("hop", "window") if key in given}
        stream = Stream(name=str(name), **{**given, **numbers})
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}, stream {name!r}: {error}.") from error
    stream.check(where)
    return stream
