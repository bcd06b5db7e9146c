# SPDX-License-Identifier: Apache-2.0
"""What is known of each encoder without building it: width, hop, licence, size, and what it was trained on."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from avkit.encoders.table import ENCODERS, Kind
from avkit.errors import unknown_name
from avkit.licences import find_licence
from avkit.reading.text import read_text, table_rows

_FILE = Path(__file__).with_name("facts.csv")
#: Heads of the columns, in order.
COLUMNS = ("name", "width", "hop", "licence", "size", "trained on")


@dataclass(frozen=True)
class EncoderFacts:
    """A row of the list of encoders.

    Attributes:
        kind: What it encodes.
        name: Name that options and recipes take.
        width: Width D of its features; 0 where it is not known.
        hop: Seconds from one vector to the next in its recipe; None for single pictures and sentences.
        window: Seconds that a vector is made of; None for single pictures and sentences.
        licence: Of its published weights; empty where it has none.
        commercial: Whether that permits commercial use: `yes`, `no` or `unclear`.
        megabytes: Size of the file that the weights come in; 0 where there is none.
        training: What it was trained on.
    """

    kind: str
    name: str
    width: int
    hop: float | None
    window: float | None
    licence: str
    commercial: str
    megabytes: int
    training: str

    @property
    def size(self) -> str:
        """Size of the download in words."""
        if self.megabytes >= 1000:
            return f"{self.megabytes / 1000:.1f} GB"
        return f"{self.megabytes} MB" if self.licence else "small"

    @property
    def cells(self) -> tuple[str, ...]:
        """The row as text, by `COLUMNS`."""
        hop = "" if self.hop is None else f"{self.hop:g} s"
        return (self.name, str(self.width or ""), hop, self.licence or "yours", self.size, self.training)


class EncoderTable(Mapping[str, EncoderFacts]):
    """Encoders of a kind by name; a mapping from names to facts, shown as a table.

    Args:
        rows: Its rows.
    """

    def __init__(self, rows: Sequence[EncoderFacts]) -> None:
        self._rows = {row.name: row for row in rows}

    def __getitem__(self, name: str) -> EncoderFacts:
        return self._rows[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        """The table, its columns aligned."""
        lines = [COLUMNS, *(row.cells for row in self._rows.values())]
        widths = [max(len(line[k]) for line in lines) for k in range(len(COLUMNS))]
        texts = []
        for line in lines:
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            texts.append("  ".join(cells).rstrip())
        return "\n".join(texts)


def list_encoders(kind: Kind) -> EncoderTable:
    """The encoders of a kind with width, hop, licence, size, and what they were trained on.

    Beside these there is every network of timm (`timm:NAME`) and of open_clip (`open_clip:NAME`), of which some are
    listed, and every class of an installed package (`package.module:Class`).

    Args:
        kind: `visual`, `video`, `window`, `audio` or `text`.

    Raises:
        ValueError: If the kind is unknown.
    """
    if kind not in ENCODERS:
        raise unknown_name("kind of encoder", kind, ENCODERS)
    listed = {row.name: row for row in _rows() if row.kind == kind}
    # tables may be extended by programs that put entries into ENCODERS
    others = [name for name in ENCODERS[kind] if name not in listed]
    return EncoderTable([*listed.values(), *(_unknown(kind, name) for name in others)])


@cache
def _rows() -> tuple[EncoderFacts, ...]:
    """All rows of the file."""
    rows = list(table_rows(read_text(_FILE), str(_FILE)))
    heads = rows[0][1]
    facts = []
    for _, cells in rows[1:]:
        row = dict(zip(heads, cells, strict=True))
        licence = find_licence("weights", row["name"])
        facts.append(
            EncoderFacts(
                kind=row["kind"],
                name=row["name"],
                width=int(row["width"]),
                hop=float(row["hop"]) if row["hop"] else None,
                window=float(row["window"]) if row["window"] else None,
                licence=licence.licence if licence else "",
                commercial=licence.commercial if licence else "yes",
                megabytes=int(row["megabytes"]),
                training=row["training"],
            )
        )
    return tuple(facts)


def _unknown(kind: Kind, name: str) -> EncoderFacts:
    return EncoderFacts(kind, name, 0, None, None, "", "unclear", 0, "")
