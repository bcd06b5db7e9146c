# SPDX-License-Identifier: Apache-2.0
"""Official metrics: each file is a pure function and a thin torchmetrics class over it.

A class is looked up when asked for, so that masks never load what captions need:

>>> from avkit.metrics import MaskIoU
>>> MaskIoU.higher_is_better
True
"""

from importlib import import_module
from typing import Any

from avkit.errors import unknown_name

#: Where each metric class lives, as "module:Class".
METRICS: dict[str, str] = {
    "AnswerAccuracy": "avkit.metrics.avqa:AnswerAccuracy",
    "CaptionScores": "avkit.metrics.captions:CaptionScores",
    "EventDetectionMAP": "avkit.metrics.davel:EventDetectionMAP",
    "MaskFScore": "avkit.metrics.avs:MaskFScore",
    "MaskIoU": "avkit.metrics.avs:MaskIoU",
    "ParsingF1": "avkit.metrics.avvp:ParsingF1",
    "SegmentAccuracy": "avkit.metrics.ave:SegmentAccuracy",
    "SemanticMask": "avkit.metrics.avss:SemanticMask",
    "SourceLocalization": "avkit.metrics.ssl:SourceLocalization",
}


def __getattr__(name: str) -> Any:
    if name not in METRICS:
        raise AttributeError(str(unknown_name("metric", name, METRICS)))
    module, _, attribute = METRICS[name].partition(":")
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return ["METRICS", *METRICS]
