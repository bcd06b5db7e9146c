# SPDX-License-Identifier: Apache-2.0
"""Several datasets of one task: the mix of training, and scores of each by itself."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from avkit.batch import Vocabulary
from avkit.cli import main
from avkit.cli.tested_runs import read_scores
from avkit.datasets import DatasetOptions, find_dataset
from avkit.export import export
from avkit.features.base import FeatureFacts
from avkit.features.store import write_store
from avkit.report.scores import name_alike
from avkit.training.benchmarks import check_same_widths, list_benchmarks, shared_vocabulary
from avkit.training.datamodule import AVDataModule
from avkit.training.history import read_history
from avkit.training.options import BatchSizeOptions, CropOptions, FeatureOptions, LoaderOptions, SceneOptions
from avkit.training.run_folder import RunFolder
from avkit.training.sampler import dataset_shares
from avkit.training.sources import choose_datasets
from avkit.training.stored_facts import stored_record

SIZES = {"avsbench-s4": 4, "avsbench-ms3": 2, "avsbench-avss": 6}
MIX = "+".join(SIZES)
NAMES = [f"avs/{name}" for name in SIZES]


def dataset_of(root, name="avsbench-s4"):
    return find_dataset(name).open("train", DatasetOptions(root=root, image_size=32))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    out = tmp_path_factory.mktemp("masks")
    for layout, size in SIZES.items():
        export(layout, out / layout, {"train": size, "val": 1, "test": 2}, 32, fps=2)
    return out


def data(root, tasks="avs", **changes):
    options = {
        "dataset": {"avs": MIX},
        "batch_size": BatchSizeOptions(trimmed=2, whole=2, untrimmed=2),
        "loader": LoaderOptions(workers=0),
        "image_size": 32,
        "scenes": SceneOptions(train_size=20, val_size=2, test_size=2),
    }
    module = AVDataModule(tasks, root=str(root), **options | changes)
    module.trainer = None
    return module


def test_training_draws_from_all_datasets_by_their_size(root):
    module = data(root)
    assert list(module.benchmarks) == NAMES
    assert module.shares() == pytest.approx(dict(zip(NAMES, (4 / 12, 2 / 12, 6 / 12), strict=True)))
    steps = data(root, steps_per_epoch=600)._plan().tasks(0, 600)
    counts = Counter(steps)
    for name, share in module.shares().items():
        assert counts[name] / 600 == pytest.approx(share, abs=0.06)
    batches = list(data(root, steps_per_epoch=24).train_dataloader())
    assert {batch.benchmark for batch in batches} == set(NAMES)
    assert {batch.task for batch in batches} == {"avs"}
    for batch in batches:
        assert ("class_mask" in batch.targets) == (batch.dataset == "avsbench-avss")


def test_weights_of_datasets_are_an_option(root):
    weights = "avsbench-s4=1,avsbench-ms3=2,avsbench-avss=1"
    assert list(data(root, dataset_mix=weights).shares().values()) == pytest.approx([0.25, 0.5, 0.25])
    assert list(data(root, dataset_mix="uniform").shares().values()) == pytest.approx([1 / 3] * 3)


def test_a_task_has_its_share_however_many_datasets_it_has(root):
    shares = data(root, "avs,ave", dataset={"avs": MIX, "ave": "scenes"}, mix="uniform").shares()
    assert sum(shares[name] for name in NAMES) == pytest.approx(0.5)
    assert shares["ave"] == pytest.approx(0.5)


def test_validation_and_test_take_each_dataset_by_itself(root):
    module = data(root)
    for loader, count in ((module.val_dataloader(), 1), (module.test_dataloader(), 2)):
        sizes = Counter()
        for batch in loader:
            sizes[batch.benchmark] += len(batch)
        assert sizes == dict.fromkeys(NAMES, count)


def test_the_vocabulary_is_that_of_the_datasets_with_classes(root):
    module = data(root)
    assert len(module.vocabulary.of("avs").classes) == 70
    assert [len(words.classes) for words in module.benchmark_vocabularies.values()] == [0, 0, 70]
    assert module.feature_widths is None


def test_an_epoch_is_as_many_steps_as_the_data_hold_batches(root):
    assert data(root).epoch.steps == 2 + 1 + 3
    assert data(root, dataset="avsbench-avss", batch_size=BatchSizeOptions(trimmed=4)).steps == 2
    assert data(root, "avs,ave", dataset={"avs": MIX, "ave": "scenes"}).epoch.steps == 6 + 430
    assert "430 for scenes" in data(root, "avs,ave", dataset={"avs": MIX, "ave": "scenes"}).epoch.reason
    assert data(root, steps_per_epoch=9).steps == 9
    assert data(root, crop=CropOptions(trimmed=0)).steps == 6


@pytest.fixture(scope="module")
def runs(root, tmp_path_factory):
    """A run on three datasets, another on one of them."""
    out = tmp_path_factory.mktemp("runs")
    words = ["--trainer.max_epochs", "1", "--data.image_size", "32", "--data.batch_size.trimmed", "2"]
    words += ["--data.loader.workers", "0", "--model.system.width", "32", "--trainer.enable_progress_bar", "false"]
    words += ["--tasks", "avs", "--data.root", str(root), "--out", str(out)]
    config = out / "mix.yaml"
    config.write_text("data:\n  dataset:\n    avs: [avsbench-s4, avsbench-ms3, avsbench-avss]\n")
    assert main(["fit", *words, "--config", str(config), "--name", "mix"]) == 0
    assert main(["fit", *words, "--data.dataset", "avsbench-s4", "--name", "alone"]) == 0
    return out


def test_every_dataset_has_rows_of_its_own(runs):
    report = json.loads((runs / "mix/report.json").read_text())
    metrics = {}
    for row in report["rows"]:
        metrics.setdefault((row["task"], row["dataset"]), []).append(row["metric"])
        assert (row["clips"], row["of"]) == (2, 2)
    assert list(metrics) == [("avs", name) for name in SIZES]
    assert metrics["avs", "avsbench-s4"] == metrics["avs", "avsbench-ms3"] == ["mIoU", "F"]
    assert "AVSS mIoU" in metrics["avs", "avsbench-avss"]
    assert report["facts"]["data"]["avs on avsbench-avss"] == "6 training samples, 50.0 % of the steps in batches of 2"
    assert report["facts"]["data"]["epoch"].startswith(
        "an epoch is 6 steps: as many as the data of all tasks together hold"
    )


def test_the_history_and_the_best_checkpoint_follow_each_dataset(runs):
    lines = read_history(RunFolder(runs / "mix").history)
    steps = [line["task"] for line in lines if "task" in line]
    assert len(steps) == 6
    assert set(steps) <= set(NAMES)
    (validation,) = [line for line in lines if "val/score" in line]
    figures = [validation[f"val/{name}/mIoU"] for name in NAMES]
    assert validation["val/score"] == pytest.approx(sum(figures) / 3)
    assert "val/avs/mIoU" not in validation


def test_a_run_is_validated_on_each_dataset_by_its_own_config(runs, capsys):
    assert main(["validate", str(runs / "mix")]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in SIZES)


def test_the_start_names_datasets_shares_and_the_epoch(root, runs, capsys):
    from avkit.cli.start_table import print_start_table
    from avkit.report import open_console

    print_start_table(open_console(), data(root), ["val", "test"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "task",
        "data",
        "train",
        "val",
        "test",
        "share",
        "of",
        "steps",
        "batch",
        "passes",
        "per",
        "epoch",
    ]
    assert lines[3].split() == ["avs", "avsbench-avss", "6", "1", "2", "50.0", "%", "2", "1.00"]
    assert lines[4] == "an epoch is 6 steps: as many as the data of all tasks together hold batches"


def test_a_run_on_several_datasets_compares_with_one_on_a_single_one(runs):
    mix, alone = read_scores(runs / "mix"), read_scores(runs / "alone")
    assert mix.tasks == NAMES
    assert alone.tasks == ["avs"]
    mix, alone = name_alike([mix, alone])
    assert alone.tasks == ["avs/avsbench-s4"]
    assert ("avs/avsbench-s4", "mIoU") in mix.values.keys() & alone.values.keys()
    assert mix.tests["avs/avsbench-s4"] == alone.tests["avs/avsbench-s4"]
    out = runs / "comparison"
    assert main(["compare", str(runs / "mix"), str(runs / "alone"), "--out", str(out)]) == 0
    compared = json.loads((out / "compare.json").read_text())
    assert {row["task"] for row in compared["rows"]} == {"avs/avsbench-s4"}


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("avs=avsbench-s4,avs=avsbench-ms3", r"names task 'avs' twice: avsbench-s4 and avsbench-ms3.*s4\+avsbench-ms3"),
        ("avs=avsbench-s4+avsbench-s4", r"names 'avsbench-s4' twice for task 'avs'"),
        ("avs=avsbench-s4 + avsbench-s4", r"names 'avsbench-s4' twice for task 'avs'"),
        ("avs=avsbench-s4+avsbench-ms33", r"Unknown dataset 'avsbench-ms33'\. Did you mean 'avsbench-ms3'"),
        ("avs=avsbench-s4+", r"Unknown dataset ''"),
        ("avs=", r"names no dataset for task 'avs'"),
        ("avss=avsbench-s4", r"Unknown task in data\.dataset 'avss'\. Did you mean 'avs'"),
        ({"avs": ["scenes", "scenes"]}, r"names 'scenes' twice"),
        ({"av": ["scenes"]}, r"Unknown task in data\.dataset 'av'"),
        ({"avs": []}, r"names no dataset for task 'avs'"),
    ],
)
def test_names_that_are_wrong(dataset, message):
    with pytest.raises(ValueError, match=message):
        choose_datasets({"avs": "avsbench-s4"}, dataset, None)


def test_names_as_text_and_as_mapping():
    usual = {"avs": "avsbench-s4", "ave": "ave"}
    chosen = {"avs": "avsbench-s4+avsbench-ms3", "ave": "scenes"}
    assert choose_datasets(usual, "avs=avsbench-s4+avsbench-ms3", None) == chosen
    assert choose_datasets(usual, {"avs": ["avsbench-s4", "avsbench-ms3"]}, None) == chosen
    assert choose_datasets(usual, "scenes+manifest", None) == dict.fromkeys(usual, "scenes+manifest")
    assert list(list_benchmarks(chosen)) == ["avs/avsbench-s4", "avs/avsbench-ms3", "ave"]


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        (
            "sampling_weight",
            r"dataset_mix is 'sampling_weight'; it takes one of proportional, uniform, temperature, or",
        ),
        ("a=1", r"a positive weight for each of a, b, such as a=1,b=1"),
        ("a=1,b=0", "positive weight"),
        ("a=1,b=1,a=2", "positive weight"),
        ("a=1,c=1", "positive weight"),
        ("temperature=0", r"dataset_mix is 'temperature=0'; a temperature is a positive number"),
    ],
)
def test_mixes_that_are_wrong(mix, message):
    with pytest.raises(ValueError, match=message):
        dataset_shares({"avs": {"a": 1, "b": 2}, "ave": {"c": 5}}, mix)


def test_weights_need_several_datasets():
    with pytest.raises(ValueError, match=r"dataset_mix is 'c=1', and no task has several datasets"):
        dataset_shares({"ave": {"c": 5}}, "c=1")
    assert dataset_shares({"ave": {"c": 5}}, "temperature=3") == {"ave": {"c": 1.0}}


def test_one_task_takes_one_list_of_classes_and_answers():
    first, other = Vocabulary(["dog", "cat"], words=["a"]), Vocabulary(["cat", "dog"], words=["b"])
    assert shared_vocabulary("ave", {"x": first, "y": Vocabulary(words=["c"])}) == Vocabulary(
        ["dog", "cat"], [], ["a", "c"]
    )
    with pytest.raises(ValueError, match=r"task 'ave' have different classes: x 2 and y 2, the same in another order"):
        shared_vocabulary("ave", {"x": first, "y": other})
    with pytest.raises(ValueError, match=r"different answers: x 1 and y 1, such as 'no', 'yes'\."):
        shared_vocabulary("avqa", {"x": Vocabulary(answers=["yes"]), "y": Vocabulary(answers=["no"])})


def test_stored_features_are_named_for_each_dataset(root):
    names = ("avsbench-s4", "avsbench-ms3")
    for name in names:
        dataset = dataset_of(root, name)
        clips = [(dataset.media(k), np.ones((5, 4, 3))) for k in range(len(dataset))]
        write_store(root / name / "grid.h5", clips, FeatureFacts("grid", 1.0, 1.0))
    visual = ",".join(f"{name}=grid.h5" for name in names)
    module = data(root, dataset="avs=avsbench-s4+avsbench-ms3", features=FeatureOptions(visual=visual))
    assert [module.split("train", f"avs/{name}").visual.path.parent.name for name in names] == list(names)
    assert module.feature_widths == {"avs": [3, 0]}
    sound = module.split("train", "avs/avsbench-s4").item(0, frozenset()).waveform
    assert torch.equal(sound, dataset_of(root).item(0, frozenset()).waveform), "sound files beside stored pictures"
    (part,) = stored_record(module)["avs"]["visual"]
    assert (part["name"], part["width"], part["tokens"]) == ("grid", 3, 4)
    with pytest.raises(
        ValueError, match=r"avsbench-s4 3 and 0, avsbench-ms3 0 and 0\. .*features\.visual avsbench-s4="
    ):
        data(root, features=FeatureOptions(visual="avsbench-s4=grid.h5")).feature_widths  # noqa: B018


def test_one_task_reads_one_kind_of_features():
    assert check_same_widths("avs", {"x": [0, 128], "y": [0, 128]}) == [0, 128]
    with pytest.raises(ValueError, match=r"task 'avs' give different features .*: x 0 and 128, y 0 and 0\."):
        check_same_widths("avs", {"x": [0, 128], "y": [0, 0]})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--data.dataset", "avs=scenes", "--data.dataset=ave=scenes"],
            "--data.dataset is given 2 times: avs=scenes and",
        ),
        (["--data.dataset", "{avs: scenes, avs: ave}"], "'avs' stands twice in one mapping"),
        (["--data.dataset", "ave=ave+scenes", "--data.root", "."], "have different classes"),
        (["--data.release", "ave=weak,ave=official", "--data.root", "."], "which names 'ave' twice"),
    ],
)
def test_wrong_words_end_in_one_line(words, message, tmp_path, capsys, monkeypatch):
    if "." in words:
        export("ave", tmp_path / "ave", {"train": 1, "val": 1, "test": 1}, 24, fps=2)
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--tasks", "ave" if "." in words else "avs,ave", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_task_twice_in_a_file_is_an_error(tmp_path, capsys):
    config = tmp_path / "mix.yaml"
    config.write_text("data:\n  dataset:\n    avs: avsbench-s4\n    avs: avsbench-ms3\n")
    assert main(["fit", "--tasks", "avs", "--config", str(config)]) == 2
    error = capsys.readouterr().err
    assert "mix.yaml is no YAML (line 4, column 5: 'avs' stands twice in one mapping)" in error
