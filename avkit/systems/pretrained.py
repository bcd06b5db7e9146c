# SPDX-License-Identifier: Apache-2.0
"""Systems with their weights in a folder of two files, here or on a hub: facts as JSON, and safetensors.

A system alone answers batches; a run (`avkit.load`) also reads videos and says what it was trained on.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avkit.batch import FeatureWidths, Vocabulary
from avkit.errors import AvkitError, DataError
from avkit.files import atomic, write_file
from avkit.reading.boundary import reason_of
from avkit.reading.repository import fetch_repository, is_repository
from avkit.reading.tensors import read_fitting_tensors, write_tensors
from avkit.reading.text import read_json
from avkit.systems import make_config
from avkit.systems.base import RunContext, System
from avkit.tasks.base import Task

#: What a system was built with.
FACTS = "system.json"
#: Its weights.
WEIGHTS = "system.safetensors"


def save_system(system: System, folder: Path | str) -> Path:
    """Write a system: its options, what it was built for, and its weights, those of its encoders among them.

    Args:
        system: The system.
        folder: A folder without a system.

    Returns:
        The folder.

    Raises:
        ValueError: If the folder has a system already.
    """
    path = Path(folder)
    if (path / FACTS).exists():
        raise ValueError(f"{path} holds a system already. Name a new folder.")
    context = system.context
    facts = {
        "system": asdict(system.config),
        "tasks": {name: asdict(task.vocabulary) for name, task in context.tasks.items()},
        "vocabulary": asdict(context.vocabulary),
        "features": {name: list(widths) for name, widths in context.features.items()},
        "expert_width": context.expert_width,
        "prompts": dict(context.prompts),
        "heads": dict(context.heads),
        "interface": context.interface,
    }
    text = json.dumps(facts, indent=1) + "\n"
    with atomic(path / WEIGHTS) as part:
        write_tensors(part, system.state_dict(), {"format": "pt"})
    write_file(path / FACTS, text)
    return path


def load_system(source: Path | str, revision: str | None = None) -> System:
    """A saved system with its weights, in evaluation mode; nothing else is downloaded, and no code is run.

    Args:
        source: A folder, or `owner/name` of a repository.
        revision: Of the repository.

    Raises:
        DataError: If it is no saved system, its files do not fit each other, or it has parts from outside avkit.
        HubError: If a hub does not give it.
    """
    path = Path(source)
    if is_repository(str(source)):
        path = fetch_repository(str(source), [FACTS, WEIGHTS], revision)
    for name in (FACTS, WEIGHTS):
        if not (path / name).exists():
            raise DataError(
                f"{source} holds no saved system: {name} is missing. Write one with system.save_pretrained; a run is "
                "opened by avkit.load."
            )
    facts = read_json(path / FACTS)
    try:
        system = _build(facts)
    except AvkitError:
        raise
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise DataError(f"{source}/{FACTS} describes no system ({reason_of(error)}). Save the system again.") from error
    system.load_state_dict(read_fitting_tensors(path / WEIGHTS, system.state_dict(), f"{source}/{FACTS}"))
    return system.eval()


def _build(facts: Mapping[str, Any]) -> System:
    """The system with random weights."""
    # its own weights are loaded afterwards, those of its encoders too
    options = {key: None if key.endswith("weights") else value for key, value in facts["system"].items()}
    _refuse_outside([options, list(facts["tasks"]), facts["heads"]])
    config = make_config(options)
    tasks: dict[str, Task] = {}
    for name, vocabulary in facts["tasks"].items():
        tasks |= config.make_tasks([name], Vocabulary(**vocabulary))
    context = RunContext(
        tasks=tasks,
        vocabulary=Vocabulary(**facts["vocabulary"]),
        features={name: FeatureWidths(*widths) for name, widths in facts["features"].items()},
        expert_width=facts["expert_width"],
        prompts=facts["prompts"],
        heads=facts["heads"],
        interface=facts["interface"],
    )
    return config.build(context)


def _refuse_outside(value: Any) -> None:
    """Refuse a name of a part from outside avkit anywhere in some facts, which would be imported.

    Raises:
        DataError: If there is one.
    """
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    for part in parts:
        if isinstance(part, str) and ":" in part:
            raise DataError(f"{part} is from outside avkit. Build such a system yourself and load its weights.")
        _refuse_outside(part)
