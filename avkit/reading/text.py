# SPDX-License-Identifier: Apache-2.0
"""Text files of others: UTF-8, gzipped or not, with a BOM or CRLF; JSON, YAML and tables in them."""

import csv
import gzip
import io
import json
from collections.abc import Hashable, Iterator
from pathlib import Path
from typing import Any

from avkit.errors import file_error
from avkit.reading.boundary import file_errors, read_bytes, reason_of

#: Bytes that a `.gz` may unpack to, and the bytes that it may unpack to whatever its own size is.
_MAX_UNPACKED = 2**30
_ALWAYS_UNPACKED = 2**24
#: Bytes that one byte of a `.gz` may unpack to.
_MAX_RATIO = 200
#: Values that a YAML file may have once its aliases are written out.
_MAX_YAML_VALUES = 1_000_000
#: Characters of a YAML file; a config has some thousand.
_MAX_YAML_CHARACTERS = 4_000_000
#: Levels of lists and objects in JSON.
_MAX_DEPTH = 100
#: Digits of a whole number.
_MAX_DIGITS = 300


def read_text(path: str | Path) -> str:
    """A text file as UTF-8 with plain line ends; `.gz` is unpacked.

    Raises:
        FileError: If it cannot be read, is cut off, is no UTF-8, or unpacks to an unlikely size.
    """
    data = read_unpacked(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problem = f"is not UTF-8 text (byte {error.start}) in line {line}"
        raise file_error(path, problem, "Save it again as UTF-8.") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_unpacked(path: str | Path) -> bytes:
    """The bytes of a file; `.gz` is unpacked.

    Raises:
        FileError: If it cannot be read, is cut off, or unpacks to an unlikely size.
    """
    path = Path(path)
    data = read_bytes(path)
    return _unpack(path, data) if path.suffix == ".gz" else data


def _unpack(path: Path, data: bytes) -> bytes:
    most = min(_MAX_UNPACKED, max(_ALWAYS_UNPACKED, _MAX_RATIO * len(data)))
    with (
        file_errors(path, "cannot be read as gzip", "Download it again."),
        gzip.GzipFile(fileobj=io.BytesIO(data)) as file,
    ):
        unpacked = file.read(most + 1)
    if len(unpacked) > most:
        raise file_error(
            path, f"unpacks from {len(data)} to more than {most} bytes", "Unpack it yourself and name that."
        )
    return unpacked


def read_json(path: str | Path, *, finite: bool = True) -> Any:
    """A JSON file, `.gz` too; as `parse_json`."""
    return parse_json(read_text(path), str(path), finite=finite)


def parse_json(text: str, where: str, *, finite: bool = True, advice: str = "Download or write it again.") -> Any:
    """What a JSON text holds.

    Args:
        text: The text.
        where: File, and line where the text is one, for messages.
        finite: Whether to refuse NaN and Infinity, which are no JSON but which Python writes.
        advice: What to do about a fault.

    Raises:
        FileError: If it is no JSON, is nested too deeply, or holds half of a character or a number of many digits.
    """
    try:
        values = json.loads(text, parse_constant=_refuse_constant if finite else None, parse_int=_whole_number)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(values, ensure_ascii=False).encode()
        _check_depth(text, values)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise file_error(where, f"is no whole JSON ({place}: {error.msg})", advice) from error
    except UnicodeEncodeError as error:
        raise file_error(where, f"holds half of a character ({error.object[error.start]!r})", advice) from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise file_error(where, f"is no usable JSON ({reason_of(error)})", advice) from error
    return values


def _check_depth(text: str, values: Any) -> None:
    """Refuse lists in lists in lists; reading them takes as many calls in calls."""
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return
    level = [values] if isinstance(values, dict | list) else []
    for _ in range(_MAX_DEPTH):
        deeper: list[Any] = []
        for value in level:
            parts = value.values() if isinstance(value, dict) else value
            deeper += [part for part in parts if isinstance(part, dict | list)]
        if not deeper:
            return
        level = deeper
    raise RecursionError


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


def _whole_number(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def read_yaml(path: str | Path, *, as_texts: bool = False) -> Any:
    """A YAML file of plain values; as `parse_yaml`."""
    return parse_yaml(read_text(path), str(path), as_texts=as_texts)


def parse_yaml(text: str, where: str, *, as_texts: bool = False) -> Any:
    """What a YAML text holds.

    Args:
        text: The text.
        where: Its file, for messages.
        as_texts: Leave numbers and other values as they are written.

    Raises:
        FileError: If it is no YAML, or so deep or so full of aliases that it stands for an unlikely number of values.
    """
    import yaml

    if len(text) > _MAX_YAML_CHARACTERS:
        raise file_error(
            where,
            f"has {len(text)} characters, and YAML of up to {_MAX_YAML_CHARACTERS} is read",
            "Name a shorter file.",
        )
    try:
        values = _unique_key_loader(yaml.BaseLoader if as_texts else yaml.SafeLoader)(text).get_single_data()
        count = _count_values(values, {})
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise file_error(where, f"is no YAML ({place}{error.problem})", "Correct it there.") from error
    except Exception as error:  # dates out of range, recursion, and others
        raise file_error(where, f"is no YAML ({reason_of(error)})", "Correct or write it again.") from error
    if count > _MAX_YAML_VALUES:
        raise file_error(where, f"has aliases that stand for more than {_MAX_YAML_VALUES} values", "Write them out.")
    return values


def _unique_key_loader(base: Any) -> Any:
    """A loader of plain values that refuses a key that stands twice in a mapping, of which YAML takes the last."""
    import yaml

    class UniqueKeyLoader(base):  # type: ignore[misc]
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
            keys: set[tuple[str, str]] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    continue
                if (key.tag, key.value) in keys:
                    raise yaml.constructor.ConstructorError(
                        problem=f"{key.value!r} stands twice in one mapping", problem_mark=key.start_mark
                    )
                keys.add((key.tag, key.value))
            return super().construct_mapping(node, deep)

    return UniqueKeyLoader


def _count_values(value: Any, counts: dict[int, int]) -> int:
    """Number of values with every alias written out; a value that holds itself counts as endless."""
    if not isinstance(value, dict | list):
        return 1
    key = id(value)
    if key not in counts:
        counts[key] = _MAX_YAML_VALUES  # while it is counted: only an alias of itself asks for it
        parts = value.values() if isinstance(value, dict) else value
        counts[key] = 1 + sum(_count_values(part, counts) for part in parts)
    return counts[key]


def table_rows(text: str, where: str, delimiter: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Number of the last line of each row of a table, and its cells.

    Args:
        text: The table; quotes count only where commas separate.
        where: The file, for messages.
        delimiter: What separates cells.

    Raises:
        FileError: If the table is damaged, such as a quote that nothing closes; names the line.
    """
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE,
    )
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise file_error(
                f"{where}, line {reader.line_num}",
                f"is no table ({error})",
                "Take the file as its authors publish it.",
            ) from error
        yield reader.line_num, cells
