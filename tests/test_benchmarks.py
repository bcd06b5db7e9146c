# SPDX-License-Identifier: Apache-2.0
"""The scripts of `benchmarks` start, and run every network of a paper."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from avkit.systems import NETWORKS

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
#: Arguments that make a network small; widths of features stay those of the inputs.
SMALL = {
    "ccnet": {"width": 16, "channels": 16, "inner": 2, "classes": 3},
    "unav": {"width": 16, "channels": 16, "inner": 2, "classes": 3},
    "han": {"width": 16, "inner": 16},
    "mm_pyramid": {"width": 16, "inner": 16, "heads": 2},
    "avel": {"attention_width": 16},
    "psp": {"attention_width": 16},
    "tspm": {"width": 16, "inner": 16},
    "pstp": {"width": 16, "inner": 16},
    "avst": {},
    "ez_vsl": {"width": 16},
    "lvs": {},
    "tpavi": {"visual": "small", "width": 16},
    "avsegformer": {
        "visual": "small",
        "width": 16,
        "queries": 4,
        "layers": 1,
        "audio_layers": 1,
        "inner": 16,
        "audio_inner": 16,
    },
}


@pytest.fixture
def script(monkeypatch):
    """Loads a file of the folder as if it were run; what it imports of its neighbours goes with the test."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    neighbours = {path.stem for path in BENCHMARKS.glob("*.py")}
    before = {name: sys.modules.pop(name) for name in neighbours & set(sys.modules)}

    def load(name):
        specification = importlib.util.spec_from_file_location(f"benchmark_{name}", BENCHMARKS / f"{name}.py")
        module = importlib.util.module_from_spec(specification)
        monkeypatch.setitem(sys.modules, module.__name__, module)  # where dataclasses look for their annotations
        specification.loader.exec_module(module)
        return module

    yield load
    for name in neighbours:
        sys.modules.pop(name, None)
    sys.modules.update(before)


@pytest.mark.parametrize("name", list(SMALL))
def test_ours_runs_for_every_network(script, name):
    if name in ("ez_vsl", "lvs"):
        pytest.importorskip("timm")  # of their ResNets
    papers = script("papers")
    torch.manual_seed(0)
    network = papers.our_network(name, **SMALL[name]).eval()
    with torch.inference_mode():
        outputs = papers.run_ours(name, network, papers.make_inputs(name, 1, ragged=True))
    assert outputs
    assert all(output.isfinite().all() for output in outputs)


def test_every_network_is_run_and_has_a_batch_and_a_repository(script):
    papers = script("papers")
    assert set(SMALL) == set(NETWORKS) == set(papers.REPOSITORIES) == set(papers.BATCH)
