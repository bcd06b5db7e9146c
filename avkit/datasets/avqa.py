# SPDX-License-Identifier: Apache-2.0
"""AVQA: questions about everyday clips with four answers to choose from."""

from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Line, texts
from avkit.datasets.folder import Places
from avkit.datasets.official import Official
from avkit.datasets.tables import read_json, safe_id, unique
from avkit.errors import DataError, unknown_name
from avkit.text.tokenizer import unique_words

#: Types of questions in index order.
TYPES = ("Which", "Come From", "Happening", "Where", "Why", "Before Next", "When", "Used For")
CHOICES = 4


class AVQA(Official):
    """AVQA: 57,335 questions about 57,015 clips of 10 s of VGGSound, four choices each.

    Splits: train and val; `test` is val, on which published figures are. A sample is a question. Choices that are
    missing or null in the file are empty strings, which no answer is. The vocabulary's answers are all right answers of
    the train file, sorted.

    Source:
        Yang et al., AVQA: A Dataset for Audio-Visual Question Answering on Videos, ACM MM 2022; AlyssaYoung/AVQA.
    """

    name = "avqa"
    title = "AVQA"
    source = "train_qa.json and val_qa.json from AlyssaYoung/AVQA (data/annotation); clips from VGGSound"
    marks = ("train_qa.json", "val_qa.json")
    asks = True
    places = Places(
        frames=("frames/{media}", "data/frames/{media}"),
        video=("video/{media}.mp4", "data/video/{media}.mp4", "videos/{media}.mp4", "{media}.mp4"),
        sound=("audio/{media}.wav", "data/audio/{media}.wav"),
    )

    def words(self, split: str) -> Vocabulary:
        """Answers and words of the train file, or of val's where it is not there."""
        own = "train" if self.root.find("train_qa.json", "annotation/train_qa.json") else "val"
        lines = self.read(own)
        answers = {q["answer"] for line in lines for q in line.data["questions"]}
        every = [*texts(lines), *(c for line in lines for c in line.data["questions"][0]["choices"])]
        return Vocabulary(answers=sorted(answers), words=unique_words(every))

    def read(self, split: str) -> list[Line]:
        """Questions in the order of their file."""
        name = f"{'train' if split == 'train' else 'val'}_qa.json"
        path = self.file(name, f"annotation/{name}", f"data/annotation/{name}")
        lines = [self._line(record, f"{path}, record {k}") for k, record in enumerate(read_json(path))]
        unique([line.data["id"] for line in lines], str(path))
        return lines

    def _line(self, record: Any, where: str) -> Line:
        try:
            media, number = safe_id(record["video_name"], where), int(record["answer"])
            choices = [str(c) if c is not None else "" for c in record.get("multi_choice") or []][:CHOICES]
            choices += [""] * (CHOICES - len(choices))
            kind, text = record["question_type"], record["question_text"]
            identity = str(record["id"])
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where}: a question has id, video_name, question_text, multi_choice, answer and question_type; "
                f"{error!r} in {str(record)[:80]}."
            ) from error
        if kind not in TYPES:
            raise DataError(f"{where}: {unknown_name('question type', str(kind), TYPES)}")
        if not 0 <= number < CHOICES or not choices[number]:
            raise DataError(f"{where}: answer {number} is none of the choices {choices}.")
        question = {"question": text, "answer": choices[number], "choices": choices, "type": kind, "id": identity}
        return self.line(where, id=identity, media=media, questions=[question])
