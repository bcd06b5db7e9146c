# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from pathlib import Path

import pytest

import avkit.metrics
from avkit.metrics import METRICS


@pytest.mark.parametrize("name", METRICS)
def test_entry_resolves_to_a_metric_that_says_its_direction(name):
    metric = getattr(avkit.metrics, name)()
    assert type(metric).__name__ == name
    assert metric.higher_is_better is True
    assert name in dir(avkit.metrics)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(AttributeError, match=r"Unknown metric 'MaskIou'\. Did you mean 'MaskIoU'"):
        avkit.metrics.MaskIou  # noqa: B018


def test_caption_machinery_is_loaded_only_when_asked_for():
    code = (
        "import sys\n"
        "from avkit.metrics import AnswerAccuracy, MaskFScore, MaskIoU, SemanticMask\n"
        "assert not {'pycocoevalcap', 'avkit.metrics.captions'} & set(sys.modules)\n"
        "from avkit.metrics import CaptionScores\n"
        "assert 'pycocoevalcap.bleu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(avkit.metrics.__file__).parents[2])
