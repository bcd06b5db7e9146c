# SPDX-License-Identifier: Apache-2.0
"""MUSIC-AVQA: questions about who plays what, answered by one of 42 words."""

import re
from functools import lru_cache

from avkit.batch import Vocabulary
from avkit.datasets.annotations import Annotation, QuestionAnnotation, annotation_texts
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.json_records import JsonRecord, read_records
from avkit.datasets.official import Official
from avkit.datasets.released import ReleasedFeatures
from avkit.datasets.tables import number_repeats, safe_id
from avkit.errors import DataError, FileError, unknown_name
from avkit.features.base import FeatureFacts
from avkit.reading.text import parse_json
from avkit.scenes.question_templates import MUSIC_AVQA_TYPES
from avkit.text.tokenizer import unique_words

#: Answers in index order, that of their first appearance in the train file.
ANSWERS = [
    "two", "cello", "congas", "zero", "no", "pipa", "six", "yes", "one", "four", "three", "seven", "five", "ukulele",
    "right", "piano", "left", "accordion", "clarinet", "guzheng", "more than ten", "nine", "indoor", "saxophone",
    "drum", "violin", "middle", "outdoor", "bagpipe", "bassoon", "acoustic_guitar", "banjo", "electric_bass", "ten",
    "eight", "flute", "simultaneously", "trumpet", "erhu", "xylophone", "tuba", "suona",
]  # fmt: skip

#: Where each release keeps its questions; `{split}` is filled in.
_FILES = {
    "update": ("json_update/avqa-{split}.json", "split_que_id/music_avqa_{split}.json", "avqa-{split}.json"),
    "original": ("json/avqa-{split}.json", "avqa-{split}.json"),
    "real": ("json/avqa-{split}_real.json", "avqa-{split}_real.json"),
    "synthetic": ("json/avqa-{split}_fake.json", "avqa-{split}_fake.json"),
    "by-video": ("split_video_id/music_avqa_{split}.json", "music_avqa_{split}.json"),
    "v2": ("v2/{split}_balance.json", "{split}_balance.json", "v2/{split}.json"),
}
#: What a record has.
_FORM = "A question has video_id, type, question_content, templ_values and anser"
#: Where features are.
_PUBLISHED = "see the readme of GeWu-Lab/MUSIC-AVQA"
_TSPM = "see the readme of GeWu-Lab/TSPM"
_PSTP = "see the readme of GeWu-Lab/PSTP-Net"
#: A slot of a question template.
_SLOT = re.compile(r"<[A-Za-z]+>")


class MusicAVQA(Official):
    """MUSIC-AVQA: 45,867 questions of nine types about 9,288 videos of 60 s.

    Splits of release `update`: train 31,927, val 4,568, test 9,129; `original` has repeated ids with different answers,
    `real` and `synthetic` are its parts, `by-video` shares no video between splits, `v2` is the balanced MUSIC-AVQA
    v2.0. A sample is a question in the order of its file. Ids of repeated questions, and of those without one, are made
    unique. Answers are the 42 of the train file in its order.

    Source:
        Li et al., Learning to Answer Questions in Dynamic Audio-Visual Scenarios, CVPR 2022; GeWu-Lab/MUSIC-AVQA.
    """

    name = "music-avqa"
    title = "MUSIC-AVQA"
    source = (
        "data/json_update/avqa-{train,val,test}.json from GeWu-Lab/MUSIC-AVQA (or another release); "
        "videos and features as its readme links"
    )
    how_to_get = (
        "Videos and features are linked in the readme of GeWu-Lab/MUSIC-AVQA. The files of release by-video are of "
        "GeWu-Lab/TSPM, whose authors state no licence: ask them under which one the split may be used and passed on."
    )
    marker_files = ("json_update/avqa-test.json", "json/avqa-test.json", "split_video_id/music_avqa_test.json")
    releases = tuple(_FILES)
    counts = {  # noqa: RUF012
        "update": {"train": 31_927, "val": 4568, "test": 9129},
        "original": {"train": 32_087, "val": 4595, "test": 9185},
        "real": {"val": 3698, "test": 7402},
        "synthetic": {"train": 6233, "val": 897, "test": 1783},
        "by-video": {"val": 4571, "test": 9125},
        "v2": {"test": 10_819},
    }
    fixed_steps = None
    questions_only = True
    patterns = MediaPatterns(
        frames=("frames/{media}", "avqa-frames-1fps/{media}"),
        video=("video/{media}.mp4", "videos/{media}.mp4", "MUSIC-AVQA-videos-Real/{media}.mp4", "{media}.mp4"),
        audio=("audio/{media}.wav",),
    )
    released = {  # noqa: RUF012
        "vggish": ReleasedFeatures(
            "vggish/{media}.npy", (60, 128), FeatureFacts("vggish", 1.0, 0.96), "audio", _PUBLISHED, "vggish"
        ),
        "resnet18": ReleasedFeatures(
            "resnet18/{media}.npy", (60, 512), FeatureFacts("resnet18", 1.0, 0, 1), "visual", _PUBLISHED
        ),
        "clip": ReleasedFeatures(
            "clip_feats/frame_1fps_ViT-L14@336px/{media}.npy",
            (60, 768),
            FeatureFacts("clip_vit_l14_336", 1, 0, 1),
            "visual",
            _TSPM,
            "tspm",
        ),
        "tome14": ReleasedFeatures(
            "ToMe_feat/tome14/{media}.npy",
            (60, 14, 1024),
            FeatureFacts("vit_large_tome14", 1, 0, 1),
            "visual",
            _TSPM,
            "tspm",
        ),
        "clip_b32": ReleasedFeatures(
            "clip_patch-level_vit_b32/{media}.npy",
            (60, 50, 512),
            FeatureFacts("clip_vit_b32", 1, 0, 1),
            "visual",
            _PSTP,
            "pstp",
        ),
        "clip_b32_frame": ReleasedFeatures(
            "clip_patch-level_vit_b32/{media}.npy",
            (60, 50, 512),
            FeatureFacts("clip_vit_b32", 1, 0, 1),
            "visual",
            _PSTP,
            "tspm_b32",
            token=0,
        ),
        "resnet18_14x14": ReleasedFeatures(
            "visual_14x14/{media}.npy",
            (60, 512, 14, 14),
            FeatureFacts("resnet18_14x14", 1, 0, 1),
            "visual",
            _PUBLISHED,
            "avst",
        ),
    }

    def read_annotations(self, split: str) -> list[Annotation]:
        """Questions in the order of their file."""
        path = self.annotation_file(*self._file_names(split))
        annotations = []
        questions = []
        for k, record in enumerate(read_records(path, _FORM)):
            question, video = _parse_question(record, k)
            media = safe_id(video, record.where)
            questions.append(question)
            annotations.append(
                Annotation(id="", where=record.where, root=self.root.path, media=media, questions=[question])
            )
        ids = number_repeats([str(question.id) for question in questions])
        for annotation, question, name in zip(annotations, questions, ids, strict=True):
            annotation.id = name
            question.id = name
        return annotations

    def read_vocabulary(self) -> Vocabulary:
        """The 42 answers, and the words of the train file, or of the others if it is missing."""
        splits = [split for split in self.splits if self.root.find(*self._file_names(split)) is not None]
        if "train" in splits:
            splits = ["train"]
        texts: list[str] = []
        for split in splits:
            read = self.all_annotations if split == self.split else self.read_annotations(split)
            texts += annotation_texts(read)
        return Vocabulary(answers=ANSWERS, words=unique_words(texts))

    def _file_names(self, split: str) -> list[str]:
        return [name.format(split=split) for name in _FILES[self.release]]


def _parse_question(record: JsonRecord, k: int) -> tuple[QuestionAnnotation, str]:
    """The question of a record, and the id of its video."""
    where = record.where
    video = record.name("video_id")
    answer = record.text("anser")
    question_type = " ".join(_parse_list(record, "type"))
    if question_type not in MUSIC_AVQA_TYPES:
        raise DataError(f"{where}: {unknown_name('question type', question_type, MUSIC_AVQA_TYPES)}")
    if answer not in ANSWERS:
        raise DataError(f"{where}: {unknown_name('answer', answer, ANSWERS)}")
    text = fill_template(record.text("question_content"), _parse_list(record, "templ_values"), where)
    name = record.name("question_id", f"{video}#{k}")
    return QuestionAnnotation(question=text, answer=answer, type=question_type, id=name), video


def fill_template(template: str, values: list[str], where: str) -> str:
    """A question from its template, slots filled from left to right.

    Raises:
        DataError: If there are more or fewer values than slots.
    """
    slots = _SLOT.findall(template)
    if len(slots) != len(values):
        raise DataError(f"{where}: {template!r} has {len(slots)} slots and {len(values)} values.")
    remaining = iter(values)
    return normalize_template(_SLOT.sub(lambda _: str(next(remaining)), template))


def normalize_template(template: str) -> str:
    """A template or question without blanks at its ends and with plain question marks."""
    return template.replace("\uff1f", "?").strip()


def _parse_list(record: JsonRecord, key: str) -> list[str]:
    """A list, which may be written as JSON within a string."""
    if not isinstance(record.values.get(key), str):
        return [str(value) for value in record.items(key)]
    text = record.text(key)
    try:
        values = _read_list(text)
    except FileError:
        values = None
    if values is None:
        raise _no_list(text, record.where, key)
    return list(values)


@lru_cache(maxsize=4096)
def _read_list(text: str) -> tuple[str, ...] | None:
    """A list written as JSON, of which few differ in a file; None of other JSON."""
    values = parse_json(text, "a list")
    return tuple(str(value) for value in values) if isinstance(values, list) else None


def _no_list(text: str, where: str, key: str) -> DataError:
    """The error for a text that is no list."""
    try:
        parse_json(text, f"{where}, field {key!r}")
    except FileError as error:
        return DataError(f"{where}: {text[:80]!r} is no list written as JSON ({error}).")
    return DataError(f"{where}: {text[:80]!r} is no list written as JSON.")
