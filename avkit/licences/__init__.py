# SPDX-License-Identifier: Apache-2.0
"""What may be done with weights, data and authors' code: one table, and a switch that refuses what is not free.

The table says what the source states, not what a court would say. `commercial` is `yes` where the licence permits
commercial use, `no` where it forbids it, and `unclear` where none is stated or it covers only a part.
"""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

from avkit.errors import AvkitError, unknown_name

#: What a licence is of: an encoder's published weights, a dataset, or the code and checkpoints of a system's authors.
LicensedKind = Literal["weights", "data", "code"]

#: What names of networks of timm begin with.
TIMM = "timm:"
#: Licences, as timm writes them, that permit commercial use.
_FREE = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0")

_COMMERCIAL_ONLY: ContextVar[bool] = ContextVar("commercial_only", default=False)


class LicenceError(AvkitError):
    """Something whose licence does not permit commercial use, where only such things are wanted."""


@dataclass(frozen=True)
class Licence:
    """A row of the table.

    Attributes:
        kind: What it is of.
        name: Name of the encoder, dataset or system.
        licence: SPDX name, or what the source says in a few words.
        commercial: Whether it permits commercial use: `yes`, `no` or `unclear`.
        source: Repository or page.
        note: What else a user must know.
    """

    kind: str
    name: str
    licence: str
    commercial: str
    source: str
    note: str

    @property
    def description(self) -> str:
        """The licence with what limits it, for a report."""
        limits = {"yes": "", "no": ", no commercial use", "unclear": ", commercial use unclear"}
        return f"{self.licence}{limits[self.commercial]}"


@cache
def _table() -> tuple[Licence, ...]:
    text = files("avkit.licences").joinpath("table.csv").read_text(encoding="utf-8")
    return tuple(Licence(**row) for row in csv.DictReader(text.splitlines()))


def list_licences(kind: LicensedKind | None = None) -> list[Licence]:
    """Rows of the table; of one kind where it is given.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind is not None and kind not in get_args(LicensedKind):
        raise unknown_name("kind of licence", kind, get_args(LicensedKind))
    return [row for row in _table() if kind in (None, row.kind)]


def find_licence(kind: LicensedKind, name: str) -> Licence | None:
    """The row of an encoder's weights, a dataset or a system; None where the table has none.

    Weights of timm, `timm:NAME`, that the table does not name have the licence that timm states.
    """
    row = next((row for row in list_licences(kind) if row.name == name), None)
    if row is None and kind == "weights" and name.startswith(TIMM):
        return _licence_of_timm(name)
    return row


def _licence_of_timm(name: str) -> Licence | None:
    """The licence that timm states for weights; None where timm is not here, or does not know them."""
    try:
        import timm
    except (ImportError, RuntimeError):  # a torchvision that was built for another torch raises RuntimeError
        return None
    try:
        config = timm.get_pretrained_cfg(name.removeprefix(TIMM))
    except RuntimeError:  # an unknown tag
        return None
    if config is None:
        return None
    licence = str(config.license or "none stated")
    commercial = "unclear"
    if licence in _FREE:
        commercial = "yes"
    elif "-nc" in licence or "noncommercial" in licence:
        commercial = "no"
    source = f"huggingface.co/{config.hf_hub_id or 'timm'}"
    return Licence("weights", name, licence, commercial, source, "as timm states")


@contextmanager
def commercial_only(*, wanted: bool) -> Iterator[None]:
    """Refuse, within, everything whose licence does not permit commercial use, if that is wanted."""
    token = _COMMERCIAL_ONLY.set(wanted)
    try:
        yield
    finally:
        _COMMERCIAL_ONLY.reset(token)


def check_licence(kind: LicensedKind, name: str) -> None:
    """Refuse what is about to be loaded, where only things for commercial use are wanted.

    Args:
        kind: What it is.
        name: Name of the encoder, dataset or system.

    Raises:
        LicenceError: If its licence does not permit commercial use, or is not in the table.
    """
    if not _COMMERCIAL_ONLY.get():
        return
    row = find_licence(kind, name)
    if row is not None and row.commercial == "yes":
        return
    state = "no entry in the table of licences" if row is None else row.description
    where = f" ({row.source}{': ' + row.note if row.note else ''})" if row is not None and row.source else ""
    raise LicenceError(
        f"--commercial_safe: the {kind} of {name} has {state}{where}. Use another ('avkit info --licences' lists all), "
        "ask its authors, or leave --commercial_safe out."
    )
