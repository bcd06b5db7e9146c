# SPDX-License-Identifier: Apache-2.0
"""Heads, systems and runs as graphs of torch.export and as ONNX files."""

import json
from pathlib import Path

import pytest
import torch

from avkit.batch import Batch, Tokens, Vocabulary
from avkit.cli import main
from avkit.deploy.export import ExportError, export
from avkit.deploy.graph import GraphFacts, GraphOptions
from avkit.deploy.parity import compare
from avkit.heads import create_head
from avkit.heads.base import HeadInputs
from avkit.nn.flat_output import flat_tensors
from avkit.systems import make_config
from avkit.training.module import AVModel

WIDTH, STEPS = 16, 6
VOCABULARY = Vocabulary(["dog", "cat", "bell"], ["yes", "no"], ["is", "a", "dog"])


def tokens():
    torch.manual_seed(0)
    return Tokens(
        audio=torch.randn(1, STEPS, WIDTH),
        frame=torch.randn(1, STEPS, WIDTH),
        patches=torch.randn(1, STEPS, 16, WIDTH),
        grid=(4, 4),
        valid=torch.ones(1, STEPS, dtype=torch.bool),
        pyramid=[torch.randn(1, STEPS, c, side, side) for c, side in ((8, 16), (12, 8))],
        text=torch.randn(1, 5, WIDTH),
        text_valid=torch.ones(1, 5, dtype=torch.bool),
        prompt=torch.randn(1, WIDTH),
        second_prompt=torch.randn(1, WIDTH),
        names=torch.randn(3, WIDTH),
    )


def batch_of(task):
    valid = torch.ones(1, STEPS, dtype=torch.bool)
    return Batch(task, ["a"], torch.tensor([float(STEPS)]), 1.0, valid, text=["is a dog"])


def module_of(program):
    """A program as a module; torch 2.13 writes wrong guards for fields whose name begins with another's."""
    try:
        return program.module(check_guards=False)
    except TypeError:  # earlier versions of torch write none
        return program.module()


@pytest.mark.parametrize("strict", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("avs", "masks"),
        ("ave", "events"),
        pytest.param("avvp", "parsing", marks=pytest.mark.slow),
        ("ssl", "heatmap"),
        ("avqa", "grounded"),
        pytest.param("avqa", "tspm", marks=pytest.mark.slow),
        pytest.param("davel", "pyramid", marks=pytest.mark.slow),
        pytest.param("ra_ssu", "regions", marks=pytest.mark.slow),
        pytest.param("davel", "ccnet", marks=pytest.mark.slow),
    ],
)
def test_heads_are_traced_with_their_own_records(task, name, strict):
    torch.manual_seed(1)
    pyramid = (8, 12) if task in ("avs", "ra_ssu") else ()
    head = create_head(task, name, HeadInputs(WIDTH, VOCABULARY, pyramid)).eval()
    given = tokens(), batch_of(task)
    with torch.no_grad():
        expected = flat_tensors(head(*given))
        program = torch.export.export(head, given, strict=strict)
        answers = flat_tensors(module_of(program)(*given))
    if task == "ra_ssu":  # eager writing stops with the last caption that ends
        width = expected["generated"].shape[-1]
        answers["generated"] = answers["generated"][..., :width]
    assert compare(expected, answers).holds


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = make_config({"name": "av_unified", "width": 32, "heads": 2})
    return AVModel(tasks="avs,ave,avvp,ssl,avqa", vocabulary=VOCABULARY, system=config).eval()


def exported(model, task, path, kind, **more):
    options = GraphOptions(task, STEPS, 1.0, (32, 32), **more)
    facts = GraphFacts(task, {}, {}, 1.0, VOCABULARY.classes, [], "")
    return export(model.system, options, kind, path, facts), facts


@pytest.mark.slow
def test_a_program_answers_as_the_system_and_says_what_it_is(model, tmp_path):
    path = tmp_path / "ave.pt2"
    encoder = model.system.text
    parity, facts = exported(model, "ave", path, "pt2")
    assert parity.holds
    assert model.system.text is encoder
    extra = {"avkit.json": ""}
    program = torch.export.load(path, extra_files=extra)
    assert json.loads(extra["avkit.json"])["outputs"] == {"event_logits": f"float32 (1, {STEPS}, 4)"}
    assert not [name for name in program.state_dict if "text.mix" in name]
    assert facts.inputs["waveform"] == f"float32 (1, {STEPS * 16000})"


@pytest.mark.slow
@pytest.mark.parametrize("task", ["avs", "ave", "avvp", "ssl"])
def test_onnx_answers_as_the_system(model, task, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'avkit[export]'")
    parity, facts = exported(model, task, tmp_path / "x.onnx", "onnx")
    assert parity.holds
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "x.onnx")
    stored = json.loads(session.get_modelmeta().custom_metadata_map["avkit.json"])
    assert stored["classes"] == VOCABULARY.classes
    assert [output.name for output in session.get_outputs()] == list(facts.outputs)


@pytest.mark.slow
def test_a_file_that_answers_otherwise_is_not_kept(model, tmp_path, monkeypatch):
    import dataclasses

    from avkit.deploy import export as module

    kind = module.FORMATS["pt2"]

    def wrong(path, inputs, names):
        return {name: value + 1 for name, value in kind.run(path, inputs, names).items()}

    monkeypatch.setitem(module.FORMATS, "pt2", dataclasses.replace(kind, run=wrong))
    with pytest.raises(ExportError, match=r"does not answer as the run does: heat differs by 1, and 0\.001"):
        exported(model, "ssl", tmp_path / "x.pt2", "pt2")
    assert not list(tmp_path.iterdir())


def test_answers_that_are_written_token_by_token_are_refused(tmp_path):
    config = make_config({"name": "av_unified", "width": 16, "heads": 2})
    model = AVModel(tasks="ave", vocabulary=VOCABULARY, system=config, interface="sequence").eval()
    with pytest.raises(ExportError, match="written token by token"):
        exported(model, "ave", tmp_path / "x.pt2", "pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format_name", ["pt2", "onnx"])
def test_whatever_torch_raises_is_one_line(format_name, model, tmp_path, monkeypatch):
    from avkit.deploy import export as module

    def fails(*_, **more):
        raise SyntaxError("invalid syntax\nin a graph")

    monkeypatch.setattr(module, "_need_onnx", lambda: None)
    monkeypatch.setattr(module, "_trace", fails)
    with pytest.raises(ExportError, match=r"cannot be exported as pt2: invalid syntax\. Report it") as e:
        exported(model, "ssl", tmp_path / f"x.{format_name}", format_name)
    assert "\n" not in str(e.value)


def test_parity_counts_numbers_classes_and_what_is_missing():
    one = {"scores": torch.tensor([1.0, -torch.inf]), "classes": torch.arange(2000)}
    assert compare(one, one).difference == 0
    near = {"scores": torch.tensor([1.0005, -torch.inf]), "classes": torch.arange(2000)}
    assert compare(one, near).holds
    other = {**near, "classes": torch.arange(2000).flip(0)}
    assert compare(one, other).output == "classes"
    assert not compare(one, {"scores": one["scores"]}).holds
    assert not compare(one, {**one, "scores": torch.tensor([torch.nan, 0])}).holds


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", "ssl,avqa", "--out", str(folder), "--name", "run", "--trainer.max_steps", "1"]
    words += ["--data.steps_per_epoch", "1", "--data.scenes.train_size", "8", "--data.scenes.val_size", "2"]
    words += ["--data.scenes.test_size", "2", "--data.loader.workers", "0", "--model.system.width", "32"]
    words += ["--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"]
    assert main(words) == 0
    return folder / "run"


def test_the_command_writes_a_file_of_a_run(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["export", str(run_folder), "--task", "ssl", "--steps", "3", "--size", "32", "-o", "ssl.pt2"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "takes frames: uint8 (1, 3, 3, 32, 32)" in printed
    assert "gives heat" in printed
    answers = torch.export.load("ssl.pt2").module()(
        torch.zeros(1, 3, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, 48000)
    )
    assert answers["heat"].shape[:2] == (1, 3)
    before = Path("ssl.pt2").read_bytes()
    assert main(words) == 2
    assert (
        "ssl.pt2 exists. Choose another file with -o FILE, or replace it with --overwrite." in capsys.readouterr().err
    )
    assert Path("ssl.pt2").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([], "has tasks ssl, avqa; a file answers one. Name it with --task."),
        (["--task", "ssll"], "Did you mean 'ssl'?"),
        (["--task", "avqa"], "answers a question, which is fixed in the file. Give it with --question."),
        (["--task", "ssl", "--question", "why"], "answers no questions. Leave --question out."),
        (["--task", "ssl", "-o", "x.bin"], "ends in neither .onnx nor .pt2"),
        (["--task", "ssl", "-o", "x.onnx", "--format", "pt2"], "contradict each other"),
        (["--task", "ssl", "--steps", "0"], "--steps is 0; it is at least 1."),
        (["--task", "ssl", "--size", "0"], "--size is 0; give height and width"),
        (["--task", "ssl", "--hop", "0.01"], "--hop is 0.01; it is at least 0.025 seconds."),
    ],
)
def test_the_command_says_what_is_wrong(words, error, run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run_folder), *words]) == 2
    assert error in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_packages_names_the_extra(run_folder, tmp_path, monkeypatch, capsys):
    from avkit.deploy import export as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert main(["export", str(run_folder), "--task", "ssl", "-o", "x.onnx"]) == 2
    assert "pip install 'avkit[export]'" in capsys.readouterr().err
