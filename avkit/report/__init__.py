# SPDX-License-Identifier: Apache-2.0
"""Reports: what a run scored, and what a model answers about one clip.

Public names are imported when they are asked for, so that commands which only print tables start at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from avkit.report.gallery import write_gallery
    from avkit.report.overlay import overlay_frames
    from avkit.report.records import Curve, Example, Result, RunReport
    from avkit.report.renderers import JSONRenderer, Renderer, Sample, register
    from avkit.report.result import save_result
    from avkit.report.rows import Row
    from avkit.report.run import write_report
    from avkit.report.stream import StreamWriter
    from avkit.report.tables import efficiency_table, open_console, print_scores
    from avkit.report.terminal import terminal_lines

__all__ = [
    "Curve",
    "Example",
    "JSONRenderer",
    "Renderer",
    "Result",
    "Row",
    "RunReport",
    "Sample",
    "StreamWriter",
    "efficiency_table",
    "open_console",
    "overlay_frames",
    "print_scores",
    "register",
    "save_result",
    "terminal_lines",
    "write_gallery",
    "write_report",
]

#: Modules below `avkit.report` that public names come from.
_MODULES = {
    "gallery": ("write_gallery",),
    "overlay": ("overlay_frames",),
    "records": ("Curve", "Example", "Result", "RunReport"),
    "renderers": ("JSONRenderer", "Renderer", "Sample", "register"),
    "result": ("save_result",),
    "rows": ("Row",),
    "run": ("write_report",),
    "stream": ("StreamWriter",),
    "tables": ("efficiency_table", "open_console", "print_scores"),
    "terminal": ("terminal_lines",),
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name when it is asked for."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'avkit.report' has no attribute {name!r}")
    return getattr(import_module(f"avkit.report.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
