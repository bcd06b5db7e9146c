# SPDX-License-Identifier: Apache-2.0
"""What VGG-SS and Flickr-SoundNet share: one picture, three seconds of sound, and a map of where it comes from."""

from abc import abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.batch import Targets, Vocabulary
from avkit.datasets.annotations import Annotation, BoxAnnotation
from avkit.datasets.folder import MediaPatterns
from avkit.datasets.grid import Grid
from avkit.datasets.official import Official
from avkit.datasets.tables import check_unique, read_lines, safe_id

#: Height and width of the map that the official metric reads.
SIDE = 224
#: Seconds of sound that go with a picture.
SECONDS = 3.0
#: Second of a video at which its picture is taken (picture 125 at 25 fps).
MOMENT = 5.0


class SoundSource(Official):
    """A picture, the three seconds of sound around it, and a map of the source.

    `val` is the test set, as in the official code of EZ-VSL, since there is no other; a choice by it is not a fair one.
    """

    fixed_steps = 1
    default_hop = SECONDS
    centred_audio = True
    patterns = MediaPatterns(
        frames=("frames/{media}.jpg", "frames/{media}.png"),
        video=("videos/{media}.mp4", "video/{media}.mp4", "{media}.mp4"),
        audio=("audio/{sound}.wav",),
    )

    @abstractmethod
    def read_annotations(self, split: str) -> list[Annotation]:
        """Pictures of the test, or clips of a training list."""

    @abstractmethod
    def source_map(self, boxes: NDArray[np.float64]) -> NDArray[np.float32]:
        """The map (224, 224) that predictions are scored against.

        Args:
            boxes: x1, y1, x2, y2 as fractions of width and height, (N, 4).
        """

    def read_vocabulary(self) -> Vocabulary:
        """No classes: sources are found without names."""
        return Vocabulary()

    def locate(self, annotation: Annotation) -> str:
        """As `Official.locate`; of a video the part around the picture is read."""
        missing = super().locate(annotation)
        if not missing and annotation.video is not None and annotation.frames is None:
            annotation.start = MOMENT - SECONDS / 2
            annotation.end = MOMENT + SECONDS / 2
        return missing

    def read_training_list(self, *names: str) -> list[Annotation]:
        """Clips of a list, one id per line; what follows a comma is left out.

        Args:
            names: Possible names of the file.
        """
        path = self.annotation_file(*names)
        ids = [line.split(",")[0].strip() for line in read_lines(path)]
        check_unique(ids, str(path))
        annotations = []
        for k, clip in enumerate(ids, 1):
            where = f"{path}, line {k}"
            annotations.append(self.pair(safe_id(clip, where), where))
        return annotations

    def pair(self, picture: str, where: str, sound: str = "", boxes: list[BoxAnnotation] | None = None) -> Annotation:
        """The annotation of a picture with the sound of the same clip, or of another.

        Args:
            picture: Clip of the picture.
            where: File and line, for messages.
            sound: Clip of the sound; that of the picture by default.
            boxes: Boxes of the source.
        """
        sound = sound or picture
        return Annotation(
            id=picture if sound == picture else f"{picture}+{sound}",
            where=where,
            root=self.root.path,
            media=picture,
            placeholders={"sound": sound},
            boxes=boxes,
        )

    def box_targets(self, annotation: Annotation, grid: Grid) -> Targets:
        """The field `boxes`, and the dataset's own map as `source`."""
        targets = super().box_targets(annotation, grid)
        rows = [record.box for record in annotation.boxes or ()]
        boxes = np.array(rows, np.float64).reshape(-1, 4)
        targets["source"] = torch.from_numpy(self.source_map(boxes))[None]
        return targets
