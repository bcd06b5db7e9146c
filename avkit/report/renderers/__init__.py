# SPDX-License-Identifier: Apache-2.0
"""Renderers: how each kind of answer is drawn on frames, over time, on a page, in the terminal and in files."""

from avkit.report.renderers.base import Renderer, Sample
from avkit.report.renderers.fallback import JSONRenderer
from avkit.report.renderers.table import all_renderers, find_renderer, group_answers, register

__all__ = ["JSONRenderer", "Renderer", "Sample", "all_renderers", "find_renderer", "group_answers", "register"]
