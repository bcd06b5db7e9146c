# SPDX-License-Identifier: Apache-2.0
"""Files of declarative sentences: by question template or by question, as CSV, spreadsheet or JSON.

Source:
    GeWu-Lab/TSPM at commit 0106ce4127b8, `dataset/TextPrompt.xlsx`: a row for each of MUSIC-AVQA's 33 templates.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from avkit.errors import DataError, FileError, file_error
from avkit.reading.spreadsheet import spreadsheet_rows
from avkit.reading.text import read_json, read_text, table_rows

#: Columns or keys of a sentence; of a question or its template; and of a question's id, in lower case with `_` between
#: words. The first that is there counts; the last of the first line is that of the authors' spreadsheet.
_SENTENCES = ("declarative_prompt", "statement", "prompt", "tprompt", "declarative_sentence_text_prompt")
_QUESTIONS = ("question_template", "question_content", "question_text", "question")
_IDS = ("question_id", "id")
_FORM = (
    "Give a table (.csv, .xlsx) or a JSON list with the columns question_template (or question_id) and "
    "declarative_prompt, or a JSON object of sentences by question template or id"
)


@dataclass(frozen=True)
class Statements:
    """Declarative sentences of a file.

    Attributes:
        by_template: Sentence by question, or by question template with slots such as `<Object>`.
        by_id: Sentence by id of the question.
    """

    by_template: dict[str, str] = field(default_factory=dict)
    by_id: dict[str, str] = field(default_factory=dict)


def read_statements(path: str | Path) -> Statements:
    """Sentences of a `.csv`, `.xlsx` or `.json` file, `.json.gz` and `.csv.gz` too.

    Raises:
        DataError: If the file cannot be read, lacks a column, leaves a sentence empty, or has two for one question.
    """
    name = str(path).removesuffix(".gz")
    statements = Statements()
    records = _json_records(path) if name.endswith(".json") else _table_records(path)
    for where, record in records:
        _add(statements, record, where)
    if not statements.by_template and not statements.by_id:
        raise file_error(path, "holds no sentences", f"{_FORM}.")
    return statements


def statements_hash(path: str | Path) -> str:
    """SHA-256 of the sentences of a file, the same in whatever form and order they are written.

    Raises:
        DataError: As `read_statements`.
    """
    statements = read_statements(path)
    lines = sorted(f"{question}\n{sentence}\n" for question, sentence in statements.by_template.items())
    lines += sorted(f"{name}\n{sentence}\n" for name, sentence in statements.by_id.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _table_records(path: str | Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Place and cells by column of each row."""
    try:
        if str(path).endswith((".xlsx", ".xlsm")):
            rows = spreadsheet_rows(path)
        else:
            rows = list(table_rows(read_text(path), str(path)))
    except FileError as error:
        raise DataError(f"Prompts {path} cannot be read: {error}") from error
    titles = [_key(cell) for cell in rows[0][1]] if rows else []
    if not set(titles) & set(_SENTENCES) or not set(titles) & {*_QUESTIONS, *_IDS}:
        raise DataError(f"Prompts {path} need the columns question_template and declarative_prompt. {_FORM}.")
    for number, cells in rows[1:]:
        if any(cell.strip() for cell in cells):
            yield f"{path}, row {number}", dict(zip(titles, cells, strict=False))


def _json_records(path: str | Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Place and values by key of each record."""
    try:
        content = read_json(path)
    except FileError as error:
        raise DataError(f"Prompts {path} cannot be read: {error}") from error
    if isinstance(content, dict):
        for key, sentence in content.items():
            kind = _IDS[0] if " " not in key.strip() else _QUESTIONS[0]
            yield f"{path}, {key!r}", {kind: key, _SENTENCES[0]: sentence}
        return
    if not isinstance(content, list):
        raise file_error(path, f"holds {type(content).__name__} and no sentences", f"{_FORM}.")
    for number, record in enumerate(content, start=1):
        where = f"{path}, record {number}"
        if not isinstance(record, dict):
            raise file_error(where, f"is {record!r} and no object", f"{_FORM}.")
        yield where, {_key(str(key)): value for key, value in record.items()}


def _key(title: str) -> str:
    """The title of a column in lower case with `_` between words."""
    return "_".join(title.lower().split())


def _add(statements: Statements, record: Mapping[str, object], where: str) -> None:
    """Add the sentence of a record, by its template, else by its question's id, else by its question."""
    sentence = _value(record, _SENTENCES)
    template = _value(record, _QUESTIONS[:1])
    identifier = _value(record, _IDS)
    by_id = bool(identifier) and not template
    name = identifier if by_id else template or _value(record, _QUESTIONS)
    if not name or not sentence:
        lacking = "sentence (declarative_prompt)" if name else "question (question_template or question_id)"
        raise file_error(where, f"has no {lacking}", f"{_FORM}, filled in every row.")
    sentences = statements.by_id if by_id else statements.by_template
    if sentences.setdefault(name, sentence) != sentence:
        raise file_error(where, f"gives {name!r} another sentence than a row before", "Keep one of them.")


def _value(record: Mapping[str, object], keys: Sequence[str]) -> str:
    """The first value that a record has under some keys, as text; empty if there is none."""
    for key in keys:
        value = record.get(key)
        if isinstance(value, str | int) and str(value).strip():
            return str(value).strip()
    return ""
