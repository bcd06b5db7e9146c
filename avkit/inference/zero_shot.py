# SPDX-License-Identifier: Apache-2.0
"""The system without training, ready to be asked about any video: `avkit.load("zero_shot")`."""

from dataclasses import fields
from pathlib import Path

from avkit import __version__
from avkit.batch import Vocabulary
from avkit.errors import unknown_name
from avkit.inference.predictor import Predictor
from avkit.media.decode import Clip
from avkit.media.video import count_steps
from avkit.reading.text import read_text
from avkit.systems.zero_shot.catalogue import STAGES
from avkit.systems.zero_shot.config import ZeroShotConfig
from avkit.systems.zero_shot.targets import class_maps, events
from avkit.text.tokenizer import unique_words
from avkit.training.module import AVModel

#: Name that stands for the system in place of a run.
ZERO_SHOT = "zero_shot"
#: Longer side of pictures in pixels.
_SIDE = 640
#: Bytes that the pictures of a video may take; those of a longer video are smaller.
_MAX_BYTES = 2**29
#: Least side of pictures in pixels.
_MIN_SIDE = 32
#: Answers to questions beside the names of events.
_ANSWERS = (
    *("yes", "no", "left", "middle", "right"),
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "more than ten"),
)


class ZeroShotPredictor(Predictor):
    """The system without training; pictures keep their shape, and are smaller in long videos, which bounds memory."""

    def picture_size(self, media: Clip, hop: float) -> tuple[int, int]:
        """Height and width of pictures: the video's own, at most 640 pixels, fewer where many have to fit memory."""
        height, width = media.info.size or (self.image_size, self.image_size)
        steps = max(1, count_steps(media.duration, hop))
        scale = min(1.0, _SIDE / max(height, width), (_MAX_BYTES / (3 * steps * height * width)) ** 0.5)
        return max(_MIN_SIDE, round(height * scale)), max(_MIN_SIDE, round(width * scale))


def load_zero_shot(
    device: str | None = None,
    *,
    weights: str | None = None,
    names: str | None = None,
    parts: str | None = None,
    offline: bool = False,
    accept_licence: str = "",
) -> ZeroShotPredictor:
    """The system without training.

    Args:
        device: Such as `cpu` or `cuda:0`; the GPU if there is one, where None.
        weights: Paths of weights by stage, `sound=PATH,boxes=PATH`; a single path is that of `sound`.
        names: What may be named: a dataset of `class_maps`, such as `ave`, or a file with a name per line; any event
            where None.
        parts: Models and thresholds by option of `ZeroShotConfig`, `sound=ast,masks=none,heard=0.2`.
        offline: Download nothing.
        accept_licence: Licences that you accept, separated by commas.

    Raises:
        ValueError: If a stage, model or option is unknown.
    """
    options = _read_options(parts) | _read_weights(weights)
    config = ZeroShotConfig(**options, offline=offline, accept_licence=accept_licence)  # type: ignore[arg-type]
    classes = _read_names(names)
    answers = list(dict.fromkeys([*_ANSWERS, *classes]))
    vocabulary = Vocabulary(classes, answers, unique_words(classes))
    model = AVModel("all", vocabulary, config)
    predictor = ZeroShotPredictor(model, ZERO_SHOT, _SIDE, device)
    chosen = [f"{stage} {part.title}" for stage, part in config.parts().items() if part is not None]
    predictor.provenance = {"run": ZERO_SHOT, "weights": ", ".join(chosen), "avkit": __version__}
    predictor.notes = config.notes()
    return predictor


def _read_options(parts: str | None) -> dict[str, object]:
    """Options by name out of `name=value,...`, each in its own type."""
    options: dict[str, object] = {}
    types = {field.name: field.type for field in fields(ZeroShotConfig)}
    for part in filter(None, (parts or "").split(",")):
        name, equals, value = part.partition("=")
        name = name.strip()
        if name not in types or name == "name":
            raise unknown_name("option of zero_shot", name, set(types) - {"name"})
        if not equals:
            raise ValueError(f"--parts {part!r} has no value. Write it as {name}=VALUE.")
        options[name] = _as_type(name, value.strip(), types[name])
    return options


def _as_type(name: str, value: str, kind: object) -> object:
    """A value in the type of its option."""
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        if kind is int:
            return int(value)
        if kind is float:
            return float(value)
    except (KeyError, ValueError) as error:
        raise ValueError(f"--parts {name}={value}: {name} takes {getattr(kind, '__name__', kind)}.") from error
    return value


def _read_weights(weights: str | None) -> dict[str, object]:
    """Paths by option out of `stage=PATH,...`."""
    options: dict[str, object] = {}
    for part in filter(None, (weights or "").split(",")):
        stage, equals, path = part.partition("=")
        if not equals:
            stage, path = "sound", part
        if stage not in STAGES:
            raise unknown_name("stage of zero_shot", stage, STAGES)
        options[f"{stage}_weights"] = path
    return options


def _read_names(names: str | None) -> list[str]:
    """Names of what may be answered."""
    if names is None:
        return list(events())
    if names in class_maps():
        return list(class_maps()[names])
    if not Path(names).exists():
        raise ValueError(
            f"--names {names!r} is neither a dataset ({', '.join(class_maps())}) nor a file with a name per line."
        )
    lines = [line.strip() for line in read_text(names).splitlines()]
    classes = list(dict.fromkeys(line for line in lines if line))
    if not classes:
        raise ValueError(f"{names} holds no name. Write one per line.")
    return classes
