"""The examples in docstrings run."""

import doctest
import pkgutil
from importlib import import_module

import matplotlib as mpl
import pytest

import avkit.metrics
from avkit.metrics import METRICS, MaskIoU, SegmentAccuracy, functional

mpl.use("agg")
MODULES = [f"avkit.metrics.{module.name}" for module in pkgutil.iter_modules(avkit.metrics.__path__)]


@pytest.mark.parametrize("name", ["avkit.metrics", *MODULES])
def test_examples(name):
    assert doctest.testmod(import_module(name)).failed == 0


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_has_an_example(name):
    assert ">>> metric.update(" in getattr(avkit.metrics, name).__doc__


@pytest.mark.parametrize("name", functional.__all__)
def test_every_function_has_an_example(name):
    assert f"{name}(" in vars(functional)[name].__doc__


def test_a_metric_draws_itself():
    metric = SegmentAccuracy(num_classes=4)
    metric.update([[0, 3, 3, 0], [1, 1, 1, 1]], [[0, 3, 0, 0], [1, 1, 2, 2]])
    figure, axes = metric.plot()
    assert axes.get_xlim() == (0, 1)
    assert [bar.get_width() for bar in axes.patches] == [0.625]
    assert len(axes.lines) == 1
    assert figure is axes.get_figure()
    _, again = metric.plot({"accuracy": 0.25}, ax=axes)
    assert again is axes
    assert axes.patches[-1].get_width() == 0.25


def test_a_metric_of_one_score_draws_itself_under_its_name():
    metric = MaskIoU(form="labels")
    metric.update([[[[1, 1], [0, 0]]]], [[[[1, 0], [0, 0]]]])
    _, axes = metric.plot()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["MaskIoU"]
