# SPDX-License-Identifier: Apache-2.0
"""Files of declarative sentences: tables, spreadsheets and JSON, and what is wrong with some."""

import json
import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from avkit.batch import Vocabulary
from avkit.errors import DataError
from avkit.heads import create_head
from avkit.heads.base import HeadInputs
from avkit.systems.tspm.prompt_constructor import PromptConstructor

REAL = Path(__file__).parents[2] / "shared" / "data" / "real"
ROWS = [
    ("Which instrument makes sounds <BA> the <Object>?", "The <Object> is playing."),
    ("Is the <Object> on the <LR> louder than the <Object> on the <LR>?", "<Object>, <LR1>, <Object2>, <LR2>"),
    ("What is the instrument on the <LR> of <Object>?", "Left of the <Object> is the <LR>."),
    ("Is there a voiceover?", "Somebody speaks."),
]
QUESTIONS = {
    "1": "Which instrument makes sounds before the flute?",
    "2": "Is the cello on the left louder than the drum on the right?",
    "3": "What is the instrument on the left of piano?",
    "4": "Is there a voiceover\uff1f",
}
SENTENCES = ["The flute is playing.", "cello, left, drum, right", "Left of the piano is the left.", "Somebody speaks."]


def write_csv(path):
    lines = ["no,question_template,declarative_prompt", *(f'{k},"{q}","{s}"' for k, (q, s) in enumerate(ROWS))]
    path.write_text("\n".join(lines) + "\n")


def write_xlsx(path):
    workbook = pytest.importorskip("openpyxl").Workbook()
    sheet = workbook.active
    sheet.append(["No.", "Question Template", " Declarative Sentence Text Prompt"])
    for number, row in enumerate(ROWS):
        sheet.append([number, *row])
    sheet.append([None, None, None])
    workbook.save(path)


def write_object(path):
    path.write_text(json.dumps(dict(ROWS)))


def write_list(path):
    path.write_text(json.dumps([{"question_template": q, "declarative_prompt": s} for q, s in ROWS]))


def write_ids(path):
    path.write_text(json.dumps([{"question_id": k, "prompt": s} for k, s in enumerate(SENTENCES, start=1)]))


def write_object_of_ids(path):
    path.write_text(json.dumps({str(k): s for k, s in enumerate(SENTENCES, start=1)}))


WRITERS = {
    "prompts.csv": write_csv,
    "prompts.xlsx": write_xlsx,
    "prompts.json": write_object,
    "list.json": write_list,
    "ids.json": write_ids,
    "object_of_ids.json": write_object_of_ids,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_form_gives_the_same_sentences(name, tmp_path):
    WRITERS[name](tmp_path / name)
    construct = PromptConstructor.load(tmp_path / name)
    construct.check_covers(QUESTIONS)
    assert [construct(question, number) for number, question in QUESTIONS.items()] == SENTENCES


def test_a_question_that_stands_twice_has_the_sentence_of_its_id(tmp_path):
    write_ids(tmp_path / "ids.json")
    construct = PromptConstructor.load(tmp_path / "ids.json")
    assert construct("Is there a voiceover?", "4#1") == "Somebody speaks."
    assert construct("Is there a dog?", None) == "There is a dog."


def test_questions_without_a_sentence_are_counted(tmp_path):
    write_csv(tmp_path / "a.csv")
    write_ids(tmp_path / "ids.json")
    for name, path in (("a.csv", tmp_path / "a.csv"), ("ids.json", tmp_path / "ids.json")):
        others = {**QUESTIONS, "8": "Is there a dog?", "9": "Is there a cat?"}
        with pytest.raises(
            DataError, match=rf"{name} has no sentence for 2 of 6 questions .* such as '8', 'Is there a d"
        ):
            PromptConstructor.load(path).check_covers(others)
    PromptConstructor().check_covers({"8": "Is there a dog?"})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "question_template\nWhere?\n", "need the columns question_template and declarative_prompt"),
        ("a.csv", "question_template,declarative_prompt\nWhere?,\n", "row 2 has no sentence"),
        ("a.csv", "question_template,declarative_prompt\n,There.\n", "row 2 has no question"),
        ("a.csv", "question_template,declarative_prompt\n", "holds no sentences"),
        ("a.csv", "question_template,declarative_prompt\nA?,x\nA?,y\n", "row 3 gives 'A\\?' another sentence"),
        ("a.csv", "", "need the columns"),
        ("a.json", "{", "is no whole JSON"),
        ("a.json", "3", "holds int and no sentences"),
        ("a.json", "[3]", "record 1 is 3 and no object"),
        ("a.json", '{"Where is it?": null}', "'Where is it\\?' has no sentence"),
        ("a.json", '[{"question_id": 4}]', "record 1 has no sentence"),
        ("a.json", '[{"question_id": 4, "question_content": "A b?", "anser": "yes"}]', "record 1 has no sentence"),
        ("a.xlsx", "no zip", "cannot be read as a spreadsheet"),
    ],
)
def test_damaged_files(name, text, message, tmp_path):
    if name.endswith("xlsx"):
        pytest.importorskip("openpyxl")
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        PromptConstructor.load(tmp_path / name)


def test_a_spreadsheet_without_openpyxl_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.xlsx").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(DataError, match=r"pip install 'avkit\[spreadsheet\]', or save the sheet as CSV"):
        PromptConstructor.load(tmp_path / "a.xlsx")


def test_a_spreadsheet_of_unlikely_size_is_not_unpacked(tmp_path):
    pytest.importorskip("openpyxl")
    with ZipFile(tmp_path / "a.xlsx", "w", ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(2**27))
    with pytest.raises(DataError, match="unpacks to 134217728 bytes"):
        PromptConstructor.load(tmp_path / "a.xlsx")


def test_the_head_takes_sentences_by_template_alone(tmp_path):
    inputs = HeadInputs(8, Vocabulary(answers=["yes", "no"]))
    write_list(tmp_path / "list.json")
    head = create_head("avqa", "tspm", inputs, prompts=str(tmp_path / "list.json"))
    assert head.second_prompts(["Is there a voiceover?"]) == ["Somebody speaks."]
    with pytest.raises(DataError, match="has no sentence for 1 of 1 questions"):
        head.check_questions({"1": "Is there a dog?"})
    write_ids(tmp_path / "ids.json")
    with pytest.raises(DataError, match="sentences by question ids, which heads do not see"):
        create_head("avqa", "tspm", inputs, prompts=str(tmp_path / "ids.json"))


@pytest.mark.skipif(not REAL.exists(), reason="the authors' sentences are absent")
def test_the_authors_sentences():
    construct = PromptConstructor.load(REAL / "annotations/music_avqa/tspm_text_prompt.csv")
    assert construct(QUESTIONS["1"]) == "The flute is playing in the video."
    assert construct("Is the cello on the left more rhythmic than the drum on the right?") == (
        "The cello on the left plays a different rhythm than the drum on the right."
    )
