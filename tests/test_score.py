# SPDX-License-Identifier: Apache-2.0
"""`avkit score`: other people's predictions by the official metrics, with what is wrong with their files."""

import gzip
import json
import shlex
from itertools import product
from pathlib import Path

import pytest

import avkit.scoring
from avkit.batch import Prediction
from avkit.cli import main
from avkit.cli.score import parser
from avkit.cli.score_records import make_record
from avkit.errors import DataError
from avkit.leaderboard.records import read_record
from avkit.scoring import TruthOptions
from avkit.scoring.formats import FORMATS, find_format
from avkit.scoring.predictions import PredictionWriter
from avkit.scoring.truth import open_truth
from avkit.tasks import TASKS

ROOT = Path(__file__).parents[1]
TRUE = {"11": "two", "12": "yes", "13": "cello", "14": "no"}
#: Numbers of the answers in the train file.
NUMBER = {"two": 0, "cello": 1, "no": 4, "yes": 7}


def question(name, answer):
    return {
        "video_id": "00000001",
        "question_id": int(name),
        "type": '["Audio", "Counting"]' if answer != "yes" else '["Visual", "Location"]',
        "question_content": "How many?",
        "templ_values": "[]",
        "anser": answer,
    }


@pytest.fixture
def root(tmp_path):
    """Lists of MUSIC-AVQA with a few questions."""
    folder = tmp_path / "root" / "json_update"
    folder.mkdir(parents=True)
    for split, answers in {"test": TRUE, "val": {"21": "two", "22": "no"}}.items():
        records = [question(name, answer) for name, answer in answers.items()]
        (folder / f"avqa-{split}.json").write_text(json.dumps(records))
    return folder.parent


def result_lines(given):
    lines = []
    for name, answer in given.items():
        true = TRUE.get(name, "two")
        lines.append(f"{name} \t {true == answer} \t {NUMBER[true]} \t {NUMBER[answer]}\n")
    return "".join(lines)


def scored(path, root, **options):
    return avkit.scoring.score(path, "music-avqa", options=TruthOptions(root=root), **options)


FORMS = {
    "a.result": lambda given: result_lines(given),
    "list.json": lambda given: json.dumps([{"question_id": int(k), "answer": v} for k, v in given.items()]),
    "object.json": lambda given: json.dumps(given),
    "numbers.json": lambda given: json.dumps({k: NUMBER[v] for k, v in given.items()}),
    "spelled.jsonl": lambda given: "".join(
        json.dumps({"id": k, "response": f" {v.title()}. "}) + "\n" for k, v in given.items()
    ),
    "ours.jsonl": lambda given: "".join(
        json.dumps({"task": "avqa", "dataset": "music-avqa", "id": k, "answer": v}) + "\n" for k, v in given.items()
    ),
}


@pytest.mark.parametrize(("name", "zipped"), product(FORMS, (False, True)))
def test_every_form_of_the_same_answers_has_the_same_score(tmp_path, root, name, zipped):
    given = {**TRUE, "14": "yes"}
    path = tmp_path / (f"{name}.gz" if zipped else name)
    data = FORMS[name](given).encode()
    path.write_bytes(gzip.compress(data) if zipped else data)
    result = scored(path, root)
    assert result.faults == []
    assert (result.n, result.listed, result.official_n) == (4, 4, 9129)
    assert result.rows["Overall"].value == 0.75
    assert result.rows["Overall"].n == 4
    assert result.rows["Visual Location"].value == 1
    assert not result.complete  # the list itself is a part of the official one


def test_what_is_missing_is_wrong_or_left_out_as_the_user_says(tmp_path, root):
    path = tmp_path / "a.result"
    path.write_text(result_lines({"11": "two", "12": "yes"}))
    result = scored(path, root)
    assert (result.n, result.absent, result.rows["Overall"].value) == (2, "wrong", 0.5)
    result = scored(path, root, allow_partial=True)
    assert (result.n, result.absent, result.rows["Overall"].value) == (2, "left out", 1.0)
    assert result.rows["Overall"].n == 2


def test_doubled_unknown_and_damaged_entries_are_named_and_the_rest_is_scored(tmp_path, root):
    path = tmp_path / "a.result"
    lines = [result_lines({**TRUE, "21": "two"}), result_lines({"12": "no"}), "112 \t True \t 0 \t 0\n", "hello\n"]
    lines += ["13 \t True \t 0 \t 99\n", "13 \t True \t 0 \t 0\n", "13 \t True \t 1 \t 4\n"]
    path.write_text("".join(lines))
    result = scored(path, root)
    assert result.rows["Overall"].value == 1
    places = [fault.removeprefix(f"{path}, line ") for fault in result.faults]
    assert places == [
        f"6: sample '12' stands twice, first at {path}, line 2.",
        "7: id '112' is none of MUSIC-AVQA, test. The nearest is '12'.",
        "8 is 'hello'. Give question id, True or False, true and given answer by number.",
        "9 has answer 99. Answers are 0 to 41.",
        "10 says that 'two' is the true answer to question 13, and the annotation says 'cello'. Give the release that "
        "the file is of; this is 'update'.",
        "11 says True of answer 4 where 1 is true. Look at the file.",
    ]
    assert result.notes == [f"{path}: 1 id is that of split 'val' (--split val)."]


def test_a_file_of_another_split_or_dataset_is_refused_with_the_split_or_the_nearest_id(tmp_path, root, capsys):
    path = tmp_path / "a.json"
    path.write_text('{"21": "two", "22": "no"}')
    with pytest.raises(DataError, match=r"2 ids are those of split 'val' \(--split val\)\."):
        scored(path, root)
    path.write_text('{"q-77": "two"}')
    with pytest.raises(DataError, match=r"id 'q-77' is none of MUSIC-AVQA, test\. Its ids look like '11'"):
        scored(path, root)
    assert main(["score", str(path), "--dataset", "music-avqa", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("avkit score: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no file of predictions for avqa that avkit knows"),
        ("{" * 5000, "is no"),
        ('{"11": NaN}', "has 'nan' as answer, no text and no whole number"),
        ('{"11": null}', "has 'None' as answer"),
        ('{"11": [[[[1]]]]}', "no text and no whole number"),
        ('{"11": "2"}', "which may be a number of an answer or a count"),
        ("[1, 2]", "is '1', without the id of a question"),
        ("[]", "holds no prediction for MUSIC-AVQA, test"),
        ('{"11": 9e99}', "as answer, no text and no whole number"),
    ],
)
def test_hostile_files_are_one_clear_line(tmp_path, root, capsys, content, message):
    path = tmp_path / "a.json"
    path.write_text(content)
    assert main(["score", str(path), "--dataset", "music-avqa", "--root", str(root)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert len(error) < 700


def test_the_annotation_file_alone_is_enough_and_must_be_of_the_split(tmp_path, root, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TRUE))
    arguments = ["score", str(path), "--dataset", "music-avqa", "--annotations"]
    assert main([*arguments, str(root / "json_update" / "avqa-test.json")]) == 0
    output = capsys.readouterr().out
    assert "avqa on music-avqa, split test, release update\n4 of 9,129 official samples\n" in output
    assert main([*arguments, str(root / "json_update" / "avqa-val.json")]) == 2
    assert "is not the list of MUSIC-AVQA, split 'test'" in capsys.readouterr().err


def test_output_for_scripts_tables_and_records(tmp_path, root, capsys):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**TRUE, "14": "yes"}))
    arguments = ["score", str(path), "--dataset", "music-avqa", "--root", str(root), "--against", "tspm_music_avqa"]
    assert main([*arguments, "--json", "--record", str(tmp_path / "record.json")]) == 2
    content = json.loads(capsys.readouterr().out)
    assert content["figures"]["Overall"]["value"] == 0.75
    assert content["figures"]["Overall"]["published"] == {"printed": "76.79", "scale": "percent"}
    assert content["verdict"] == "not comparable"
    assert content["reasons"] == [
        "4 of 9,129 official samples",
        "avqa-test.json is not the file that the dataset's authors published",
        "avqa-val.json is not the file that the dataset's authors published",
    ]
    record = read_record(tmp_path / "record.json")
    assert (record.by, record.method, record.n, record.official_n) == ("predictions", "mine", 4, 9129)
    assert set(record.hashes) == {"predictions", "annotations"}
    main([*arguments, "--csv"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("avqa,music-avqa,update,test,Overall,0.75,")
    main([*arguments, "--latex"])
    table = capsys.readouterr().out
    assert table.count(r"\toprule") == 1
    assert r"Overall & 75.00 & " in table
    main(arguments)
    assert max(map(len, capsys.readouterr().out.splitlines()[2:8])) <= 80


def test_a_wrong_name_or_number_is_one_line(tmp_path, root, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(TRUE))
    arguments = ["score", str(path), "--dataset", "music-avqa", "--root", str(root)]
    for words, message in [
        (["--against", "tspm_music_avq"], "Did you mean 'tspm_music_avqa'?"),
        (["--format", "tspn"], "Unknown format 'tspn'. Did you mean 'tspm'?"),
        (["--release", "updat"], "Did you mean 'update'?"),
        (["--option", "x"], "--option is 'x'; give NAME=VALUE"),
        (["--image_size", "0"], "--image_size is 0; give a number above 0."),
        (["--task", "avq"], "avq"),
    ]:
        assert main([*arguments, *words]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
    assert main(["score", "x", "--format", "help"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in FORMATS)
    assert all(find_format(name).name == name for name in FORMATS)


def unav(tmp_path):
    """UnAV-100 with two videos of the test split."""
    events = [
        {"segment": [1.0, 5.0], "label": "dog", "label_id": 0},
        {"segment": [10.1, 10.4], "label": "cat", "label_id": 1},
    ]
    videos = {name: {"duration": 10.5, "subset": "test", "annotations": events} for name in ("a", "b")}
    path = tmp_path / "unav100_annotations.json"
    path.write_text(json.dumps({"version": "unav100", "database": videos}))
    return path


def test_events_of_activitynet_are_scored(tmp_path):
    annotations = unav(tmp_path)
    rows = [{"segment": [1, 5], "label": "dog", "score": 0.9}, {"segment": [10.1, 10.4], "label": 1, "score": 0.8}]
    path = tmp_path / "detections.json"
    path.write_text(json.dumps({"version": "1", "results": {"a": rows, "b": rows}, "external_data": {}}))
    result = avkit.scoring.score(path, "unav100", options=TruthOptions(annotations=annotations))
    assert (result.rows["Avg"].value, result.n, result.official_n) == (1, 2, 2167)
    wrong = {"a": [{**rows[0], "score": None}], "b": [{**rows[0], "label": "dogg"}], "c": rows}
    path.write_text(json.dumps({"results": {**wrong}}))
    with pytest.raises(DataError) as error:
        avkit.scoring.score(path, "unav100", options=TruthOptions(annotations=annotations))
    assert "a score is None; give a finite number" in str(error.value)
    assert "'dogg' is no class of UnAV-100. The nearest is 'dog'" in str(error.value)
    path.write_text(json.dumps({"results": {"a": rows, "b": [{**rows[0], "segment": [20, 40]}]}}))
    result = avkit.scoring.score(path, "unav100", options=TruthOptions(annotations=annotations))
    assert "has an event until 40 s in a video of 10.5 s; give seconds" in result.faults[0]
    assert (result.n, result.absent) == (1, "without any event")


def test_choices_are_answered_by_text_number_or_letter(tmp_path):
    record = {
        "id": 5,
        "video_name": "abcdefghijk_000030",
        "question_text": "What happened?",
        "multi_choice": ["a dog barks", "a cat", "rain", None],
        "answer": 1,
        "question_type": "Happening",
    }
    (tmp_path / "val_qa.json").write_text(json.dumps([record]))
    path = tmp_path / "answers.json"
    for answer, right in {"A cat": 1, "B": 1, "b.": 1, "rain": 0, "a bird": 0}.items():
        path.write_text(json.dumps([{"id": 5, "answer": answer}]))
        assert avkit.scoring.score(path, "avqa", options=TruthOptions(root=tmp_path)).rows["Overall"].value == right
    for answer, right in {1: 1, 0: 0}.items():
        path.write_text(json.dumps({"5": answer}))
        assert avkit.scoring.score(path, "avqa", options=TruthOptions(root=tmp_path)).rows["Overall"].value == right


def test_our_file_says_task_dataset_and_size_itself(tmp_path, capsys):
    options = TruthOptions(image_size=32, size=3)
    truth = open_truth("avs", "scenes", options)
    batch = truth.batch(truth.ids)
    path = tmp_path / "predictions.jsonl"
    values = {"mask": batch.targets["mask"].float() * 0.8}
    with PredictionWriter(path) as writer:
        writer.write(truth.task, "scenes", Prediction("avs", batch.id, values), batch)
    result = avkit.scoring.score(path, options=TruthOptions(size=3))
    assert result.protocol["picture size"] == "32 pixels"
    assert result.rows["mIoU"].value == pytest.approx(1)
    assert make_record(result, path, None, []).by == "scenes"
    path.write_text(
        '{"task": "avqa", "dataset": "scenes", "id": "scenes-test-000000", "answer": "two"}\n' + path.read_text()
    )
    again = avkit.scoring.score(path, task="avs", options=TruthOptions(size=3))
    assert (again.protocol["picture size"], again.rows["mIoU"].value) == ("32 pixels", result.rows["mIoU"].value)
    assert (again.n, again.faults) == (3, [])
    assert avkit.scoring.score(path, options=TruthOptions(size=3)).task.name == "avqa"
    path.write_text(path.read_text().partition("\n")[2])
    assert main(["score", str(path), "--size", "3"]) == 0
    assert "3 of 3 samples of the list" in capsys.readouterr().out


def test_commands_of_the_page_are_accepted_and_its_keys_are_those_of_the_tasks():
    page = (ROOT / "docs" / "scoring.md").read_text()
    commands = [line.partition("#")[0].split(">")[0] for line in page.splitlines() if line.startswith("avkit score ")]
    assert len(commands) >= 4
    for command in commands:
        parser().parse_args(shlex.split(command)[2:])
    for name in TASKS:
        truth = open_truth(name, "scenes", TruthOptions(image_size=24, size=1))
        records = truth.task.absent(truth.batch(truth.ids))
        row = next(line for line in page.splitlines() if line.startswith("| `") and f"`{name}`" in line.split("|")[1])
        assert all(f"`{key}`" in row or "as `avs`" in row for key in records[0].keys() - {"id"}) if records else row


@pytest.mark.slow
def test_tspm_s_own_answers_give_all_published_figures(real, tmp_path, capsys):
    file = real / "results" / "tspm_music_avqa.result.gz"
    annotation = real / "annotations" / "music_avqa" / "json_update" / "avqa-test.json.gz"
    words = ["--dataset", "music-avqa", "--annotations", str(annotation), "--against", "tspm_music_avqa", "--json"]
    assert main(["score", str(file), *words]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["verdict"] == "reproduced"
    printed = {
        name: figure["published"]["printed"] for name, figure in content["figures"].items() if figure["published"]
    }
    assert len(printed) == 13
    assert {name: f"{100 * content['figures'][name]['value']:.2f}" for name in printed} == printed
    lines = gzip.decompress(file.read_bytes()).decode().splitlines(keepends=True)
    name, _, true, _ = lines[0].split("\t")
    flipped = "\t".join([name, " False ", true, " 7 \n"])
    for changed, status, verdict in [
        ([flipped, *lines[1:]], 1, "below"),
        (lines[1:], 2, "not comparable (9,128 of 9,129 official samples)"),
    ]:
        path = tmp_path / "changed.result"
        path.write_text("".join(changed))
        assert main(["score", str(path), *words[:-1]]) == status
        assert capsys.readouterr().out.splitlines()[-1].partition("): ")[2].startswith(verdict)
