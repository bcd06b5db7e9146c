# SPDX-License-Identifier: Apache-2.0
"""Records of tested runs: what a test writes beside its report."""

import hashlib
import json

import numpy as np
import pytest

from avkit.cli import main
from avkit.features.base import FeatureFacts
from avkit.features.combined import ConcatenatedFeatures
from avkit.features.files import NpyFolder
from avkit.features.hashes import features_hash
from avkit.features.store import Store, write_store
from avkit.leaderboard import read_records
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


def test_a_test_says_what_was_typed_for_it(run):
    assert main(["test", str(run.path), "--data.scenes.test_size", "2", "--data.loader.workers", "0"]) == 0
    record, _ = read_records(run.path / "records.json")
    assert record.n == 2
    assert record.options["data.scenes.test_size"] == 2
    assert "model.betas" not in record.options


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
