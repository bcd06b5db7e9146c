# SPDX-License-Identifier: Apache-2.0
"""The base class of layouts: choosing scenes that a dataset could contain, and writing their files."""

import csv
import io
import json
import pickle
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
#: Maximum number of scenes in a row that do not fit a layout.
_MAX_TRIES = 400


class Layout(ABC):
    """The file layout of one dataset.

    Args:
        folder: Folder to write.
        image_size: Height and width of pictures and masks.
        fps: Frames per second of videos.
        seed: Of the scenes.
        features: Write features too, see `avkit.export.synthetic_features`.
    """

    #: Which scenes are drawn: untrimmed ones, close-ups, ones with a question.
    untrimmed: ClassVar[bool] = False
    close: ClassVar[bool] = False
    with_question: ClassVar[bool] = False
    #: Frames per second, where the dataset fixes them.
    fps: ClassVar[float | None] = None

    def __init__(self, folder: Path, image_size: int, fps: float, seed: int, *, features: bool) -> None:
        self.folder = folder
        self.image_size = image_size
        self.rate = self.fps or fps
        self.seed = seed
        self.with_features = features
        self.setup()

    @abstractmethod
    def setup(self) -> None:
        """Prepare empty annotations."""

    def fits(self, scene: Scene, split: str) -> bool:
        """Whether the dataset could contain the scene."""
        return True

    @abstractmethod
    def add(self, scene: Scene, question: Question | None, split: str) -> str:
        """Write the files of a clip and keep its annotation; returns the clip's name."""

    @abstractmethod
    def finish(self) -> None:
        """Write the annotation files."""

    def scenes(self, split: str, count: int) -> Iterator[tuple[Scene, Question | None]]:
        """The first `count` scenes of a split that fit.

        Raises:
            DataError: If hardly any scene fits.
        """
        index = 0
        tries = 0
        while count:
            scene, question = self._sample(index, split)
            index += 1
            tries += 1
            if self.fits(scene, split):
                count -= 1
                tries = 0
                yield scene, question
            elif tries > _MAX_TRIES:
                raise DataError(f"None of {tries} scenes in a row fits this layout. Choose another one.")

    def _sample(self, index: int, split: str) -> tuple[Scene, Question | None]:
        if self.with_question:
            return sample_question(index, split, self.seed)
        return sample_scene(index, split, self.seed, self.untrimmed, self.close), None

    def frames(self, scene: Scene, hop: float) -> NDArray[np.uint8]:
        """Pictures (T, 3, H, W) in the middle of each `hop` seconds."""
        return render_frames(scene, self.image_size, hop)

    def targets(self, scene: Scene, *fields: str, hop: float = 1.0) -> tuple[NDArray[np.uint8], dict[str, Any]]:
        """Pictures (T, 3, H, W), and the targets of these fields."""
        frames, _, targets = render(scene, self.image_size, hop, fields)
        return frames, targets

    def write_clip(self, scene: Scene, video: str, sound: str) -> NDArray[np.float32]:
        """Write a sound file, and a video that contains it; returns the samples."""
        wave = self.write_sound(sound, scene)
        self.write_video(video, scene, sound)
        return wave

    def write_video(self, path: str, scene: Scene, sound: str) -> None:
        """Write a video with the sound of a file written before."""
        frames = self.frames(scene, 1 / self.rate).transpose(0, 2, 3, 1)
        write_video(self.folder / path, frames, self.rate, self.folder / sound, quick=True)

    def write_sound(self, path: str, scene: Scene, seconds: float | None = None) -> NDArray[np.float32]:
        """Write a sound file, of the first `seconds` alone where given; returns all samples."""
        wave = render_sound(scene)
        samples = len(wave) if seconds is None else round(seconds * SAMPLE_RATE)
        write_wave(self.folder / path, wave[:samples])
        return wave

    def write_image(self, path: str, pixels: NDArray[np.uint8]) -> None:
        """Write a picture (3, H, W) or mask (H, W), JPEG or PNG by its name."""
        from PIL import Image

        if pixels.ndim == 3:
            pixels = pixels.transpose(1, 2, 0)
        image = Image.fromarray(np.ascontiguousarray(pixels))
        with atomic(self.folder / path) as part:
            image.save(part, quality=95)

    def write_array(self, path: str, values: NDArray[Any]) -> None:
        """Write a `.npy` file."""
        with atomic(self.folder / path) as part:
            np.save(part, values, allow_pickle=False)

    def write_log_mel(self, path: str, wave: NDArray[np.float32], seconds: int) -> None:
        """Write log-mel patches of each second, pickled as in AVSBench: a float32 tensor (seconds, 1, 96, 64)."""
        cut = cut_steps(torch.from_numpy(wave)[None], seconds, 1.0, EXAMPLE_SAMPLES)
        with atomic(self.folder / path) as part:
            part.write_bytes(pickle.dumps(log_mel(cut)[0][:, None].clone()))

    def write_hdf5(self, path: str, key: str, values: NDArray[Any]) -> None:
        """Write an HDF5 file with one array."""
        import h5py

        with atomic(self.folder / path) as part, h5py.File(part, "w") as file:
            file[key] = values

    def write_table(
        self,
        path: str,
        header: Sequence[str],
        rows: Iterable[Sequence[str | int]],
        delimiter: str = ",",
        line_end: str = "\n",
    ) -> None:
        """Write a table with a header."""
        text = io.StringIO()
        writer = csv.writer(text, delimiter=delimiter, lineterminator=line_end)
        writer.writerows([header, *rows])
        write_file(self.folder / path, text.getvalue())

    def write_text(self, path: str, lines: Iterable[str]) -> None:
        """Write a text file of lines."""
        write_file(self.folder / path, "".join(f"{line}\n" for line in lines))

    def write_json(self, path: str, content: Any) -> None:
        """Write a JSON file."""
        write_file(self.folder / path, json.dumps(content))

    def write_json_lines(self, path: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write a JSON Lines file."""
        self.write_text(path, [json.dumps(row) for row in rows])


def clip_name(scene: Scene) -> str:
    """A name of eleven characters like the ids of YouTube, made of the split and the number of the scene."""
    return f"scn{LETTERS[scene.split]}{scene.index:07d}"


def scene_of(name: str) -> tuple[str, int]:
    """Split and number of the scene of a name of `clip_name`."""
    splits = {letter: split for split, letter in LETTERS.items()}
    return splits[name[3]], int(name[4:11])
