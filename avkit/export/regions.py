# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of sources and regions: VGG-SS, f-Music / f-Lifescene in our form, and manifests."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.export.base import Layout, clip_name
from avkit.scenes import CLASSES, Question, Scene, scene_captions, scene_targets
from avkit.scenes.picture import paint
from avkit.scenes.world import track

#: Steps of 0.4 s have one whose middle is second 5, at which VGG-SS takes its picture.
_HOP = 0.4
_MIDDLE_STEP = 12

#: Records of an annotation, in the keys of the layout.
Records = list[dict[str, Any]]


class VGGSS(Layout):
    """Close-ups: one picture, ten seconds of sound, boxes of visible sounding things. Training clips have no boxes."""

    close = True

    def setup(self) -> None:
        """No clips yet."""
        self.records: Records = []
        self.training_clips: list[str] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Something in view sounds at second 5."""
        return bool(_sounding_in_middle(scene).any())

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Picture and wav."""
        name = f"{clip_name(scene)}_000000"
        self.write_sound(f"audio/{name}.wav", scene)
        frames, targets = self.targets(scene, "boxes", hop=_HOP)
        self.write_image(f"frames/{name}.jpg", frames[_MIDDLE_STEP])
        if split == "train":
            self.training_clips.append(name)
            return name
        sounding = _sounding_in_middle(scene)
        first = scene.things[int(np.flatnonzero(sounding)[0])]
        boxes = targets["boxes"][_MIDDLE_STEP][: len(sounding)][sounding].astype(float)
        boxes = boxes[np.isfinite(boxes).all(1)]
        self.records.append({"file": name, "class": first.name, "bbox": boxes.tolist()})
        return name

    def finish(self) -> None:
        """The records, and lists of the test and training clips."""
        self.write_json("vggss.json", self.records)
        self.write_text("vggss_test.csv", [record["file"] for record in self.records])
        for size in ("10k", "144k"):
            self.write_text(f"vggss_{size}.txt", self.training_clips)


def _sounding_in_middle(scene: Scene) -> NDArray[np.bool_]:
    """Which things are visible and sound at second 5, bool (N,)."""
    state = track(scene, _HOP)
    return np.asarray((state.visible & state.sounding)[:, _MIDDLE_STEP])


class RASSU(Layout):
    """Ten seconds at 30 frames per second: video, a mask per frame by source, a sentence per change."""

    fps = 30.0

    def setup(self) -> None:
        """No clips yet."""
        self.splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video, masks, sentences and facts of a clip."""
        name = clip_name(scene)
        folder = f"clips/{name}"
        self.write_clip(scene, f"{folder}/video.mp4", f"{folder}/audio.wav")
        sources = [i for i, thing in enumerate(scene.things) if thing.visible and thing.sounding]
        masks = self._source_masks(scene, sources)
        for k, mask in enumerate(masks):
            self.write_image(f"{folder}/masks/{k:05d}.png", mask)
        self.write_json_lines(f"{folder}/captions.jsonl", self._sentences(scene))
        labels = [{"source": n, "label": scene.things[i].name} for n, i in enumerate(sources, 1)]
        kind = "single" if len(sources) < 2 else "multi"
        meta = {"id": name, "kind": kind, "num_frames": len(masks), "sources": labels, "origin": [name]}
        self.write_json(f"{folder}/meta.json", meta)
        self.splits[split].append(name)
        return name

    def _source_masks(self, scene: Scene, sources: list[int]) -> NDArray[np.uint8]:
        """Number of the visible sounding source that each pixel shows, from 1, else 0: (T, H, W)."""
        state = track(scene, 1 / self.rate)
        instance = paint(scene, state, self.image_size, pictures=False).instance
        masks = np.zeros_like(instance)
        for number, thing in enumerate(sources, 1):
            sounding = (state.visible & state.sounding)[thing][:, None, None]
            masks[(instance == thing + 1) & sounding] = number
        return masks

    def _sentences(self, scene: Scene) -> Records:
        """The captions of one-second steps, where they change."""
        sentences: Records = []
        for second, text in enumerate(scene_captions(scene, 1.0)):
            if not sentences or text != sentences[-1]["text"]:
                sentences.append({"frame": second * round(self.rate), "source": None, "text": text})
        return sentences

    def finish(self) -> None:
        """Facts of the dataset, and lists of splits."""
        size = [self.image_size, self.image_size]
        facts = {"name": "f-music", "version": 1, "fps": 30, "size": size, "classes": list(CLASSES)}
        self.write_json("dataset.json", facts)
        for split, names in self.splits.items():
            self.write_text(f"splits/{split}.txt", names)


class Manifest(Layout):
    """One JSON Lines file, with masks, boxes, sentences, events and a question for every clip."""

    with_question = True

    def setup(self) -> None:
        """No clips yet."""
        self.records: Records = []

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video, masks, and all annotations."""
        assert question is not None
        name = clip_name(scene)
        self.write_clip(scene, f"video/{name}.mp4", f"audio/{name}.wav")
        targets = scene_targets(scene, self.image_size, 1.0, ["class_mask", "boxes", "caption"])
        record: dict[str, Any] = {"id": name, "video": f"video/{name}.mp4", "split": split}
        record["masks"] = self._write_masks(name, targets["class_mask"])
        record["captions"] = [{"start": k, "end": k + 1, "text": text} for k, text in enumerate(targets["caption"])]
        record["events"] = _spans(scene)
        record["questions"] = [{"question": question.text, "answer": question.answer, "type": question.type}]
        boxes = _boxes(scene, targets["boxes"])
        if boxes:
            record["boxes"] = boxes
        self.records.append(record)
        return name

    def _write_masks(self, name: str, masks: NDArray[np.uint8]) -> Records:
        classes = {str(value): label for value, label in enumerate(CLASSES, 1)}
        records: Records = []
        for k, mask in enumerate(masks):
            self.write_image(f"masks/{name}_{k}.png", mask)
            records.append({"step": k, "file": f"masks/{name}_{k}.png", "classes": classes})
        return records

    def finish(self) -> None:
        """The file."""
        self.write_json_lines("manifest.jsonl", self.records)


def _spans(scene: Scene) -> Records:
    """When each thing sounds, and when it is visible."""
    records: Records = []
    for thing in scene.things:
        for modality, spans in (("audio", thing.sounding), ("visual", thing.visible)):
            for start, end in spans:
                records.append({"start": start, "end": end, "label": thing.name, "modality": modality})
    return records


def _boxes(scene: Scene, boxes: NDArray[np.float32]) -> Records:
    """The boxes (T, N, 4) of visible sounding things, where something of them can be seen."""
    state = track(scene)
    records: Records = []
    for thing, step in np.argwhere(state.visible & state.sounding).tolist():
        box = boxes[step, thing]
        if np.isfinite(box).all():
            records.append({"step": step, "box": [float(x) for x in box]})
    return records
