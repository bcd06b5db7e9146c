# SPDX-License-Identifier: Apache-2.0
"""What the config of a run folder may ask for.

A run folder may come from somebody else. Its `config.yaml` holds plain values, and may have Lightning and torch build a
short list of objects, each by its exact name and from plain values. All else needs `--trust`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from avkit.cli.loggers import RUN_FOLDER
from avkit.cli.trust import is_run
from avkit.errors import RunError
from avkit.leaderboard.recipes import find_recipe
from avkit.reading.text import read_yaml
from avkit.training.run_folder import RunFolder

Plain: TypeAlias = "Mapping[str, Plain] | Sequence[Plain] | str | int | float | bool | None"

_CALLBACKS = "lightning.pytorch.callbacks."
_LOGGERS = "lightning.pytorch.loggers."
_OPTIMIZERS = "torch.optim."
_SCHEDULERS = "torch.optim.lr_scheduler."
#: Classes that a run's config may name, by the option that takes them.
CLASSES: dict[str, frozenset[str]] = {
    "trainer.callbacks": frozenset(
        _CALLBACKS + name
        for name in (
            "EarlyStopping",
            "ModelCheckpoint",
            "StochasticWeightAveraging",
            "WeightAveraging",
            "EMAWeightAveraging",
            "LearningRateMonitor",
            "ModelSummary",
            "RichModelSummary",
            "RichProgressBar",
            "TQDMProgressBar",
            "Timer",
        )
    ),
    "trainer.logger": frozenset(_LOGGERS + name for name in ("CSVLogger", "TensorBoardLogger")),
    "optimizer": frozenset(
        _OPTIMIZERS + name
        for name in ("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "NAdam", "RAdam", "RMSprop", "SGD")
    ),
    "lr_scheduler": frozenset(
        _SCHEDULERS + name
        for name in (
            "ConstantLR",
            "CosineAnnealingLR",
            "CosineAnnealingWarmRestarts",
            "CyclicLR",
            "ExponentialLR",
            "LinearLR",
            "MultiStepLR",
            "OneCycleLR",
            "PolynomialLR",
            "ReduceLROnPlateau",
            "StepLR",
        )
    )
    | {"lightning.pytorch.cli.ReduceLROnPlateau"},
}
#: Sections of a config, whose entries are options.
_SECTIONS = ("trainer", "model", "data")
#: Options of a config that are none of a section.
_OPTIONS = (
    "seed_everything",
    "tasks",
    "name",
    "out",
    "ckpt_path",
    "save_minutes",
    "save_steps",
    "report",
    "save_predictions",
    "seeds",
)
#: Groups of options in sections; a text in their place would be the name of a further file.
_GROUPS = ("system", "heads", "prompts", "loss_weights", "features", "batch_size", "crop", "scenes", "loader")
#: Options of the trainer by which Lightning finds classes or further places to write to.
_EMPTY = ("profiler", "plugins", "model_registry", "default_root_dir")
#: Arguments that may be any text without a path, such as the name of a figure.
_TEXTS = ("monitor", "filename", "name", "prefix", "log_key")
#: Arguments that are folders.
_FOLDERS = ("dirpath", "save_dir")
#: Options that say where a run is written and from where it goes on, which a run's own place says.
_PLACE = ("out", "name", "ckpt_path")
#: Options that only training uses.
_TRAINING = ("optimizer", "lr_scheduler", "save_minutes", "save_steps", "report", "seeds")
#: Options of the trainer that hold after training too.
EVALUATION = (
    "accelerator",
    "precision",
    "enable_progress_bar",
    "deterministic",
    "benchmark",
    "inference_mode",
    "limit_val_batches",
    "limit_test_batches",
)
#: What cannot be the path of something to import.
_WORD = re.compile(r"[\w:+# -]*")


def read_run_config(run: RunFolder, *, trust: bool) -> dict[str, Plain]:
    """The config of a run.

    Args:
        run: Folder of the run.
        trust: Whether it may name anything.

    Raises:
        RunError: If the config names what no run's config may name.
        FileError: If it cannot be read.
    """
    content = read_yaml(run.config)
    if not isinstance(content, dict):
        raise _refuse(run, "the file", content, "is no mapping of options")
    if not trust:
        _check(run, content)
    return content


def with_recipe_files(args: Sequence[str]) -> list[str]:
    """The words of a command, with the path of each recipe that `--config` names.

    Raises:
        FileError: If there is no such file or recipe.
    """

    def with_path(name: str) -> list[str]:
        return ["--config", str(find_recipe(name)) if name else ""]

    return _replace_configs(args, with_path)


def check_config_files(args: Sequence[str]) -> list[str]:
    """The words of a training, with the content of a run's config in place of the file's name."""

    def with_content(name: str) -> list[str]:
        path = Path(name)
        if is_run(path.parent) and path.is_file():
            return _training_words(RunFolder(path.parent), path, trust="--trust" in args)
        read_yaml(path)  # whose errors name the file and the line
        return ["--config", name]

    return _replace_configs(args, with_content)


def _replace_configs(args: Sequence[str], replace: Callable[[str], list[str]]) -> list[str]:
    """The words of a command, with others for each `--config` that names a file and does not hold the content itself.

    Args:
        args: Words of the command.
        replace: Gives the words for the name of a file.
    """
    words: list[str] = []
    given = iter(args)
    for word in given:
        option, equals, value = word.partition("=")
        if option not in ("--config", "-c"):
            words.append(word)
            continue
        name = value if equals else next(given, "")
        words += ["--config", name] if name.startswith("{") else replace(name)
    return words


def _training_words(run: RunFolder, file: Path, *, trust: bool) -> list[str]:
    """Words of a command that train as a run did, into the same place."""
    run.config = file
    config = read_run_config(run, trust=trust)
    kept = {name: value for name, value in config.items() if name not in _PLACE}
    place = run.path.resolve()
    return ["--config", json.dumps(kept | {"out": str(place.parent), "name": place.name})]


def evaluation_words(run: RunFolder, *, trust: bool) -> list[str]:
    """Words of a command that evaluate a run; what Lightning builds for training alone is left out."""
    config = read_run_config(run, trust=trust)
    kept = {name: value for name, value in config.items() if name not in (*_PLACE, *_TRAINING)}
    trainer = config.get("trainer")
    if isinstance(trainer, Mapping):
        kept["trainer"] = {name: value for name, value in trainer.items() if name in EVALUATION}
    return ["--config", json.dumps(kept)]


def _check(run: RunFolder, config: Mapping[str, Plain]) -> None:
    for name, value in config.items():
        if name in _SECTIONS and isinstance(value, Mapping):
            _check_section(run, name, value)
        elif name in CLASSES:
            _check_built(run, name, value)
        elif name not in _OPTIONS or isinstance(value, Mapping):
            raise _refuse(run, name, value, "is no option of 'avkit fit'")


def _check_section(run: RunFolder, section: str, options: Mapping[str, Plain]) -> None:
    for name, value in options.items():
        option = f"{section}.{name}"
        if option in CLASSES:
            _check_built(run, option, value)
        elif section == "trainer":
            _check_trainer_option(run, name, value)
        elif name in _GROUPS and not isinstance(value, Mapping | None):
            raise _refuse(run, option, value, "is no mapping of options")
        elif name == "class_path" or any(key == "class_path" for key in _keys(value)):
            raise _refuse(run, option, value, "names a class")


def _check_trainer_option(run: RunFolder, name: str, value: Plain) -> None:
    if "." in name or "+" in name:
        raise _refuse(run, f"trainer.{name}", value, "is no single option")
    if name in _EMPTY and value not in (None, []):
        raise _refuse(run, f"trainer.{name}", value, "may build or write anything")
    if not _is_plain(value):
        raise _refuse(run, f"trainer.{name}", value, "is no plain value")


def _check_built(run: RunFolder, option: str, value: Plain) -> None:
    """Refuse anything but classes of the list with plain arguments, one or several."""
    entries = value if isinstance(value, list) else [value]
    for entry in entries:
        if entry is None or isinstance(entry, bool):
            continue
        if not isinstance(entry, Mapping) or not set(entry) <= {"class_path", "init_args"}:
            raise _refuse(run, option, entry, "is not of the form class_path, init_args")
        if entry.get("class_path") not in CLASSES[option]:
            names = sorted(path.rpartition(".")[2] for path in CLASSES[option])
            raise _refuse(
                run, option, entry.get("class_path"), f"is none of Lightning's and torch's {', '.join(names)}"
            )
        arguments = entry.get("init_args") or {}
        if not isinstance(arguments, Mapping):
            raise _refuse(run, option, arguments, "is no mapping of arguments")
        for name, argument in arguments.items():
            _check_argument(run, f"{option}.{name}", name, argument)


def _check_argument(run: RunFolder, option: str, name: str, value: Plain) -> None:
    if isinstance(value, str) and name in _FOLDERS:
        if value != RUN_FOLDER and not Path(value).resolve().is_relative_to(run.path.resolve()):
            raise _refuse(run, option, value, "lies outside the run's folder")
    elif isinstance(value, str) and name in _TEXTS:
        if ".." in value or "\\" in value or value.startswith(("/", "~")):
            raise _refuse(run, option, value, "leads out of the run's folder")
    elif not _is_plain(value):
        raise _refuse(run, option, value, "is no plain value")


def _is_plain(value: Plain) -> bool:
    """Whether a value holds numbers and words alone, at any depth."""
    if isinstance(value, Mapping):
        return all(_is_plain(part) for part in value.values()) and "class_path" not in value
    if isinstance(value, list):
        return all(_is_plain(part) for part in value)
    return not isinstance(value, str) or _WORD.fullmatch(value) is not None


def _keys(value: Plain) -> Iterator[str]:
    """Names of entries at any depth."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)
            yield from _keys(part)
    elif isinstance(value, list):
        for part in value:
            yield from _keys(part)


def _refuse(run: RunFolder, option: str, value: Plain, problem: str) -> RunError:
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= 120 else shown[:117] + "..."
    return RunError(
        f"{run.config}: {option} asks for {shown}, which {problem}. A run folder may come from others, so its config "
        "builds only what avkit lists. If you trust whoever made it, add --trust; or delete the entry."
    )
