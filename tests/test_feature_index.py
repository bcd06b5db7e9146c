# SPDX-License-Identifier: Apache-2.0
"""An index of a run on stored features: the recipe runs in memory; encoders of outside packages need trust."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from clips import write_wav

import avkit
from avkit.cli import main
from avkit.export import export
from avkit.extraction.in_memory import ClipExtractor
from avkit.inference.embedding import embed_audio, index_video
from avkit.inference.index import IndexFolder
from avkit.inference.search import Index, search
from avkit.media.decode import read_waveform

RECIPE = {
    "streams": {
        "seen": {"of": "pictures", "encoder": "small", "weights": None, "keep": "patches", "resize": 32, "crop": 32},
        "heard": {"of": "sound", "encoder": "outside_parts:TinySound", "weights": None, "window": 1.0},
    }
}
QUIET = ("--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu", "--data.loader.workers", "0")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Scenes with masks and sentences, and a run of `ra_ssu` on their stored features."""
    folder = tmp_path_factory.mktemp("regions")
    export("manifest", folder / "data", {"train": 2, "val": 1, "test": 2}, 32, fps=4)
    (folder / "own.yaml").write_text(yaml.safe_dump(RECIPE))
    words = ["extract", str(folder / "data/video"), "--recipe", str(folder / "own.yaml"), "--workers", "0"]
    assert main([*words, "--trust", "--out", str(folder / "features")]) == 0
    words = ["fit", "--tasks", "ra_ssu", "--data.manifest", str(folder / "data/manifest.jsonl"), "--name", "run"]
    words += ["--data.features.visual", str(folder / "features/seen.h5"), "--out", str(folder), *QUIET]
    words += ["--data.features.audio", str(folder / "features/heard.h5"), "--report", "false"]
    assert main([*words, "--trainer.max_steps", "1", "--model.system.width", "16"]) == 0
    return folder


def test_encoders_of_outside_packages_need_trust(made, tmp_path, capsys):
    words = ["extract", str(made / "data/video"), "--recipe", str(made / "own.yaml"), "--out", str(tmp_path / "f")]
    assert main([*words, "--workers", "0"]) == 2
    error = capsys.readouterr().err
    assert f"recipe {made / 'own.yaml'} names audio encoder 'outside_parts:TinySound'" in error
    assert "--trust imports it" in error
    assert not list(tmp_path.rglob("*.h5"))
    assert main([*words, "--workers", "0", "--trust"]) == 0
    assert "avkit imports outside_parts:TinySound from" in capsys.readouterr().err
    words = ["index", str(made / "run"), str(made / "data/video"), "--out", str(tmp_path / "i"), "--device", "cpu"]
    assert main([*words, "--features", str(made / "own.yaml")]) == 2
    assert "names audio encoder 'outside_parts:TinySound'" in capsys.readouterr().err
    assert not (tmp_path / "i").exists()


def test_index_and_search_with_a_run_on_features(made, tmp_path, capsys):
    videos = sorted((made / "data/video").glob("*.mp4"))
    words = ["index", str(made / "run"), str(made / "data/video"), "--out", str(tmp_path / "index"), "--device", "cpu"]
    words += ["--features", str(made / "own.yaml"), "--trust"]
    assert main(words) == 0
    assert "5 videos, 5 of them new, 50 steps" in capsys.readouterr().out
    folder = IndexFolder(tmp_path / "index")
    assert folder.facts["recipes"] == str(made / "own.yaml")
    assert "random weights" in folder.facts["warning"]
    index = Index(folder.read())
    predictor = avkit.load(made / "run", "cpu", features=str(made / "own.yaml"))
    again = index_video(predictor, videos[1])
    assert again.vectors["region"].shape == (10, 64)
    for name, vectors in again.vectors.items():
        torch.testing.assert_close(vectors, index.videos[1].vectors[name])
    assert Path(search(index, examples=[again.vectors])[0].video) == videos[1]
    write_wav(tmp_path / "sound.wav", read_waveform(videos[2]).numpy())
    sound = embed_audio(predictor, tmp_path / "sound.wav")["sound"]
    torch.testing.assert_close(sound, index.videos[2].vectors["sound"], atol=1e-3, rtol=1e-3)
    capsys.readouterr()
    show = ["search", str(tmp_path / "index"), "--sound", str(videos[2]), "--device", "cpu", "--trust", "--json"]
    assert main(show) == 0
    assert Path(json.loads(capsys.readouterr().out)[0]["video"]) == videos[2]
    other = {**RECIPE["streams"], "heard": {**RECIPE["streams"]["heard"], "encoder": "outside_parts:TinySound"}}
    other["looked"] = other.pop("seen")
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"streams": other}))
    assert main([*words[:-2], str(tmp_path / "other.yaml"), "--trust"]) == 2
    error = capsys.readouterr().err
    assert "was built with features of ra_ssu seen (small, weights random)" in error
    assert len(error.strip().splitlines()) == 2, "the line about trust, and the error"


def test_a_video_of_features_is_streamed_as_it_is_predicted(made, capsys, tmp_path):
    video = min((made / "data/video").glob("*.mp4"))
    predictor = avkit.load(made / "run", "cpu", features=str(made / "own.yaml"))
    whole = predictor.predict(video)
    ((start, part),) = predictor.stream(video, window=10)
    assert (start, part.steps, part.duration) == (0, whole.steps, whole.duration)
    for mine, theirs in zip(part.answers, whole.answers, strict=True):
        assert mine.to_json() == theirs.to_json()
    parts = list(predictor.stream(video, window=4))
    assert [(start, part.steps) for start, part in parts] == [(0, 4), (4, 4), (8, 2)]
    with pytest.raises(ValueError, match="stored features, which have their own"):
        next(predictor.stream(video, hop=0.5))
    words = ["predict", str(made / "run"), str(video), "--stream", "--features", str(made / "own.yaml"), "--trust"]
    assert main([*words, "--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "10 steps" in capsys.readouterr().out


def test_a_region_has_no_features_of_windows(made, monkeypatch):
    predictor = avkit.load(made / "run", "cpu", features=str(made / "own.yaml"))
    monkeypatch.setattr(ClipExtractor, "picture_encoder", None)
    with pytest.raises(ValueError, match=r"features of windows of pictures.*recipe av_unified"):
        index_video(predictor, min((made / "data/video").glob("*.mp4")))
