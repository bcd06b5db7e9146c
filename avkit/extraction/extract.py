# SPDX-License-Identifier: Apache-2.0
"""Extraction of features into stores: decoding, encoders and writing run side by side, and may be killed at any moment.

Clips that are finished are never extracted again, see `ExtractionProgress`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from avkit.errors import DataError
from avkit.extraction.decoding import SourceDataset
from avkit.extraction.extractor import ClipFeatures, FeatureExtractor
from avkit.extraction.origins import check_origins
from avkit.extraction.prefetch import iter_decoded
from avkit.extraction.progress import ExtractionProgress, StoreForm, check_same_facts, stored_clips
from avkit.extraction.recipe import ExtractionRecipe
from avkit.extraction.sources import MediaSource
from avkit.files import cannot_write, hold, release_lock

#: Called with the name of each decoded clip, and why it cannot be read, or the empty string.
OnClip: TypeAlias = Callable[[str, str], None]
#: Extracts clips in place of this process, and returns when all are done.
Runner: TypeAlias = Callable[[Sequence[MediaSource], FeatureExtractor, ExtractionProgress, OnClip | None], None]

#: Files that may be waiting to be written.
_MAX_WAITING = 64


@dataclass
class ExtractionSummary:
    """The result of an extraction.

    Attributes:
        done: Clips in the stores, those of earlier runs among them.
        new: Clips that this run extracted.
        failed: Clips set aside, with the reason.
        stores: The stores, by stream.
    """

    done: int
    new: int
    failed: dict[str, str]
    stores: dict[str, Path]


def extract(
    sources: Sequence[MediaSource],
    recipe: ExtractionRecipe,
    out: Path,
    *,
    dataset: str = "",
    device: str = "cpu",
    batch_size: int = 64,
    workers: int = 2,
    retry: bool = False,
    form: StoreForm = "hdf5",
    on_start: Callable[[int, int], None] | None = None,
    on_clip: OnClip | None = None,
    runner: Runner | None = None,
) -> ExtractionSummary:
    """Extract the clips that are not done yet, and pack all into stores.

    Args:
        sources: All clips.
        recipe: Streams to extract.
        out: Folder of the stores.
        dataset: Name of the dataset, which is stored with the features.
        device: Where encoders run.
        batch_size: Frames or log-mel examples at a time.
        workers: Processes that decode; a script that uses some needs `if __name__ == "__main__"`.
        retry: Try clips again that were set aside.
        form: A file of HDF5 for each stream, or a folder of shards.
        on_start: Called with the number of clips that were done before, and the number of all clips.
        on_clip: Called with each clip's name as it is decoded, and why it cannot be read.
        runner: Does the work in place of this process, see `avkit.extraction.cluster`.

    Raises:
        DataError: If the recipe's encoders are not available, stores that exist were made in another way, features that
            exist are of another file of the same name, or another process extracts the recipe into this folder.
    """
    streams = recipe.media_streams
    names = [stream.name for stream in streams]
    extractor = FeatureExtractor(streams, torch.device(device), batch_size)
    facts = extractor.facts(dataset)
    check_same_facts(out, facts)
    progress = ExtractionProgress(out / f".{recipe.name}-parts", names)
    with _alone(out, recipe.name):
        if retry:
            progress.forget_failures()
        done_before = stored_clips(out, names) | progress.done()
        check_origins(out, sources, done_before)
        skipped = done_before | progress.failed().keys()
        remaining = [source for source in sources if source.name not in skipped]
        if on_start is not None:
            on_start(len(sources) - len(remaining), len(sources))
        if runner is not None:
            runner(remaining, extractor, progress, on_clip)
        else:
            extract_clips(remaining, extractor, progress, workers, on_clip)
        stores = progress.pack(out, facts, {stream.name: stream.dtype for stream in streams}, form)
    done = stored_clips(out, names)
    return ExtractionSummary(len(done), len(done - done_before), progress.failed(), stores)


@contextmanager
def _alone(out: Path, recipe: str) -> Iterator[None]:
    """Let one process at a time extract a recipe into a folder: the first to end packs what all have made.

    Raises:
        DataError: If another one does; it names that process.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = hold(out / f".{recipe}.lock")
    except BlockingIOError as error:
        raise DataError(
            f"Recipe {recipe} is being extracted into {out} by {error}. Wait for it, end it, or choose another --out."
        ) from None
    except OSError as error:
        raise cannot_write(out, error) from error
    try:
        yield
    finally:
        release_lock(lock)


def extract_clips(
    sources: Sequence[MediaSource],
    extractor: FeatureExtractor,
    progress: ExtractionProgress,
    workers: int = 2,
    on_clip: OnClip | None = None,
) -> None:
    """Extract clips and save their features one by one.

    Args:
        sources: Clips that are not done yet.
        extractor: The encoders.
        progress: Where features are saved, and unreadable clips are recorded.
        workers: Processes that decode; 0 decodes in this one.
        on_clip: Called with each clip's name as it is decoded, and why it cannot be read.
    """
    dataset = SourceDataset(sources, extractor.streams, extractor.input_forms())
    with ThreadPoolExecutor(2) as pool:
        writer = _Writer(progress, pool)
        for clip in iter_decoded(dataset, workers):
            if clip.error:
                progress.set_aside(clip.name, clip.error)
            else:
                writer.save(extractor.feed(clip))
            if on_clip is not None:
                on_clip(clip.name, clip.error)
        writer.save(extractor.flush())
        writer.finish()


class _Writer:
    """Saves features in threads, and waits where too many files are unwritten."""

    def __init__(self, progress: ExtractionProgress, pool: ThreadPoolExecutor) -> None:
        self.progress = progress
        self.pool = pool
        self.waiting: list[Future[None]] = []

    def save(self, features: Iterable[ClipFeatures]) -> None:
        for clip in features:
            self.waiting.append(self.pool.submit(self.progress.save, clip.stream, clip.name, clip.values.copy()))
        while len(self.waiting) > _MAX_WAITING:
            self.waiting.pop(0).result()

    def finish(self) -> None:
        for future in self.waiting:
            future.result()
