# SPDX-License-Identifier: Apache-2.0
"""Names of boards: their titles, what else they are called, and the nearest name to a misspelling."""

from collections.abc import Iterable, Mapping

from avkit.errors import unknown_name

#: Titles of boards, in the order in which they are listed.
TITLES: Mapping[str, str] = {
    "f-music": "f-Music",
    "f-lifescene": "f-Lifescene",
    "f-music+f-lifescene": "f-Music and f-Lifescene, averages",
    "avsbench-s4": "AVSBench S4",
    "avsbench-ms3": "AVSBench MS3",
    "avsbench-avss": "AVSBench AVSS",
    "music-avqa": "MUSIC-AVQA",
    "music-avqa-v2": "MUSIC-AVQA v2.0",
    "music-avqa-r": "MUSIC-AVQA-R",
    "avqa": "AVQA",
    "unav100": "UnAV-100",
    "llp": "LLP",
    "ave": "AVE",
    "vggss": "VGG-SS",
    "flickr-soundnet": "Flickr-SoundNet",
    "ref-avs": "Ref-AVS",
    "scenes": "Built-in scenes",
}
#: Further names of boards.
_ALIASES: Mapping[str, str] = {
    "s4": "avsbench-s4",
    "ms3": "avsbench-ms3",
    "avss": "avsbench-avss",
    "avs-semantic": "avsbench-avss",
    "ra-ssu": "f-music+f-lifescene",
    "music-avqa-2": "music-avqa-v2",
    "unav": "unav100",
    "vgg-sound-sources": "vggss",
    "flickr": "flickr-soundnet",
    "soundnet": "flickr-soundnet",
    "look-listen-parse": "llp",
}


def title_of(board: str) -> str:
    """Name of a board in print."""
    return TITLES.get(board, board)


def find_board(name: str, boards: Iterable[str], tasks: Mapping[str, Iterable[str]]) -> list[str]:
    """The boards that a name means: one, or all of a task.

    Args:
        name: Name of a board, in any spelling, or of a task.
        boards: Boards that there are.
        tasks: By task its boards.

    Raises:
        ValueError: If nothing has this name, or the board has no rows; names the nearest.

    >>> find_board("MUSIC_AVQA", ["music-avqa"], {})
    ['music-avqa']
    """
    known = list(boards)
    names = {_letters(board): board for board in known}
    names |= {_letters(title_of(board)): board for board in known}
    names |= {_letters(alias): board for alias, board in _ALIASES.items() if board in known}
    if _letters(name) in names:
        return [names[_letters(name)]]
    for board in TITLES:
        if _letters(name) in (_letters(board), _letters(title_of(board))):
            raise ValueError(
                f"The board {board!r} has no rows yet. Name tested runs with --mine, or add a result: "
                "avkit leaderboard add RUN --as NAME."
            )
    for task, of_task in tasks.items():
        if _letters(task) == _letters(name):
            return list(of_task)
    raise unknown_name("board", name, {*known, *tasks})


def _letters(text: str) -> str:
    return "".join(letter for letter in text.casefold() if letter.isalnum())
