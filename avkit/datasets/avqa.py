# SPDX-License-Identifier: Apache-2.0
"""AVQA: questions about everyday clips with four answers to choose from."""

from typing import Any

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, QuestionAnnotation, annotation_texts
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.official import Official
from avkit.datasets.tables import check_unique, read_json, safe_id
from avkit.errors import DataError, unknown_name
from avkit.text.tokenizer import unique_words

#: Types of questions in index order.
TYPES = ("Which", "Come From", "Happening", "Where", "Why", "Before Next", "When", "Used For")
#: Number of choices of a question.
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
    marker_files = ("train_qa.json", "val_qa.json")
    questions_only = True
    patterns = MediaPatterns(
        frames=("frames/{media}", "data/frames/{media}"),
        video=("video/{media}.mp4", "data/video/{media}.mp4", "videos/{media}.mp4", "{media}.mp4"),
        audio=("audio/{media}.wav", "data/audio/{media}.wav"),
    )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Questions in the order of their file."""
        name = "train_qa.json" if split == "train" else "val_qa.json"
        path = self.annotation_file(name, f"annotation/{name}", f"data/annotation/{name}")
        annotations = []
        for k, record in enumerate(read_json(path)):
            annotations.append(self._parse_record(record, f"{path}, record {k}"))
        check_unique([annotation.id for annotation in annotations], str(path))
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """Answers and words of the train file, or of val's if it is missing."""
        has_train = self.root.find("train_qa.json", "annotation/train_qa.json") is not None
        annotations = self.read_annotations("train" if has_train else "val")
        answers: set[str] = set()
        texts = annotation_texts(annotations)
        for annotation in annotations:
            for question in annotation.questions or ():
                answers.add(question.answer)
                texts += question.choices or ()
        return Vocabulary(answers=sorted(answers), words=unique_words(texts))

    def _parse_record(self, record: Any, where: str) -> Annotation:
        try:
            media = safe_id(record["video_name"], where)
            number = int(record["answer"])
            choices = _parse_choices(record.get("multi_choice"))
            question_type = record["question_type"]
            text = record["question_text"]
            name = str(record["id"])
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise DataError(
                f"{where}: a question has id, video_name, question_text, multi_choice, answer and question_type; "
                f"{error!r} in {str(record)[:80]}."
            ) from error
        if question_type not in TYPES:
            raise DataError(f"{where}: {unknown_name('question type', str(question_type), TYPES)}")
        if not 0 <= number < CHOICES or not choices[number]:
            raise DataError(f"{where}: answer {number} is none of the choices {choices}.")
        question = QuestionAnnotation(
            question=text, answer=choices[number], choices=choices, type=question_type, id=name
        )
        return Annotation(id=name, where=where, root=self.root.path, media=media, questions=[question])


def _parse_choices(values: Any) -> list[str]:
    """The four choices; those that are missing or null are empty."""
    choices = ["" if value is None else str(value) for value in values or []][:CHOICES]
    return choices + [""] * (CHOICES - len(choices))
