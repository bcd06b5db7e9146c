# SPDX-License-Identifier: Apache-2.0
"""Stores of features of the built-in scenes: made by one command, read in place of pictures and sound."""

import numpy as np
import pytest
import torch

from avkit.cli import main
from avkit.datasets.scene_names import KINDS, kind_for, scene_name, scene_named
from avkit.datasets.scenes import Scenes
from avkit.encoders import build_audio_encoder, build_visual_encoder
from avkit.errors import DataError
from avkit.features.base import FeatureFacts
from avkit.features.store import Store, write_store
from avkit.scenes import sample_question, sample_scene

EXTRACT = "extract scenes --recipe scenes --tasks avqa,davel --train 2 --val 1 --test 1 --workers 0 --out"


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    assert main([*EXTRACT.split(), str(folder)]) == 0
    return folder


def scenes(stores, split="train", size=2, **options):
    paths = {"visual": str(stores / "tome14.h5"), "audio": str(stores / "audio.h5"), **options}
    return Scenes(split, size, image_size=64, **paths)


def test_a_name_stands_for_one_scene():
    assert scene_named("scenes-val-000003") == sample_scene(3, "val")
    assert scene_named("scenes-val-000003-untrimmed") == sample_scene(3, "val", untrimmed=True)
    assert scene_named("scenes-val-000003-close") == sample_scene(3, "val", close=True)
    assert scene_named("scenes-val-000003-question") == sample_question(3, "val")[0]
    assert len({scene_name("val", 3, kind) for kind in KINDS}) == len(KINDS)
    with pytest.raises(ValueError, match="is no name of a scene"):
        scene_named("scenes-val-000003-huge")


def test_tasks_ask_for_kinds_of_scenes():
    assert kind_for({"events"}) == "untrimmed"
    assert kind_for({"source"}) == "close"
    assert kind_for({"answer", "question_type"}) == "question"
    assert kind_for({"audio_segments", "visual_segments"}) == "trimmed"


def test_stores_hold_what_the_encoders_make_of_the_very_scenes(stores):
    data = Scenes("test", 1, image_size=64)
    item = data.item(0, frozenset({"answer"}))
    with torch.no_grad():
        seen = build_visual_encoder("small", "scenes").eval()(item.frames)
        merged = build_visual_encoder("small_tome14", "scenes").eval()(item.frames)
        heard = build_audio_encoder("small", "scenes").eval()(item.waveform[None], 10, 1.0)[0]
    name = data.stored_name(0, Store(stores / "audio.h5"), frozenset({"answer"}))
    expected = {"frame": seen.frame, "patches": seen.patches, "tome14": merged.patches, "audio": heard}
    for stream, values in expected.items():
        stored = torch.from_numpy(Store(stores / f"{stream}.h5").read(name)).float()
        torch.testing.assert_close(stored, values, rtol=2e-3, atol=2e-3)
    places = Store(stores / "tome14_sources.h5").read(name)
    assert np.array_equal(places, merged.sources.numpy())


def test_merged_tokens_are_means_of_the_patches_that_went_into_them():
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 3, 64, 64), dtype=np.uint8))
    with torch.no_grad():
        patches = build_visual_encoder("small", "scenes").eval()(frames).patches
        merged = build_visual_encoder("small_tome14", "scenes").eval()(frames)
    assert merged.patches.shape == (2, 14, 64)
    numbers = merged.sources.flatten(1)
    for token in range(14):
        mean = patches[0][numbers[0] == token].mean(0)
        torch.testing.assert_close(merged.patches[0, token], mean, rtol=1e-4, atol=1e-5)


def test_an_item_has_features_and_the_targets_of_its_pictures(stores):
    stored = scenes(stores).item(1, frozenset({"answer"}))
    drawn = Scenes("train", 2, image_size=64).item(1, frozenset({"answer"}))
    assert stored.frames is None
    assert stored.waveform is None
    assert stored.visual.shape == (10, 14, 64)
    assert stored.audio.shape == (10, 128)
    assert (stored.id, stored.duration, stored.text, stored.targets) == (
        drawn.id,
        drawn.duration,
        drawn.text,
        drawn.targets,
    )
    events = scenes(stores).item(0, frozenset({"events"}))
    assert events.steps == round(events.duration) > 10
    torch.testing.assert_close(
        events.targets["events"], Scenes("train", 2).item(0, frozenset({"events"})).targets["events"]
    )


def test_sound_alone_may_be_stored(stores):
    item = Scenes("train", 2, image_size=64, audio=str(stores / "audio.h5")).item(0, frozenset({"answer"}))
    assert item.frames.shape == (10, 3, 64, 64)
    assert item.waveform is None
    assert item.audio.shape == (10, 128)


def test_what_is_not_stored_is_named(stores, tmp_path):
    with pytest.raises(DataError, match=r"has features of 2 scenes .* asks for 4. Say --data.scenes.train_size 2"):
        scenes(stores, size=4)
    with pytest.raises(DataError, match=r"'scenes-train-000000'.*avkit extract scenes .*--tasks TASK"):
        scenes(stores).item(0, frozenset({"audio_segments"}))
    with pytest.raises(DataError, match=r"There are no features at 'none.h5'.*avkit extract scenes"):
        scenes(stores, audio="none.h5")
    rows = [(scene_name("train", 0), np.zeros((4, 2)))]
    quick = write_store(tmp_path / "quick.h5", rows, FeatureFacts("x", hop=0.3))
    with pytest.raises(DataError, match=r"has a row every 0.3 s; scenes have steps of 1 s"):
        Scenes("train", 1, audio=str(quick))
    with pytest.raises(ValueError, match="seed=3: stored features are of scenes of seed 0"):
        scenes(stores, seed=3)


def test_scenes_have_no_root(capsys):
    assert main(["extract", "scenes", "--recipe", "scenes", "--root", "here"]) == 2
    assert "--root is here; scenes are built in. Name the folder of the stores with --out." in capsys.readouterr().err


def test_a_run_on_stores_is_recorded_and_answers(stores, tmp_path, capsys):
    command = (
        f"fit --tasks avqa --data.features.visual {stores}/tome14.h5+{stores}/frame.h5 "
        f"--data.features.audio {stores}/audio.h5 --model.system.name tspm --model.system.frame 64 "
        "--model.system.text_weights scenes --model.system.width 32 --model.system.inner 32 --model.system.topk 3 "
        "--data.scenes.train_size 2 --data.scenes.val_size 1 --data.scenes.test_size 1 --data.steps_per_epoch 1 "
        f"--trainer.max_epochs 1 --data.loader.workers 0 --trainer.enable_progress_bar false --out {tmp_path} --name r"
    )
    assert main(command.split()) == 0
    results = tmp_path / "results"
    assert main(["leaderboard", "add", str(tmp_path / "r"), "--as", "TSPM", "--results", str(results)]) == 0
    assert main(["leaderboard", "verify", str(results)]) == 0, capsys.readouterr().out
