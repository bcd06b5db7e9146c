# SPDX-License-Identifier: Apache-2.0
"""Stored features that a run names and that are not there: one error before anything is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avkit.batch import Vocabulary
from avkit.cli import main
from avkit.datasets import DatasetOptions
from avkit.errors import DataError
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.training.datamodule import AVDataModule
from avkit.training.feature_check import check_stored_features
from avkit.training.options import FeatureOptions, SceneOptions
from avkit.training.sources import find_expert, open_dataset
from tests.clips import tone, write_clip

CONFIGS = Path(__file__).parents[1] / "avkit" / "configs"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Annotations and media without features, a folder for each dataset."""
    out = tmp_path_factory.mktemp("official")
    for name in ("ave", "llp"):
        export(name, out / name, {"train": 2, "val": 2, "test": 2}, 24, fps=2)
    for path in [*out.glob("ave/*_feature*.h5"), *out.glob("llp/feats/*/*.npy")]:
        path.unlink()
    return out


def message_of(names, **options):
    with pytest.raises(DataError) as caught:
        check_stored_features(names, DatasetOptions(**options), None)
    return str(caught.value).splitlines()


def test_a_recipe_of_ours_without_features(root, tmp_path, capsys):
    words = ["fit", "--config", str(CONFIGS / "psp_ave_weak.yaml"), "--data.root", str(root / "ave")]
    assert main([*words, "--out", str(tmp_path / "runs"), "--trainer.accelerator", "cpu"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    assert first == "avkit fit: 4 of the stored features that this run reads are not there:"
    names = ["visual_feature.h5", "visual_feature_noisy.h5", "audio_feature.h5", "audio_feature_noisy.h5"]
    assert [Path(line.split(" (")[0].strip()).name for line in lines] == names
    assert "split train)" in lines[1]
    assert "YapengTian/AVE-ECCV18" in lines[1]
    assert f"avkit extract ave --root {root / 'ave'} --recipe vggish" in lines[2]
    assert "features/vggish.h5" in lines[2]
    assert "178 clips" in lines[3]
    assert not (tmp_path / "runs").exists()


def test_all_tasks_and_both_streams_are_in_one_error(root):
    visual = "ave=vgg19,llp=res152+r2plus1d_18"
    _, *lines = message_of(["ave", "llp"], root=root, visual=visual, audio="vggish")
    names = ["visual_feature.h5", "audio_feature.h5", "*.npy", "*.npy", "*.npy"]
    assert [Path(line.split(" (")[0].strip()).name for line in lines] == names
    assert f"avkit extract llp --root {root / 'llp'} --recipe llp" in lines[2]
    assert "features/r2plus1d_18.h5" in lines[3]


def test_stores_by_path_name_the_recipe_that_makes_all_of_them(tmp_path):
    visual = "features/tome14.h5+features/clip.h5"
    _, *lines = message_of(["avqa"], root=tmp_path, visual=visual, audio="features/vggish.h5")
    assert len(lines) == 3
    assert all(f"'avkit extract avqa --root {tmp_path} --recipe tspm'" in line for line in lines)


def test_released_features_name_the_recipe_that_makes_them(tmp_path):
    _, *lines = message_of(["unav100"], root=tmp_path, visual="rgb+flow", audio="vggish")
    assert "--recipe i3d_raft' and write features/rgb.h5" in lines[0]
    assert "--recipe vggish_032" in lines[2]


def test_a_manifest_and_an_expert(tmp_path):
    (tmp_path / "m.jsonl").write_text("")
    options = DatasetOptions(manifest=tmp_path / "m.jsonl", visual="mine.h5", audio="vggish.h5")
    with pytest.raises(DataError) as caught:
        check_stored_features(["manifest"], options, str(tmp_path / "llava.h5"))
    _, *lines = str(caught.value).splitlines()
    assert "--data.features.expert" in lines[0]
    assert "--recipe llava" in lines[0]
    assert "check the path" in lines[1]
    assert "avkit extract VIDEOS --recipe vggish" in lines[2]


def test_an_expert_is_found_below_the_data_and_their_datasets(tmp_path):
    def place(names=("f-music",)):
        return find_expert("features/llava.h5", tmp_path, names)

    assert place() == str(tmp_path / "features" / "llava.h5")  # where it should be made
    own = tmp_path / "f-music" / "features" / "llava.h5"
    own.parent.mkdir(parents=True)
    own.touch()
    assert place() == str(own)
    assert find_expert(str(own), tmp_path, []) == str(own)


def test_features_that_are_there_pass(root, tmp_path):
    export("llp", tmp_path / "llp", {"train": 2, "val": 2, "test": 2}, 24, fps=2)
    options = DatasetOptions(root=tmp_path, visual="res152+r2plus1d_18", audio="vggish")
    check_stored_features(["llp"], options, None)
    check_stored_features(["llp"], DatasetOptions(root=root), None)


def test_features_that_training_alone_reads_are_not_asked_for_by_a_test(tmp_path):
    export("ave", tmp_path / "ave", {"train": 2, "val": 2, "test": 2}, 24, fps=2)
    for path in tmp_path.glob("ave/*_noisy.h5"):
        path.unlink()
    features = FeatureOptions(visual="vgg19", audio="vggish")
    data = AVDataModule("ave_weak", dataset="ave", root=str(tmp_path / "ave"), release="weak", features=features)
    with pytest.raises(DataError, match=r"2 of the stored features .*\n.*visual_feature_noisy.h5"):
        _ = data.vocabulary
    data.use_vocabulary(Vocabulary(classes=["dog"]))
    assert (data.reference, data.vocabulary.classes) == ("test", ["dog"])
    assert len(data.indices("test", "ave_weak")) == 2
    assert data.feature_widths == {"ave_weak": [512, 128]}


def test_clips_that_are_not_in_a_store(tmp_path, capsys):
    export("llp", tmp_path / "llp", {"train": 3, "val": 1, "test": 1}, 24, fps=2)
    rows = np.zeros((10, 8), np.float32)
    names = sorted(path.stem for path in (tmp_path / "llp" / "video").iterdir())
    store = tmp_path / "llp" / "features" / "vggish.h5"
    write_store(store, [(names[0], rows)], FeatureFacts("vggish", 1.0, 1.0))
    words = ["fit", "--tasks", "avvp", "--data.root", str(tmp_path / "llp"), "--data.features.audio", str(store)]
    assert main([*words, "--out", str(tmp_path / "runs")]) == 2
    error = capsys.readouterr().err
    assert f"{store} has no features of " in error
    assert " of 3 in split 'train' of llp: " in error
    assert f"Add them with 'avkit extract llp --root {tmp_path / 'llp'} --recipe vggish'. Or leave such clips" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_clips_of_a_manifest_that_are_not_in_a_store(tmp_path):
    lines = [{"id": f"c{k}", "video": "x.mp4", "split": "train", "labels": ["dog"]} for k in range(5)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    write_clip(tmp_path / "x.mp4", [k / 4 for k in range(8)], 4, sound=tone(2, 16_000))
    store = tmp_path / "mine.h5"
    write_store(store, [("c1", np.zeros((2, 8), np.float32))], FeatureFacts("mine", 1.0, 1.0))
    options = DatasetOptions(manifest=tmp_path / "m.jsonl", audio=str(store))
    with pytest.raises(DataError) as caught:
        open_dataset("manifest", "train", options, SceneOptions(), ["manifest"])
    error = str(caught.value)
    assert f"{store} has no features of 4 clips of 5 in split 'train' of {options.manifest}" in error
    assert "'c0', 'c2', 'c3', ..." in error
    kept = open_dataset("manifest", "train", replace(options, allow_missing=True), SceneOptions(), ["manifest"])
    assert kept.missing == {f"c{k}": "audio features" for k in (0, 2, 3, 4)}
