# SPDX-License-Identifier: Apache-2.0
"""AVQA: questions about everyday clips with four answers to choose from."""

from collections.abc import Sequence

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, QuestionAnnotation, annotation_texts
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.json_records import JsonRecord, read_records
from avkit.datasets.official import Official
from avkit.datasets.tables import check_unique, safe_id
from avkit.errors import DataError, unknown_name
from avkit.text.tokenizer import unique_words

#: Types of questions in index order.
TYPES = ("Which", "Come From", "Happening", "Where", "Why", "Before Next", "When", "Used For")
#: Number of choices of a question.
CHOICES = 4
#: What a record has.
_FORM = "A question has id, video_name, question_text, multi_choice, answer and question_type"


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
    how_to_get = (
        "Questions, clips and features are linked at mn.cs.tsinghua.edu.cn/avqa and in the readme of AlyssaYoung/AVQA: "
        "put train_qa.json and val_qa.json into 'annotation'. Its authors state no licence for them: ask them under "
        "which one questions and clips, which are of VGGSound, may be used and passed on."
    )
    marker_files = ("train_qa.json", "val_qa.json")
    questions_only = True
    patterns = MediaPatterns(
        frames=("frames/{media}", "data/frames/{media}"),
        video=("video/{media}.mp4", "data/video/{media}.mp4", "videos/{media}.mp4", "{media}.mp4"),
        audio=("audio/{media}.wav", "data/audio/{media}.wav"),
    )

    @property
    def listed_split(self) -> str:
        """`val` for the split `test`, which has no list of its own."""
        return "val" if self.split == "test" else ""

    @property
    def notes(self) -> Sequence[str]:
        """That the test is on the val list."""
        return (
            "AVQA publishes no test list: split test is its val list, as in published tables. The best checkpoint is "
            "chosen on the same questions, so the figures are those of a validation.",
        )

    def read_annotations(self, split: str) -> list[Annotation]:
        """Questions in the order of their file."""
        name = "train_qa.json" if split == "train" else "val_qa.json"
        path = self.annotation_file(name, f"annotation/{name}", f"data/annotation/{name}")
        annotations = [self._parse_record(record) for record in read_records(path, _FORM)]
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

    def _parse_record(self, record: JsonRecord) -> Annotation:
        where = record.where
        media = safe_id(record.name("video_name"), where)
        number = record.whole("answer")
        choices = _parse_choices(record)
        question_type = record.text("question_type")
        if question_type not in TYPES:
            raise DataError(f"{where}: {unknown_name('question type', question_type, TYPES)}")
        if not 0 <= number < CHOICES or not choices[number]:
            raise DataError(f"{where}: answer {number} is none of the choices {choices}.")
        question = QuestionAnnotation(
            question=record.text("question_text"),
            answer=choices[number],
            choices=choices,
            type=question_type,
            id=record.name("id"),
        )
        return Annotation(id=record.name("id"), where=where, root=self.root.path, media=media, questions=[question])


def _parse_choices(record: JsonRecord) -> list[str]:
    """The four choices; those that are missing or null are empty."""
    values = record.items("multi_choice") if record.values.get("multi_choice") is not None else []
    choices = ["" if value is None else str(value) for value in values][:CHOICES]
    return choices + [""] * (CHOICES - len(choices))
