# SPDX-License-Identifier: Apache-2.0
"""Stored features that a run names and that are not there: one error before anything is written."""

from pathlib import Path

import pytest

from avkit.cli import main
from avkit.datasets import DatasetOptions
from avkit.errors import DataError
from avkit.export import export
from avkit.training.feature_check import check_stored_features

CONFIGS = Path(__file__).parents[1] / "configs"


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


def test_features_that_are_there_pass(root, tmp_path):
    export("llp", tmp_path / "llp", {"train": 2, "val": 2, "test": 2}, 24, fps=2)
    options = DatasetOptions(root=tmp_path, visual="res152+r2plus1d_18", audio="vggish")
    check_stored_features(["llp"], options, None)
    check_stored_features(["llp"], DatasetOptions(root=root), None)
