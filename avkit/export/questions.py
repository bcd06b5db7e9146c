# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of questions: MUSIC-AVQA and AVQA."""

import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.export.base import LETTERS, Layout, clip_name
from avkit.export.names import MUSIC_AVQA
from avkit.export.synthetic_features import audio_features, visual_features
from avkit.scenes import ANSWERS, CLASSES, Question, Scene
from avkit.scenes.draws import Draws

_SECONDS = np.arange(10.0)
#: Added to the number of a scene to make that of a video, so that splits share none.
_FIRST = {"train": 0, "val": 20_000_000, "test": 40_000_000}


class MusicAVQA(Layout):
    """Questions with slots, videos, features by video. Things of scenes are called by instruments' names."""

    asked = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.records: dict[str, list[dict[str, Any]]] = {split: [] for split in LETTERS}

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav, and features by video."""
        assert question is not None
        name = f"{_FIRST[split] + scene.index:08d}"
        wave = self.sound(f"audio/{name}.wav", scene)
        self.video(f"video/{name}.mp4", scene, f"audio/{name}.wav")
        words = re.compile(rf"\b({'|'.join(CLASSES)})\b")
        values = [MUSIC_AVQA[word] for word in words.findall(question.text)]
        kind = question.type.rsplit(" ", 1)
        self.records[split].append(
            {
                "video_id": name,
                "question_id": _FIRST[split] + len(self.records[split]),
                "type": json.dumps(kind),
                "question_content": f"{words.sub('<Object>', question.text)}?".capitalize().replace(
                    "<object>", "<Object>"
                ),
                "templ_values": json.dumps(values),
                "question_deleted": 0,
                "anser": MUSIC_AVQA.get(question.answer, question.answer),
            }
        )
        if self.with_features:
            frames = self.pictures(scene, 1.0)
            self.array(f"vggish/{name}.npy", audio_features(wave, _SECONDS, 0.96))
            self.array(f"resnet18/{name}.npy", visual_features(frames, 512))
            self.array(
                f"clip_feats/frame_1fps_ViT-L14@336px/{name}.npy", visual_features(frames, 768).astype(np.float16)
            )
            self.array(f"ToMe_feat/tome14/{name}.npy", _tokens(frames, 1024))
            patches = visual_features(frames, 512, 7).reshape(len(frames), 49, 512)
            whole = visual_features(frames, 512)[:, None]
            self.array(f"clip_patch-level_vit_b32/{name}.npy", np.concatenate([whole, patches], 1).astype(np.float16))
            maps = visual_features(frames, 512, 14).transpose(0, 3, 1, 2)
            self.array(f"visual_14x14/{name}.npy", maps.astype(np.float16))
        return name

    def finish(self) -> None:
        """The three files of the updated release, and of the one that shares no video, as scenes never do."""
        for split, records in self.records.items():
            self.json(f"json_update/avqa-{split}.json", records)
            self.json(f"split_video_id/music_avqa_{split}.json", records)


def _tokens(frames: NDArray[np.uint8], width: int) -> NDArray[np.float16]:
    """14 tokens of each picture, (T, 14, width): the parts of 4 by 4, the first two and the last two as one."""
    parts = visual_features(frames, width, 4).reshape(len(frames), 16, width)
    first, last = (parts[:, k : k + 2].mean(1, keepdims=True) for k in (0, 14))
    return np.concatenate([first, parts[:, 2:14], last], 1).astype(np.float16)


class AVQA(Layout):
    """Questions with four choices, videos, wavs; the test is the val file."""

    asked = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.records: dict[str, list[dict[str, Any]]] = {split: [] for split in LETTERS}

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav."""
        assert question is not None
        name = f"{clip_name(scene)}_000000"
        self.sound(f"data/audio/{name}.wav", scene)
        self.video(f"data/video/{name}.mp4", scene, f"data/audio/{name}.wav")
        others = [a for a in ANSWERS if a != question.answer]
        draws = Draws(scene.texture)
        choices = [others[k] for k in draws.sample(len(others), 3)]
        place = draws.sample(4, 1)[0]
        choices.insert(place, question.answer)
        number = sum(map(len, self.records.values()))
        self.records[split].append(
            {
                "id": number,
                "video_name": name,
                "video_id": number,
                "question_text": f"{question.text.capitalize()}?",
                "multi_choice": choices,
                "answer": place,
                "question_relation": "Both",
                "question_type": "Which",
            }
        )
        return name

    def finish(self) -> None:
        """The two files; scenes of val and test are both in that of val."""
        self.json("data/annotation/train_qa.json", self.records["train"])
        self.json("data/annotation/val_qa.json", self.records["val"] + self.records["test"])
