# SPDX-License-Identifier: Apache-2.0
"""Licences of what a run was made of: its data, the weights that it began with, and those of its stored features."""

from collections.abc import Iterator

from avkit.licences import Licence, LicensedKind, check_licence, find_licence
from avkit.outside import is_outside
from avkit.reading.text import read_yaml
from avkit.training.run_folder import RunFolder

#: Encoders that have no published weights, so that a path names a file of the user's own.
_OWN = ("small", "small_tome14", "small_embedding", "small_sentence")


def ingredients_of(run: RunFolder) -> list[tuple[LicensedKind, str]]:
    """Kinds and names of what a run was made of, each once; parts from outside avkit are left out.

    Raises:
        FileError: If a file of the run is damaged.
    """
    facts = run.read_facts()
    named: dict[tuple[LicensedKind, str], None] = {}
    for dataset in facts.get("dataset", "").split("+"):
        named["data", dataset] = None
    for encoder in _encoders(run):
        named["weights", encoder] = None
    for by_modality in (facts.get("stored") or {}).values():
        for parts in by_modality.values():
            for part in parts:
                named["weights", str(part.get("encoder") or "")] = None
    return [(kind, name) for kind, name in named if name and not is_outside(name) and name not in _OWN]


def _encoders(run: RunFolder) -> Iterator[str]:
    """Names of the encoders of a run that began with published weights."""
    config = read_yaml(run.config) if run.config.exists() else {}
    section = config.get("model") if isinstance(config, dict) else None
    system = section.get("system") if isinstance(section, dict) else None
    options = system if isinstance(system, dict) else {}
    for option, weights in options.items():
        if str(option).endswith("_weights") and weights is not None:
            yield str(options.get(str(option).removesuffix("_weights")) or "")


def licences_of(run: RunFolder) -> list[Licence]:
    """Rows of the table of licences for what a run was made of."""
    rows = [find_licence(kind, name) for kind, name in ingredients_of(run)]
    return [row for row in rows if row is not None]


def licence_rows(run: RunFolder) -> dict[str, str]:
    """The same as texts for a report."""
    return {f"{row.name} ({row.kind})": row.description for row in licences_of(run)}


def licence_notes(run: RunFolder) -> list[str]:
    """A sentence that names what does not clearly permit commercial use; none where everything does."""
    limited = [f"{row.name} ({row.kind}: {row.description})" for row in licences_of(run) if row.commercial != "yes"]
    if not limited:
        return []
    return [f"Before you use this commercially, look at the licences of {'; '.join(limited)}."]


def check_run_licences(run: RunFolder) -> None:
    """Refuse a run that was made of something for no commercial use, where only what is free is wanted.

    Raises:
        LicenceError: If it was; names it.
    """
    for kind, name in ingredients_of(run):
        check_licence(kind, name)
