# SPDX-License-Identifier: Apache-2.0
"""Encoders of libraries in runs: frozen and trained, kept with the run, and loaded without the files they came from."""

import shutil

import pytest
import torch
from test_fit import TINY, write_clip
from zero_shot_models import clap, minilm

import avkit
from avkit.cli import main
from avkit.encoders import build_audio_encoder
from avkit.encoders.beats import BEATsAudio
from avkit.encoders.beats_network import BEATsSizes
from avkit.encoders.settings import stored_settings
from avkit.features.store import Store
from avkit.hub.run_files import save_run
from avkit.media.decode import open_clip, read_waveform
from avkit.training.run_folder import RunFolder

SHORT = [*TINY, "--data.steps_per_epoch", "1", "--trainer.max_epochs", "1", "--report=false"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=1)


def fit(out, name, *options):
    assert main(["fit", "--tasks", "ave", "--out", str(out), "--name", name, *SHORT, *options]) == 0
    return RunFolder(out / name)


def test_a_run_keeps_what_weights_do_not_tell(tmp_path, clip):
    sound = clap(tmp_path / "clap")
    words = minilm(tmp_path / "words")
    options = ["--model.system.audio", "clap", "--model.system.audio_weights", str(sound)]
    options += ["--model.system.text", "minilm", "--model.system.text_weights", str(words)]
    run = fit(tmp_path, "run", *options)
    before = avkit.load(run.path, "cpu")
    shutil.rmtree(sound)
    shutil.rmtree(words)
    after = avkit.load(run.path, "cpu")
    assert after.model.system.audio.width == 16
    assert not any(x.requires_grad for x in after.model.system.audio.parameters())
    texts = ["a dog", "the sound of a chainsaw"]
    torch.testing.assert_close(after.model.system.text(texts).pooled, before.model.system.text(texts).pooled)
    assert after.predict(clip, "ave").tasks
    files = save_run(run, tmp_path / "pushed")
    assert {path.parent.name for path in files} >= {"audio-clap", "text-minilm"}
    assert avkit.load(tmp_path / "pushed", "cpu").model.system.audio.width == 16


def test_sound_is_extracted_as_it_is_heard_in_a_run(tmp_path, clip):
    folder = clap(tmp_path / "clap")
    words = ["extract", str(clip.parent), "--recipe", "clap", "--weights", f"clap={folder}", "--out", str(tmp_path)]
    assert main([*words, "--device", "cpu", "--workers", "0"]) == 0
    store = Store(tmp_path / "clap.h5")
    waveform = read_waveform(open_clip(clip))
    expected = build_audio_encoder("clap", str(folder)).eval()(waveform[None], 1, 1.0)[0]
    torch.testing.assert_close(torch.from_numpy(store.read("clip")).float(), expected.detach(), atol=2e-3, rtol=2e-3)
    assert (store.facts.encoder, store.facts.hop, store.facts.window) == ("clap", 1.0, 1.0)


def test_sizes_of_beats_are_kept(tmp_path):
    sizes = BEATsSizes(32, layers=1, heads=4, hidden=16, embedding=16, position_kernel=8, position_groups=4)
    BEATsAudio(sizes=sizes).save_settings(tmp_path)
    with stored_settings(tmp_path):
        assert BEATsAudio().sizes == sizes
    assert BEATsAudio.__init__.__defaults__[-1].layers == 12


class TestTimm:
    @pytest.fixture(scope="class")
    def weights(self, tmp_path_factory):
        pytest.importorskip("torchvision", exc_type=ImportError)
        timm = pytest.importorskip("timm")
        folder = tmp_path_factory.mktemp("weights")
        for name in ("test_convnext", "test_vit3"):
            torch.save(timm.create_model(name).state_dict(), folder / f"{name}.pt")
        return folder

    @pytest.mark.parametrize(("name", "trained"), [("test_convnext", True), ("test_vit3", False)])
    def test_any_network_is_an_encoder(self, weights, tmp_path, clip, name, trained):
        options = ["--model.system.visual", f"timm:{name}", "--model.system.visual_weights", f"{weights}/{name}.pt"]
        run = fit(tmp_path, "run", *options, f"--model.system.train_encoders={str(trained).lower()}")
        predictor = avkit.load(run.path, "cpu")
        first = next(x for x in torch.load(f"{weights}/{name}.pt").values() if x.ndim == 4)
        own = predictor.model.system.visual.network.state_dict().values()
        assert any(x.equal(first) for x in own if x.shape == first.shape) != trained
        assert predictor.predict(clip, "ave").tasks

    def test_a_frozen_network_with_random_weights_is_refused(self, tmp_path, capsys):
        pytest.importorskip("torchvision", exc_type=ImportError)
        words = ["fit", "--tasks", "ave", "--out", str(tmp_path), *SHORT, "--model.system.visual", "timm:test_convnext"]
        assert main(words) == 2
        assert "has random weights and is frozen" in capsys.readouterr().err
        assert main([*words[:-1], "timm:test_convnet"]) == 2
        error = capsys.readouterr().err
        assert "timm knows no model 'test_convnet'. Similar: test_convnext" in error
        assert len(error.strip().splitlines()) == 1
