# SPDX-License-Identifier: Apache-2.0
"""Boards as CSV, JSON and LaTeX."""

import csv
import io
import json
from collections.abc import Sequence

from avkit.leaderboard.board_rows import BoardRow, Cell
from avkit.leaderboard.boards import Board, Setting
from avkit.leaderboard.published import read_sources
from avkit.report.latex import latex_escape

_CSV_HEADER = (
    "board,task,split,release,setting,features,kind,method,year,metric,printed,scale,value,sd,n,low,high,best,verdict,"
    "reasons,source,table,reported_by,confidence,experiments,seeds"
)


def csv_text(boards: Sequence[Board]) -> str:
    """A line per figure; `value` is a fraction where the figure is a share."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_CSV_HEADER.split(","))
    for board in boards:
        for setting in board.settings:
            for row in setting.rows:
                for metric, cell in row.cells.items():
                    writer.writerow([board.name, *_csv_line(setting, row, metric, cell)])
    return file.getvalue()


def _csv_line(setting: Setting, row: BoardRow, metric: str, cell: Cell) -> list[object]:
    terms = setting.terms
    origin = row.origins[0] if row.origins else None
    seeds = sorted({seed for record in row.records for seed in record.seeds})
    place: list[object] = ["", "", "", ""]
    if origin is not None:
        place = [origin.source, origin.table, origin.reported_by, origin.confidence]
    figure = [cell.text, cell.scale, cell.value, cell.deviation, cell.n or None, cell.low, cell.high]
    return [
        *(terms.task, terms.split, terms.release, terms.setting, terms.features),
        *(row.kind, row.method, row.year, metric),
        *figure,
        int(setting.is_best(row, metric)),
        *(row.word, "; ".join(row.reasons)),
        *place,
        " ".join(row.experiments),
        " ".join(map(str, seeds)),
    ]


def json_text(boards: Sequence[Board]) -> str:
    """All that boards hold; values are fractions where they are shares."""
    return json.dumps([_board(board) for board in boards], indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _board(board: Board) -> dict[str, object]:
    settings = []
    for setting in board.settings:
        facts = {**vars(setting.terms), "title": setting.title, "metrics": list(setting.metrics)}
        settings.append({**facts, "rows": [_row(row, setting) for row in setting.rows]})
    return {"board": board.name, "title": board.title, "settings": settings}


def _row(row: BoardRow, setting: Setting) -> dict[str, object]:
    figures = {}
    for metric, cell in row.cells.items():
        figures[metric] = {**vars(cell), "best": setting.is_best(row, metric)}
    sources = read_sources()
    origins = [{**vars(origin), "title": sources[origin.source].title} for origin in row.origins]
    return {
        "method": row.method,
        "year": row.year,
        "kind": row.kind,
        "verdict": row.word,
        "reasons": list(row.reasons),
        "figures": figures,
        "origins": origins,
        "experiments": list(row.experiments),
        "records": [record.to_json() for record in row.records],
        "mine": row.mine,
    }


def latex_text(boards: Sequence[Board]) -> str:
    """A booktabs table for each board's terms, the best figures in bold."""
    lines = ["% Bold: the best of the same terms; rows whose figures contradict each other are left out."]
    lines.append("% Needs \\usepackage{booktabs}.")
    for board in boards:
        for setting in board.settings:
            rows = [row for row in setting.rows if row.word != "impossible"]
            if rows:
                lines += ["", *_latex_table(board, setting, rows)]
    return "\n".join(lines) + "\n"


def _latex_table(board: Board, setting: Setting, rows: Sequence[BoardRow]) -> list[str]:
    headings = ["Method", *setting.metrics]
    lines = [
        f"% {_one_line(board.title)}: {_one_line(setting.title)}",
        f"\\begin{{tabular}}{{l{'r' * len(setting.metrics)}}}",
        "\\toprule",
        " & ".join(latex_escape(heading) for heading in headings) + " \\\\",
        "\\midrule",
    ]
    for row in rows:
        cells = [_latex_cell(row, metric, setting) for metric in setting.metrics]
        lines.append(" & ".join([latex_escape(row.method), *cells]) + " \\\\")
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _latex_cell(row: BoardRow, metric: str, setting: Setting) -> str:
    cell = row.cells.get(metric)
    if cell is None:
        return "--"
    text = latex_escape(cell.text)
    if setting.is_best(row, metric):
        text = f"\\textbf{{{text}}}"
    return f"{text} $\\pm$ {latex_escape(cell.spread)}" if cell.spread else text
