# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of questions: MUSIC-AVQA and AVQA."""

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.export.base import Layout, clip_name
from avkit.export.names import MUSIC_AVQA
from avkit.export.synthetic_features import audio_features, visual_features
from avkit.scenes import ANSWERS, CLASSES, Question, Scene
from avkit.scenes.draws import Draws

#: Start of each second of a clip.
_SECONDS = np.arange(10.0)
#: Added to the number of a scene to make that of a video, so that splits share none.
_FIRST_VIDEO = {"train": 0, "val": 20_000_000, "test": 40_000_000}
_CLASS_NAME = re.compile(rf"\b({'|'.join(CLASSES)})\b")


class _Questions(Layout):
    """A layout with one record per question, by split."""

    with_question = True

    def setup(self) -> None:
        """No records yet."""
        self.records: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}


class MusicAVQA(_Questions):
    """Questions with slots, videos, features by video. Classes of scenes have names of instruments."""

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav, and features by video."""
        assert question is not None
        number = _FIRST_VIDEO[split] + scene.index
        name = f"{number:08d}"
        wave = self.write_clip(scene, f"video/{name}.mp4", f"audio/{name}.wav")
        record = {
            "video_id": name,
            "question_id": _FIRST_VIDEO[split] + len(self.records[split]),
            "type": json.dumps(question.type.rsplit(" ", 1)),
            "question_content": _with_slots(question.text),
            "templ_values": json.dumps([MUSIC_AVQA[word] for word in _CLASS_NAME.findall(question.text)]),
            "question_deleted": 0,
            "anser": MUSIC_AVQA.get(question.answer, question.answer),
        }
        self.records[split].append(record)
        if self.with_features:
            self.write_array(f"vggish/{name}.npy", audio_features(wave, _SECONDS, 0.96))
            self._write_visual_features(name, self.frames(scene, 1.0))
        return name

    def _write_visual_features(self, name: str, frames: NDArray[np.uint8]) -> None:
        whole = visual_features(frames, 512)
        patches = visual_features(frames, 512, 7).reshape(len(frames), 49, 512)
        with_whole = np.concatenate([whole[:, None], patches], 1)
        maps = visual_features(frames, 512, 14).transpose(0, 3, 1, 2)
        clip = visual_features(frames, 768)
        self.write_array(f"resnet18/{name}.npy", whole)
        self.write_array(f"clip_feats/frame_1fps_ViT-L14@336px/{name}.npy", clip.astype(np.float16))
        self.write_array(f"ToMe_feat/tome14/{name}.npy", _merged_tokens(frames, 1024))
        self.write_array(f"clip_patch-level_vit_b32/{name}.npy", with_whole.astype(np.float16))
        self.write_array(f"visual_14x14/{name}.npy", maps.astype(np.float16))

    def finish(self) -> None:
        """The files of the updated release, and those whose splits share no video, as scenes never do."""
        for split, records in self.records.items():
            self.write_json(f"json_update/avqa-{split}.json", records)
            self.write_json(f"split_video_id/music_avqa_{split}.json", records)


def _with_slots(text: str) -> str:
    """A question with `<Object>` in place of names of classes, as a sentence."""
    sentence = f"{_CLASS_NAME.sub('<object>', text)}?".capitalize()
    return sentence.replace("<object>", "<Object>")


def _merged_tokens(frames: NDArray[np.uint8], width: int) -> NDArray[np.float16]:
    """14 tokens of each picture, (T, 14, width): 4 by 4 parts, the first two and the last two averaged."""
    parts = visual_features(frames, width, 4).reshape(len(frames), 16, width)
    first = parts[:, :2].mean(1, keepdims=True)
    last = parts[:, 14:].mean(1, keepdims=True)
    return np.concatenate([first, parts[:, 2:14], last], 1).astype(np.float16)


class AVQA(_Questions):
    """Questions with four choices, videos, wavs; the val file serves as the test split."""

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav."""
        assert question is not None
        name = f"{clip_name(scene)}_000000"
        self.write_clip(scene, f"data/video/{name}.mp4", f"data/audio/{name}.wav")
        choices, correct = _choices(question.answer, Draws(scene.texture))
        number = sum(len(records) for records in self.records.values())
        record = {
            "id": number,
            "video_name": name,
            "video_id": number,
            "question_text": f"{question.text.capitalize()}?",
            "multi_choice": choices,
            "answer": correct,
            "question_relation": "Both",
            "question_type": "Which",
        }
        self.records[split].append(record)
        return name

    def finish(self) -> None:
        """The two files; scenes of val and test are both in that of val."""
        self.write_json("data/annotation/train_qa.json", self.records["train"])
        self.write_json("data/annotation/val_qa.json", self.records["val"] + self.records["test"])


def _choices(answer: str, draws: Draws) -> tuple[list[str], int]:
    """Four answers in random order, and the index of the correct one."""
    others = [other for other in ANSWERS if other != answer]
    choices = [others[k] for k in draws.sample(len(others), 3)]
    correct = draws.sample(4, 1)[0]
    choices.insert(correct, answer)
    return choices, correct
