# SPDX-License-Identifier: Apache-2.0
"""Reports: what a run scored, and what a model says about one clip."""

from avkit.report.overlay import overlay_frames
from avkit.report.records import Answer, Curve, Event, Example, Result, Row, RunReport
from avkit.report.result import save_result
from avkit.report.run import efficiency_table, terminal_table, write_report
from avkit.report.stream import StreamWriter

__all__ = [
    "Answer",
    "Curve",
    "Event",
    "Example",
    "Result",
    "Row",
    "RunReport",
    "StreamWriter",
    "efficiency_table",
    "overlay_frames",
    "save_result",
    "terminal_table",
    "write_report",
]
