# SPDX-License-Identifier: Apache-2.0
"""Records of tested runs: what a test writes beside its report."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avkit.cli import main
from avkit.errors import DataError
from avkit.features.base import FeatureFacts
from avkit.features.combined import ConcatenatedFeatures
from avkit.features.files import NpyFolder
from avkit.features.hashes import features_hash
from avkit.features.store import Store, write_store
from avkit.leaderboard import read_record, read_records, write_record
from avkit.leaderboard.hashes import file_hash, files_hash
from avkit.reading.text import read_json
from avkit.training.run_folder import RunFolder
from avkit.training.weights_file import weights_hash

TINY = [
    *("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.steps_per_epoch", "2", "--data.batch_size.trimmed", "2", "--data.batch_size.whole", "2"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "4", "--data.scenes.train_size", "8"),
    *("--data.image_size", "32", "--data.loader.workers", "0"),
]


def fit(out, name, *extra, tasks="avs,avqa"):
    return main(["fit", "--tasks", tasks, "--out", str(out), "--name", name, *TINY, *extra])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tested run on scenes, with a recipe of its own."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = folder / "mine.yaml"
    recipe.write_text("model: {lr: 1.0e-3}\n")
    assert fit(folder, "run", "--config", str(recipe), "--model.warmup", "0.05") == 0
    return RunFolder(folder / "run")


def test_a_record_holds_the_figures_of_the_report(run):
    rows = read_json(run.path / "report.json")["rows"]
    records = {record.task: record for record in read_records(run.path / "records.json")}
    assert list(records) == ["avs", "avqa"]
    for row in rows:
        figures = records[row["task"]].figures
        if row["value"] is None:
            assert row["metric"] not in figures
        else:
            figure = figures[row["metric"]]
            for name in ("value", "n", "counted", "low", "high", "baseline", "silence", "swapped", "unit"):
                assert vars(figure)[name] == row[name], (row["metric"], name)


def test_a_record_says_how_the_figures_were_made(run):
    record, _ = read_records(run.path / "records.json")
    assert (record.by, record.dataset, record.split) == ("scenes", "scenes", "test")
    assert (record.n, record.official_n) == (4, None)
    assert record.seeds == [0]
    assert record.protocol["evaluation batch"] == "1"
    assert record.protocol["picture size"] == "32 pixels"
    assert record.protocol["hop"] == "1 s"
    assert record.recipe == ["mine.yaml"]
    assert record.hashes["recipe mine.yaml"] == file_hash(run.path.parent / "mine.yaml")
    assert record.hashes["weights"] == weights_hash(run.weights)
    assert record.command == " ".join(run.read_facts()["command"])
    assert record.versions["avkit"] == read_json(run.facts)["versions"]["avkit"]


def test_options_are_those_that_differ_or_were_typed(run):
    record, _ = read_records(run.path / "records.json")
    assert record.options == {
        "tasks": "avs,avqa",
        "trainer.max_epochs": 1,
        "data.steps_per_epoch": 2,
        "data.batch_size.trimmed": 2,
        "data.batch_size.whole": 2,
        "data.scenes.val_size": 2,
        "data.scenes.test_size": 4,
        "data.scenes.train_size": 8,
        "data.image_size": 32,
        "model.lr": 0.001,
        "model.warmup": 0.05,  # its default, but typed
    }


def test_a_test_says_what_was_typed_for_it(run, tmp_path):
    path = Path(shutil.copytree(run.path, tmp_path / "copy"))
    assert main(["test", str(path), "--data.scenes.test_size", "2", "--save_predictions", "false"]) == 0
    record, _ = read_records(path / "records.json")
    assert record.n == 2
    assert record.options["data.scenes.test_size"] == 2
    assert "model.betas" not in record.options
    assert "predictions" not in record.hashes
    assert not (path / "predictions.jsonl").exists(), "those of the earlier test are of other samples"


def test_predictions_are_complete_and_in_the_order_of_the_data(run):
    lines = [json.loads(line) for line in (run.path / "predictions.jsonl").read_text().splitlines()]
    ids = {task: [line["id"] for line in lines if line["task"] == task] for task in ("avs", "avqa")}
    expected = [f"scenes-test-{number:06d}" for number in range(4)]
    assert [name.partition("#")[0] for name in ids["avs"]] == expected
    assert len(ids["avqa"]) == len(set(ids["avqa"])) == 4
    for record in read_records(run.path / "records.json"):
        assert record.n == len(ids[record.task])
        assert record.hashes["predictions"] == file_hash(run.path / "predictions.jsonl")


def test_a_test_that_fails_leaves_the_earlier_predictions(run, tmp_path, monkeypatch):
    path = Path(shutil.copytree(run.path, tmp_path / "copy"))
    before = (path / "predictions.jsonl").read_bytes()

    def fail(self, prediction, batch):
        raise DataError("the disk of the data is gone")

    monkeypatch.setattr("avkit.training.evaluator.Evaluator.update", fail)
    assert main(["test", str(path), "--trainer.enable_progress_bar", "false"]) == 2
    assert (path / "predictions.jsonl").read_bytes() == before
    assert not list(path.glob(".predictions*"))


def test_hashes_of_files(tmp_path):
    first = tmp_path / "b.json"
    second = tmp_path / "a.json"
    first.write_bytes(b"1" * 3_000_000)
    second.write_bytes(b"")
    assert file_hash(first) == hashlib.sha256(b"1" * 3_000_000).hexdigest()
    assert files_hash({"b.json": first}) == file_hash(first)
    lines = f"{file_hash(second)}  a.json\n{file_hash(first)}  b.json\n"
    assert files_hash({"b.json": first, "a.json": second}) == hashlib.sha256(lines.encode()).hexdigest()


def test_features_have_one_hash_in_a_store_and_in_a_folder(tmp_path):
    clips = {name: np.full((3, 2), value, np.float32) for value, name in enumerate(("a", "b", "c"))}
    for name, values in clips.items():
        np.save(tmp_path / f"{name}.npy", values)
    folder = NpyFolder(tmp_path)
    store = Store(write_store(tmp_path / "store.h5", list(clips.items()), FeatureFacts(), "float32"))
    digest = features_hash(folder, ["b", "a", "b"])
    assert digest == features_hash(store, ["a", "b"])
    assert digest != features_hash(store, ["a", "c"])
    joined = ConcatenatedFeatures([folder, store])
    assert features_hash(joined, ["a", "b"]) != digest
    np.save(tmp_path / "a.npy", clips["a"] + np.float32(1e-3))
    assert features_hash(folder, ["a", "b"]) != digest


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Two seeds of one training, and what was printed."""
    folder = tmp_path_factory.mktemp("seeds")
    assert fit(folder, "tiny", "--seeds", "2", tasks="ave") == 0
    return folder / "tiny"


def test_seeds_are_runs_of_their_own_in_one_folder(seeds, capsys):
    records = [read_records(seeds / f"seed-{seed}" / "records.json")[0] for seed in (0, 1)]
    assert [record.seeds for record in records] == [[0], [1]]
    assert records[0].hashes["weights"] != records[1].hashes["weights"]
    lines = (seeds / "compare.csv").read_text().splitlines()
    mean = sum(record.figures["accuracy"].value for record in records) / 2
    assert float(lines[1].split(",")[8]) == pytest.approx(mean)
    assert "$\\pm$" in (seeds / "compare.tex").read_text()
    kept = [(path, path.stat().st_mtime_ns) for path in seeds.glob("seed-*/checkpoints/*")]
    assert fit(seeds.parent, "tiny", "--seeds", "2", tasks="ave") == 0
    assert kept == [(path, path.stat().st_mtime_ns) for path in seeds.glob("seed-*/checkpoints/*")]
    output = capsys.readouterr().out
    assert "seed 1: " in output
    assert "mean ± standard deviation over 2 seeds" in output
    assert [path.name for path in seeds.parent.iterdir()] == ["tiny"]


def test_a_seed_that_was_killed_goes_on(seeds):
    expected = (seeds / "seed-1/records.json").read_text()
    (seeds / "seed-1/records.json").unlink()
    assert fit(seeds.parent, "tiny", "--seeds", "1,0", tasks="ave") == 0
    first = read_records(seeds / "seed-1/records.json")[0]
    assert first.figures["accuracy"].value == json.loads(expected)[0]["figures"]["accuracy"]["value"]


@pytest.mark.parametrize("form", ["--csv", "--latex"])
def test_a_comparison_is_printed_in_other_forms(seeds, tmp_path, capsys, form):
    runs = [str(seeds / f"seed-{seed}") for seed in (0, 1)]
    assert main(["compare", *runs, form, "--out", str(tmp_path)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("task,metric" if form == "--csv" else "%")
    assert "tiny" in output


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--seeds", "0"], "--seeds is 0"),
        (["--seeds", "two"], "--seeds is 'two'"),
        (["--seeds", "-1"], "--seeds is '-1'"),
        (["--seeds=1,1"], "names seed 1 twice"),
        (["--seeds", "2", "--seed_everything", "1"], "--seed_everything cannot go with it"),
        (["--seeds", "2", "--ckpt_path", "last"], "--ckpt_path cannot go with it"),
    ],
)
def test_seeds_that_are_none(tmp_path, capsys, words, problem):
    assert fit(tmp_path, "none", *words) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def results(run, tmp_path_factory):
    """The results that the run was submitted as."""
    folder = tmp_path_factory.mktemp("submitted") / "results"
    assert main(["leaderboard", "add", str(run.path), "--as", "My Method", "--results", str(folder)]) == 0
    return folder


def copy_result(results, tmp_path, task="avqa"):
    return Path(shutil.copytree(results / f"scenes/My-Method/{task}/seed-0", tmp_path / "seed-0"))


def test_a_result_has_the_predictions_of_its_task_alone(results):
    for task, count in (("avs", 4), ("avqa", 4)):
        folder = results / f"scenes/My-Method/{task}/seed-0"
        record = read_record(folder / "record.json")
        assert (record.method, record.task, record.n) == ("My Method", task, count)
        assert record.hashes["predictions"] == file_hash(folder / "predictions.jsonl")
        assert len((folder / "predictions.jsonl").read_text().splitlines()) == count


def test_results_are_verified(results, run, capsys):
    assert main(["leaderboard", "verify", str(results)]) == 0
    assert "2 results of 2 verified" in capsys.readouterr().out
    assert main(["leaderboard", "verify", str(run.path)]) == 0


def test_a_result_is_added_once(results, run, tmp_path, capsys):
    words = ["leaderboard", "add", str(run.path), "--as", "My Method", "--results", str(results)]
    assert main(words) == 0, "the same result is there already"
    path = results / "scenes/My-Method/avqa/seed-0/record.json"
    text = path.read_text()
    try:
        write_record(path, replace(read_record(path), device="another"))
        assert main(words) == 2
        assert "holds another result" in capsys.readouterr().err
    finally:
        path.write_text(text)


def test_a_result_beside_that_of_another_task_stands_below_its_task(results, tmp_path):
    method = tmp_path / "results" / "scenes" / "M"
    for task in ("avqa", "avs", "avqa"):
        source = results / f"scenes/My-Method/{task}/seed-0/record.json"
        words = ["leaderboard", "add", str(source), "--as", "M", "--results", str(tmp_path / "results"), "--gzip"]
        assert main([*words, "--predictions", str(source.with_name("predictions.jsonl"))]) == 0
    assert {path.parent for path in method.rglob("record.json")} == {method / "seed-0", method / "avs" / "seed-0"}
    for path in method.rglob("record.json"):
        assert [file.name for file in path.parent.glob("predictions.*")] == ["predictions.jsonl.gz"]
    assert main(["leaderboard", "verify", str(tmp_path / "results")]) == 0


def test_other_predictions_have_other_figures(results, tmp_path, capsys):
    folder = copy_result(results, tmp_path)
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    other = "two" if answers[0] != "two" else "one"
    changed = [line.replace(f'"answer":"{answers[0]}"', f'"answer":"{other}"') for line in lines]
    changed += [] if changed != lines else ["{}"]
    (folder / "predictions.jsonl").write_text("\n".join(changed) + "\n")
    assert main(["leaderboard", "verify", str(folder)]) == 2
    assert "holds other predictions" in capsys.readouterr().err
    record = read_record(folder / "record.json")
    figures = {**record.figures, "Overall": replace(record.figures["Overall"], value=0.123)}
    hashes = {**record.hashes, "predictions": file_hash(folder / "predictions.jsonl")}
    write_record(folder / "record.json", replace(record, figures=figures, hashes=hashes))
    assert main(["leaderboard", "verify", str(folder)]) == 1
    assert "Overall: the record says 0.123000, the predictions give " in capsys.readouterr().out


def test_a_line_that_was_dropped_is_seen(results, tmp_path, capsys):
    folder = copy_result(results, tmp_path)
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    (folder / "predictions.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    record = read_record(folder / "record.json")
    hashes = {**record.hashes, "predictions": file_hash(folder / "predictions.jsonl")}
    write_record(folder / "record.json", replace(record, hashes=hashes))
    assert main(["leaderboard", "verify", str(folder)]) == 1
    assert "samples: the record says 4, the predictions are of 3" in capsys.readouterr().out


def test_an_edited_record_is_refused(results, tmp_path, capsys):
    folder = copy_result(results, tmp_path)
    text = (folder / "record.json").read_text()
    (folder / "record.json").write_text(text.replace('"n": 4', '"n": 5', 1))
    for command in (["verify", str(folder)], ["add", str(folder / "record.json"), "--as", "x"]):
        assert main(["leaderboard", *command]) == 2
        error = capsys.readouterr().err
        assert "was edited" in error
        assert error.count("\n") == 1


def test_records_without_predictions_or_hashes_are_refused(results, tmp_path, capsys):
    folder = copy_result(results, tmp_path)
    record = read_record(folder / "record.json")
    write_record(folder / "record.json", replace(record, hashes={}))
    out = ["--as", "x", "--results", str(tmp_path / "results")]
    assert main(["leaderboard", "add", str(folder / "record.json"), *out]) == 2
    assert "has no predictions" in capsys.readouterr().err
    write_record(folder / "record.json", replace(record, by="training", hashes={"predictions": "00"}))
    assert main(["leaderboard", "verify", str(folder)]) == 2
    assert "has no hash of weights" in capsys.readouterr().err
    (folder / "predictions.jsonl").unlink()
    assert main(["leaderboard", "verify", str(folder)]) == 2
    assert "has no predictions" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a/b"])
def test_names_of_methods_are_those_of_folders(run, tmp_path, capsys, name):
    assert main(["leaderboard", "add", str(run.path), "--as", name, "--results", str(tmp_path / "results")]) == 2
    assert "a name has letters" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_what_is_no_run_is_not_added(tmp_path, capsys):
    assert main(["leaderboard", "add", str(tmp_path), "--as", "x"]) == 2
    assert "has no records.json" in capsys.readouterr().err
    assert main(["leaderboard", "verify", str(tmp_path)]) == 2
    assert "holds no record.json" in capsys.readouterr().err
