# SPDX-License-Identifier: Apache-2.0
"""Seeds, results and reproductions that were killed with SIGKILL go on to what they are without a kill."""

import json
from dataclasses import replace

import pytest
from kill_points import run_killed

from avkit.cli import main
from avkit.leaderboard import read_record, read_records
from avkit.leaderboard.measured import find_records

TINY = [
    *("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false", "--trainer.accelerator", "cpu"),
    *("--data.steps_per_epoch", "3", "--data.batch_size.whole", "2", "--save_steps", "1"),
    *("--data.scenes.val_size", "2", "--data.scenes.test_size", "2", "--data.scenes.train_size", "8"),
    *("--data.image_size", "32", "--data.loader.workers", "0", "--model.system.width", "32"),
]


def seeds_command(out):
    return ["fit", "--tasks", "ave", "--seeds", "2", "--out", str(out), "--name", "tiny", *TINY]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A tested run."""
    out = tmp_path_factory.mktemp("runs")
    assert main(["fit", "--tasks", "ave", "--out", str(out), "--name", "run", *TINY]) == 0
    return out / "run"


def without_date(path):
    return [replace(record, date="", command="") for record in read_records(path)]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    """Two seeds that nothing killed."""
    out = tmp_path_factory.mktemp("seeds")
    assert main(seeds_command(out)) == 0
    return out / "tiny"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "call"),
    [
        pytest.param("avkit.training.module:AVModel.training_step", 2, id="in seed 0"),
        pytest.param("avkit.cli.evaluate:write_records", 1, id="tested, without record"),
        pytest.param("avkit.cli.seeds:_train_seed", 2, id="between the seeds"),
        pytest.param("avkit.training.module:AVModel.training_step", 5, id="in seed 1"),
        pytest.param("avkit.training.scored_module:ScoredModule.test_step", 2, id="in the test of seed 1"),
        pytest.param("avkit.report.compare_files:write_comparison", 1, id="before the comparison"),
    ],
)
def test_seeds_that_were_killed_have_the_records_of_those_that_were_not(seeds, tmp_path, place, call):
    run_killed(seeds_command(tmp_path), place, call)
    assert main(seeds_command(tmp_path)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    for seed in ("seed-0", "seed-1"):
        killed = without_date(tmp_path / "tiny" / seed / "records.json")
        (whole,) = without_date(seeds / seed / "records.json")
        assert [record.hashes["weights"] for record in killed] == [whole.hashes["weights"]]
        for record in killed:
            record.hashes["config"] = whole.hashes["config"]  # the file says where its run lies
        assert killed == [whole]
    lines = (tmp_path / "tiny/compare.csv").read_text().replace(str(tmp_path), str(seeds.parent))
    assert lines == (seeds / "compare.csv").read_text()


@pytest.mark.parametrize(
    ("place", "call"),
    [
        ("avkit.cli.submitted:_copy_predictions", 1),
        ("avkit.cli.submitted:write_record", 1),
        ("pathlib:Path.chmod", 1),
        ("pathlib:Path.replace", 2),
        ("shutil:rmtree", 1),
    ],
)
def test_a_result_that_was_killed_in_writing_is_none(run, tmp_path, place, call, capsys):
    results = tmp_path / "results"
    words = ["leaderboard", "add", str(run), "--as", "Mine", "--results", str(results)]
    run_killed(words, place, call)
    place_of_results = results / "scenes/Mine"
    whole = place == "shutil:rmtree"  # after the folder was moved to its place
    assert len(find_records([results])) == whole
    if not whole:
        assert [path.name.startswith(".") for path in place_of_results.iterdir()] == [True]
        assert main(["leaderboard", "verify", str(results)]) == 2
        assert "holds no record.json" in capsys.readouterr().err
    assert main(words) == 0
    assert [path.name for path in place_of_results.iterdir()] == ["seed-0"]
    assert sorted(path.name for path in (place_of_results / "seed-0").iterdir()) == ["predictions.jsonl", "record.json"]
    assert main(["leaderboard", "verify", str(results)]) == 0


def test_a_result_of_others_predictions(tmp_path, capsys):
    """A record of `avkit score` with its file, whatever form that has."""
    root = tmp_path / "music-avqa"
    (root / "json_update").mkdir(parents=True)
    question = {"video_id": "1", "question_id": 11, "type": '["Audio", "Counting"]', "templ_values": "[]"}
    content = [{**question, "question_content": "How many?", "anser": "two"}]
    (root / "json_update/avqa-test.json").write_text(json.dumps(content))
    answers = tmp_path / "theirs.result"
    answers.write_text(json.dumps({"11": "two"}))
    record = tmp_path / "record.json"
    words = ["score", str(answers), "--dataset", "music-avqa", "--root", str(root), "--record", str(record)]
    assert main(words) == 0
    results = tmp_path / "results"
    add = ["leaderboard", "add", str(record), "--as", "Theirs", "--results", str(results)]
    assert main(add) == 2
    assert "has no predictions" in capsys.readouterr().err
    assert main([*add, "--predictions", str(answers)]) == 0
    folder = results / "music-avqa/Theirs/seed-none"
    assert (folder / "predictions.result").read_text() == answers.read_text()
    assert (read_record(folder / "record.json").method, read_record(folder / "record.json").by) == (
        "Theirs",
        "predictions",
    )
    assert main(["leaderboard", "verify", str(results), "--root", str(tmp_path)]) == 0
    answers.write_text(json.dumps({"11": "one"}))
    assert main([*add, "--predictions", str(answers)]) == 2
    assert "holds other predictions than those that" in capsys.readouterr().err
    assert main([*add, "--predictions", str(root)]) == 2
    assert "is a folder; a result has its predictions in one file" in capsys.readouterr().err


def reproduce_command(out, *words):
    return ["reproduce", "psp_ave", "--scenes", "--out", str(out), "--trainer.accelerator", "cpu", *words]


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    """A reproduction on scenes by weights, and one by training, that nothing killed."""
    out = tmp_path_factory.mktemp("reproduced")
    assert main(reproduce_command(out)) == 0
    assert main(reproduce_command(out, "--train")) == 0
    return out


def record_in(out, kind):
    (path,) = out.glob(f"psp_ave/scenes-{kind}-*/records.json")
    (record,) = without_date(path)
    hashes = {name: text for name, text in record.hashes.items() if name not in ("config", "given weights")}
    options = {name: value for name, value in record.options.items() if name != "model.system.weights"}
    record = replace(record, hashes=hashes, options=options)  # without what says where the folder lies
    return record, json.loads((path.parent / "verdict.json").read_text())


STAGES = "avkit.cli.reproduction:Reproduction"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "call", "train"),
    [
        ("avkit.cli.reproduction_scenes:_write_scenes", 1, False),
        ("avkit.cli.reproduction_features:write_features", 1, False),
        (f"{STAGES}._check", 1, False),
        (f"{STAGES}._make_weights", 1, False),
        (f"{STAGES}._convert", 1, False),
        (f"{STAGES}._fit", 1, False),
        ("avkit.training.scored_module:ScoredModule.test_step", 1, False),
        ("avkit.cli.evaluate:write_report", 1, False),
        (f"{STAGES}._finished", 1, False),
        (f"{STAGES}._judge", 1, False),
        (f"{STAGES}._write", 1, False),
        ("avkit.training.module:AVModel.training_step", 2, True),
        ("avkit.training.scored_module:ScoredModule.test_step", 1, True),
        (f"{STAGES}._judge", 1, True),
    ],
)
def test_a_reproduction_that_was_killed_comes_to_the_same_record(reproduced, tmp_path, place, call, train):
    words = reproduce_command(tmp_path, *(["--train"] if train else []))
    run_killed(words, place, call)
    assert main(words) == 0
    kind = "training" if train else "weights"
    assert record_in(tmp_path, kind) == record_in(reproduced, kind)
    assert not [path for path in tmp_path.rglob(".*") if path.is_dir()]
