# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of events: AVE, LLP, UnAV-100."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from avkit.datasets.ave import CLASSES as OFFICIAL
from avkit.export.base import LETTERS, Layout, clip_name
from avkit.export.names import AVE as AVE_NAMES
from avkit.export.names import LLP as LLP_NAMES
from avkit.export.synthetic_features import audio_features, visual_features
from avkit.scenes import CLASSES, Question, Scene
from avkit.scenes.world import Span, overlap

_SECONDS = np.arange(10.0)


class AVE(Layout):
    """Annotations.txt, text lists, HDF5 files by row, videos, wavs. Scenes with one event, both heard and seen."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[tuple[str, Scene, tuple[float, float, int]]] = []
        self.seen: list[np.ndarray[Any, Any]] = []
        self.heard: list[np.ndarray[Any, Any]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """One event of two seconds or more."""
        events = _events(scene)
        return len(events) == 1 and events[0][1] - events[0][0] >= 2

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav, and features by row."""
        name = clip_name(scene)
        wave = self.sound(f"raw_audio/{name}.wav", scene)
        self.video(f"AVE/{name}.mp4", scene, f"raw_audio/{name}.wav")
        self.rows.append((name, scene, _events(scene)[0]))
        if self.with_features:
            self.seen.append(visual_features(self.pictures(scene, 1.0), 512, grid=7))
            self.heard.append(audio_features(wave, _SECONDS, 0.96))
        return name

    def finish(self) -> None:
        """Annotations in an order of their own, so that orders by row matter."""
        shuffled = np.random.default_rng(self.seed).permutation(len(self.rows)).tolist()
        lines = []
        for name, _, (start, end, kind) in (self.rows[k] for k in shuffled):
            lines.append(f"{AVE_NAMES[CLASSES[kind]]}&{name}&good&{start:g}&{end:g}")
        self.text("Annotations.txt", ["Category&VideoID&Quality&StartTime&EndTime", *lines])
        labels = np.zeros((len(lines), 10, 29), np.float32)
        for row, k in enumerate(shuffled):
            start, end, kind = self.rows[k][2]
            labels[row, :, 28] = 1
            labels[row, int(start) : int(end)] = np.eye(29)[OFFICIAL.index(AVE_NAMES[CLASSES[kind]])]
        clips = labels[:, :, :28].max(1)
        self.hdf5("labels.h5", "avadataset", labels)
        self.hdf5("mil_labels.h5", "avadataset", np.pad(clips, ((0, 0), (0, 1))))
        self.hdf5("labels_closs.h5", "avadataset", 1 - labels[:, :, 28])
        for split, file in (("train", "trainSet"), ("val", "valSet"), ("test", "testSet")):
            order = [row for row, k in enumerate(shuffled) if self.rows[k][1].split == split]
            self.hdf5(f"{split}_order.h5", "order", np.array(order, np.int64))
            self.text(f"{file}.txt", [lines[row] for row in order])
        if self.with_features:
            self.hdf5("visual_feature.h5", "avadataset", np.stack([self.seen[k] for k in shuffled]))
            self.hdf5("audio_feature.h5", "avadataset", np.stack([self.heard[k] for k in shuffled]))


class LLP(Layout):
    """Tables with tabs, videos, wavs, features by video. Training clips carry labels of the clip alone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: dict[str, list[tuple[str, str]]] = {split: [] for split in LETTERS}
        self.spans: dict[str, list[tuple[str, int, int, str]]] = {"audio": [], "visual": []}

    def fits(self, scene: Scene, split: str) -> bool:
        """Something is heard or seen."""
        return any(t.visible or t.sounding for t in scene.things)

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav, and features by video."""
        name = clip_name(scene)
        wave = self.sound(f"audio/{name}.wav", scene)
        self.video(f"video/{name}.mp4", scene, f"audio/{name}.wav")
        labels = dict.fromkeys(LLP_NAMES[t.name] for t in scene.things if t.visible or t.sounding)
        self.rows[split].append((f"{name}_0_10", ",".join(labels)))
        if split != "train":
            for modality, attribute in (("audio", "sounding"), ("visual", "visible")):
                for thing in scene.things:
                    spans = [(int(a), int(b)) for a, b in getattr(thing, attribute)]
                    self.spans[modality] += [(f"{name}_0_10", a, b, LLP_NAMES[thing.name]) for a, b in spans]
        if self.with_features:
            frames = self.pictures(scene, 0.125)
            self.array(f"feats/res152/{name}.npy", visual_features(frames, 2048))
            self.array(f"feats/r2plus1d_18/{name}.npy", visual_features(frames[4::8], 512))
            self.array(f"feats/vggish/{name}.npy", audio_features(wave, _SECONDS, 0.96))
        return f"{name}_0_10"

    def finish(self) -> None:
        """The six tables."""
        files = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
        header = ("filename", "event_labels")
        for split, file in files.items():
            self.table(file, header, self.rows[split], "\t")
        self.table("AVVP_dataset_full.csv", header, [row for rows in self.rows.values() for row in rows], "\t")
        for modality, rows in self.spans.items():
            self.table(f"AVVP_eval_{modality}.csv", ("filename", "onset", "offset", "event_labels"), rows, "\t")


class UnAV100(Layout):
    """One JSON file, videos, features at 25 pictures per second, 24 of them every 8. Untrimmed scenes with events."""

    untrimmed = True

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.database: dict[str, Any] = {}

    def fits(self, scene: Scene, split: str) -> bool:
        """At least one event, as every official video has."""
        return bool(_events(scene))

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video, and features by video."""
        name = clip_name(scene)
        wave = self.sound(f"raw_audio/{name}.wav", scene)
        self.video(f"raw_videos/{name}.mp4", scene, f"raw_audio/{name}.wav")
        events = [
            {"segment": [start, end], "label": CLASSES[kind], "label_id": kind} for start, end, kind in _events(scene)
        ]
        subset = {"val": "validation"}.get(split, split)
        self.database[name] = {"duration": scene.duration, "subset": subset, "annotations": events}
        if self.with_features:
            self._features(name, scene, wave)
        return name

    def _features(self, name: str, scene: Scene, wave: np.ndarray[Any, Any]) -> None:
        windows = int((scene.duration * 25 - 24) // 8) + 1
        starts = np.arange(windows) * 8 / 25
        frames = self.pictures(scene, 4 / 25)  # every fourth picture; the middle of window k is picture 8 k + 12
        places = np.minimum(np.arange(windows) * 2 + 3, len(frames) - 1)
        rgb = visual_features(frames, 1024)
        self.array(f"av_features/{name}_rgb.npy", rgb[places])
        self.array(f"av_features/{name}_flow.npy", rgb[np.minimum(places + 1, len(rgb) - 1)] - rgb[places - 1])
        self.array(f"av_features/{name}_vggish.npy", audio_features(wave, starts, 0.96))

    def finish(self) -> None:
        """All videos; classes that no event has get a number all the same, by their place among those of scenes."""
        used = sorted({e["label_id"] for video in self.database.values() for e in video["annotations"]})
        for video in self.database.values():
            for event in video["annotations"]:
                event["label_id"] = used.index(event["label_id"])
        self.json("annotations/unav100_annotations.json", {"version": "unav100", "database": self.database})


def _events(scene: Scene) -> list[tuple[float, float, int]]:
    """What is both heard and seen: start, end, class."""
    spans: Sequence[tuple[Span, int]] = [
        (span, t.kind) for t in scene.things for span in overlap(t.visible, t.sounding)
    ]
    return sorted((start, end, kind) for (start, end), kind in spans)
