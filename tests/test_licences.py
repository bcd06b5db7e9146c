"""Licences of weights, data and code."""

import json

import pytest
from test_fit import TINY, write_clip

import avkit
from avkit.cli import main
from avkit.datasets import DATASETS
from avkit.encoders.registry import ENCODERS, build_audio_encoder, build_video_encoder
from avkit.licences import LicenceError, check_licence, commercial_only, find_licence, list_licences
from avkit.systems import SYSTEMS
from avkit.training.run_folder import RunFolder
from avkit.training.run_licences import ingredients_of, licence_notes


def test_everything_that_avkit_names_has_a_row():
    trained_with_systems = {"small", "small_tome14", "small_embedding", "small_sentence"}
    encoders = {name for by_name in ENCODERS.values() for name in by_name} - trained_with_systems
    names = {kind: {row.name for row in list_licences(kind)} for kind in ("weights", "data", "code")}
    assert encoders <= names["weights"]
    assert set(DATASETS) == names["data"]
    assert set(SYSTEMS) == names["code"]


def test_rows_are_whole():
    rows = list_licences()
    assert len({(row.kind, row.name) for row in rows}) == len(rows)
    for row in rows:
        assert row.commercial in ("yes", "no", "unclear")
        assert row.licence
        assert row.commercial == "unclear" or row.licence != "none stated"


def test_an_unknown_kind_names_the_kinds():
    with pytest.raises(ValueError, match="Did you mean 'weights'"):
        list_licences("weight")


def test_only_what_is_clearly_free_passes():
    check_licence("data", "ave")
    with commercial_only(wanted=True):
        check_licence("data", "scenes")
        check_licence("weights", "vggish")
        for kind, name in (("data", "ave"), ("weights", "video_llava"), ("code", "ccnet"), ("weights", "my:Encoder")):
            with pytest.raises(LicenceError, match=f"the {kind} of {name} has"):
                check_licence(kind, name)
    check_licence("data", "ave")
    assert find_licence("weights", "my:Encoder") is None


def test_weights_are_refused_before_they_are_loaded():
    with commercial_only(wanted=True), pytest.raises(LicenceError, match="video_llava"):
        build_video_encoder("video_llava", "hub")
    with commercial_only(wanted=True):
        build_audio_encoder("vggish")  # random weights are nobody's


def test_data_are_refused_before_they_are_read(tmp_path, capsys):
    words = ["fit", "--tasks", "ave", "--data.root", str(tmp_path), "--out", str(tmp_path / "runs"), *TINY]
    assert main([*words, "--commercial_safe"]) == 2
    error = capsys.readouterr().err
    assert "--commercial_safe: the data of ave has none stated, commercial use unclear" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    words = ["fit", "--tasks", "avs", "--out", str(out), "--name", "free", *TINY, "--commercial_safe"]
    assert main([*words, "--data.steps_per_epoch", "1", "--trainer.max_epochs", "1"]) == 0
    return RunFolder(out / "free")


def test_a_run_on_scenes_is_free_and_its_report_says_so(run, tmp_path):
    report = json.loads((run.path / "report.json").read_text())
    assert report["facts"]["licences"] == {"scenes (data)": "Apache-2.0"}
    assert "Apache-2.0" in (run.path / "report.html").read_text()
    clip = write_clip(tmp_path / "clip.mp4", seconds=1)
    words = ["predict", str(run.path), str(clip), "--out", str(tmp_path / "out"), "--no_video", "--device", "cpu"]
    assert main([*words, "--commercial_safe"]) == 0


def test_a_run_on_data_of_unclear_licence_says_so_and_is_refused(run, tmp_path, capsys):
    facts = run.read_facts()
    original = run.facts.read_text()
    try:
        run.facts.write_text(json.dumps({**facts, "dataset": "ave+scenes"}))
        with pytest.raises(LicenceError, match="the data of ave"), commercial_only(wanted=True):
            avkit.load(run.path)
        predictor = avkit.load(run.path)
        assert any("ave (data: none stated, commercial use unclear)" in note for note in predictor.notes)
    finally:
        run.facts.write_text(original)


def test_a_run_names_the_encoders_that_it_began_with(run, tmp_path):
    copy = RunFolder(tmp_path)
    config = run.config.read_text().replace("visual_weights: null", "visual_weights: hub")
    copy.config.write_text(config.replace("visual: small", "visual: video_llava"))
    copy.facts.write_text(run.facts.read_text())
    assert ingredients_of(copy) == [("data", "scenes"), ("weights", "video_llava")]
    assert licence_notes(copy) == [
        "Before you use this commercially, look at the licences of video_llava (weights: LLaMA licence, no commercial "
        "use)."
    ]


def test_info_lists_them(capsys):
    assert main(["info", "--licences"]) == 0
    text = capsys.readouterr().out
    assert "video_llava" in text
    assert "none stated" in text
    assert main(["info", "--licences", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(list_licences())
