# SPDX-License-Identifier: Apache-2.0
"""Training on official layouts: raw, from features, and mixed with scenes."""

import json

import pytest
from safetensors.torch import load_file

from avkit.batch import Vocabulary, join_vocabularies
from avkit.cli import main
from avkit.datasets import DATASETS
from avkit.export import export
from avkit.tasks import TASKS, find_task
from avkit.training.datamodule import AVDataModule
from avkit.training.run_folder import RunFolder
from avkit.training.sources import choose_datasets

LAYOUTS = {"ave": "ave", "llp": "llp", "avsbench-s4": "avsbench-s4", "music-avqa": "music-avqa", "unav100": "unav100"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("official")
    for layout, folder in LAYOUTS.items():
        export(layout, out / folder, {"train": 2, "val": 1, "test": 2}, 24, fps=2)
    return out


def fit(root, out, tasks, **options):
    words = ["fit", "--tasks", tasks, "--data.root", str(root), "--out", str(out), "--name", "run"]
    small = {
        "trainer.max_epochs": 1,
        "data.steps_per_epoch": 5,
        "data.batch_size.trimmed": 2,
        "data.batch_size.whole": 2,
    }
    small |= {"data.batch_size.untrimmed": 2, "data.image_size": 32, "data.loader.workers": 0, "model.system.width": 32}
    for key, value in (small | options).items():
        words += [f"--{key.replace('__', '.')}", str(value)]
    code = main(words)
    return code, json.loads((out / "run/report.json").read_text()) if code == 0 else None


def test_five_tasks_raw(root, tmp_path):
    code, report = fit(root, tmp_path, "ave,avvp,avs,avqa,davel")
    assert code == 0
    rows = {(r["task"], r["dataset"]): r for r in report["rows"]}
    assert set(rows) == {(t, find_task(t).benchmark) for t in ("ave", "avvp", "avs", "avqa", "davel")}
    assert all((r["clips"], r["of"]) == (2, 2) for r in rows.values())
    facts = RunFolder(tmp_path / "run").read_facts()
    assert facts["dataset"] == "ave+llp+avsbench-s4+music-avqa+unav100"
    spoken = Vocabulary(**facts["vocabulary"])
    assert len(spoken.of("ave").classes) == 28
    assert len(spoken.of("avvp").classes) == 25
    assert len(spoken.of("avqa").answers) == 42
    assert spoken.of("avs").classes == []
    assert main(["validate", str(tmp_path / "run")]) == 0, "the run's config names its data"


def test_four_tasks_from_features(root, tmp_path):
    visual = "ave=vgg19,llp=res152+r2plus1d_18,music-avqa=clip,unav100=rgb+flow"
    options = {"data__features__visual": visual, "data__features__audio": "vggish"}
    code, _ = fit(root, tmp_path, "ave,avvp,avqa,davel", **options)
    assert code == 0
    facts = RunFolder(tmp_path / "run").read_facts()
    assert facts["features"] == {"ave": [512, 128], "avvp": [2560, 128], "avqa": [768, 128], "davel": [2048, 128]}
    weights = load_file(tmp_path / "run/checkpoints/last.safetensors")
    assert not any(name.startswith("system.visual.") for name in weights), "no encoder is made where none is needed"
    clip = next((root / "llp/video").iterdir())
    assert main(["predict", str(tmp_path / "run"), str(clip), "--question", "what", "--out", str(tmp_path / "p")]) == 2


@pytest.mark.slow
def test_official_and_scenes_raw_and_features_together(root, tmp_path):
    options = {
        "data__dataset": "avqa=scenes",
        "data__features__visual": "unav100=rgb+flow",
        "data__features__audio": "unav100=vggish",
        "data__scenes__val_size": 2,
        "data__scenes__test_size": 2,
    }
    code, report = fit(root, tmp_path, "ave,avqa,davel", **options)
    assert code == 0
    assert {r["task"]: r["dataset"] for r in report["rows"]} == {"ave": "ave", "avqa": "scenes", "davel": "unav100"}
    assert RunFolder(tmp_path / "run").read_facts()["features"]["davel"] == [2048, 128]
    clip = next((root / "llp/video").iterdir())
    words = [
        "predict",
        str(tmp_path / "run"),
        str(clip),
        "--tasks",
        "ave,avqa",
        "--question",
        "how many things are seen",
    ]
    assert main([*words, "--out", str(tmp_path / "p"), "--no_video"]) == 0


def test_missing_clips_are_told_in_the_report(root, tmp_path, capsys):
    import shutil

    part = shutil.copytree(root / "llp", tmp_path / "llp")
    gone = next(p for p in (part / "video").iterdir() if p.name.startswith("scne"))
    gone.unlink()
    code, _ = fit(part, tmp_path, "avvp")
    assert code == 2
    assert "LLP, test: 1 of 2 clips are not there" in capsys.readouterr().err
    code, report = fit(part, tmp_path / "again", "avvp", data__allow_missing="true")
    assert code == 0
    assert all((row["clips"], row["of"]) == (1, 2) for row in report["rows"])


def test_what_is_asked_for_and_not_there(root, tmp_path, capsys):
    for options, message in (
        ({"data__dataset": "avs=ave"}, "dataset 'ave' has no mask, mask_known"),
        ({"data__dataset": "avsbench-s5"}, "Did you mean 'avsbench-s4'"),
        ({"data__dataset": "av=ave"}, "Did you mean 'avs'"),
        ({"data__features__visual": "lpl=x"}, "Unknown dataset in data.features.visual 'lpl'"),
        ({"data__features__visual": "clip"}, "Unknown features of AVSBench S4 'clip'"),
        ({"data__release": "v9"}, "Unknown release of AVSBench S4 'v9'"),
        ({"data__dataset": "avsbench-ms3"}, "none of ms3_meta_data.csv"),
    ):
        assert fit(root, tmp_path, "avs", **options)[0] == 2
        assert message in capsys.readouterr().err


def benchmarks(*tasks):
    return {task: find_task(task).benchmark for task in tasks}


class TestChoice:
    """Which dataset each task reads."""

    def test_without_a_word(self):
        assert choose_datasets(benchmarks("avs", "avqa"), None, None) == {"avs": "scenes", "avqa": "scenes"}

    def test_with_a_root(self):
        assert choose_datasets(benchmarks("avs", "davel"), None, "/data") == {"avs": "avsbench-s4", "davel": "unav100"}

    def test_one_for_all_or_one_for_each(self):
        tasks = benchmarks("avs", "avqa")
        assert choose_datasets(tasks, "manifest", "/data") == {"avs": "manifest", "avqa": "manifest"}
        assert choose_datasets(tasks, "avs=avsbench-ms3", None) == {"avs": "avsbench-ms3", "avqa": "scenes"}

    def test_every_task_has_a_usual_one(self):
        assert {find_task(name).benchmark for name in TASKS} <= set(DATASETS)

    def test_a_task_without_a_usual_one_needs_a_name(self):
        with pytest.raises(ValueError, match=r"Task 'own' has no usual dataset\. .* --data\.dataset own=NAME"):
            choose_datasets({"own": None}, None, "/data")

    def test_a_manifest_is_chosen_by_naming_it(self):
        assert AVDataModule("avs", manifest="m.jsonl").dataset == "manifest"


def test_vocabularies_side_by_side():
    a, b = Vocabulary(["x", "y"], ["no"], ["w"]), Vocabulary(["y", "z"], [], ["v", "w"])
    assert join_vocabularies({"ave": a, "avs": a}) is a
    both = join_vocabularies({"ave": a, "avvp": b})
    assert (both.classes, both.answers, both.words) == (["x", "y", "z"], ["no"], ["w", "v"])
    assert both.of("avvp") == Vocabulary(["y", "z"], [], ["w", "v"])
    assert both.of("other") is both
