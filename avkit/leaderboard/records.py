# SPDX-License-Identifier: Apache-2.0
"""Records of measurements: the figures of one benchmark, and all that is needed to measure them again.

A record is an object of JSON with a checksum of itself, so that one that was edited is refused.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from avkit.errors import FileError, file_error
from avkit.files import write_file
from avkit.leaderboard.recipes import Option
from avkit.reading.checksums import KEY, check_record, with_checksum
from avkit.reading.text import read_json

#: Name of the file of a run's records, and of the one record in a folder of results.
RECORDS = "records.json"
RECORD = "record.json"
#: What `Record.format` of this version is.
FORMAT = "avkit record 1"
#: Where figures come from: weights of others, a training, predictions of others, or generated scenes.
By: TypeAlias = Literal["weights", "training", "predictions", "scenes"]
BY: tuple[By, ...] = get_args(By)
#: What `protocol` calls the sentences that avkit makes of questions, and those of a file.
OWN_PROMPTS = "avkit's own"
GIVEN_PROMPTS = "of a file"
_ADVICE = "Take the record as avkit wrote it, or measure again: avkit test RUN."


@dataclass(frozen=True)
class Figure:
    """One score of a record.

    Attributes:
        value: The score, in [0, 1] where `unit` is `fraction`.
        n: How many answers the score counts; 0 where that is not known.
        counted: What they are, such as `questions`.
        low: Lower end of the 95 % interval; None where there is none.
        high: Upper end.
        baseline: The score of answering without looking or listening.
        silence: The score of the same model with the sound replaced by silence.
        swapped: The score of the same model with the sound of another clip.
        unit: `fraction`, or `number` for a metric without an upper end, such as CIDEr.
    """

    value: float
    n: int = 0
    counted: str = ""
    low: float | None = None
    high: float | None = None
    baseline: float | None = None
    silence: float | None = None
    swapped: float | None = None
    unit: Literal["fraction", "number"] = "fraction"


@dataclass(frozen=True)
class Record:
    """What was measured of one benchmark, a task on a dataset.

    Attributes:
        task: Name of the task.
        dataset: Name of the dataset.
        release: Published form of the annotations; empty where the dataset has none.
        split: Split that was scored.
        setting: Protocol of the board that the figures belong to, such as `weakly supervised`; empty for the usual one.
        n: Samples that were scored.
        official_n: Samples of the official list of this release and split; None where there is no such list.
        figures: Scores by the names that reports use.
        method: Name of the method, such as `TSPM`.
        system: Name of avkit's system; empty for predictions of others.
        experiment: Id of the experiment whose recipe was run; None for a run of none.
        by: Where the figures come from, one of `BY`.
        seeds: Seeds of the training, or of the test of given weights.
        protocol: How it was tested, by name: variant of the metric, evaluation batch where it counts, prompts, hop,
            picture size, precision.
        features: By modality, the features that were read: name, hop and width.
        hashes: SHA-256 by what was hashed: weights, annotations, features, predictions, recipe.
        options: Options that differ from their defaults, by dotted name.
        recipe: Names of the recipe files, in order.
        commit: Commit of avkit's checkout; empty outside of one.
        versions: Versions of avkit, Python and libraries.
        device: Hardware of the test.
        date: When it was tested.
        command: The command that makes the figures again.
        differs: Known differences of the experiment from its paper, one sentence each.
        changed: Names of annotation files that are others than those which the dataset's authors published.
        faults: Entries of a file of predictions that could not be scored, such as doubled ones.
    """

    task: str
    dataset: str
    release: str
    split: str
    setting: str
    n: int
    official_n: int | None
    figures: Mapping[str, Figure]
    method: str
    system: str
    experiment: str | None
    by: By
    seeds: Sequence[int]
    protocol: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Option] = field(default_factory=dict)
    recipe: Sequence[str] = ()
    commit: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    device: str = ""
    date: str = ""
    command: str = ""
    differs: Sequence[str] = ()
    changed: Sequence[str] = ()
    faults: int = 0

    @property
    def benchmark(self) -> str:
        """Task and dataset, as a reader names them."""
        return f"{self.task} on {self.dataset}"

    def to_json(self) -> dict[str, Any]:
        """The record as an object of JSON, with its checksum."""
        values: dict[str, Any] = {"format": FORMAT}
        for attribute in fields(self):
            values[attribute.name] = _plain(vars(self)[attribute.name])
        return with_checksum(values)


def write_record(path: Path, record: Record) -> Path:
    """Write one record.

    Raises:
        ValueError: If a figure is not a finite number.
        WriteError: If it cannot be written.
    """
    return write_file(path, _text(record.to_json()))


def write_records(path: Path, records: Sequence[Record]) -> Path:
    """Write the records of a run, a list."""
    return write_file(path, _text([record.to_json() for record in records]))


def read_record(path: str | Path) -> Record:
    """One record.

    Raises:
        FileError: If it is no record, was edited, or has lost its checksum.
    """
    records = read_records(path)
    if len(records) != 1:
        raise file_error(path, f"holds {len(records)} records and one is expected", "Name a file with one record.")
    return records[0]


def read_records(path: str | Path) -> list[Record]:
    """The records of a file: a list, or one.

    Raises:
        FileError: If an entry is no record, was edited, or has lost its checksum.
    """
    content = read_json(path)
    entries = content if isinstance(content, list) else [content]
    return [_read(entry, path) for entry in entries]


def result_files(folder: Path) -> list[Path]:
    """The records of all results below a folder, without those that a process was killed in writing."""
    paths = []
    for path in sorted(folder.rglob(RECORD)):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            paths.append(path)
    return paths


def _text(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> Any:
    """A value of a record in the types of JSON."""
    if isinstance(value, Figure):
        return {name: _plain(part) for name, part in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"A record holds {value}, and takes finite numbers only. Leave out what was not measured.")
    return value


def _read(entry: Any, path: str | Path) -> Record:
    """A record of an object of JSON."""
    if not isinstance(entry, dict) or not str(entry.get("format", "")).startswith("avkit record"):
        raise file_error(path, "is no record of avkit", "Name the records.json of a tested run, or a record.json.")
    if entry["format"] != FORMAT:
        raise file_error(path, f"has the format {entry['format']!r}, and this avkit reads {FORMAT!r}", _ADVICE)
    if KEY not in entry:
        raise file_error(path, "is a record without its checksum, so nothing tells whether it was edited", _ADVICE)
    try:
        check_record(entry, path)
    except FileError as error:
        raise file_error(
            path, "was edited after it was written: its content does not fit its checksum", _ADVICE
        ) from error
    values = {name: value for name, value in entry.items() if name not in (KEY, "format")}
    _check_values(values, Record, path)
    figures = {}
    for name, figure in values["figures"].items():
        if not isinstance(figure, dict):
            raise file_error(path, f"has {figure!r} as figure {name}, which is no object", _ADVICE)
        _check_values(figure, Figure, path)
        figures[name] = Figure(**figure)
    return Record(**{**values, "figures": figures})


#: Types in JSON of what records and figures hold.
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("figures", "protocol", "features", "hashes", "options", "versions"), (dict,)),
    **dict.fromkeys(("seeds", "recipe", "differs", "changed"), (list,)),
    **dict.fromkeys(("low", "high", "baseline", "silence", "swapped"), (int, float, type(None))),
    "value": (int, float),
    **dict.fromkeys(("n", "faults"), (int,)),
    "official_n": (int, type(None)),
    "experiment": (str, type(None)),
}


def _check_values(values: Mapping[str, Any], kind: type[Record] | type[Figure], path: str | Path) -> None:
    """Refuse missing and unknown names, and values of another type."""
    names = [attribute.name for attribute in fields(kind)]
    for name in values:
        if name not in names:
            raise file_error(path, f"has an unknown entry {name!r}", _ADVICE)
    for attribute in fields(kind):
        if attribute.name not in values:
            if attribute.default is MISSING and attribute.default_factory is MISSING:
                raise file_error(path, f"lacks {attribute.name!r}", _ADVICE)
            continue
        value = values[attribute.name]
        types = _TYPES.get(attribute.name, (str,))
        if not isinstance(value, types) or isinstance(value, bool):
            expected = " or ".join("null" if t is type(None) else t.__name__ for t in types)
            raise file_error(path, f"has {value!r} as {attribute.name!r}, which is no {expected}", _ADVICE)
    if kind is Record and values["by"] not in BY:
        raise file_error(path, f"has {values['by']!r} as 'by', which is none of {', '.join(BY)}", _ADVICE)
