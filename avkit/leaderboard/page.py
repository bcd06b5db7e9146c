# SPDX-License-Identifier: Apache-2.0
"""A board as one self-contained HTML page: no address outside is loaded, and all that comes from data is escaped."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from avkit.leaderboard.aims import read_reasons
from avkit.leaderboard.board_rows import BoardRow, Origin
from avkit.leaderboard.boards import DOUBTFUL, Board, Setting
from avkit.leaderboard.experiments import Experiment
from avkit.leaderboard.plot import draw
from avkit.leaderboard.published import Source, read_sources
from avkit.leaderboard.records import Record

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = Path(__file__).parent / "templates"
#: What a page of avkit's says of itself, so that no file of others is written over.
GENERATOR = '<meta name="generator" content="avkit leaderboard">'
#: Figures of a row that a narrow screen shows.
NARROW_FIGURES = 1
#: Colours of words: agreeing, differing, doubtful, or none.
_TONES: Mapping[str, str] = {
    **dict.fromkeys(("reproduced", "within", "within, with differences"), "good"),
    **dict.fromkeys(("above", "below", "outside", "misprint", "disputed", "identical"), "warn"),
    "impossible": "bad",
}


@dataclass(frozen=True)
class Protocol:
    """Settings that differ in their features alone.

    Attributes:
        title: The protocol in words.
        settings: The settings.
    """

    title: str
    settings: tuple[Setting, ...]


def board_page(board: Board, experiments: Mapping[str, Experiment]) -> str:
    """The page of a board.

    Args:
        board: The board, ablations and costs with it.
        experiments: Experiments by id, for what a row's command needs and how it differs.
    """
    groups = groupby(board.settings, key=lambda setting: setting.protocol)
    protocols = [Protocol(title, tuple(settings)) for title, settings in groups]
    return _render(
        "board.html.j2",
        board=board,
        protocols=protocols,
        plot=draw(board),
        experiments=experiments,
        words=_words(board),
        reasons=read_reasons(),
    )


def index_page(boards: Sequence[Board], files: Mapping[str, str]) -> str:
    """A page that names all boards with their best rows.

    Args:
        boards: The boards.
        files: By board the name of its page.
    """
    return _render("index.html.j2", boards=boards, files=files)


def _words(board: Board) -> list[str]:
    """The words of a board's rows, the most frequent first."""
    words = [row.word for setting in board.settings for row in setting.rows]
    return sorted(set(words), key=lambda word: (-words.count(word), word))


def _render(template: str, **values: object) -> str:
    script = (TEMPLATES / "board.js").read_text(encoding="utf-8")
    style = (TEMPLATES / "board.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _environment().get_template(template).render(script=script, style=style, script_hash=digest, **values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(narrow=NARROW_FIGURES, generator=GENERATOR)
    environment.filters.update(
        tone=lambda word: _TONES.get(word, ""),
        source=source_of,
        link=safe_link,
        best=best_row,
        facts=record_facts,
    )
    return environment


def source_of(origin: Origin) -> Source:
    """The source of a claim; one that is not known has its id as title."""
    unknown = Source(origin.source, origin.source, "", "", "", "", "", "", "")
    return read_sources().get(origin.source, unknown)


def safe_link(address: str) -> str:
    """An address of the web; empty for anything else."""
    return address if address.startswith(("https://", "http://")) else ""


def best_row(board: Board, task: str, kind: str) -> tuple[BoardRow, str] | None:
    """The best sound row of a task and kind, with the metric that ranks it."""
    settings = [setting for setting in board.settings if setting.terms.task == task]
    metric = settings[0].metrics[0]
    rows = [row for setting in settings for row in setting.rows if row.kind == kind and row.word not in DOUBTFUL]
    rows = [row for row in rows if metric in row.cells and row.cells[metric].value is not None]
    return (min(rows, key=lambda row: row.sort_key([metric])), metric) if rows else None


def record_facts(record: Record) -> dict[str, str]:
    """What a record says of a measurement, in words by heading."""
    official = "" if record.official_n is None else f" of {record.official_n:,} official"
    facts = {
        "Samples": f"{record.n:,}{official}",
        "Seeds": ", ".join(map(str, record.seeds)),
        "Release": record.release,
        "Protocol": _listed(record.protocol),
        "Features": _listed(record.features),
        "Recipe": " ".join(record.recipe),
        "Options": _listed({name: str(value) for name, value in record.options.items()}),
        "Device": record.device,
        "Date": record.date,
        "Commit": record.commit,
        "Versions": _listed(record.versions),
        "Made by": record.command,
    }
    facts |= {f"SHA-256 of {name}": value for name, value in record.hashes.items()}
    return {heading: text for heading, text in facts.items() if text}


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
