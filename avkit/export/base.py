# SPDX-License-Identifier: Apache-2.0
"""What all layouts share: choosing scenes that a dataset could hold, and writing their media."""

import csv
import io
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from avkit.batch import SAMPLE_RATE
from avkit.errors import DataError
from avkit.files import atomic, write_file
from avkit.media.mel import EXAMPLE_SAMPLES, cut_steps, log_mel
from avkit.media.write import write_video, write_wave
from avkit.scenes import Question, Scene, render, render_frames, render_sound, sample_question, sample_scene

#: Letter of each split in the names of clips.
LETTERS = {"train": "t", "val": "v", "test": "e"}
#: Most scenes looked at for one that a dataset could hold.
_TRIES = 400


class Layout(ABC):
    """One dataset's way of laying out files.

    Args:
        out: Folder to write.
        picture: Height and width of pictures and masks.
        fps: Pictures per second of videos.
        seed: Of the world of scenes.
        features: Write features too, see `avkit.export.synthetic_features`.
    """

    #: Which scenes are drawn: untrimmed ones, close-ups, ones that a question is asked about.
    untrimmed: ClassVar[bool] = False
    close: ClassVar[bool] = False
    asked: ClassVar[bool] = False
    #: Pictures per second where the dataset fixes them.
    fps: ClassVar[float | None] = None

    def __init__(self, out: Path, picture: int, fps: float, seed: int, features: bool) -> None:
        self.out, self.picture, self.seed, self.with_features = out, picture, seed, features
        self.rate = type(self).fps or fps

    def fits(self, scene: Scene, split: str) -> bool:
        """Whether the dataset could hold the scene."""
        return True

    @abstractmethod
    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Write a clip's media and remember its annotation; returns its name."""

    @abstractmethod
    def finish(self) -> None:
        """Write the annotation files."""

    def scenes(self, split: str, count: int) -> Iterator[tuple[Scene, Question | None]]:
        """Scenes that fit, by rising number.

        Raises:
            DataError: If hardly any does.
        """
        index, since = 0, 0
        while count:
            question = None
            if self.asked:
                scene, question = sample_question(index, split, self.seed)
            else:
                scene = sample_scene(index, split, self.seed, self.untrimmed, self.close)
            index, since = index + 1, since + 1
            if self.fits(scene, split):
                count, since = count - 1, 0
                yield scene, question
            elif since > _TRIES:
                raise DataError(f"Of {since} scenes none fits this layout; it is not to be filled with them.")

    # what layouts write

    def pictures(self, scene: Scene, hop: float) -> NDArray[np.uint8]:
        """Pictures (T, 3, H, W) in the middle of each `hop` seconds."""
        return render_frames(scene, self.picture, hop)

    def truth(self, scene: Scene, *fields: str, hop: float = 1.0) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Pictures (T, 3, H, W) and fields of the truth."""
        frames, _, found = render(scene, self.picture, hop, fields)
        return frames, found

    def video(self, path: str, scene: Scene, sound: str) -> None:
        """A video with the sound of a file written before."""
        frames = self.pictures(scene, 1 / self.rate).transpose(0, 2, 3, 1)
        write_video(self.out / path, frames, self.rate, self.out / sound, quick=True)

    def sound(self, path: str, scene: Scene, seconds: float | None = None) -> NDArray[np.float32]:
        """A sound file, of the first seconds where they are given; returns all samples."""
        wave = render_sound(scene)
        write_wave(self.out / path, wave if seconds is None else wave[: round(seconds * SAMPLE_RATE)])
        return wave

    def image(self, path: str, pixels: NDArray[np.uint8]) -> None:
        """A picture (3, H, W) or mask (H, W), JPEG or PNG by its name."""
        from PIL import Image

        shown = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0) if pixels.ndim == 3 else pixels))
        with atomic(self.out / path) as part:
            shown.save(part, quality=95)

    def array(self, path: str, values: NDArray[Any]) -> None:
        """A `.npy` file."""
        with atomic(self.out / path) as part:
            np.save(part, values, allow_pickle=False)

    def log_mel(self, path: str, wave: NDArray[np.float32], seconds: int) -> None:
        """Log-mel patches of each second, pickled as AVSBench has them: a float32 tensor (seconds, 1, 96, 64)."""
        cut = cut_steps(torch.from_numpy(wave)[None], seconds, 1.0, EXAMPLE_SAMPLES)
        with atomic(self.out / path) as part:
            part.write_bytes(pickle.dumps(log_mel(cut)[0][:, None].clone()))

    def hdf5(self, path: str, key: str, values: NDArray[Any]) -> None:
        """An HDF5 file with one array."""
        import h5py

        with atomic(self.out / path) as part, h5py.File(part, "w") as file:
            file[key] = values

    def table(self, path: str, header: Sequence[str], rows: Iterable[Sequence[Any]], delimiter: str = ",") -> None:
        """A table with a header."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator="\n")
        writer.writerows([header, *rows])
        write_file(self.out / path, text.getvalue())

    def text(self, path: str, lines: Iterable[str]) -> None:
        """A text file of lines."""
        write_file(self.out / path, "".join(f"{line}\n" for line in lines))

    def json(self, path: str, content: Any) -> None:
        """A JSON file."""
        write_file(self.out / path, json.dumps(content))


def clip_name(scene: Scene) -> str:
    """A name of eleven characters, as YouTube's ids have; it tells split and number of the scene."""
    return f"scn{LETTERS[scene.split]}{scene.index:07d}"


def scene_of(name: str) -> tuple[str, int]:
    """Split and number of the scene behind a name of `clip_name`."""
    return next(split for split, letter in LETTERS.items() if letter == name[3]), int(name[4:11])
