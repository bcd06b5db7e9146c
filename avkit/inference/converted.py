# SPDX-License-Identifier: Apache-2.0
"""A converted checkpoint of a paper's authors as a run: which task, which options, and what its classes are called."""

from pathlib import Path

from avkit.batch import Vocabulary
from avkit.datasets import find_dataset
from avkit.datasets.official import Official
from avkit.errors import AvkitError, DataError, RunError
from avkit.reading.text import parse_json, read_text
from avkit.systems import find_config, find_network, make_config
from avkit.systems.base import SystemConfig
from avkit.systems.checkpoints import read_converted
from avkit.systems.features import NetworkConfig
from avkit.systems.official_files import read_official, recognise
from avkit.systems.published import NO_FEATURES, ConvertedFacts
from avkit.training.module import AVModel


def load_converted(path: Path, names: str | None = None, text_weights: str | None = None) -> AVModel:
    """The model of a file that `avkit convert` wrote.

    Args:
        path: The file.
        names: Names of its classes or answers, see `read_names`; numbered where None.
        text_weights: Weights of the encoder of questions, where it has one: `hub`, `none`, a tag or a path.

    Raises:
        DataError: If it is no such file, or the names do not fit.
    """
    facts, _ = _read(path)
    name = facts["avkit"]
    config = find_config(name)
    if not issubclass(config, NetworkConfig):
        raise DataError(f"{path} holds weights of {name}, which cannot be asked about a video.")
    built_with = parse_json(facts["built_with"], f"{path}, built_with", finite=False)
    converted = config.converted_facts(find_network(name), built_with)
    options = {**converted.options, "name": name, "weights": str(path)}
    if text_weights is not None and "text_weights" in options:
        options["text_weights"] = None if text_weights == "none" else text_weights
    elif text_weights not in (None, "none"):
        raise ValueError(f"{name} has no encoder of text. Leave 'text=' out of --weights.")
    vocabulary = converted.vocabulary(read_names(names, config, converted) if names else [])
    return AVModel(
        tasks=converted.task,
        vocabulary=vocabulary,
        system=make_config(options),
        features=_features(converted),
        prompts={converted.task: ""} if converted.answers else None,  # its words are no words of the checkpoint
    )


def _read(path: Path) -> tuple[dict[str, str], object]:
    """Facts of a converted file.

    Raises:
        RunError: If it is something else; names the system of official weights.
    """
    try:
        return read_converted(path)
    except AvkitError as error:
        try:
            system = recognise(read_official(path)[0])
        except (AvkitError, ValueError, OSError):
            system = None
        if system is None:
            raise RunError(
                f"{path} is neither the folder of a run nor a file that 'avkit convert' wrote ({error}) Name "
                "one of them."
            ) from error
        raise RunError(
            f"{path} holds the authors' weights of {system}. Convert them first: avkit convert {system} {path}"
        ) from error


def _features(converted: ConvertedFacts) -> dict[str, list[int]] | None:
    if converted.widths == NO_FEATURES:
        return None
    return {converted.task: list(converted.widths)}


def read_names(names: str, config: type[SystemConfig], converted: ConvertedFacts) -> list[str]:
    """Names of classes or answers in index order.

    Args:
        names: A text file with a name per line, or the folder of the dataset that the system was published with.
        config: Class of the system's options.
        converted: What the checkpoint tells.

    Raises:
        DataError: If they cannot be read, or are too few or too many.
    """
    count = converted.answers or converted.classes
    path = Path(names)
    if path.is_dir():
        entries = _dataset_names(path, config, converted)
    else:
        entries = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if len(entries) != count:
        raise DataError(
            f"{names} has {len(entries)} names, and the checkpoint has {count} "
            f"{'answers' if converted.answers else 'classes'}. Give one name per line, in the order of the authors' "
            "annotations, or the folder of the dataset that it was trained on."
        )
    return entries


def _dataset_names(root: Path, config: type[SystemConfig], converted: ConvertedFacts) -> list[str]:
    """Names that the dataset of the publication states."""
    if not config.published_inputs:
        raise DataError(f"--names {root} is a folder; give a text file with a name per line for this system.")
    dataset = find_dataset(config.published_inputs[0].dataset)
    assert issubclass(dataset, Official)
    vocabulary: Vocabulary = dataset(root, dataset.splits[0], find_media=False).vocabulary
    return list(vocabulary.answers if converted.answers else vocabulary.classes)
