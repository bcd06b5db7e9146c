# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of masks: AVSBench S4, MS3 and AVSS, Ref-AVS."""

from collections import Counter

import numpy as np

from avkit.datasets.avsbench_avss import CLASSES as AVSS_CLASSES
from avkit.datasets.avsbench_avss import palette_colour
from avkit.export.base import Layout, clip_name
from avkit.export.names import AVSS as AVSS_NAMES
from avkit.export.names import S4 as S4_NAMES
from avkit.scenes import CLASSES, SIZES, Question, Scene, track
from avkit.scenes.world import COLOURS

#: Seconds of a clip of AVSBench-object.
_SHORT = 5


def _sounding_in_view(scene: Scene, seconds: int) -> list[set[int]]:
    """Classes that are visible and sound, in each of the first seconds."""
    state = track(scene)
    classes: list[set[int]] = [set() for _ in range(seconds)]
    for thing, second in np.argwhere((state.visible & state.sounding)[:, :seconds]).tolist():
        classes[second].add(scene.things[thing].kind)
    return classes


class S4(Layout):
    """Five seconds with one visible sounding class; training clips have a mask of the first second alone."""

    def setup(self) -> None:
        """No clips yet."""
        self.rows: list[tuple[str, int, str, str]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """The same one class sounds in view in every second."""
        classes = _sounding_in_view(scene, _SHORT)
        return all(classes) and len(set().union(*classes)) == 1

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, masks and wav."""
        name = clip_name(scene)
        category = S4_NAMES[CLASSES[min(_sounding_in_view(scene, 1)[0])]]
        wave = self.write_sound(f"s4_data/audio_wav/{split}/{category}/{name}.wav", scene, _SHORT)
        self.write_log_mel(f"s4_data/audio_log_mel/{split}/{category}/{name}.pkl", wave, _SHORT)
        frames, targets = self.targets(scene, "mask")
        for k in range(_SHORT):
            self.write_image(f"s4_data/visual_frames/{split}/{category}/{name}/{name}_{k + 1}.png", frames[k])
            if k == 0 or split != "train":
                mask = targets["mask"][k] * np.uint8(255)
                self.write_image(f"s4_data/gt_masks/{split}/{category}/{name}/{name}_{k + 1}.png", mask)
        self.rows.append((name, 0, category, split))
        return name

    def finish(self) -> None:
        """The table."""
        self.write_table("s4_meta_data.csv", ("name", "start", "category", "split"), self.rows)


class MS3(Layout):
    """Five seconds with two or more visible sounding classes, though not in every second."""

    def setup(self) -> None:
        """No clips yet."""
        self.rows: list[tuple[str, str]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Two classes or more."""
        return len(set().union(*_sounding_in_view(scene, _SHORT))) > 1

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, masks and wav."""
        name = f"{clip_name(scene)}_1"
        wave = self.write_sound(f"ms3_data/audio_wav/{split}/{name}.wav", scene, _SHORT)
        self.write_log_mel(f"ms3_data/audio_log_mel/{split}/{name}.pkl", wave, _SHORT)
        frames, targets = self.targets(scene, "mask")
        for k in range(_SHORT):
            mask = targets["mask"][k] * np.uint8(255)
            self.write_image(f"ms3_data/visual_frames/{name}/{name}.mp4_{k + 1}.png", frames[k])
            self.write_image(f"ms3_data/gt_masks/{split}/{name}/{name}_{k + 1}.png", mask)
        self.rows.append((name, split))
        return name

    def finish(self) -> None:
        """The table."""
        self.write_table("ms3_meta_data.csv", ("name", "split"), self.rows)


class AVSS(Layout):
    """Class maps: clips of the parts v2 (ten seconds), v1s and v1m (five) in turn."""

    def setup(self) -> None:
        """No clips yet; pixel values of classes and their colours."""
        self.rows: list[tuple[str, str, int, int, str, str, str]] = []
        self.counts: Counter[str] = Counter()
        values = [AVSS_CLASSES.index(AVSS_NAMES[name]) + 1 for name in CLASSES]
        self.values = np.array([0, *values], np.uint8)
        self.colours = np.array([palette_colour(k) for k in range(len(AVSS_CLASSES) + 1)], np.uint8)

    def fits(self, scene: Scene, split: str) -> bool:
        """Something in view sounds."""
        return any(_sounding_in_view(scene, _SHORT))

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, class maps as indices and as colours, and wav."""
        part = ("v2", "v1s", "v1m")[self.counts[split] % 3]
        self.counts[split] += 1
        seconds = 10 if part == "v2" else _SHORT
        video = clip_name(scene)
        name = video if part == "v1m" else f"{video}_0_{seconds * 1000}"
        self.write_sound(f"{part}/{name}/audio.wav", scene, seconds)
        frames, targets = self.targets(scene, "class_mask")
        for k in range(seconds):
            self.write_image(f"{part}/{name}/frames/{k}.jpg", frames[k])
            if k == 0 or part != "v1s" or split != "train":
                values = self.values[targets["class_mask"][k]]
                self.write_image(f"{part}/{name}/labels_semantic/{k}.png", values)
                self.write_image(f"{part}/{name}/labels_rgb/{k}.png", self.colours[values].transpose(2, 0, 1))
        kinds: set[int] = set().union(*_sounding_in_view(scene, seconds))
        labels = "_".join(sorted(AVSS_NAMES[CLASSES[kind]] for kind in kinds))
        self.rows.append((video, name, 0, 0, labels, split, part))
        return name

    def finish(self) -> None:
        """The table, and the indices of classes."""
        self.write_table("metadata.csv", ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"), self.rows)
        self.write_json("label2idx.json", {name: k for k, name in enumerate(["background", *AVSS_CLASSES])})


class RefAVS(Layout):
    """A sentence for each thing in view, with masks of that thing; clips of `test_n` have a sentence without a mask."""

    def setup(self) -> None:
        """No clips yet."""
        self.rows: list[tuple[str, str, str, int, str]] = []
        self.counts: Counter[str] = Counter()

    def fits(self, scene: Scene, split: str) -> bool:
        """Something is visible."""
        return any(t.visible for t in scene.things)

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, a mask per second and sentence, and wav."""
        video = f"{clip_name(scene)}_0_10000"
        official_split = ("test_s", "test_u", "test_n")[self.counts[split] % 3] if split == "test" else split
        null = official_split == "test_n"
        folder = f"null_c-{video}" if null else video
        self.write_sound(f"media/{folder}/audio.wav", scene)
        frames, targets = self.targets(scene, "instance_mask")
        for k in range(10):
            self.write_image(f"media/{folder}/frames/{k}.jpg", frames[k])
        rows_before = len(self.rows)
        for number, thing in enumerate(scene.things):
            if not thing.visible or (null and number):
                continue
            sentence = f"The {SIZES[thing.size]} {COLOURS[thing.colour]} {thing.name} that can be seen."
            label = "null" if null else thing.name
            self.rows.append((video, f"{folder}_{label}_{number + 1}", official_split, number, sentence))
            for k in range(10):
                mask = (targets["instance_mask"][k] == number + 1) & (not null)
                self.write_image(f"gt_mask/{folder}/fid_{number}/{k:05d}.png", mask.astype(np.uint8) * np.uint8(255))
        self.counts[split] += len(self.rows) > rows_before
        return video

    def finish(self) -> None:
        """The table, with CRLF as it is published."""
        self.write_table("metadata.csv", ("vid", "uid", "split", "fid", "exp"), self.rows, line_end="\r\n")
