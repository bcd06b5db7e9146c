# SPDX-License-Identifier: Apache-2.0
"""Pages of boards on disk: a file for one board, a folder for several."""

from collections.abc import Sequence
from pathlib import Path

from avkit.errors import file_error
from avkit.files import write_file
from avkit.leaderboard.boards import Board
from avkit.leaderboard.experiments import read_experiments
from avkit.leaderboard.page import GENERATOR, board_page, index_page

#: Characters at the start of a page among which its mark stands.
_HEAD = 2000


def write_pages(out: Path, boards: Sequence[Board], *, single: bool) -> list[Path]:
    """Write pages and say where they are.

    Args:
        out: A file, or a folder, for one board; a folder for several, which gets an `index.html` too.
        boards: The boards.
        single: Whether one board was asked for.

    Raises:
        FileError: If a file that is no page of avkit's would be written over, or several boards are to go into a file.
    """
    experiments = {experiment.id: experiment for experiment in read_experiments()}
    pages: dict[Path, str] = {}
    if single and not out.is_dir():
        pages[out] = board_page(boards[0], experiments)
    else:
        if out.suffix in (".html", ".htm"):
            raise file_error(out, f"names one file for {len(boards)} boards", "Name a folder, or one board.")
        for board in boards:
            pages[out / f"{board.name}.html"] = board_page(board, experiments)
        if not single:
            files = {board.name: f"{board.name}.html" for board in boards}
            pages[out / "index.html"] = index_page(boards, files)
    for path in pages:
        _check_free(path)
    written = [write_file(path, text) for path, text in pages.items()]
    print(f"page: {written[-1]}")
    return written


def _check_free(path: Path) -> None:
    """Refuse to write over what is no page of avkit's."""
    if path.is_file() and GENERATOR not in path.read_text(encoding="utf-8", errors="replace")[:_HEAD]:
        raise file_error(path, "exists and is no page of a leaderboard", "Name another file, or move it away.")
