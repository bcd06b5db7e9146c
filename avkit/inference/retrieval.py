# SPDX-License-Identifier: Apache-2.0
"""Finding moments in videos by what they show and sound like: RA-SSU's masks and captions, turned around.

An index is a folder with a file per video. Each of its rows is a step: what was said about it, where the mask was, and
vectors of the region, of the whole picture and of the sound. A text is matched with captions, word by word, rare words
counting more; a sound or a video with the vectors.

Source:
    RA-SSU (arXiv 2603.09809), section V-B.3, which names the use and leaves the way open.
"""

import json
import math
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from avkit.batch import SAMPLE_RATE, Item
from avkit.collate import collate
from avkit.errors import DataError
from avkit.files import atomic, write_file
from avkit.inference.predictor import ClipResult, Predictor
from avkit.media.decode import pad_or_trim, read_waveform
from avkit.nn.region_crop import cut_out
from avkit.text.tokenizer import split_words

#: Version of the folder's layout.
VERSION = 1
#: Side of stored masks, in cells.
SIDE = 64
#: A hit reaches as far around its best step as the score stays above this share of the best one.
NEAR = 0.8
_FACTS = "index.json"
_KINDS = ("region", "frame", "sound")


@dataclass
class Moments:
    """Steps of one video, N of them.

    Attributes:
        video: The file.
        start: Seconds, (N,).
        end: Seconds, (N,).
        captions: N sentences.
        masks: uint8 (N, SIDE, SIDE), 1 where something sounds.
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


@dataclass
class Hit:
    """A stretch of a video that answers a query.

    Attributes:
        video: The file.
        start: Seconds.
        end: Seconds.
        score: Of its best step.
        caption: What was said of that step.
        moment: Middle of that step in seconds.
        mask: uint8 (SIDE, SIDE), 1 where something sounds then.
    """

    video: str
    start: float
    end: float
    score: float
    caption: str
    moment: float
    mask: NDArray[np.uint8] = field(repr=False)


def watch(predictor: Predictor, path: Path | str, silent_ok: bool = False) -> Moments:
    """All that an index keeps of a video.

    Args:
        predictor: A run with task `ra_ssu`.
        path: Any video.
        silent_ok: Use silence where the video has no sound.

    Raises:
        MediaError: If the file cannot be read.
        ValueError: If the run has no masks and captions.
    """
    if "ra_ssu" not in predictor.tasks:
        raise ValueError(f"Run {predictor.source} has no task ra_ssu, whose masks and captions an index is made of.")
    parts = [
        look(predictor, result, start) for start, result in predictor.stream(path, ["ra_ssu"], silent_ok=silent_ok)
    ]
    return join(str(path), parts)


def listen(predictor: Predictor, path: Path | str) -> dict[str, Tensor]:
    """Vectors of a sound file or of a video's sound, to search with.

    Raises:
        MediaError: If the file has no sound or cannot be read.
        ValueError: If the run reads stored features of sound.
    """
    encoder = predictor.model.system.audio
    if encoder is None:
        raise ValueError(f"Run {predictor.source} reads stored features of sound and cannot listen.")
    waveform = read_waveform(path)
    steps = max(1, round(len(waveform) / SAMPLE_RATE))
    with torch.inference_mode():
        heard = encoder(pad_or_trim(waveform, steps * SAMPLE_RATE)[None].to(predictor.device), steps, 1.0)[0]
    return {"sound": heard.float().cpu()}


def look(predictor: Predictor, result: ClipResult, start: float = 0.0) -> Moments:
    """What an index keeps of steps that were answered.

    Raises:
        ValueError: If the run has no masks or no captions.
    """
    if result.masks is None or result.captions is None:
        raise ValueError(f"Run {predictor.source} makes masks or captions alone; an index needs both.")
    assert result.frames is not None
    assert result.waveform is not None
    frames, device = torch.from_numpy(result.frames), predictor.device
    masks = torch.from_numpy(result.masks)
    item = Item("clip", result.duration, result.hop, frames, torch.from_numpy(result.waveform))
    with torch.inference_mode():
        encode = image_encoder(predictor)
        pictures = frames.to(device)
        regions = cut_out(pictures, masks.to(device), hard=True)
        heard = predictor.model.system.sense(collate([item], "ra_ssu").to(device)).heard[0]
        vectors = {"region": encode(regions), "frame": encode(pictures), "sound": heard}
        small = torch.nn.functional.interpolate(masks[:, None], (SIDE, SIDE), mode="bilinear", align_corners=False)
    spans = torch.tensor([result.span(step) for step in range(result.steps)]) + start
    return Moments(
        str(result.source),
        spans[:, 0],
        spans[:, 1],
        list(result.captions),
        (small[:, 0] > 0.5).to(torch.uint8),
        {kind: x.float().cpu() for kind, x in vectors.items()},
    )


def image_encoder(predictor: Predictor) -> Callable[[Tensor], Tensor]:
    """What makes vectors of pictures: the run's encoder of regions, or its visual encoder where it has none."""
    model = predictor.model
    network = getattr(model.heads["ra_ssu"], "region", None) or model.system.visual
    if network is None:
        raise ValueError(f"Run {predictor.source} reads stored features and cannot look at pictures.")
    return lambda pictures: network(pictures).frame


def join(video: str, parts: Sequence[Moments]) -> Moments:
    """Stretches of one video, one after the other."""
    return Moments(
        video,
        torch.cat([p.start for p in parts]),
        torch.cat([p.end for p in parts]),
        [text for p in parts for text in p.captions],
        torch.cat([p.masks for p in parts]),
        {kind: torch.cat([p.vectors[kind] for p in parts]) for kind in _KINDS},
    )


class Index:
    """An index folder.

    Args:
        folder: Where it lies, or will.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def facts(self) -> dict[str, Any]:
        """The run that made it, and its weights.

        Raises:
            DataError: If there is no index, or a newer avkit made it.
        """
        try:
            facts: dict[str, Any] = json.loads((self.folder / _FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError) as e:
            raise DataError(f"{self.folder} is no index: {e}. Make one with 'avkit index RUN VIDEOS'.") from e
        if facts.get("version", 0) > VERSION:
            raise DataError(f"{self.folder} was written by a newer avkit. Update avkit to read it.")
        return facts

    def begin(self, provenance: dict[str, str]) -> None:
        """Make the folder, or go on with it.

        Raises:
            DataError: If another run's weights made what is there: vectors of two runs cannot be compared.
        """
        if (self.folder / _FACTS).exists():
            then = self.facts["weights"]
            if then != provenance["weights"]:
                raise DataError(
                    f"{self.folder} was made with {then}, this run has {provenance['weights']}. Choose another --out, "
                    "or the run that made it."
                )
            return
        write_file(self.folder / _FACTS, json.dumps({"version": VERSION, **provenance}, indent=1))

    def place(self, video: Path | str) -> Path:
        """The file of a video's rows; videos of one name in different folders have different files."""
        path = Path(video).resolve()
        return self.folder / "videos" / f"{path.stem}-{zlib.crc32(str(path).encode()):08x}.safetensors"

    def has(self, video: Path | str) -> bool:
        """Whether a video is in the index as it is now."""
        place = self.place(video)
        return place.exists() and place.stat().st_mtime >= Path(video).stat().st_mtime

    def add(self, moments: Moments) -> None:
        """Keep a video's rows in place of older ones."""
        tensors = {"start": moments.start, "end": moments.end, "masks": moments.masks, **moments.vectors}
        facts = {"video": str(Path(moments.video).resolve()), "captions": json.dumps(moments.captions)}
        place = self.place(moments.video)
        with atomic(place) as part:
            save_file({k: x.contiguous() for k, x in tensors.items()}, part, metadata=facts)

    def read(self) -> "Shelf":
        """All rows.

        Raises:
            DataError: If there is no index, it is empty, or a file is damaged.
        """
        _ = self.facts
        found = [_read(path) for path in sorted((self.folder / "videos").glob("*.safetensors"))]
        if not found:
            raise DataError(f"{self.folder} has no videos. Add some with 'avkit index RUN VIDEOS --out {self.folder}'.")
        return Shelf(found)


def _read(path: Path) -> Moments:
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata()
            x = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118, it is no mapping
        vectors = {kind: x[kind] for kind in _KINDS}
        return Moments(facts["video"], x["start"], x["end"], json.loads(facts["captions"]), x["masks"], vectors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as e:
        raise DataError(f"{path} is damaged: {e}. Delete it and index the video again.") from e


class Shelf:
    """Rows of many videos in memory, ready to be searched.

    Args:
        videos: Their rows.
    """

    def __init__(self, videos: Sequence[Moments]) -> None:
        self.videos = list(videos)
        self.captions = [text for video in videos for text in video.captions]
        self.bounds = np.cumsum([0, *(len(video) for video in videos)])
        self.vectors = {kind: torch.cat([v.vectors[kind] for v in videos]) for kind in _KINDS}
        self.means = {kind: x.mean(0) for kind, x in self.vectors.items()}

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.captions)

    @cached_property
    def words(self) -> dict[str, int]:
        """Rows in which each stem occurs."""
        return Counter(stem for text in self.captions for stem in set(stems(text)))

    @cached_property
    def _bags(self) -> tuple[Any, dict[str, int]]:
        """Captions as unit vectors of weighted stems, (N, stems), and the stems' places."""
        places = {stem: k for k, stem in enumerate(self.words)}
        rows = torch.zeros(len(self), len(places))
        for row, text in zip(rows, self.captions, strict=True):
            for stem, count in Counter(stems(text)).items():
                row[places[stem]] = count * self._weight(stem)
        return torch.nn.functional.normalize(rows, dim=1).to_sparse(), places

    def _weight(self, stem: str) -> float:
        """Rare stems count more."""
        return math.log((len(self) + 1) / (self.words.get(stem, 0) + 0.5))

    def by_text(self, text: str) -> Tensor:
        """How well each row's caption fits a text: cosine of weighted stems, (N,).

        Raises:
            ValueError: If the text has no words.
        """
        if not stems(text):
            raise ValueError(f"The text {text!r} has no words. Say what is seen and heard, such as 'a dog barking'.")
        bags, places = self._bags
        query = torch.zeros(len(places))
        unknown = 0.0
        for stem, count in Counter(stems(text)).items():
            weight = count * self._weight(stem)
            if stem in places:
                query[places[stem]] = weight
            else:
                unknown += weight**2
        length = math.sqrt(float(query.square().sum()) + unknown)
        found: Tensor = (bags @ query[:, None])[:, 0] / max(length, 1e-9)
        return found

    def by_vectors(self, kind: str, vectors: Tensor) -> Tensor:
        """How well rows fit vectors (M, width) of a query: the best cosine, about the index's mean, (N,)."""
        rows, query = (
            torch.nn.functional.normalize(x - self.means[kind], dim=-1) for x in (self.vectors[kind], vectors)
        )
        return (rows @ query.T).amax(1)

    def unknown(self, text: str) -> list[str]:
        """Words of a text that no caption has, each with the nearest that one has."""
        spoken = sorted({word for caption in self.captions for word in split_words(caption)})
        said = []
        for word in dict.fromkeys(split_words(text)):
            if word.isalnum() and stem_of(word) not in self.words:
                near = get_close_matches(word, spoken, n=2, cutoff=0.6)
                said.append(f"{word!r}" + (f" (captions have {', '.join(near)})" if near else ""))
        return said

    def hits(self, scores: Tensor, count: int = 5) -> list[Hit]:
        """The best stretch of each of the best videos, best first."""
        found = []
        values = scores.numpy()
        for number, video in enumerate(self.videos):
            part = values[self.bounds[number] : self.bounds[number + 1]]
            best = int(part.argmax())
            enough = part >= NEAR * part[best] if part[best] > 0 else np.arange(len(part)) == best
            first = best - int(np.argmin(np.append(enough[: best + 1][::-1], False))) + 1
            last = best + int(np.argmin(np.append(enough[best:], False))) - 1
            middle = float(video.start[best] + video.end[best]) / 2
            found.append(
                Hit(
                    video.video,
                    float(video.start[first]),
                    float(video.end[last]),
                    float(part[best]),
                    video.captions[best],
                    middle,
                    video.masks[best].numpy(),
                )
            )
        return sorted(found, key=lambda hit: -hit.score)[:count]


def stems(text: str) -> list[str]:
    """Stems of a text's words: `barking`, `barks` and `bark` are one."""
    return [stem_of(word) for word in split_words(text) if any(c.isalnum() for c in word)]


def stem_of(word: str) -> str:
    """The stem of a word, by Snowball's rules of English."""
    found: str = _stemmer().stemWord(word)
    return found


@cache
def _stemmer() -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer("english")


def search(
    shelf: Shelf, text: str | None = None, like: Iterable[Mapping[str, Tensor]] = (), count: int = 5
) -> list[Hit]:
    """Search by a text, by what examples look and sound like, or both.

    Args:
        shelf: Where.
        text: What is seen and heard.
        like: Examples, as vectors (M, width) by kind: `listen(...)`, or `watch(...).vectors`.
        count: Videos that are returned.

    Raises:
        ValueError: If nothing is searched for.
    """
    scores = [shelf.by_text(text)] if text is not None else []
    for example in like:
        scores.append(torch.stack([shelf.by_vectors(kind, x) for kind, x in example.items()]).mean(0))
    if not scores:
        raise ValueError("Nothing is searched for. Give a text, --sound or --clip.")
    return shelf.hits(torch.stack(scores).mean(0), count)
