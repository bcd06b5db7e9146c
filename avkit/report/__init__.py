# SPDX-License-Identifier: Apache-2.0
"""Reports: what a run scored, and what a model answers about one clip."""

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
