# SPDX-License-Identifier: Apache-2.0
"""The scripts of `benchmarks` start, run every network of a paper, and give options that `avkit fit` has."""

import importlib.util
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from avkit.cli.given_options import given_options, last_value
from avkit.cli.trainer import make_cli
from avkit.systems import DEFAULT, NETWORKS, find_config

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SCRIPTS = [path.stem for path in sorted(BENCHMARKS.glob("*.py")) if '__name__ == "__main__"' in path.read_text()]
#: Arguments that make a network small; widths of features stay those of the inputs.
SMALL = {
    "ccnet": {"width": 16, "channels": 16, "inner": 2, "classes": 3},
    "unav": {"width": 16, "channels": 16, "inner": 2, "classes": 3},
    "uniav": {"width": 16, "channels": 16, "classes": 3},
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


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_answers_help(script, monkeypatch, capsys, name):
    """The entry of a file is its last line, which is run after a look at its options."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    module = script(name)
    entry = (BENCHMARKS / f"{name}.py").read_text().rpartition('if __name__ == "__main__":\n')[2].strip()
    with pytest.raises(SystemExit) as stopped:
        exec(entry, vars(module))
    assert stopped.value.code == 0
    assert "--help" in capsys.readouterr().out


class Started(Exception):
    """Instead of a run."""


@pytest.fixture
def command(monkeypatch):
    """Catches the words after `avkit fit` of the run that a call would start."""

    def caught(call):
        words = []

        def start(given, **options):
            words.extend(given)
            raise Started

        monkeypatch.setattr(subprocess, "run", start)
        with pytest.raises(Started):
            call()
        return words[words.index("fit") + 1 :]

    return caught


@pytest.fixture(scope="module")
def fit_options():
    """Names of all options of `avkit fit`, without those of systems."""
    parser = make_cli(["--tasks", "avs"]).parser
    return {name.removeprefix("--") for action in parser._actions for name in action.option_strings}


def check_options(words, fit_options):
    system = str(last_value(words, "model.system.name") or DEFAULT)
    fields = find_config(system).__dataclass_fields__
    own = [option for option in given_options(words) if not option.file]
    assert own
    for option in own:
        if option.name.startswith("model.system."):
            assert option.name.removeprefix("model.system.") in fields, option
        elif not option.name.startswith("lr_scheduler."):  # added by a recipe
            assert option.name in fit_options, option


@pytest.mark.parametrize("name", ["events", "spatial"])
def test_rows_give_options_of_fit(script, command, fit_options, tmp_path, name):
    module = script(name)
    rows = sys.modules["rows"]
    args = Namespace(out=tmp_path, root=tmp_path, scale=1.0)
    for row in module.ROWS:
        given = module.words(args, row)
        words = command(lambda row=row, given=given: rows.fit(args, row, 0, module.ROWS[row].task, given, []))
        check_options(words, fit_options)


def test_single_runs_give_options_of_fit(script, command, fit_options, tmp_path):
    ssuformer = script("ssuformer")
    for row in ssuformer.ROWS:
        check_options(command(lambda row=row: ssuformer.fit(tmp_path, row, 0, 1, ssuformer.SIZES, [])), fit_options)
    interface = script("interface")
    check_options(command(lambda: interface.fit(tmp_path, "sequence", "avs", 1, [])), fit_options)
    transfer = script("transfer")
    check_options(command(lambda: transfer.fit(tmp_path, "one", ["avs"], 1, 0, [])), fit_options)
    fit = script("fit")
    check_options(command(lambda: fit.fit("avs", tmp_path, [])), fit_options)
