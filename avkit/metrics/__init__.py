# SPDX-License-Identifier: Apache-2.0
"""Official metrics: pure functions, and a thin torchmetrics class over them.

A class is imported when it is first used, so that metrics of masks never import what captions need. No metric is looked
up by a name from the command line: `Task.metrics` builds its own, so a task from outside may use any
`torchmetrics.Metric` without entering it here.

Examples:
    >>> from avkit.metrics import MaskIoU
    >>> MaskIoU.higher_is_better
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING

from avkit.errors import unknown_name

if TYPE_CHECKING:
    from types import ModuleType

    from avkit.metrics.base import ScoreMetric

#: Where each metric class lives, as "module:Class".
METRICS: dict[str, str] = {
    "AnswerAccuracy": "avkit.metrics.avqa:AnswerAccuracy",
    "CaptionScores": "avkit.metrics.captions:CaptionScores",
    "EventDetectionMAP": "avkit.metrics.davel:EventDetectionMAP",
    "EventRecall": "avkit.metrics.event_recall:EventRecall",
    "MaskFScore": "avkit.metrics.avs:MaskFScore",
    "MaskIoU": "avkit.metrics.avs:MaskIoU",
    "PairingAccuracy": "avkit.metrics.pairing:PairingAccuracy",
    "ParsingF1": "avkit.metrics.avvp:ParsingF1",
    "SegmentAccuracy": "avkit.metrics.ave:SegmentAccuracy",
    "SemanticMask": "avkit.metrics.avss:SemanticMask",
    "SourceLocalization": "avkit.metrics.ssl:SourceLocalization",
    "TaggingScores": "avkit.metrics.tagging:TaggingScores",
}


def __getattr__(name: str) -> "type[ScoreMetric] | ModuleType":
    if name == "functional":
        return import_module("avkit.metrics.functional")
    if name not in METRICS:
        raise AttributeError(str(unknown_name("metric", name, METRICS)))
    module, _, attribute = METRICS[name].partition(":")
    metric: type[ScoreMetric] = vars(import_module(module))[attribute]
    return metric


def __dir__() -> list[str]:
    return ["METRICS", "functional", *METRICS]
