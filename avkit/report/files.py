# SPDX-License-Identifier: Apache-2.0
"""How reports reach the disk: strict JSON, escaped templates, and files that are whole or not there."""

import json
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from avkit.answers.encoding import Record
from avkit.reading.checksums import with_checksum
from avkit.report.numbers import finite

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

_MARKDOWN = str.maketrans({c: "\\" + c for c in "\\`*[]|#~"} | {"<": "&lt;", "&": "&amp;", "\n": " ", "\r": " "})


def strict_json(value: Any) -> str:
    """JSON that every parser reads: dataclasses as objects, numbers that are NaN or infinite as null."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sealed_json(record: Record) -> str:
    """An object as `strict_json`, with a checksum as its last value, which `check_record` compares."""
    return strict_json(with_checksum(plain(record)))


def plain(value: Any) -> Any:
    """A value in the types that JSON knows; numbers that are NaN or infinite as None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if is_dataclass(value) and not isinstance(value, type):
        attributes = vars(value)
        return {f.name: plain(attributes[f.name]) for f in fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return finite(value)
    return str(value) if isinstance(value, PurePath) else value


def markdown(text: str) -> str:
    """Text as one line of Markdown that shows it literally, also inside a table."""
    return str(text).translate(_MARKDOWN)


def seconds(time: float) -> str:
    """A time in seconds with as many of two decimals as it needs."""
    return f"{time:.2f}".rstrip("0").rstrip(".")


def render(template: str, **values: Any) -> str:
    """Fill one of the templates; in HTML everything that comes from data is escaped."""
    return _environment().get_template(template).render(**values)


def trusted_html(text: str) -> "Markup":
    """HTML whose data are escaped already, for a template to put in as it is."""
    from markupsafe import Markup

    return Markup(text)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("avkit.report"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["md"] = markdown
    environment.filters["seconds"] = seconds
    return environment
