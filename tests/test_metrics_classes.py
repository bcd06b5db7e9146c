# SPDX-License-Identifier: Apache-2.0
"""What every metric class has to do, whatever it measures."""

import io
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from test_metrics_ddp import make_metrics, update, values

import avkit.metrics
from avkit.metrics import METRICS

TYPES = [type(metric) for metric in make_metrics()]


def test_every_class_is_tested_here():
    assert {kind.__name__ for kind in TYPES} == set(METRICS)


@pytest.mark.parametrize("name", METRICS)
def test_entry_resolves_to_a_metric_that_says_its_direction(name):
    metric = getattr(avkit.metrics, name)()
    assert type(metric).__name__ == name
    assert metric.higher_is_better is True
    assert name in dir(avkit.metrics)


def test_state_goes_into_checkpoints_and_on_from_there():
    whole, first = make_metrics(), make_metrics()
    update(whole, range(3))
    update(first, [0])
    file = io.BytesIO()
    torch.save([metric.state_dict() for metric in first], file)
    file.seek(0)
    again = make_metrics()
    for metric, state in zip(again, torch.load(file, weights_only=True), strict=True):
        metric.load_state_dict(state)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(again) == pytest.approx(values(first), nan_ok=True)
    update(again, [1, 2])
    assert values(again) == pytest.approx(values(whole), nan_ok=True)


def test_reset_forgets_all():
    used, fresh = make_metrics(), make_metrics()
    update(used, [0, 2])
    for metric in used:
        metric.reset()
    for metrics in (used, fresh):
        update(metrics, [1])
    assert values(used) == pytest.approx(values(fresh), nan_ok=True)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_count_as_the_float32_of_their_values(dtype):
    given, widened = make_metrics(), make_metrics()
    update(given, range(3), lambda x: x.to(dtype))
    update(widened, range(3), lambda x: x.to(dtype).float())
    assert values(given) == pytest.approx(values(widened), nan_ok=True)


def test_values_are_floats_under_stable_names():
    metrics = make_metrics()
    update(metrics, range(3))
    for metric in metrics:
        first = metric.compute()
        if isinstance(first, dict):
            assert all(type(key) is str and type(value) is float for key, value in first.items())
            metric.reset()
            update([metric if type(metric) is type(m) else m for m in make_metrics()], [1])
            assert list(metric.compute()) == list(first)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: scores on a device are those of the CPU")
def test_scores_on_a_gpu_are_those_of_the_cpu():
    on_cpu, on_gpu = make_metrics(), [metric.to("cuda") for metric in make_metrics()]
    update(on_cpu, range(3))
    update(on_gpu, range(3), lambda x: x.cuda())
    assert values(on_gpu) == pytest.approx(values(on_cpu), rel=1e-6, nan_ok=True)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(AttributeError, match=r"Unknown metric 'MaskIou'\. Did you mean 'MaskIoU'"):
        avkit.metrics.MaskIou  # noqa: B018


def test_caption_machinery_is_loaded_only_when_asked_for():
    code = (
        "import sys, avkit\n"
        "assert 'torch' not in sys.modules\n"
        "avkit.metrics.MaskIoU\n"
        "assert 'lightning' not in sys.modules\n"
        "from avkit.metrics import AnswerAccuracy, MaskFScore, MaskIoU, SemanticMask\n"
        "assert not {'pycocoevalcap', 'avkit.metrics.captions'} & set(sys.modules)\n"
        "from avkit.metrics import CaptionScores\n"
        "assert 'pycocoevalcap.bleu' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(avkit.metrics.__file__).parents[2])
