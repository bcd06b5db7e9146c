# SPDX-License-Identifier: Apache-2.0
"""The folder of an index: a file per video, a row per step."""

import json
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from avkit.errors import DataError, FileError
from avkit.files import WriteError, atomic, write_file
from avkit.inference.caption_index import CaptionIndex, index_captions, read_captions, write_captions
from avkit.reading.boundary import file_errors
from avkit.reading.checksums import check_record, with_checksum
from avkit.reading.remote import is_there, list_names, state_of, url_of, whole_path
from avkit.reading.tensors import read_facts, read_tensors, write_tensors
from avkit.reading.text import parse_json, read_json

#: Version of the folder's layout.
VERSION = 1
#: What vectors are of: the region that sounds, the whole frame, the sound.
VECTOR_KINDS = ("region", "frame", "sound")
_FACTS = "index.json"
#: File of the captions of all videos by their words.
_CAPTIONS = "captions.safetensors"
#: Name of masks of a bit for each pixel.
_PACKED = "mask bits"
#: What begins the names of facts about the stored features of a task.
FEATURES = "features of "


#: What is wrong with a file of a video, and what to do.
_DAMAGED = ("is damaged", "Delete it and index the video again.")


class AddedIndexFacts(TypedDict, total=False):
    """What `index.json` holds too, unless an earlier avkit wrote it.

    Attributes:
        warning: What a reader of hits must know first, such as that the run has seen drawn shapes alone.
        recipes: Recipes of the stored features that the run reads, where they were named.
        encoder_weights: Weights of their encoders, where they were named.
    """

    warning: str
    recipes: str
    encoder_weights: str


class IndexFacts(AddedIndexFacts):
    """What `index.json` holds.

    Attributes:
        version: `VERSION`.
        run: The run that the index was built with.
        weights: Name and hash of its weights.
        avkit: Version of avkit.
    """

    version: int
    run: str
    weights: str
    avkit: str


@dataclass
class IndexedVideo:
    """Steps of one video, N of them.

    Attributes:
        video: The file.
        start: Seconds, (N,).
        end: Seconds, (N,).
        captions: N sentences.
        masks: uint8 (N, side, side), 1 where something sounds.
        vectors: By kind (`region`, `frame`, `sound`), float32 (N, width).
    """

    video: str
    start: Tensor
    end: Tensor
    captions: list[str]
    masks: Tensor
    vectors: dict[str, Tensor]

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.captions)


class StoredVideo:
    """Steps of one video in an index, N of them: captions in memory, all else in the file until it is asked for.

    Args:
        path: The file.

    Raises:
        DataError: If it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        facts = read_facts(path)
        with file_errors(path, *_DAMAGED):
            self.video = facts["video"]
            self.captions: list[str] = parse_json(facts["captions"], str(path))

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.captions)

    def read(self) -> IndexedVideo:
        """The whole video, checked.

        Raises:
            DataError: If the file is damaged.
        """
        return _read_video(self.path)

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """By kind (`region`, `frame`, `sound`), float32 (N, width)."""
        return self.read().vectors


def join_windows(video: str, windows: Sequence[IndexedVideo]) -> IndexedVideo:
    """Windows of one video, one after the other."""
    captions: list[str] = []
    for window in windows:
        captions += window.captions
    vectors = {}
    for kind in VECTOR_KINDS:
        vectors[kind] = torch.cat([window.vectors[kind] for window in windows])
    return IndexedVideo(
        video,
        torch.cat([window.start for window in windows]),
        torch.cat([window.end for window in windows]),
        captions,
        torch.cat([window.masks for window in windows]),
        vectors,
    )


class IndexFolder:
    """The folder of an index.

    Args:
        folder: Path of the folder, which need not exist yet.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        #: What messages call it.
        self.name = url_of(folder) or str(folder)

    @property
    def facts(self) -> IndexFacts:
        """The run that the index was built with, and its weights.

        Raises:
            DataError: If there is no index, or a newer avkit wrote it.
        """
        path = self.folder / _FACTS
        try:
            facts = read_json(path)
        except FileError as e:
            raise DataError(f"{self.name} is no index: {e} Build one with 'avkit index RUN VIDEOS'.") from e
        check_record(facts, path)
        if not isinstance(facts, dict) or not isinstance(facts.get("weights"), str):
            raise DataError(f"{self.name} is no index: {path} names no weights. Index the videos again.")
        if facts.get("version", 0) != VERSION:
            raise DataError(f"{self.name} was written by a newer avkit. Update avkit to read it.")
        return cast(IndexFacts, facts)

    def create(self, provenance: dict[str, str]) -> None:
        """Make the folder; one that exists is kept.

        Raises:
            DataError: If it was built with another run's weights: vectors of two runs cannot be compared.
        """
        if not is_there(self.folder / _FACTS):
            write_file(self.folder / _FACTS, json.dumps(with_checksum({"version": VERSION, **provenance}), indent=1))
            return
        weights = self.facts["weights"]
        if weights != provenance["weights"]:
            raise DataError(
                f"{self.name} was built with {weights}, this run has {provenance['weights']}. Choose another --out, "
                "or the run that it was built with."
            )
        for name, text in provenance.items():
            before = str(dict(self.facts).get(name, text))
            if name.startswith(FEATURES) and before != text:
                raise DataError(
                    f"{self.name} was built with {name} {before}, and now they are {text}. Choose another --out, or "
                    "the recipe and weights that it was built with."
                )

    def file_of(self, video: Path | str) -> Path:
        """The file of a video's rows; videos of one name in different folders have different files."""
        place = whole_path(video)
        return self.folder / "videos" / f"{Path(place).stem}-{zlib.crc32(place.encode()):08x}.safetensors"

    def has(self, video: Path | str) -> bool:
        """Whether a video is in the index and has not changed since."""
        file = self.file_of(video)
        return file.exists() and file.stat().st_mtime_ns >= state_of(video).changed

    def add(self, video: IndexedVideo) -> None:
        """Write a video's rows, in place of older ones."""
        side = video.masks.shape[-1]
        packed = np.packbits(video.masks.numpy().reshape(len(video), side * side), axis=1)
        tensors = {"start": video.start, "end": video.end, _PACKED: torch.from_numpy(packed), **video.vectors}
        facts = {"video": whole_path(video.video), "captions": json.dumps(video.captions)}
        facts["side"] = str(side)
        with atomic(self.file_of(video.video)) as part:
            write_tensors(part, tensors, facts)

    def caption_index(self, videos: Sequence[StoredVideo]) -> CaptionIndex:
        """Captions of all videos by their words; made and stored where they are not stored yet, or others are.

        Captions that are stored have a checksum; those that are not come of files that are read whole and checked.

        Args:
            videos: What `stored` gave.

        Raises:
            DataError: If a file is damaged.
        """
        path = self.folder / _CAPTIONS
        stored = read_captions(path, [caption for video in videos for caption in video.captions])
        if stored is not None:
            return stored
        captions = [caption for video in videos for caption in video.read().captions]
        made = index_captions(captions)
        if url_of(path) is None:
            with suppress(WriteError):  # a folder that cannot be written to is searched too
                write_captions(path, made, captions)
        return made

    def stored(self) -> list[StoredVideo]:
        """All videos, of which captions alone are read.

        Raises:
            DataError: If there is no index, it is empty, or a file cannot be read.
        """
        _ = self.facts
        folder = self.folder / "videos"
        videos = [StoredVideo(folder / name) for name in sorted(list_names(folder)) if name.endswith(".safetensors")]
        if not videos:
            raise DataError(f"{self.name} has no videos. Add some with 'avkit index RUN VIDEOS --out {self.name}'.")
        return videos

    def read(self) -> list[IndexedVideo]:
        """All videos, whole and checked.

        Raises:
            DataError: If there is no index, it is empty, or a file is damaged.
        """
        return [video.read() for video in self.stored()]


def _read_masks(facts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Tensor:
    """Masks uint8 (N, side, side), a bit for each pixel in the file; a byte in those of earlier versions."""
    if _PACKED not in tensors:
        return tensors["masks"]
    side = int(facts["side"])
    bits = np.unpackbits(tensors[_PACKED].numpy(), axis=1, count=side * side)
    return torch.from_numpy(bits.reshape(-1, side, side))


def _read_video(path: Path) -> IndexedVideo:
    facts, tensors = read_tensors(path)
    with file_errors(path, *_DAMAGED):
        video = IndexedVideo(
            facts["video"],
            tensors["start"],
            tensors["end"],
            parse_json(facts["captions"], str(path)),
            _read_masks(facts, tensors),
            {kind: tensors[kind] for kind in VECTOR_KINDS},
        )
        lengths = {len(video.start), len(video.end), len(video.masks), len(video)}
        lengths |= {len(vectors) for vectors in video.vectors.values()}
        if len(lengths) != 1:
            raise ValueError(f"its parts have {sorted(lengths)} steps")
    return video
