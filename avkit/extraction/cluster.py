# SPDX-License-Identifier: Apache-2.0
"""Extraction over many processes and machines, as a pipeline of Ray Data: tasks decode, actors run the networks.

Ray gives tasks and actors to machines, starts again what dies, and has as many actors as there is work for. Each actor
writes a shard of its own into the folder of finished clips, which all machines must see.
"""

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from avkit.errors import AvkitError
from avkit.extraction.decoding import EncoderInputs, InputForm, SourceDataset
from avkit.extraction.extract import OnClip, Runner
from avkit.extraction.extractor import FeatureExtractor
from avkit.extraction.progress import ExtractionProgress
from avkit.extraction.recipe import ExtractionRecipe, FeatureStream
from avkit.extraction.sources import MediaSource
from avkit.reading.remote import whole_path

#: Clips given to a network at a time.
_CLIPS_PER_CALL = 4
#: Times that a clip is read before it is set aside, and seconds between them: storage on a network fails now and then.
_READS = 3
_PAUSE = 0.5
#: Clips of a task of Ray's first pass. In the second each clip that was lost, with its task, is alone.
_CLIPS_PER_TASK = 8

Row = dict[str, Any]


@dataclass(frozen=True)
class Cluster:
    """What is asked of a cluster.

    Attributes:
        workers: Networks that run at the same time, at most; there are fewer while there is less to do.
        address: Of an existing cluster; a local one is started where None.
        device: Where networks run; None for GPUs where the cluster has some.
        gpus: GPUs, or a part of one, for each network; None for a whole one.
    """

    workers: int = 2
    address: str | None = None
    device: str | None = None
    gpus: float | None = None


class NetworkActor:
    """Encoders in a process of their own, which Ray feeds with a few decoded clips at a time.

    Args:
        streams: Streams as dictionaries.
        folder: Folder of finished clips.
        device: Where encoders run.
        batch_size: Frames or log-mel examples at a time.
    """

    def __init__(self, streams: list[dict[str, Any]], folder: str, device: str, batch_size: int) -> None:
        torch.set_num_threads(1)
        read = [FeatureStream(**stream) for stream in streams]
        shard = f"worker-{os.uname().nodename}-{os.getpid()}"
        self.extractor = FeatureExtractor(read, torch.device(device), batch_size)
        self.progress = ExtractionProgress(Path(folder), [stream.name for stream in read], shard)

    def __call__(self, rows: Row) -> Row:
        """Extract clips; returns their names, and why they cannot be read."""
        for name, error, inputs in zip(rows["name"], rows["error"], rows["inputs"], strict=True):
            if not error:
                self._save(self.extractor.feed(EncoderInputs(str(name), load(bytes(inputs)))))
        self._save(self.extractor.flush())
        return {"name": rows["name"], "error": rows["error"]}

    def _save(self, features: Iterator[Any]) -> None:
        for clip in features:
            self.progress.save(clip.stream, clip.name, clip.values)


def decode_row(row: Row, streams: Sequence[FeatureStream], forms: dict[str, InputForm], names: Sequence[str]) -> Row:
    """Decode a clip.

    Args:
        row: Its `name`, and its `source` as JSON.
        streams: All streams.
        forms: What each stream's encoder takes.
        names: The stream of each encoder whose input it reads.

    Returns:
        The `name`; the `inputs` as safetensors; `error`, why it cannot be read, or the empty string.
    """
    dataset = SourceDataset([_from_json(row["source"])], streams, forms)
    for number in range(_READS):
        clip = dataset[0]
        if not clip.error:
            break
        time.sleep(_PAUSE * number)
    tensors: dict[str, Tensor] = {}
    if not clip.error:
        tensors = {name: clip.inputs[name].clone(memory_format=torch.contiguous_format) for name in names}
    return {"name": row["name"], "error": clip.error, "inputs": save(tensors)}


def ray_runner(recipe: ExtractionRecipe, cluster: Cluster, batch_size: int) -> Runner:
    """Build the `runner` of `extract` that works on a Ray cluster.

    Args:
        recipe: Streams to extract.
        cluster: What is asked of the cluster.
        batch_size: Frames or log-mel examples at a time.

    Raises:
        AvkitError: If Ray is not installed.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise AvkitError(f"--ray needs Ray Data ({error}). Install it with pip install 'avkit[ray]'.") from error

    def run(
        sources: Sequence[MediaSource],
        extractor: FeatureExtractor,
        progress: ExtractionProgress,
        on_clip: OnClip | None,
    ) -> None:
        if not sources:
            return
        for name in ("ray", "ray.data"):
            logging.getLogger(name).setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # a clip that ends its process is tried again alone, see below
        starts_ray = not ray.is_initialized()
        if starts_ray:
            cpus = None if cluster.address else cluster.workers + (os.cpu_count() or 1)
            ray.init(address=cluster.address, num_cpus=cpus, log_to_driver=False, include_dashboard=False)
        try:
            pipeline = Pipeline(recipe, cluster, extractor, progress.folder, batch_size)
            left = {source.name: source for source in sources}
            for clips_per_task in (_CLIPS_PER_TASK, 1):
                for row in pipeline.rows(list(left.values()), clips_per_task):
                    if left.pop(row["name"], None) is None:
                        continue
                    if row["error"]:
                        progress.set_aside(row["name"], row["error"])
                    if on_clip is not None:
                        on_clip(row["name"], row["error"])
        finally:
            if starts_ray:
                ray.shutdown()
        for name in left:
            reason = "its process ended twice: the file crashes it, or memory is short."
            progress.set_aside(name, reason)
            if on_clip is not None:
                on_clip(name, reason)

    return run


class Pipeline:
    """Clips from files to finished features on a cluster.

    Args:
        recipe: Streams to extract.
        cluster: What is asked of the cluster.
        extractor: Tells what encoders take.
        folder: Folder of finished clips.
        batch_size: Frames or log-mel examples at a time.

    Raises:
        ValueError: If a GPU is asked for and the cluster has none.
    """

    def __init__(
        self, recipe: ExtractionRecipe, cluster: Cluster, extractor: FeatureExtractor, folder: Path, batch_size: int
    ) -> None:
        import ray

        resources = ray.cluster_resources()
        has_gpus = resources.get("GPU", 0) > 0
        device = cluster.device or ("cuda" if has_gpus else "cpu")
        if device.startswith("cuda") and not has_gpus:
            raise ValueError(f"--device is {device}, and no machine of the Ray cluster has a GPU. Leave it out.")
        self.streams = recipe.media_streams
        self.forms = extractor.input_forms()
        self.inputs = [group.streams[0].name for group in extractor.groups]
        self.actor = ([asdict(stream) for stream in self.streams], str(folder.resolve()), device, batch_size)
        self.workers = cluster.workers
        self.gpus = (cluster.gpus or 1.0) if device.startswith("cuda") else 0.0
        #: CPUs of each network: one is left for decoding, and as many as for decoding would have Ray join both.
        self.cpus = 0.0 if self.gpus or resources.get("CPU", 0) < 2 else 0.9

    def rows(self, sources: Sequence[MediaSource], clips_per_task: int) -> Iterator[Row]:
        """`name` and `error` of each clip that is done, as it is done."""
        import ray.data

        if not sources:
            return
        items = [{"name": source.name, "source": _to_json(source)} for source in sources]
        decode = partial(decode_row, streams=self.streams, forms=self.forms, names=self.inputs)
        clips = ray.data.from_items(items, override_num_blocks=-(-len(items) // clips_per_task))
        features = clips.map(decode, num_cpus=1).map_batches(
            NetworkActor,
            fn_constructor_args=self.actor,
            batch_size=_CLIPS_PER_CALL if clips_per_task > 1 else 1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.workers),
            num_gpus=self.gpus,
            num_cpus=self.cpus,
        )
        yield from features.iter_rows()


def _to_json(source: MediaSource) -> str:
    return json.dumps(asdict(source) | {"root": whole_path(source.root)})


def _from_json(text: str) -> MediaSource:
    values = json.loads(text)
    return MediaSource(**values | {"root": Path(values["root"])})
