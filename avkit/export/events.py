# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of events: AVE, LLP, UnAV-100."""

from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avkit.datasets.ave import CLASSES as AVE_CLASSES
from avkit.export.base import Layout, clip_name
from avkit.export.names import AVE as AVE_NAMES
from avkit.export.names import LLP as LLP_NAMES
from avkit.export.synthetic_features import audio_features, visual_features
from avkit.scenes import CLASSES, Question, Scene
from avkit.scenes.targets import scene_events
from avkit.scenes.world import Span

#: Start of each second of a clip.
_SECONDS = np.arange(10.0)
#: Column of the background in the labels of AVE.
_BACKGROUND = 28


class AVE(Layout):
    """Annotations.txt, text lists, HDF5 files by row, videos, wavs. Scenes with one event, audible and visible."""

    def setup(self) -> None:
        """No clips yet."""
        self.names: list[str] = []
        self.splits: list[str] = []
        self.events: list[tuple[float, float, int]] = []
        self.visual: list[NDArray[np.float32]] = []
        self.audio: list[NDArray[np.float32]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """One event of two seconds or more."""
        events = scene_events(scene)
        return len(events) == 1 and events[0][1] - events[0][0] >= 2

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav, and features by row."""
        name = clip_name(scene)
        wave = self.write_clip(scene, f"AVE/{name}.mp4", f"raw_audio/{name}.wav")
        self.names.append(name)
        self.splits.append(scene.split)
        self.events.append(scene_events(scene)[0])
        if self.with_features:
            self.visual.append(visual_features(self.frames(scene, 1.0), 512, grid=7))
            self.audio.append(audio_features(wave, _SECONDS, 0.96))
        return name

    def finish(self) -> None:
        """Annotations in a shuffled order, so that mistakes in the order by row show."""
        shuffled = np.random.default_rng(self.seed).permutation(len(self.names)).tolist()
        lines = [self._line(clip) for clip in shuffled]
        self.write_text("Annotations.txt", ["Category&VideoID&Quality&StartTime&EndTime", *lines])
        labels = np.stack([self._labels(clip) for clip in shuffled])
        clips = labels[:, :, :_BACKGROUND].max(1)
        self.write_hdf5("labels.h5", "avadataset", labels)
        self.write_hdf5("mil_labels.h5", "avadataset", np.pad(clips, ((0, 0), (0, 1))))
        self.write_hdf5("labels_closs.h5", "avadataset", 1 - labels[:, :, _BACKGROUND])
        for split, file in (("train", "trainSet"), ("val", "valSet"), ("test", "testSet")):
            rows = [row for row, clip in enumerate(shuffled) if self.splits[clip] == split]
            self.write_hdf5(f"{split}_order.h5", "order", np.array(rows, np.int64))
            self.write_text(f"{file}.txt", [lines[row] for row in rows])
        if self.with_features:
            self.write_hdf5("visual_feature.h5", "avadataset", np.stack(self.visual)[shuffled])
            self.write_hdf5("audio_feature.h5", "avadataset", np.stack(self.audio)[shuffled])

    def _line(self, clip: int) -> str:
        start, end, kind = self.events[clip]
        return f"{AVE_NAMES[CLASSES[kind]]}&{self.names[clip]}&good&{start:g}&{end:g}"

    def _labels(self, clip: int) -> NDArray[np.float32]:
        """One-hot class of each second, (10, 29)."""
        start, end, kind = self.events[clip]
        column = AVE_CLASSES.index(AVE_NAMES[CLASSES[kind]])
        labels = np.zeros((10, _BACKGROUND + 1), np.float32)
        labels[:, _BACKGROUND] = 1
        labels[int(start) : int(end), _BACKGROUND] = 0
        labels[int(start) : int(end), column] = 1
        return labels


class LLP(Layout):
    """Tables with tabs, videos, wavs, features by video. Training clips have labels of the whole clip alone."""

    def setup(self) -> None:
        """No clips yet."""
        self.rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": [], "test": []}
        self.audio_rows: list[tuple[str, int, int, str]] = []
        self.visual_rows: list[tuple[str, int, int, str]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Something is visible or sounds."""
        return any(t.visible or t.sounding for t in scene.things)

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video and wav, and features by video."""
        name = clip_name(scene)
        row = f"{name}_0_10"
        wave = self.write_clip(scene, f"video/{name}.mp4", f"audio/{name}.wav")
        labels = dict.fromkeys(LLP_NAMES[t.name] for t in scene.things if t.visible or t.sounding)
        self.rows[split].append((row, ",".join(labels)))
        if split != "train":
            for thing in scene.things:
                label = LLP_NAMES[thing.name]
                self.audio_rows += _span_rows(row, thing.sounding, label)
                self.visual_rows += _span_rows(row, thing.visible, label)
        if self.with_features:
            frames = self.frames(scene, 0.125)
            self.write_array(f"feats/res152/{name}.npy", visual_features(frames, 2048))
            self.write_array(f"feats/r2plus1d_18/{name}.npy", visual_features(frames[4::8], 512))
            self.write_array(f"feats/vggish/{name}.npy", audio_features(wave, _SECONDS, 0.96))
        return row

    def finish(self) -> None:
        """The six tables."""
        files = {"train": "AVVP_train.csv", "val": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
        header = ("filename", "event_labels")
        for split, file in files.items():
            self.write_table(file, header, self.rows[split], "\t")
        self.write_table("AVVP_dataset_full.csv", header, chain(*self.rows.values()), "\t")
        for modality, rows in (("audio", self.audio_rows), ("visual", self.visual_rows)):
            columns = ("filename", "onset", "offset", "event_labels")
            self.write_table(f"AVVP_eval_{modality}.csv", columns, rows, "\t")


def _span_rows(name: str, spans: tuple[Span, ...], label: str) -> list[tuple[str, int, int, str]]:
    return [(name, int(start), int(end), label) for start, end in spans]


class UnAV100(Layout):
    """One JSON file, videos, features at 25 frames per second, of 24 frames every 8. Untrimmed scenes with events."""

    untrimmed = True

    def setup(self) -> None:
        """No clips yet."""
        self.database: dict[str, Any] = {}

    def fits(self, scene: Scene, split: str) -> bool:
        """At least one event, as every official video has."""
        return bool(scene_events(scene))

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Video, and features by video."""
        name = clip_name(scene)
        wave = self.write_clip(scene, f"raw_videos/{name}.mp4", f"raw_audio/{name}.wav")
        events = []
        for start, end, kind in scene_events(scene):
            events.append({"segment": [start, end], "label": CLASSES[kind], "label_id": kind})
        subset = "validation" if split == "val" else split
        self.database[name] = {"duration": scene.duration, "subset": subset, "annotations": events}
        if self.with_features:
            self._write_features(name, scene, wave)
        return name

    def _write_features(self, name: str, scene: Scene, wave: NDArray[np.float32]) -> None:
        windows = int((scene.duration * 25 - 24) // 8) + 1
        starts = np.arange(windows) * 8 / 25
        frames = self.frames(scene, 4 / 25)  # every fourth frame; the middle of window k is frame 8 k + 12
        middles = np.minimum(np.arange(windows) * 2 + 3, len(frames) - 1)
        rgb = visual_features(frames, 1024)
        flow = rgb[np.minimum(middles + 1, len(rgb) - 1)] - rgb[middles - 1]
        self.write_array(f"av_features/{name}_rgb.npy", rgb[middles])
        self.write_array(f"av_features/{name}_flow.npy", flow)
        self.write_array(f"av_features/{name}_vggish.npy", audio_features(wave, starts, 0.96))

    def finish(self) -> None:
        """The annotations of all videos; label numbers are those of the classes that have events, without gaps."""
        used = set()
        for video in self.database.values():
            used |= {event["label_id"] for event in video["annotations"]}
        numbers = {kind: number for number, kind in enumerate(sorted(used))}
        for video in self.database.values():
            for event in video["annotations"]:
                event["label_id"] = numbers[event["label_id"]]
        self.write_json("annotations/unav100_annotations.json", {"version": "unav100", "database": self.database})
