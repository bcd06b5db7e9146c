# SPDX-License-Identifier: Apache-2.0
"""The model of a run folder, with a clear error for whatever is missing or damaged in the folder."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from avkit.batch import Vocabulary
from avkit.errors import AvkitError, RunError
from avkit.reading.boundary import reason_of
from avkit.reading.tensors import check_finite, read_tensors
from avkit.reading.text import parse_json, read_yaml
from avkit.systems import make_config
from avkit.systems.encoder_weights import stored_settings
from avkit.training.earlier_weights import check_not_before, check_not_earlier
from avkit.training.module import AVModel
from avkit.training.run_folder import RunFacts, RunFolder
from avkit.training.run_licences import check_run_licences

#: Facts without which a model cannot be built.
_NEEDED = ("tasks", "vocabulary", "image_size", "dataset")
_ADVICE = "Copy the run folder again, as a whole: config.yaml, run.json and checkpoints/best.safetensors."


def load_model(folder: RunFolder) -> tuple[AVModel, RunFacts]:
    """The model of a run with its weights, and what is known of the run.

    Raises:
        RunError: If a file of the folder is missing, or does not fit the others; the error names it.
        FileError: If one is damaged.
    """
    facts = folder.read_facts()
    missing = [name for name in _NEEDED if name not in facts]
    if missing:
        raise RunError(f"{folder.facts} does not say {', '.join(missing)} of the run. {_ADVICE}")
    check_run_licences(folder)
    weights = folder.weights
    if not folder.config.exists():
        raise RunError(f"{folder.path} is not a whole run folder: {folder.config.name} is missing. {_ADVICE}")
    written, state = read_tensors(weights)
    own = {key: tensor for key, tensor in state.items() if not key.startswith("balance.")}
    check_not_earlier(weights, own)
    _check_sizes(folder, facts, own)
    model = _build(folder, facts)
    _check_words(folder, facts, written)
    _check_fit(folder, model.state_dict(), own)
    check_finite(own, weights, "Train the run again, or take weights of an earlier step.")
    model.load_state_dict(own)
    return model, facts


def describe_weights(folder: RunFolder) -> str:
    """Name and hash of a run's weights."""
    digest = hashlib.sha256(folder.weights.read_bytes()).hexdigest()[:12]
    return f"{folder.weights.name} sha256 {digest}"


def _build(folder: RunFolder, facts: RunFacts) -> AVModel:
    """The model with random weights."""
    config = read_yaml(folder.config)
    section = config.get("model") if isinstance(config, dict) else None
    if not isinstance(section, dict):
        raise RunError(f"{folder.config} has no section 'model'. {_ADVICE}")
    try:
        # the run's own weights are loaded afterwards
        options: Mapping[str, Any] = section.get("system") or {}
        system = make_config({key: None if key.endswith("weights") else x for key, x in options.items()})
        with stored_settings(folder.encoders):
            return AVModel(
                tasks=",".join(facts["tasks"]),
                vocabulary=Vocabulary(**facts["vocabulary"]),
                system=system,
                heads=section.get("heads"),
                interface=section.get("interface", "heads"),
                prompts=section.get("prompts"),
                features=facts.get("features"),
                expert=facts.get("expert"),
            )
    except AvkitError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise RunError(
            f"{folder.config} and {folder.facts.name} describe no model ({reason_of(error)}). {_ADVICE}"
        ) from error


def _check_sizes(folder: RunFolder, facts: RunFacts, state: Mapping[str, Tensor]) -> None:
    """Refuse a config whose model is of other sizes than its weights, before memory is taken for it."""
    try:
        with torch.device("meta"):
            own = _build(folder, facts).state_dict()
    except (RunError, NotImplementedError):  # a model that needs numbers as it is built, or that cannot be built at all
        return
    _check_fit(folder, own, state)


def _check_words(folder: RunFolder, facts: RunFacts, written: Mapping[str, str]) -> None:
    """Raise RunError unless run.json names the tasks and the vocabulary that its weights were written with."""
    if "avkit" not in written:  # weights of an earlier version
        return
    of_weights = parse_json(written["avkit"], str(folder.weights))
    if of_weights != {"tasks": list(facts["tasks"]), "vocabulary": asdict(Vocabulary(**facts["vocabulary"]))}:
        raise RunError(
            f"{folder.facts} does not fit {folder.weights.name}: it names other tasks, classes, answers or words than "
            "the weights were trained with. Use the files of one run together."
        )


def _check_fit(folder: RunFolder, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Raise RunError unless weights have the names and shapes of a model."""
    check_not_before(folder.weights, own.keys() - state.keys())
    shapes = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    parts = []
    for keys, what in (
        (own.keys() - state.keys(), "missing"),
        (state.keys() - own.keys(), "unknown"),
        (shapes, "of another shape"),
    ):
        if keys:
            parts.append(f"{len(keys)} {what}, such as {min(keys)}")
    if parts:
        raise RunError(
            f"{folder.weights} does not fit {folder.config}: of its tensors {'; '.join(parts)}. Use the files of one "
            "run together."
        )
