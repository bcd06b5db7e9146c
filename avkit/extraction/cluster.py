# SPDX-License-Identifier: Apache-2.0
"""Extraction over many processes and machines with Ray Data.

Each worker writes a shard of its own into the folder of finished clips, which all machines must see. A worker that dies
is started again, and its clips are given out again; clips that it had finished are not extracted again, and since they
are found by name, each clip is in the store once.
"""

import json
import logging
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avkit.errors import AvkitError
from avkit.extraction.extract import OnClip, Runner, extract_clips
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.progress import ExtractionProgress
from avkit.extraction.recipe import ExtractionRecipe, FeatureStream
from avkit.extraction.sources import MediaSource

#: Clips given to a worker at a time.
_CLIPS_PER_CALL = 4


class RayWorker:
    """Encoders in a process of their own, which Ray feeds with a few clips at a time.

    Args:
        streams: Streams as dictionaries.
        folder: Folder of finished clips.
        device: Where encoders run.
        batch_size: Frames or log-mel examples at a time.
    """

    def __init__(self, streams: list[dict[str, Any]], folder: str, device: str, batch_size: int) -> None:
        import torch

        torch.set_num_threads(1)
        read = [FeatureStream(**stream) for stream in streams]
        shard = f"worker-{os.uname().nodename}-{os.getpid()}"
        self.extractor = FeatureExtractor(read, torch.device(device), batch_size)
        self.progress = ExtractionProgress(Path(folder), [stream.name for stream in read], shard)

    def __call__(self, rows: dict[str, Any]) -> dict[str, Any]:
        """Extract clips; returns the names of those that are done, or set aside."""
        skipped = self.progress.done() | self.progress.failed().keys()
        sources = [_from_json(text) for text in rows["source"]]
        remaining = [source for source in sources if source.name not in skipped]
        extract_clips(remaining, self.extractor, self.progress, workers=0)
        return {"name": rows["name"]}


def ray_runner(recipe: ExtractionRecipe, workers: int, address: str | None, device: str, batch_size: int) -> Runner:
    """Build the `runner` of `extract` that works on a Ray cluster.

    Args:
        recipe: Streams to extract.
        workers: Processes.
        address: Address of an existing cluster; a local one is started where None.
        device: Where each worker's encoders run.
        batch_size: Frames or log-mel examples at a time.

    Raises:
        AvkitError: If Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise AvkitError(f"--ray needs Ray Data ({error}). Install it with pip install 'avkit[ray]'.") from error
    streams = [asdict(stream) for stream in recipe.streams if stream.is_media]

    def run(sources: Sequence[MediaSource], progress: ExtractionProgress, on_clip: OnClip | None) -> None:
        if not sources:
            return
        logging.getLogger("ray").setLevel(logging.WARNING)
        ray.data.DataContext.get_current().enable_progress_bars = False
        starts_ray = not ray.is_initialized()
        if starts_ray:
            cpus = None if address else max(workers, os.cpu_count() or 1)
            ray.init(address=address, num_cpus=cpus, log_to_driver=False)
        done: set[str] = set()
        try:
            rows = [{"name": source.name, "source": _to_json(source)} for source in sources]
            blocks = max(1, min(len(rows), 4 * workers))
            results = ray.data.from_items(rows, override_num_blocks=blocks).map_batches(
                RayWorker,
                fn_constructor_args=(streams, str(progress.folder.resolve()), device, batch_size),
                batch_size=_CLIPS_PER_CALL,
                compute=ray.data.ActorPoolStrategy(size=workers),
                num_gpus=1 if device.startswith("cuda") else 0,
            )
            for row in results.iter_rows():
                done.add(row["name"])
                if on_clip is not None:
                    on_clip(row["name"], "")
        finally:
            if starts_ray:
                ray.shutdown()
        lost = {source.name for source in sources} - done
        if lost:
            raise AvkitError(f"{len(lost)} clips were lost on the way, such as {min(lost)!r}. Start again.")

    return run


def _to_json(source: MediaSource) -> str:
    return json.dumps(asdict(source) | {"root": str(source.root.resolve())})


def _from_json(text: str) -> MediaSource:
    values = json.loads(text)
    return MediaSource(**values | {"root": Path(values["root"])})
