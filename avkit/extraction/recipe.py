# SPDX-License-Identifier: Apache-2.0
"""Extraction recipes: small YAML files that name encoders, frame rates and which outputs to keep."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from avkit.errors import DataError, unknown_name
from avkit.features.source_maps import SOURCES_ENDING
from avkit.reading.text import read_yaml

#: Recipes that come with avkit.
FOLDER = Path(__file__).with_name("recipes")

#: Accepted values of the fields of a stream that name a choice.
_CHOICES: dict[str, Collection[str]] = {
    "of": ("pictures", "sound", "text"),
    "keep": ("frame", "patches", "tokens", "window", "clip", "sources"),
    "texts": ("questions", "classes"),
    "dtype": ("float16", "float32"),
}


@dataclass(frozen=True)
class FeatureStream:
    """An encoder, its input, and the part of its output that is stored; the fields are the keys of a recipe.

    Attributes:
        name: Name of the store.
        of: Input of the encoder: `pictures`, `sound` or `text`.
        encoder: A name of `avkit.encoders.list_encoders`; a video encoder where `keep` is `clip`, an encoder of windows
            where it is `window`.
        weights: `hub`, a tag, a path, or None for random weights.
        keep: Output of a visual encoder to store: `frame`, one vector per frame; `patches`; `tokens`, the vector of the
            frame before those of its patches; `window`, one vector per window of frames; `sources`, the number of the
            merged token that each patch of a frame went into, (h, w), for reports; or `clip`, the tokens of a video
            encoder, for all frames together.
        hop: Seconds from one step to the next.
        window: Of sound, and of pictures where `keep` is `window`: seconds per step.
        fps: Of windows of pictures: frames per second.
        resize: Of pictures: shorter side in pixels before `crop`; 0 resizes frames to the square that the encoder
            takes, whatever their shape.
        crop: Of pictures: side of the square cropped from the centre; 0 leaves that to an encoder of windows.
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
    fps: float = 0.0
    resize: int = 0
    crop: int = 0
    texts: str = "questions"
    template: str = "{}"
    dtype: str = "float16"

    @property
    def is_media(self) -> bool:
        """Whether the encoder's input is read from media files."""
        return self.of != "text"

    def check(self, where: str) -> None:
        """Raise an error if a value is invalid.

        Args:
            where: The recipe's file, for the error's text.

        Raises:
            DataError: Naming the stream and the key.
        """
        stream = f"{where}, stream {self.name!r}"
        for key, accepted in _CHOICES.items():
            value = vars(self)[key]
            if value not in accepted:
                raise DataError(f"{stream}: {unknown_name(key, str(value), accepted)}")
        if not self.hop > 0 or not self.window > 0 or self.resize < 0 or self.crop < 0:
            raise DataError(f"{stream}: hop and window are above 0, resize and crop not below.")
        if self.keep == "window":
            self._check_window(stream)
        lacks_crop = self.resize and not self.crop and self.keep != "window"
        if lacks_crop or self.crop > self.resize:
            raise DataError(
                f"{stream}: resize is {self.resize} and crop {self.crop}; give both, the crop no larger, or neither."
            )

    @property
    def window_frames(self) -> int:
        """Frames of a window."""
        return round(self.window * self.fps)

    @property
    def hop_frames(self) -> int:
        """Frames from the start of a window to that of the next."""
        return round(self.hop * self.fps)

    def _check_window(self, stream: str) -> None:
        whole = self.of == "pictures" and self.fps > 0
        for seconds, frames in ((self.window, self.window_frames), (self.hop, self.hop_frames)):
            whole = whole and frames > 0 and abs(seconds * self.fps - frames) < 1e-6
        if not whole:
            raise DataError(
                f"{stream}: windows are of pictures, with fps above 0, and window and hop are whole numbers of frames; "
                f"of is {self.of!r}, fps {self.fps:g}, window {self.window:g} and hop {self.hop:g}."
            )


@dataclass(frozen=True)
class ExtractionRecipe:
    """Streams that are extracted together.

    Attributes:
        name: Name of the file.
        about: Paper and use, for `avkit extract --list`.
        streams: What to extract; empty where the encoders are not available.
        bring: Why the encoders are not available, and which features to bring instead.
    """

    name: str
    about: str
    streams: tuple[FeatureStream, ...]
    bring: str = ""

    @property
    def media_streams(self) -> list[FeatureStream]:
        """Streams of frames and audio.

        Raises:
            DataError: If the recipe's encoders are not available.
        """
        if self.bring:
            raise DataError(self.bring)
        return [stream for stream in self.streams if stream.is_media]

    @property
    def text_streams(self) -> list[FeatureStream]:
        """Streams of text."""
        return [stream for stream in self.streams if not stream.is_media]

    def with_weights(self, weights: str | None) -> "ExtractionRecipe":
        """The same recipe with other weights.

        Args:
            weights: One value for all streams, or `stream=path,...`; `none` stands for random weights. None keeps the
                recipe's own. The places of merged tokens, `NAME_sources`, follow the weights of the tokens, `NAME`.

        Raises:
            ValueError: If a stream is unknown.
        """
        if weights is None:
            return self
        by_stream: dict[str, str] = {}
        for part in weights.split(","):
            name, _, value = part.rpartition("=")
            by_stream[name] = value
        names = [stream.name for stream in self.streams]
        for name in by_stream:
            if name and name not in names:
                raise unknown_name(f"stream of recipe {self.name}", name, names)
        streams = []
        for stream in self.streams:
            others = by_stream.get(tokens_of(stream), by_stream.get("", stream.weights))
            chosen = by_stream.get(stream.name, others)
            if chosen == "none":
                chosen = None
            streams.append(replace(stream, weights=chosen))
        return replace(self, streams=tuple(streams))


def tokens_of(stream: FeatureStream) -> str:
    """Name of the stream of tokens whose places a stream stores; its own name where it stores something else."""
    return stream.name.removesuffix(SOURCES_ENDING) if stream.keep == "sources" else stream.name


def list_recipes() -> list[str]:
    """Names of the recipes that come with avkit."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read_recipe(name: str | Path) -> ExtractionRecipe:
    """Read a recipe by name, or from a YAML file.

    Raises:
        ValueError: If there is no recipe of that name.
        DataError: If the file is missing or not a recipe; names stream and key.
    """
    is_file_name = str(name).endswith((".yaml", ".yml"))
    path = Path(name) if is_file_name else FOLDER / f"{name}.yaml"
    if not path.is_file():
        if path.parent == FOLDER:
            raise unknown_name("recipe", str(name), list_recipes())
        raise DataError(f"Recipe {path} does not exist. Check the path, or take one of {', '.join(list_recipes())}.")
    content = read_yaml(path)
    if not isinstance(content, Mapping) or not {"streams", "bring"} & content.keys():
        raise DataError(f"{path} has no 'streams'. See {FOLDER / 'av_unified.yaml'} for a recipe.")
    listed = content.get("streams") or {}
    if not isinstance(listed, Mapping):
        raise DataError(f"{path}: 'streams' is a mapping from a name to what to run.")
    streams = [_read_stream(key, value, str(path)) for key, value in listed.items()]
    about = str(content.get("about", ""))
    bring = str(content.get("bring", ""))
    return ExtractionRecipe(path.stem, about, tuple(streams), bring)


def _read_stream(name: object, options: object, where: str) -> FeatureStream:
    if not isinstance(options, Mapping) or not {"of", "encoder"} <= options.keys():
        raise DataError(f"{where}, stream {name!r}: give at least 'of' and 'encoder'.")
    keys = [field.name for field in fields(FeatureStream) if field.name != "name"]
    for key in options:
        if key not in keys:
            raise DataError(f"{where}, stream {name!r}: {unknown_name('key', str(key), keys)}")
    values: dict[str, Any] = {**options, "name": str(name)}
    try:
        for key in ("hop", "window", "fps"):
            if key in options:
                values[key] = float(options[key])
        stream = FeatureStream(**values)
        stream.check(where)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}, stream {name!r}: {error}.") from error
    return stream
