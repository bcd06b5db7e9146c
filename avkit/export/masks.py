# SPDX-License-Identifier: Apache-2.0
"""Layouts of datasets of masks: AVSBench S4, MS3 and AVSS, Ref-AVS."""

from collections import Counter
from typing import Any

import numpy as np

from avkit.datasets.avsbench_avss import CLASSES as AVSS_CLASSES
from avkit.datasets.avsbench_avss import palette_colour
from avkit.export.base import Layout, clip_name
from avkit.export.names import AVSS as AVSS_NAMES
from avkit.export.names import S4 as S4_NAMES
from avkit.files import write_file
from avkit.scenes import CLASSES, SIZES, Question, Scene, track
from avkit.scenes.world import COLOURS

_SHORT = 5  # seconds of a clip of AVSBench-object


def _sounding(scene: Scene, seconds: int) -> list[set[int]]:
    """Classes that are in view and sound, in each of the first seconds."""
    state = track(scene)
    both = state.visible & state.sounding
    return [{t.kind for t, on in zip(scene.things, both[:, k], strict=True) if on} for k in range(seconds)]


class S4(Layout):
    """Five seconds with one class that sounds in view; training clips have a mask of the first second alone."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[tuple[str, int, str, str]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """One class sounds in view in every second."""
        classes = _sounding(scene, _SHORT)
        return all(classes) and len(set().union(*classes)) == 1

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, masks and wav."""
        name, category = clip_name(scene), S4_NAMES[CLASSES[min(_sounding(scene, 1)[0])]]
        wave = self.sound(f"s4_data/audio_wav/{split}/{category}/{name}.wav", scene, _SHORT)
        self.log_mel(f"s4_data/audio_log_mel/{split}/{category}/{name}.pkl", wave, _SHORT)
        frames, found = self.truth(scene, "mask")
        for k in range(_SHORT):
            self.image(f"s4_data/visual_frames/{split}/{category}/{name}/{name}_{k + 1}.png", frames[k])
            if k == 0 or split != "train":
                mask = found["mask"][k] * np.uint8(255)
                self.image(f"s4_data/gt_masks/{split}/{category}/{name}/{name}_{k + 1}.png", mask)
        self.rows.append((name, 0, category, split))
        return name

    def finish(self) -> None:
        """The table."""
        self.table("s4_meta_data.csv", ("name", "start", "category", "split"), self.rows)


class MS3(Layout):
    """Five seconds with two classes or more that sound in view, though not in every second."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[tuple[str, str]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Two classes or more."""
        return len(set().union(*_sounding(scene, _SHORT))) > 1

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, masks and wav."""
        name = f"{clip_name(scene)}_1"
        wave = self.sound(f"ms3_data/audio_wav/{split}/{name}.wav", scene, _SHORT)
        self.log_mel(f"ms3_data/audio_log_mel/{split}/{name}.pkl", wave, _SHORT)
        frames, found = self.truth(scene, "mask")
        for k in range(_SHORT):
            self.image(f"ms3_data/visual_frames/{name}/{name}.mp4_{k + 1}.png", frames[k])
            self.image(f"ms3_data/gt_masks/{split}/{name}/{name}_{k + 1}.png", found["mask"][k] * np.uint8(255))
        self.rows.append((name, split))
        return name

    def finish(self) -> None:
        """The table."""
        self.table("ms3_meta_data.csv", ("name", "split"), self.rows)


class AVSS(Layout):
    """Class maps: clips of the parts v2 (ten seconds), v1s and v1m (five) in turn."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[tuple[Any, ...]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Something in view sounds."""
        return any(_sounding(scene, _SHORT))

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, class maps as indices and as colours, and wav."""
        count = Counter(row[5] for row in self.rows)[split]
        part = ("v2", "v1s", "v1m")[count % 3]
        seconds = 10 if part == "v2" else _SHORT
        video = clip_name(scene)
        name = video if part == "v1m" else f"{video}_0_{seconds * 1000}"
        self.sound(f"{part}/{name}/audio.wav", scene, seconds)
        frames, found = self.truth(scene, "class_mask")
        official = np.array([0, *(AVSS_CLASSES.index(AVSS_NAMES[c]) + 1 for c in CLASSES)], np.uint8)
        colours = np.array([palette_colour(k) for k in range(len(AVSS_CLASSES) + 1)], np.uint8)
        for k in range(seconds):
            self.image(f"{part}/{name}/frames/{k}.jpg", frames[k])
            if k == 0 or part != "v1s" or split != "train":
                values = official[found["class_mask"][k]]
                self.image(f"{part}/{name}/labels_semantic/{k}.png", values)
                self.image(f"{part}/{name}/labels_rgb/{k}.png", colours[values].transpose(2, 0, 1))
        things = sorted({AVSS_NAMES[CLASSES[k]] for second in _sounding(scene, seconds) for k in second})
        self.rows.append((video, name, 0, 0, "_".join(things), split, part))
        return name

    def finish(self) -> None:
        """The table, and the indices of classes."""
        self.table("metadata.csv", ("vid", "uid", "s_min", "s_sec", "a_obj", "split", "label"), self.rows)
        self.json("label2idx.json", {name: k for k, name in enumerate(["background", *AVSS_CLASSES])})


class RefAVS(Layout):
    """A sentence for a thing in view and, in `test_n`, one that means nothing; masks of that thing."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.rows: list[tuple[str, str, str, int, str]] = []

    def fits(self, scene: Scene, split: str) -> bool:
        """Something is seen."""
        return any(t.visible for t in scene.things)

    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Pictures, a mask per second and sentence, and wav."""
        video = f"{clip_name(scene)}_0_10000"
        count = len({row[0] for row in self.rows if row[2].startswith(split)})
        null = split == "test" and count % 3 == 2
        folder = f"null_c-{video}" if null else video
        self.sound(f"media/{folder}/audio.wav", scene)
        frames, found = self.truth(scene, "instance_mask")
        for k in range(10):
            self.image(f"media/{folder}/frames/{k}.jpg", frames[k])
        for number, thing in enumerate(scene.things):
            if not thing.visible or (null and number):
                continue
            sentence = f"The {SIZES[thing.size]} {COLOURS[thing.colour]} {thing.name} that can be seen."
            where = "test_n" if null else ("test_s", "test_u")[count % 3 % 2] if split == "test" else split
            label = "null" if null else thing.name
            self.rows.append((video, f"{folder}_{label}_{number + 1}", where, number, sentence))
            for k in range(10):
                mask = (found["instance_mask"][k] == number + 1) & (not null)
                self.image(f"gt_mask/{folder}/fid_{number}/{k:05d}.png", mask.astype(np.uint8) * np.uint8(255))
        return video

    def finish(self) -> None:
        """The table, with CRLF as it is published."""
        lines = [",".join(map(str, row)) for row in (("vid", "uid", "split", "fid", "exp"), *self.rows)]
        write_file(self.out / "metadata.csv", "\r\n".join(lines) + "\r\n")
