"""What `import avkit` shows."""

import subprocess
import sys

import pytest

import avkit
import avkit.datasets
import avkit.metrics
from avkit.datasets import DATASETS, UnAV100, find_dataset, list_datasets


def test_every_name_that_is_shown_is_there():
    for name in dir(avkit):
        assert getattr(avkit, name) is not None
    assert not {"Any", "TYPE_CHECKING", "import_module", "annotations"} & set(dir(avkit))


@pytest.mark.parametrize("module", [avkit.datasets, avkit.metrics])
def test_submodules_show_what_is_meant_for_others(module):
    assert not {"Any", "TYPE_CHECKING", "import_module"} & set(dir(module))
    for name in dir(module):
        assert getattr(module, name) is not None


def test_datasets_are_imported_by_their_class():
    assert UnAV100 is find_dataset("unav100")
    assert list_datasets() == list(DATASETS) == avkit.list_datasets()
    for name in DATASETS:
        assert getattr(avkit.datasets, find_dataset(name).__name__) is find_dataset(name)
    with pytest.raises(AttributeError, match="no attribute 'UnAV'"):
        _ = avkit.datasets.UnAV


def test_lists_name_what_can_be_built():
    assert "ccnet/i3d" in avkit.list_recipes()
    assert "vggish" in avkit.list_encoders("audio")
    assert "tspm" in avkit.list_systems()


@pytest.mark.slow  # the quick test of the same is in `test_metrics_classes.py`, in an interpreter with another
def test_a_submodule_comes_when_it_is_asked_for():
    code = (
        "import sys, avkit; assert 'torch' not in sys.modules; "
        "avkit.metrics.MaskIoU; assert 'lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = avkit.lod
