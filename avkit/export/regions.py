# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of sources and regions: VGG-SS, and f-Music / f-Lifescene in our form."""

import json
from typing import Any

import numpy as np

from avkit.export.base import LETTERS, Layout, clip_name
from avkit.files import write_file
from avkit.scenes import CLASSES, Question, Scene, scene_captions, scene_targets
from avkit.scenes.picture import paint
from avkit.scenes.world import track

#: Steps of 0.4 s have one whose middle is second 5, at which VGG-SS takes its picture.
_HOP, _STEP = 0.4, 12


class VGGSS(Layout):
    """Close-ups: one picture, ten seconds of sound, boxes of what sounds in view. Training clips are listed alone."""

    close = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.records: list[dict[str, Any]] = []
        self.listed: list[str] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Something in view sounds at second 5."""
        state = track(scene, _HOP)
        return bool((state.visible & state.sounding)[:, _STEP].any())

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Picture and wav."""
        name = f"{clip_name(scene)}_000000"
        self.sound(f"audio/{name}.wav", scene)
        frames, found = self.truth(scene, "boxes", hop=_HOP)
        self.image(f"frames/{name}.jpg", frames[_STEP])
        if split == "train":
            self.listed.append(name)
            return name
        state = track(scene, _HOP)
        on = (state.visible & state.sounding)[:, _STEP]
        kinds = [t.name for t, sounds in zip(scene.things, on, strict=True) if sounds]
        boxes = found["boxes"][_STEP][: len(on)][on].astype(float)
        self.records.append({"file": name, "class": kinds[0], "bbox": boxes[np.isfinite(boxes).all(1)].tolist()})
        return name

    def finish(self) -> None:
        """The records, their list, and that of training."""
        self.json("vggss.json", self.records)
        write_file(self.out / "vggss_test.csv", "".join(f"{r['file']}\n" for r in self.records))
        for kind in ("10k", "144k"):
            write_file(self.out / f"vggss_{kind}.txt", "".join(f"{name}\n" for name in self.listed))


class RASSU(Layout):
    """Ten seconds at 30 pictures per second: video, a mask per frame by source, a sentence per change."""

    fps = 30.0

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.splits: dict[str, list[str]] = {split: [] for split in LETTERS}

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video, masks, sentences and facts of a clip."""
        name = clip_name(scene)
        hop, folder = 1 / self.rate, f"clips/{name}"
        self.sound(f"{folder}/audio.wav", scene)
        self.video(f"{folder}/video.mp4", scene, f"{folder}/audio.wav")
        state = track(scene, hop)
        painted = paint(scene, state, self.picture, pictures=False)
        sources = [i for i, t in enumerate(scene.things) if t.visible and t.sounding]
        values = np.zeros(256, np.uint8)
        for number, thing in enumerate(sources, 1):
            values[thing + 1] = number
        frames = len(painted.instance)
        for k in range(frames):
            on = np.concatenate([[False], state.visible[:, k] & state.sounding[:, k]])
            known = np.where(np.pad(on, (0, 256 - len(on))), values, 0)
            self.image(f"{folder}/masks/{k:05d}.png", known[painted.instance[k]].astype(np.uint8))
        told = scene_captions(scene, 1.0)
        rate = round(self.rate)
        lines = [
            {"frame": k * rate, "source": None, "text": text}
            for k, text in enumerate(told)
            if k == 0 or text != told[k - 1]
        ]
        write_file(self.out / folder / "captions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        labels = [{"source": n, "label": scene.things[i].name} for n, i in enumerate(sources, 1)]
        kind = "single" if len(sources) < 2 else "multi"
        meta = {"id": name, "kind": kind, "num_frames": frames, "sources": labels, "origin": [name]}
        self.json(f"{folder}/meta.json", meta)
        self.splits[split].append(name)
        return name

    def finish(self) -> None:
        """Facts of the whole, and lists of splits."""
        size = [self.picture, self.picture]
        facts = {"name": "f-music", "version": 1, "fps": 30, "size": size, "classes": list(CLASSES)}
        self.json("dataset.json", facts)
        for split, names in self.splits.items():
            write_file(self.out / f"splits/{split}.txt", "".join(f"{name}\n" for name in names))


class Manifest(Layout):
    """One JSON Lines file, with masks, boxes, sentences, events and a question for every clip."""

    asked = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lines: list[dict[str, Any]] = []

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video, masks, and all that is known."""
        assert question is not None
        name = clip_name(scene)
        self.sound(f"audio/{name}.wav", scene)
        self.video(f"video/{name}.mp4", scene, f"audio/{name}.wav")
        found = scene_targets(scene, self.picture, 1.0, ["class_mask", "boxes", "caption"])
        named = {str(k): label for k, label in enumerate(CLASSES, 1)}
        masks = []
        for k, mask in enumerate(found["class_mask"]):
            self.image(f"masks/{name}_{k}.png", mask)
            masks.append({"step": k, "file": f"masks/{name}_{k}.png", "classes": named})
        spans = [
            {"start": a, "end": b, "label": t.name, "modality": modality}
            for t in scene.things
            for modality, when in (("audio", t.sounding), ("visual", t.visible))
            for a, b in when
        ]
        state = track(scene)
        boxes = [
            {"step": int(step), "box": [float(x) for x in found["boxes"][step, thing]]}
            for thing, step in np.argwhere(state.visible & state.sounding)
            if np.isfinite(found["boxes"][step, thing]).all()
        ]
        line: dict[str, Any] = {"id": name, "video": f"video/{name}.mp4", "split": split, "masks": masks}
        sentences = [{"start": k, "end": k + 1, "text": text} for k, text in enumerate(found["caption"])]
        asked = {"question": question.text, "answer": question.answer, "type": question.type}
        line |= {"captions": sentences, "events": spans, "questions": [asked]} | ({"boxes": boxes} if boxes else {})
        self.lines.append(line)
        return name

    def finish(self) -> None:
        """The file."""
        write_file(self.out / "manifest.jsonl", "".join(json.dumps(line) + "\n" for line in self.lines))
