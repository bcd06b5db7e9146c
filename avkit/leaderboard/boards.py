# SPDX-License-Identifier: Apache-2.0
"""Boards: for each dataset what was published and what was measured, apart by the terms that make rows comparable."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from avkit.leaderboard.arithmetic import Audit, audit_published
from avkit.leaderboard.board_names import TITLES, title_of
from avkit.leaderboard.board_rows import BoardRow, Cell, Origin, RowKind, Terms, shown
from avkit.leaderboard.findings import KINDS
from avkit.leaderboard.metric_names import LOWER_IS_BETTER, RANKED_BY, our_metric
from avkit.leaderboard.published import PublishedRow, PublishedValue, group_rows, read_published
from avkit.leaderboard.question_counts import release_label

#: Words of rows whose figures are not taken for the best.
DOUBTFUL = ("impossible", "not comparable")
NOT_STATED = "not stated"


@dataclass(frozen=True)
class Setting:
    """The rows of a board that were measured on the same terms.

    Attributes:
        terms: The terms.
        protocol: The terms in words, but for features.
        features: The features in words; empty for costs.
        metrics: Metrics of the rows, the one that ranks them first.
        rows: The rows, the best first within each kind.
    """

    terms: Terms
    protocol: str
    features: str
    metrics: tuple[str, ...]
    rows: tuple[BoardRow, ...]

    @property
    def title(self) -> str:
        """The terms in words."""
        return f"{self.protocol}, {self.features}" if self.features else self.protocol

    def of(self, *kinds: RowKind) -> list[BoardRow]:
        """Rows of some kinds."""
        return [row for row in self.rows if row.kind in kinds]

    @cached_property
    def best(self) -> dict[str, float]:
        """The best figure of each metric of which there are two or more, but for doubtful rows and ablations."""
        figures: dict[str, list[float]] = {}
        for row in self.rows:
            if row.kind == "ablation" or row.word in DOUBTFUL:
                continue
            for metric, cell in row.cells.items():
                if cell.value is not None and not cell.word:
                    figures.setdefault(metric, []).append(cell.value)
        best = {}
        for metric, values in figures.items():
            if len(values) > 1:
                best[metric] = min(values) if metric in LOWER_IS_BETTER else max(values)
        return best

    def is_best(self, row: BoardRow, metric: str) -> bool:
        """Whether a row of the setting has the best figure of a metric."""
        cell = row.cells.get(metric)
        if cell is None or cell.value is None or cell.word or row.kind == "ablation" or row.word in DOUBTFUL:
            return False
        return cell.value == self.best.get(metric)

    def ranked_by(self, metric: str) -> "Setting":
        """The setting with another metric first, and its rows in that order."""
        metrics = (metric, *(name for name in self.metrics if name != metric))
        rows = sorted(self.rows, key=lambda row: row.sort_key(metrics))
        return replace(self, metrics=metrics, rows=tuple(rows))


@dataclass(frozen=True)
class Board:
    """All that was published and measured on a dataset.

    Attributes:
        name: Name of the dataset.
        settings: Terms with their rows: those with most rows first.
        hidden: Number of rows that were left out.
    """

    name: str
    settings: tuple[Setting, ...]
    hidden: int = 0

    @property
    def title(self) -> str:
        """Name in print."""
        return title_of(self.name)

    @property
    def tasks(self) -> list[str]:
        """Tasks that the board is of."""
        return list(dict.fromkeys(setting.terms.task for setting in self.settings))

    @property
    def metrics(self) -> list[str]:
        """All metrics of the board."""
        return list(dict.fromkeys(metric for setting in self.settings for metric in setting.metrics))


def make_boards(
    measured: Iterable[tuple[str, Terms, BoardRow]] = (),
    experiments: Mapping[str, Sequence[str]] | None = None,
    values: Sequence[PublishedValue] | None = None,
    audit: Audit | None = None,
) -> dict[str, Board]:
    """All boards by name.

    Args:
        measured: Board, terms and row of each measurement.
        experiments: By published row the ids of the experiments that aim at it.
        values: Published values; those of the package by default.
        audit: What arithmetic says of them.
    """
    values = read_published() if values is None else values
    audit = audit_published() if audit is None else audit
    groups: dict[str, dict[Terms, list[BoardRow]]] = {}
    for row in group_rows(values):
        terms = terms_of(row, audit)
        of_terms = groups.setdefault(row.first.dataset, {}).setdefault(terms, [])
        _add_claim(of_terms, _claimed(row, audit, experiments or {}))
    for board, terms, measured_row in measured:
        groups.setdefault(board, {}).setdefault(terms, []).append(measured_row)
    boards = [_board(name, of_board) for name, of_board in groups.items()]
    order = list(TITLES)
    boards.sort(key=lambda board: order.index(board.name) if board.name in order else len(order))
    return {board.name: board for board in boards}


def terms_of(row: PublishedRow, audit: Audit) -> Terms:
    """The terms of a published row, with the release that it states or betrays."""
    first = row.first
    if first.kind == "efficiency":
        return Terms(first.task, "", "", "", "")
    return Terms(first.task, first.split, audit.releases.get(first.row, ""), first.setting, first.features)


def _claimed(row: PublishedRow, audit: Audit, experiments: Mapping[str, Sequence[str]]) -> BoardRow:
    """A published row as it stands on a board."""
    first = row.first
    cells = {}
    for value in row.values:
        faults = [finding.kind for finding in audit.of(first.row, "misprint") if finding.metric == value.metric]
        name = our_metric(value.task, value.dataset, value.metric) or value.metric
        cells[name] = Cell(value.printed, value.fraction, word="misprint" if faults else "", scale=value.scale)
    origin = Origin(first.row, first.source, first.table, first.reported_by, first.confidence, first.note)
    return BoardRow(
        method=first.method,
        year=int(first.year) if first.year.isdigit() else None,
        kind=_kind_of(first),
        cells=cells,
        word=audit.word(first.row) or "claimed",
        reasons=tuple(finding.text for finding in audit.of(first.row)),
        origins=(origin,),
        experiments=tuple(experiments.get(first.row, ())),
    )


def _kind_of(value: PublishedValue) -> RowKind:
    if value.kind == "ablation":
        return "ablation"
    return "efficiency" if value.kind == "efficiency" else "comparison"


def _add_claim(rows: list[BoardRow], claim: BoardRow) -> None:
    """Add a claim to the rows of its terms; one that another source prints alike becomes one with it."""
    for place, other in enumerate(rows):
        if _is_same(other, claim):
            rows[place] = _joined(other, claim)
            return
    rows.append(claim)


def _is_same(row: BoardRow, other: BoardRow) -> bool:
    """Whether two claims are of one method and kind, and have the same figures as far as both have them."""
    if row.kind != other.kind or row.kind == "ablation" or _name(row) != _name(other):
        return False
    common = [metric for metric in row.cells if metric in other.cells]
    return bool(common) and all(row.cells[metric].text == other.cells[metric].text for metric in common)


def _name(row: BoardRow) -> str:
    return row.method.lower().replace("(ours)", "").strip()


def _joined(row: BoardRow, other: BoardRow) -> BoardRow:
    """Two claims as one: that of the authors first, the gravest word, all reasons and sources."""
    first, second = (row, other)
    if other.origins[0].reported_by == "authors" and row.origins[0].reported_by != "authors":
        first, second = (other, row)
    words = [word for word in (row.word, other.word) if word != "claimed"]
    return replace(
        first,
        cells={**second.cells, **first.cells},
        word=min(words, key=KINDS.index) if words else "claimed",
        reasons=tuple(dict.fromkeys([*first.reasons, *second.reasons])),
        origins=(*first.origins, *second.origins),
        experiments=tuple(dict.fromkeys([*first.experiments, *second.experiments])),
    )


def _board(name: str, groups: Mapping[Terms, list[BoardRow]]) -> Board:
    several_tasks = len({terms.task for terms in groups}) > 1
    with_releases = any(terms.release for terms in groups)
    scales = _scales(groups)
    settings = []
    for terms, of_terms in groups.items():
        protocol = _protocol(name, terms, with_task=several_tasks, with_release=with_releases)
        features = terms.features or f"features {NOT_STATED}" if terms.split else ""
        metrics = _metrics(terms, name, of_terms)
        alike = [_on_scale(row, terms.task, scales) for row in of_terms]
        rows = sorted(alike, key=lambda row: row.sort_key(metrics))
        settings.append(Setting(terms, protocol, features, metrics, tuple(rows)))
    return Board(name, tuple(_in_order(settings)))


def _in_order(settings: Sequence[Setting]) -> list[Setting]:
    """Settings of one protocol together; those with most rows first, costs last."""
    sizes: dict[str, int] = {}
    for setting in settings:
        rows = len(setting.of("comparison", "measured"))
        sizes[setting.protocol] = sizes.get(setting.protocol, 0) + rows

    def place(setting: Setting) -> tuple[bool, int, str, int]:
        rows = len(setting.of("comparison", "measured"))
        return (not setting.terms.split, -sizes[setting.protocol], setting.protocol, -rows)

    return sorted(settings, key=place)


def _scales(groups: Mapping[Terms, list[BoardRow]]) -> dict[tuple[str, str], str]:
    """On which scale the claims of a board are printed, by task and metric."""
    scales = {}
    for terms, rows in groups.items():
        for row in rows:
            for metric, cell in row.cells.items():
                if not row.records:
                    scales[terms.task, metric] = cell.scale
    return scales


def _on_scale(row: BoardRow, task: str, scales: Mapping[tuple[str, str], str]) -> BoardRow:
    """A row whose measured figures are shown as the claims of its board are printed."""
    if not row.records:
        return row
    cells = {}
    for metric, cell in row.cells.items():
        scale = scales.get((task, metric), cell.scale)
        cells[metric] = replace(cell, scale=scale, text=shown(cell.value or 0.0, scale))
    return replace(row, cells=cells)


def _protocol(board: str, terms: Terms, *, with_task: bool, with_release: bool) -> str:
    """Terms in words, but for features."""
    if not terms.split:
        return "cost"
    parts = [terms.task] if with_task else []
    parts.append(terms.split)
    if terms.release:
        parts.append(release_label(board, terms.release, terms.split))
    elif with_release:
        parts.append(f"release {NOT_STATED}")
    if terms.setting:
        parts.append(terms.setting)
    return ", ".join(parts)


def _metrics(terms: Terms, board: str, rows: Sequence[BoardRow]) -> tuple[str, ...]:
    """Metrics of rows: those that rank first, then as they come."""
    present = list(dict.fromkeys(metric for row in rows for metric in row.cells))
    ranking = [our_metric(terms.task, board, name) or name for name in RANKED_BY.get(terms.task, ())]
    first = [metric for metric in ranking if metric in present]
    return (*first, *(metric for metric in present if metric not in first))
