# SPDX-License-Identifier: Apache-2.0
"""Heads with their weights in a folder of two files, here or on a hub: facts as JSON, and safetensors."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avkit.batch import Vocabulary
from avkit.errors import DataError
from avkit.heads import create_head
from avkit.heads.base import Head, HeadInputs
from avkit.reading.repository import fetch_repository, is_repository
from avkit.reading.tensors import read_fitting_tensors, write_tensors
from avkit.reading.text import read_json

#: What a head was built with.
FACTS = "head.json"
#: Its weights.
WEIGHTS = "head.safetensors"


def save_head(head: Head, folder: Path | str) -> Path:
    """Write a head that `create_head` made; returns the folder.

    Raises:
        ValueError: If it was made otherwise, or the folder has a head already.
    """
    if head.built_with is None:
        raise ValueError("Only heads that avkit.create_head made can be saved: others do not know their name.")
    path = Path(folder)
    if (path / FACTS).exists():
        raise ValueError(f"{path} holds a head already. Name a new folder.")
    path.mkdir(parents=True, exist_ok=True)
    made = head.built_with
    write_tensors(path / WEIGHTS, head.state_dict(), {"format": "pt"})
    facts = {"task": made.task, "name": made.name, "inputs": asdict(made.inputs), "options": dict(made.options)}
    (path / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return path


def load_head(source: Path | str, revision: str | None = None) -> Head:
    """A head with its weights; of parts from outside avkit none is imported unless it is trusted.

    Args:
        source: A folder, or `owner/name` of a repository.
        revision: Of the repository.

    Raises:
        DataError: If it is no saved head, or its files do not fit each other.
        HubError: If a hub does not give it.
    """
    path = Path(source)
    if is_repository(str(source)):
        path = fetch_repository(str(source), [FACTS, WEIGHTS], revision)
    for name in (FACTS, WEIGHTS):
        if not (path / name).exists():
            raise DataError(f"{source} holds no saved head: {name} is missing. Write one with head.save_pretrained.")
    facts = read_json(path / FACTS)
    try:
        head = _build(facts)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{source}/{FACTS} describes no head ({error}). Save the head again.") from error
    head.load_state_dict(read_fitting_tensors(path / WEIGHTS, head.state_dict(), f"{source}/{FACTS}"))
    return head


def _build(facts: Mapping[str, Any]) -> Head:
    """The head with random weights."""
    inputs = dict(facts["inputs"])
    vocabulary = Vocabulary(**inputs.pop("vocabulary"))
    inputs["pyramid_widths"] = tuple(inputs.get("pyramid_widths", ()))
    given = HeadInputs(vocabulary=vocabulary, **inputs)
    if ":" in facts["name"]:
        raise DataError(f"The head is {facts['name']} from outside avkit. Create it yourself and load its weights.")
    return create_head(facts["task"], facts["name"], given, **facts["options"])
