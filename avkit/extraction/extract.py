# SPDX-License-Identifier: Apache-2.0
"""Media through networks into stores: decoding, networks and writing side by side, and safe to kill at any moment.

Each finished clip is a `.npy` of its own in a folder of parts, written at once; what is there is never made again. At
the end the parts become one store per stream, and are deleted once it is there. Clips that cannot be read are set
aside in `failed.jsonl`, with the reason.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from avkit import __version__
from avkit.encoders import build_audio_encoder, build_text_encoder, build_video_encoder, build_visual_encoder
from avkit.encoders.base import VisualEncoder
from avkit.encoders.vggish import VGGishAudio
from avkit.errors import DataError
from avkit.extraction.prefetch import decoded
from avkit.extraction.recipe import Recipe, Stream
from avkit.extraction.sources import Clips, Decoded, Source, as_numbers
from avkit.features.arrays import FeatureFacts, FirstOf, NpyFolder, Selected
from avkit.features.store import Store, weights_hash, write_store
from avkit.files import atomic

#: Files that may be waiting to be written.
_WAITING = 64


class Parts:
    """Finished clips of an extraction, and those that were set aside; several processes may each write a shard.

    Args:
        folder: Where they lie.
        streams: Names of the streams.
        shard: Name of the shard that this process writes.
    """

    def __init__(self, folder: Path, streams: Sequence[str], shard: str = "local") -> None:
        self.folder, self.streams, self.shard = folder, list(streams), shard

    def done(self) -> set[str]:
        """Clips that all streams have, in whatever shard."""
        every = [set(self.features(stream).names) for stream in self.streams]
        return set.intersection(*every) if every else set()

    def failed(self) -> dict[str, str]:
        """Clips set aside, with the reason."""
        out = {}
        for path in sorted(self.folder.glob("*/failed.jsonl")):
            for row in path.read_text(encoding="utf-8").split("\n"):
                try:
                    entry = json.loads(row)
                    out[entry["name"]] = entry["reason"]
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # the last line of a process that was killed while it wrote
        return out

    def save(self, stream: str, name: str, values: np.ndarray[Any, Any]) -> None:
        """Write a clip; it appears whole or not at all."""
        with atomic(self.folder / self.shard / stream / f"{name}.npy") as part:
            np.save(part, values, allow_pickle=False)

    def set_aside(self, name: str, reason: str) -> None:
        """Remember a clip that cannot be read."""
        path = self.folder / self.shard / "failed.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"name": name, "reason": reason}) + "\n")

    def forget_failures(self) -> None:
        """Let clips that were set aside be tried again."""
        for path in self.folder.glob("*/failed.jsonl"):
            path.unlink(missing_ok=True)

    def features(self, stream: str) -> FirstOf:
        """The finished clips of a stream, of all shards."""
        return FirstOf([NpyFolder(path) for path in sorted(self.folder.glob(f"*/{stream}"))])


@dataclass
class Network:
    """A network and the streams that keep something of it."""

    module: nn.Module
    streams: list[Stream]
    hash: str


@dataclass
class _Waiting:
    """Inputs of clips that wait for a full batch."""

    rows: list[Tensor] = field(default_factory=list)
    clips: list[tuple[str, int]] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(len(x) for x in self.rows)


class Networks:
    """The networks of a recipe on one device, fed with clips in batches across them.

    Args:
        streams: Pictures and sound alone.
        device: Where they run; on a GPU they do so in bfloat16.
        batch: Pictures or examples at a time.
    """

    def __init__(self, streams: Sequence[Stream], device: torch.device, batch: int = 64) -> None:
        self.streams, self.device, self.batch = list(streams), device, batch
        groups: dict[tuple[Any, ...], list[Stream]] = {}
        for s in self.streams:
            key = (s.of, s.encoder, s.weights, s.hop, s.window, s.resize, s.crop, s.keep == "clip")
            groups.setdefault(key, []).append(s)
        self.networks = [self._build(group) for group in groups.values()]
        self.waiting = [_Waiting() for _ in self.networks]

    def _build(self, streams: list[Stream]) -> Network:
        first = streams[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # random weights are the same in every run and every worker
            module = _build_network(first)
        module = module.eval().requires_grad_(False).to(self.device)
        return Network(module, streams, weights_hash(module.state_dict()))

    def sides(self) -> dict[str, int]:
        """Side of the square that each stream's network takes."""
        out: dict[str, int] = {}
        for network in self.networks:
            size = network.module.input_size if isinstance(network.module, VisualEncoder) else None
            out |= {s.name: size[0] if size else 224 for s in network.streams}
        return out

    def facts(self, dataset: str) -> dict[str, FeatureFacts]:
        """How each stream's features are made."""
        out = {}
        for network in self.networks:
            for s in network.streams:
                sound = s.of == "sound"
                window, fps = (s.window, 0.0) if sound else (0.0, 1 / s.hop)
                name = s.encoder if s.keep == "frame" or sound else f"{s.encoder} {s.keep}"
                hop = 0.0 if s.keep == "clip" else s.hop  # rows of a clip are no steps
                out[s.name] = FeatureFacts(name, hop, window, fps, dataset, network.hash, f"avkit {__version__}")
        return out

    def feed(self, clip: Decoded) -> Iterator[tuple[str, str, np.ndarray[Any, Any]]]:
        """Take a clip; yields stream, name and features of clips that are through."""
        for network, waiting in zip(self.networks, self.waiting, strict=True):
            x = clip.inputs[network.streams[0].name]
            waiting.rows.append(x)
            waiting.clips.append((clip.name, len(x)))
            if waiting.count >= self.batch:
                yield from self._run(network, waiting)

    def flush(self) -> Iterator[tuple[str, str, np.ndarray[Any, Any]]]:
        """What still waits."""
        for network, waiting in zip(self.networks, self.waiting, strict=True):
            if waiting.rows:
                yield from self._run(network, waiting)

    @torch.inference_mode()
    def _run(self, network: Network, waiting: _Waiting) -> Iterator[tuple[str, str, np.ndarray[Any, Any]]]:
        if network.streams[0].keep == "clip":
            for (name, _), x in zip(waiting.clips, waiting.rows, strict=True):
                with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
                    found = as_numbers(network.module(x.to(self.device)))
                for s in network.streams:
                    yield s.name, name, found
            waiting.rows, waiting.clips = [], []
            return
        rows = torch.cat(waiting.rows)
        out: dict[str, list[np.ndarray[Any, Any]]] = {s.name: [] for s in network.streams}
        half = self.device.type == "cuda"
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch].to(self.device, non_blocking=True)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
                found = network.module(part)
            for s in network.streams:
                out[s.name].append(as_numbers(found if isinstance(found, Tensor) else getattr(found, s.keep)))
        for s in network.streams:
            every, first = np.concatenate(out[s.name]), 0
            for name, count in waiting.clips:
                yield s.name, name, every[first : first + count]
                first += count
        waiting.rows, waiting.clips = [], []


def _build_network(stream: Stream) -> nn.Module:
    if stream.of == "sound":
        audio = build_audio_encoder(stream.encoder, stream.weights)
        if stream.encoder != "vggish" or not isinstance(audio, VGGishAudio):
            raise DataError(f"Stream {stream.name!r}: sound is extracted with vggish, not {stream.encoder!r}.")
        return audio.network  # the examples are cut by the decoder
    if stream.keep == "clip":
        return build_video_encoder(stream.encoder, stream.weights)
    return build_visual_encoder(stream.encoder, stream.weights)


def run(
    sources: Sequence[Source],
    networks: Networks,
    parts: Parts,
    workers: int = 2,
    each: Callable[[Decoded], None] | None = None,
) -> None:
    """Put clips through the networks and save them as parts.

    Args:
        sources: Clips that are not done yet.
        networks: What they go through.
        parts: Where they go.
        workers: Processes that decode; 0 decodes in this one.
        each: Called with each clip as it comes from its decoder.
    """
    data = Clips(sources, networks.streams, networks.sides())
    writing: list[Future[None]] = []
    with ThreadPoolExecutor(2) as pool:

        def save(found: Iterable[tuple[str, str, np.ndarray[Any, Any]]]) -> None:
            for stream, name, values in found:
                writing.append(pool.submit(parts.save, stream, name, values.copy()))
            while len(writing) > _WAITING:
                writing.pop(0).result()

        for clip in decoded(data, workers):
            if clip.fault:
                parts.set_aside(clip.name, clip.fault)
            else:
                save(networks.feed(clip))
            if each is not None:
                each(clip)
        save(networks.flush())
        for future in writing:
            future.result()


def encode_texts(stream: Stream, texts: dict[str, str], device: torch.device) -> tuple[dict[str, Any], str]:
    """Text features (1, D) by name, and the hash of the weights."""
    module = build_text_encoder(stream.encoder, stream.weights).eval().to(device)
    names = list(texts)
    out: dict[str, Any] = {}
    with torch.inference_mode():
        for start in range(0, len(names), 64):
            part = names[start : start + 64]
            pooled = as_numbers(module([texts[n] for n in part]).pooled)
            out |= {name: row[None] for name, row in zip(part, pooled, strict=True)}
    return out, weights_hash(module.state_dict())


def pack(parts: Parts, out: Path, facts: dict[str, FeatureFacts], dtypes: dict[str, str]) -> dict[str, Path]:
    """Make the stores of finished clips, together with those of a store that is there; then delete the parts."""
    stores = {}
    for stream in parts.streams:
        path, found = out / f"{stream}.h5", parts.features(stream)
        every = FirstOf([found, Store(path)]) if path.exists() else found
        if found.names:
            stores[stream] = write_store(path, Selected(every, sorted(every.names)), facts[stream], dtypes[stream])
        elif path.exists():
            stores[stream] = path
    failed = parts.failed()
    shutil.rmtree(parts.folder, ignore_errors=True)
    for name, reason in failed.items():
        parts.set_aside(name, reason)
    return stores


def check_same(out: Path, facts: dict[str, FeatureFacts]) -> None:
    """Refuse to go on with stores that were made in another way.

    Raises:
        DataError: Saying what differs.
    """
    for stream, wanted in facts.items():
        if (path := out / f"{stream}.h5").exists() and Store(path).facts != wanted:
            old = Store(path).facts
            differs = [
                f"{k} {a!r} and not {getattr(wanted, k)!r}" for k, a in vars(old).items() if a != getattr(wanted, k)
            ]
            raise DataError(
                f"{path} was made in another way: {'; '.join(differs)}. Move it away, or choose another --out."
            )


def stored(out: Path, streams: Sequence[str]) -> set[str]:
    """Clips that the stores of all streams have."""
    every = [set(Store(path).names) if (path := out / f"{s}.h5").exists() else set() for s in streams]
    return set.intersection(*every) if every else set()


def media_streams(recipe: Recipe) -> list[Stream]:
    """Streams of pictures and sound.

    Raises:
        DataError: If the recipe's networks cannot be had.
    """
    if recipe.bring:
        raise DataError(recipe.bring)
    return [s for s in recipe.streams if s.of != "text"]


@dataclass
class Outcome:
    """What an extraction did.

    Attributes:
        done: Clips in the stores, those of earlier runs among them.
        new: Clips that this run made.
        failed: Clips set aside, with the reason.
        stores: The stores, by stream.
    """

    done: int
    new: int
    failed: dict[str, str]
    stores: dict[str, Path]


def extract(
    sources: Sequence[Source],
    recipe: Recipe,
    out: Path,
    dataset: str = "",
    device: str = "cpu",
    batch: int = 64,
    workers: int = 2,
    retry: bool = False,
    begin: Callable[[int, int], None] | None = None,
    each: Callable[[str, str], None] | None = None,
    spread: Callable[[Sequence[Source], Parts, Callable[[str, str], None] | None], None] | None = None,
) -> Outcome:
    """Extract what is not done yet, and pack it.

    Args:
        sources: All clips.
        recipe: What to run.
        out: Folder of the stores.
        dataset: Name that the stores carry.
        device: Where networks run.
        batch: Pictures or examples at a time.
        workers: Processes that decode; a script that asks for some needs `if __name__ == "__main__"`.
        retry: Try clips again that were set aside.
        begin: Called with the number of clips that were done before and of all.
        each: Called with each clip's name as it is decoded, and what is wrong with it.
        spread: Does the work in place of this process, see `avkit.extraction.cluster`.

    Raises:
        DataError: If the recipe's networks cannot be had, or stores that are there were made in another way.
    """
    streams = media_streams(recipe)
    names = [s.name for s in streams]
    networks = Networks(streams, torch.device(device), batch)
    facts = networks.facts(dataset)
    check_same(out, facts)
    parts = Parts(out / f".{recipe.name}-parts", names)
    if retry:
        parts.forget_failures()
    done = stored(out, names) | parts.done()
    skip = done | parts.failed().keys()
    todo = [s for s in sources if s.name not in skip]
    if begin is not None:
        begin(len(sources) - len(todo), len(sources))
    if spread is not None:
        spread(todo, parts, each)
    else:
        run(todo, networks, parts, workers, (lambda c: each(c.name, c.fault)) if each is not None else None)
    stores = pack(parts, out, facts, {s.name: s.dtype for s in streams})
    now = stored(out, names)
    return Outcome(len(now), len(now - done), parts.failed(), stores)
