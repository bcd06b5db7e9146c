# SPDX-License-Identifier: Apache-2.0
"""`avkit reproduce`: what it lists, plans and refuses, and the whole way on scenes."""

import gzip
import json
import shutil
from dataclasses import replace

import pytest

from avkit.cli import main
from avkit.cli.reproduction import Reproduction
from avkit.errors import RunError
from avkit.leaderboard import find_experiment, read_experiments, read_records


def refusal(capsys, *words):
    assert main(["reproduce", *words]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    return error


def test_all_experiments_are_listed(capsys):
    assert main(["reproduce", "--list"]) == 0
    text = capsys.readouterr().out
    assert all(experiment.id in text for experiment in read_experiments())


def test_experiments_are_listed_for_scripts(capsys):
    assert main(["reproduce", "--list", "--dataset", "llp", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"han_llp", "av_unified_joint_llp"} <= {entry["id"] for entry in facts}
    assert all("llp" in entry["dataset"].split("+") for entry in facts)


def test_a_plan_says_what_is_missing(capsys, tmp_path):
    assert main(["reproduce", "tspm_music_avqa", "--plan", "--root", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "MISSING  music-avqa" in text
    assert "avkit fit --config tspm_music_avqa" in text


def test_a_plan_says_what_is_here(capsys, tmp_path):
    from avkit.export import export

    export("ave", tmp_path / "ave", {"train": 1, "val": 1, "test": 2}, 32, fps=2)
    assert main(["reproduce", "psp_ave", "--plan", "--root", str(tmp_path), "--json"]) == 0
    (plan,) = json.loads(capsys.readouterr().out)
    here = {need["what"]: need["here"] for need in plan["requirements"]}
    assert here["ave"] is True


def test_every_experiment_has_a_plan(capsys):
    assert main(["reproduce", "--plan"]) == 0
    text = capsys.readouterr().out
    assert text.count("  run ") + text.count("  no recipe") == len(read_experiments())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["tspm_musik_avqa"], "Did you mean 'tspm_music_avqa"),
        (["psp_ave"], "--root"),
        (["psp_ave", "--root", "somewhere"], "--weights FILE"),
        (["psp_ave", "--root", "somewhere", "--weights", "w.pth", "--train"], "two ways"),
        (["psp_ave", "--root", "somewhere", "--weights", "w.pth", "--seeds", "3"], "goes with --train"),
        (["psp_ave", "--root", "somewhere", "--train", "--seeds", "0"], "at least once"),
        (["psp_ave", "--root", "somewhere", "--train", "--optimizer.init_args.lr", "1"], "change the experiment"),
        (["psp_ave", "--scenes", "--root", "somewhere"], "--root cannot go with it"),
        (["psp_ave_predictions", "--root", "somewhere"], "--predictions FILE"),
        (["psp_ave", "--root", "somewhere", "--weights", "missing.pth"], "There is no file missing.pth"),
        (["--list", "--dataset", "lpl"], "Did you mean 'llp'"),
    ],
)
def test_what_cannot_be_asked(capsys, words, part):
    assert part in refusal(capsys, *words)


def test_an_experiment_without_recipe_says_why(capsys):
    id_ = next(experiment.id for experiment in read_experiments() if not experiment.recipe)
    assert find_experiment(id_).reason in refusal(capsys, id_, "--scenes")


def test_options_that_say_where_to_run_are_taken():
    from avkit.cli.reproduce import _check_execution

    _check_execution(["--trainer.devices", "2", "--data.loader.workers=4", "--trainer.accelerator", "gpu"])
    _check_execution(["--model.system.visual_weights", "clip.safetensors"])


def on_scenes(out, source="weights"):
    return Reproduction(
        experiment=find_experiment("psp_ave"),
        source=source,
        root=None,
        file=None,
        seeds=1,
        scenes=True,
        out=out,
        execution=["--trainer.accelerator", "cpu"],
    )


def measured(reproduction):
    """The record without what differs between two runs of the same."""
    (record,) = read_records(reproduction.folder / "records.json")
    return replace(record, date="", hashes={name: text for name, text in record.hashes.items() if name != "config"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A reproduction by random weights on scenes that nothing stopped."""
    reproduction = on_scenes(tmp_path_factory.mktemp("whole"))
    assert reproduction.run() == 0
    return reproduction


def test_weights_on_scenes_come_to_a_smoke_verdict(whole, capsys):
    verdict = json.loads((whole.folder / "verdict.json").read_text())
    assert verdict["verdict"] == "smoke"
    record = measured(whole)
    assert (record.experiment, record.by, record.n) == ("psp_ave", "scenes", 2)
    assert {"official weights", "weights", "annotations"} <= record.hashes.keys()
    assert whole.run() == 0
    assert "is done" in capsys.readouterr().out


def test_a_reproduction_that_is_stopped_goes_on_to_the_same_record(whole, tmp_path, monkeypatch):
    """Between two stages; `test_result_kills.py` kills it between all of them."""
    reproduction = on_scenes(tmp_path)
    monkeypatch.setattr(Reproduction, "_convert", stop)
    with pytest.raises(KeyboardInterrupt):
        reproduction.run()
    monkeypatch.undo()
    assert reproduction.run() == 0
    expected = measured(whole)
    record = measured(reproduction)
    changed = {"given weights"}  # the file says where it lies
    assert record.figures == expected.figures
    assert record.hashes.keys() == expected.hashes.keys()
    same = record.hashes.keys() - changed
    assert {name: record.hashes[name] for name in same} == {name: expected.hashes[name] for name in same}


def stop(*_args, **_kwargs):
    raise KeyboardInterrupt


def test_a_training_on_scenes(tmp_path):
    reproduction = on_scenes(tmp_path, "training")
    assert reproduction.run() == 0
    assert measured(reproduction).seeds == [0]


def test_two_processes_on_one_reproduction(tmp_path, monkeypatch):
    def held(path):
        raise BlockingIOError("process 7 on another machine since 10:00")

    monkeypatch.setattr("avkit.cli.reproduction.hold", held)
    with pytest.raises(RunError, match="process 7 on another machine since 10:00 works on"):
        on_scenes(tmp_path).run()


@pytest.mark.slow
def test_tspms_own_answers_are_judged_as_published_below_it_and_not_comparable(real, tmp_path):
    """The whole file, the file without a line, and the file with one answer that was right and is wrong."""
    words, answers = reproduction_of_answers(real, tmp_path)
    assert main([*words, "--predictions", str(answers)]) == 0
    lines = gzip.decompress(answers.read_bytes()).decode().splitlines(keepends=True)
    assert verdict_on(words, tmp_path, lines[:-1]) == ("not comparable", ["9,128 of 9,129 official samples"])
    number, right, true, _ = lines[0].split("\t")
    assert right.strip() == "True"
    word, reasons = verdict_on(words, tmp_path, ["\t".join([number, " False ", true, " 9\n"]), *lines[1:]])
    assert word == "below"
    assert any(reason.startswith("Audio") for reason in reasons)


def test_tspms_own_answers_give_all_published_figures(real, tmp_path):
    words, answers = reproduction_of_answers(real, tmp_path)
    assert main([*words, "--predictions", str(answers)]) == 0


def reproduction_of_answers(real, folder):
    """The words of a command that judges answers, and the answers that TSPM's authors published."""
    root = folder / "music-avqa"
    shutil.copytree(real / "annotations/music_avqa/json_update", root / "json_update")
    words = ["reproduce", "tspm_music_avqa_predictions", "--root", str(root), "--out", str(folder)]
    return words, real / "results/tspm_music_avqa.result.gz"


def verdict_on(words, folder, lines):
    """The verdict on lines of answers, and its reasons."""
    path = folder / "answers.result"
    path.write_text("".join(lines))
    before = set(folder.rglob("verdict.json"))
    main([*words, "--predictions", str(path)])
    (new,) = set(folder.rglob("verdict.json")) - before
    facts = json.loads(new.read_text())
    return facts["verdict"], facts["reasons"]
