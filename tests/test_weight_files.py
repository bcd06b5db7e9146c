# SPDX-License-Identifier: Apache-2.0
"""Weights are found wherever a training script put them, nothing in a file is run, and what was chosen is said."""

import argparse
import collections
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from avkit.cli import main
from avkit.encoders.pretrained import load_weights, read_weights
from avkit.encoders.state_choice import choose_state
from avkit.encoders.weight_files import UnreadableWeights, read_weight_file, stored_states
from avkit.errors import FileError
from avkit.systems import find_network

SIZES = {"audio": 4, "visual": 6, "classes": 3}


@pytest.fixture(scope="module")
def network():
    return find_network("avel").build(**SIZES).eval()


class Config(dict):
    """A dictionary with attributes, as configuration libraries have."""


class Trap:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('sprung').touch()",)


def ema_of(state):
    return {key: x + 1 if x.is_floating_point() else x for key, x in state.items()}


def prefixed(prefix, state):
    return {prefix + key: x for key, x in state.items()}


WRAPPINGS = {
    "alone": lambda state: state,
    "several GPUs, twice": lambda state: prefixed("module.module.", state),
    "compiled": lambda state: prefixed("_orig_mod.", state),
    "compiled on several GPUs": lambda state: {"state_dict": prefixed("module._orig_mod.", state)},
    "a part compiled": lambda state: {
        key.replace("lstm_audio.", "lstm_audio._orig_mod."): x for key, x in state.items()
    },
    "Lightning with a loss beside": lambda state: {
        "state_dict": prefixed("model.", state) | {"criterion.weight": torch.ones(3)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "hyper_parameters": {"lr": 1e-3},
    },
    "net under net": lambda state: {"net": prefixed("net.", state)},
    "model.net": lambda state: prefixed("model.net.", state),
    "DeepSpeed": lambda state: {
        "module": state,
        "optimizer": {"state": {"w": torch.ones(1)}},
        "ds_version": "0.9",
        "global_steps": 3,
    },
    "nested": lambda state: {"checkpoint": {"student": {"weights": state}}},
    "a number beside": lambda state: state | {"epoch": 3},
    "a tensor number beside": lambda state: state | {"n_averaged": torch.tensor(3)},
    "options beside": lambda state: {"model": state, "args": argparse.Namespace(lr=0.1, sizes=[1, 2])},
    "configuration beside": lambda state: {"model": state, "cfg": Config(lr=0.1)},
    "default dictionary beside": lambda state: {"model": state, "meters": collections.defaultdict(list, {"a": [1]})},
}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_weights_are_found(network, tmp_path, monkeypatch, wrapping, old_format):
    monkeypatch.chdir(tmp_path)
    state = network.to_official()
    torch.save(WRAPPINGS[wrapping](state), "official.pth", _use_new_zipfile_serialization=not old_format)
    assert main(["convert", "avel", "official.pth", "-o", "ours.safetensors"]) == 0
    back = find_network("avel").load("ours.safetensors").to_official()
    assert all(torch.equal(back[key], x) for key, x in state.items())


@pytest.mark.parametrize(
    ("raw", "averaged"),
    [("model", "model_ema"), ("state_dict", "state_dict_ema"), ("model", "ema"), ("net", "shadow"), ("a", "swa_model")],
)
def test_averaged_weights_are_chosen_and_named(network, tmp_path, monkeypatch, capsys, raw, averaged):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    state = network.to_official()
    torch.save({raw: state, averaged: prefixed("module.", ema_of(state))}, "official.pth")
    for words, value, text in (
        ([], 1, f"averaged weights, '{averaged}'; the last ones, '{raw}', with --raw"),
        (["--raw"], 0, f"the last weights, '{raw}', and not the averaged ones, '{averaged}'"),
        (["--key", raw], 0, f"weights under '{raw}'"),
    ):
        assert main(["convert", "avel", "official.pth", "-o", "ours.safetensors", *words]) == 0
        assert text in capsys.readouterr().out
        back = find_network("avel").load("ours.safetensors").to_official()
        assert torch.equal(back["L2.weight"], state["L2.weight"] + value)


def test_averaged_weights_under_a_prefix(network, tmp_path):
    state = network.to_official()
    torch.save(prefixed("model.", state) | prefixed("ema_model.", ema_of(state)), tmp_path / "w.pth")
    chosen = choose_state(tmp_path / "w.pth", lambda tensors: "L2.weight" in tensors)
    assert chosen.averaged
    assert chosen.prefix == "ema_model."
    assert torch.equal(chosen.tensors["L2.weight"], state["L2.weight"] + 1)


def test_several_that_fit_are_not_guessed(network, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    state = network.to_official()
    torch.save({"fold1": state, "fold2": ema_of(state)}, "official.pth")
    assert main(["convert", "avel", "official.pth", "-o", "ours.safetensors"]) == 2
    assert "several sets of weights that may be meant: 'fold1', 'fold2'. Name one with --key" in capsys.readouterr().err
    assert main(["convert", "avel", "official.pth", "--key", "fold3"]) == 2
    assert "no weights under 'fold3'. It has 'fold1', 'fold2'" in capsys.readouterr().err
    assert main(["convert", "avel", "official.pth", "-o", "ours.safetensors", "--key", "fold2"]) == 0


def test_a_network_that_was_saved_whole(tmp_path):
    whole = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    torch.save(whole, tmp_path / "whole.pth")
    other = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    load_weights(other, tmp_path / "whole.pth")
    assert all(torch.equal(x, other.state_dict()[key]) for key, x in whole.state_dict().items())


def test_nothing_of_a_file_is_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for old_format in (False, True):
        torch.save({"model": {"w": torch.ones(2)}, "x": Trap()}, "w.pth", _use_new_zipfile_serialization=not old_format)
        assert torch.equal(read_weights("w.pth")["w"], torch.ones(2))
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


def test_damaged_files(network, tmp_path):
    torch.save(network.to_official(), tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for size in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pth").write_bytes(whole[:size])
        with pytest.raises(UnreadableWeights, match=r"cut\.pth cannot be read as weights"):
            read_weight_file(tmp_path / "cut.pth")


def test_no_weights(tmp_path):
    for content in ([torch.ones(1)], {"epoch": 3}, torch.ones(2), {"optimizer": {"w": torch.ones(1)}}):
        torch.save(content, tmp_path / "w.pth")
        with pytest.raises(ValueError, match="not a state dict"):
            read_weights(tmp_path / "w.pth")
    assert stored_states([1, 2]) == {}


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite(network, tmp_path, monkeypatch, capsys, number):
    monkeypatch.chdir(tmp_path)
    state = network.to_official()
    state["L2.weight"] = state["L2.weight"].clone()
    state["L2.weight"][0, 0] = number
    torch.save(state, "official.pth")
    assert main(["convert", "avel", "official.pth"]) == 2
    error = capsys.readouterr().err
    assert "holds NaN or infinite numbers in 1 of" in error
    assert "(L2.weight)" in error
    assert "--allow_nan" in error
    assert [path.name for path in tmp_path.iterdir()] == ["official.pth"]
    assert main(["convert", "avel", "official.pth", "--allow_nan"]) == 0
    with pytest.raises(FileError, match="holds NaN or infinite numbers"):
        read_weights("official.pth")


@pytest.mark.slow
def test_script_saves_modules_and_dictionaries(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", "avel", "--script"]) == 0
    (tmp_path / "save.py").write_text(capsys.readouterr().out)
    linear = nn.Linear(2, 3)
    cases = {
        "module": (linear, ""),
        "model": ({"model": linear, "epoch": 3, "args": argparse.Namespace(lr=1)}, "model"),
        "state": ({"state_dict": linear.state_dict(), "n": 3}, "state_dict"),
    }
    for name, (content, key) in cases.items():
        torch.save(content, name)
        subprocess.run([sys.executable, "save.py", name, "out.pt"], check=True, capture_output=True)
        assert torch.equal(stored_states(read_weight_file(tmp_path / "out.pt"))[key]["weight"], linear.weight)
    torch.save({"epoch": 3}, "none")
    made = subprocess.run([sys.executable, "save.py", "none", "out.pt"], check=False, capture_output=True, text=True)
    assert made.stderr.strip() == "none holds no weights by name."


class TestWeightFiles:
    @pytest.mark.parametrize(
        "wrap", [lambda s: s, lambda s: {"model": s, "epoch": 3}, lambda s: {"model_state_dict": s}]
    )
    def test_usual_wrappings(self, tmp_path, wrap):
        module = nn.Linear(2, 3)
        torch.save(wrap({f"module.{k}": v for k, v in module.state_dict().items()}), tmp_path / "w.pt")
        other = nn.Linear(2, 3)
        load_weights(other, tmp_path / "w.pt")
        torch.testing.assert_close(other.weight, module.weight)

    def test_misfit(self, tmp_path):
        torch.save(nn.Linear(2, 4).state_dict() | {"scale": torch.ones(1)}, tmp_path / "w.pt")
        shapes = r"2 of another shape \(bias \(4,\) instead of \(3,\), weight \(4, 2\) instead of \(3, 2\)\)"
        message = rf"1 unexpected \(scale\); {shapes}.*has 2 keys, the file 3"
        with pytest.raises(ValueError, match=message):
            load_weights(nn.Linear(2, 3), tmp_path / "w.pt")

    def test_code_in_a_pickle_does_not_run(self, tmp_path):
        import pickle

        class Trap:
            def __reduce__(self):
                return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w').close()",))

        (tmp_path / "trap.pt").write_bytes(pickle.dumps(Trap(), protocol=2))
        with pytest.raises(ValueError, match=r"cannot be read as weights.*loading them can run code"):
            read_weights(tmp_path / "trap.pt")
        assert not (tmp_path / "sprung").exists()

    def test_other_files(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"none\.pt does not exist.*'hub'"):
            read_weights(tmp_path / "none.pt")
        (tmp_path / "short.safetensors").write_bytes(b"1234567890")
        with pytest.raises(ValueError, match=r"short\.safetensors cannot be read"):
            read_weights(tmp_path / "short.safetensors")
        torch.save([torch.ones(1)], tmp_path / "list.pt")
        with pytest.raises(ValueError, match="not a state dict"):
            read_weights(tmp_path / "list.pt")


def test_resuming_takes_checkpoints_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["fit", "--tasks", "avs", "--name", "run", "--trainer.max_steps", "1", "--report", "false"]
    words += ["--data.batch_size.trimmed", "2", "--data.loader.workers", "0", "--data.image_size", "32"]
    words += ["--data.scenes.val_size", "2", "--data.scenes.test_size", "2", "--trainer.enable_progress_bar", "false"]
    assert main(words) == 0
    folder = tmp_path / "runs/run/checkpoints"
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    torch.save({"model": {"w": torch.ones(2)}}, "foreign.pth")
    cases = {
        str(folder / "last.safetensors"): f"holds weights alone.*Name {folder / 'last.ckpt'}, which lies beside it",
        "foreign.pth": "no checkpoint of a training that can go on",
    }
    capsys.readouterr()
    for path, message in cases.items():
        assert main([*words, "--ckpt_path", path]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error)
        assert "pytorch-lightning_version" not in error
        assert error.count("\n") == 1
    assert all(path.read_bytes() == content for path, content in before.items()), "nothing was written"
    assert main(["test", "runs/run", "--ckpt_path", str(folder / "last.ckpt")]) == 2
    assert "scores the run's best checkpoint" in capsys.readouterr().err
